"""`clusterbench collectives run`: collectives and messages under mpiexec."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.names import DTYPE, MESSAGES, OPERATIONS, PINGPONG
from clusterbench.bench.options import BUDGET, PRECISION, SEED, keeping_options, machine_options, sampling_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clusterbench.bench.collective_runs import Request
    from clusterbench.bench.point_to_point_runs import PointToPointRequest
    from clusterbench.bench.sampling import Rules
    from clusterbench.bench.watchdog import Watchdog
    from clusterbench.bench.world import World
    from clusterbench.collectives.algorithm import Spec
    from clusterbench.collectives.collective import Collective
    from clusterbench.collectives.schedule import Schedule
    from clusterbench.results.record import Measurement, Run

ALL = "all"

_COLLECTIVES, _REDUCTIONS, _ROOTED = "collectives", "collectives that reduce", "collectives with a root"
_UNEVEN = "all_to_all_v"
_APPLIES_TO = {
    "algorithm": ("--algorithm", _COLLECTIVES),
    "files": ("--schedule", _COLLECTIVES),
    "placement": ("--placement", _COLLECTIVES),
    "transport": ("--transport", _COLLECTIVES),
    "buffers": ("--buffers", _COLLECTIVES),
    "op": ("-o", _REDUCTIONS),
    "root": ("-r", _ROOTED),
    "traffic_text": ("--traffic", _UNEVEN),
    "window": ("--window", PINGPONG),
}
"""Of each parameter that does not apply to everything its flag, and what it applies to."""
_PASSED_OVER = ("op", "root")
"""Scripts for nccl-tests give these to all of its programs, which pass over what they do not need."""


@click.command("run")
@click.argument("collective")
@click.option("-b", "--minbytes", type=SIZE, default="32M", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default=None, help="Largest size; -b by default.")
@click.option("-f", "--stepfactor", type=float, default=None, help="Factor between sizes; 2 unless -i is given.")
@click.option("-i", "--stepbytes", type=SIZE, default=None, help="Step between sizes, instead of a factor.")
@sampling_options
@click.option("-o", "--op", type=click.Choice(OPERATIONS), default="sum", show_default=True, help="Reduction.")
@click.option("-d", "--datatype", type=DTYPE, default="float", show_default=True, help="Element type.")
@click.option("-r", "--root", type=click.IntRange(0), default=0, show_default=True,
              help="Root of broadcast, reduce, scatter and gather.")  # fmt: skip
@click.option("--algorithm", help="Names with commas between, with options as in chain:segments=4; `all`; `library` "
              "(the default) or library:ID for one that the library is told to use.")  # fmt: skip
@click.option("--schedule", "files", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Run the schedule in a file, once it is proven; may be given several times.")  # fmt: skip
@click.option("--transport", type=click.Choice(["auto", "mpi", "nccl"]), default="auto", show_default=True,
              help="How our own schedules are run; nccl: NCCL's own collectives, as `library`.")  # fmt: skip
@click.option("--buffers", type=click.Choice(["host", "device"]), help="Where buffers are: in host memory, or on "
              "each rank's GPU (GPU-aware MPI, or NCCL). Host by default; device with --transport nccl.")  # fmt: skip
@click.option("--placement", type=click.Choice(["both", "out-of-place", "in-place"]), default="both", show_default=True)
@click.option("--traffic", "traffic_text", default="uniform", show_default=True,
              help="Of all_to_all_v: uniform, skewed, skewed:EXPONENT, or a file with a matrix.")  # fmt: skip
@click.option("--window", type=click.IntRange(1, 4096), default=64, show_default=True,
              help="Of pingpong: messages in flight where bandwidth is measured.")  # fmt: skip
@click.option("--precision", type=PRECISION, default=0.02, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=1.0, show_default=True,
              help="Seconds a point after which sampling stops anyway.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the order of points and of the data.")
@machine_options
@keeping_options
def run(**options: Any) -> int:
    """Run COLLECTIVE under mpiexec: all sizes, algorithms and placements, with nccl-tests' flags and tables.

    COLLECTIVE is all_reduce, reduce_scatter, all_gather, broadcast, reduce, all_to_all, all_to_all_v, scatter or
    gather, or between pairs of ranks pingpong or sendrecv. Sizes take K, M, G of 1024. Exit codes: 0 good, 1 failed,
    2 wrong usage, 3 wrong data, 124 nothing went on for --timeout.
    """
    from clusterbench.bench.recording import guarded

    # All that can be refused without knowing the world is refused before MPI starts: a typing error costs nothing.
    sizes = _sizes(options)
    name = options["collective"].lower()
    if name in MESSAGES:
        _refuse_inapplicable(name, {name})
        return guarded(options["timeout"], lambda world, watchdog: _messages(options, world, watchdog, sizes))
    from clusterbench.collectives.collective import collective

    what = collective(name)
    _refuse_inapplicable(what.name, _kinds(what))
    specs, forced = _specs(options, what)
    files = _named(options["files"])
    return guarded(
        options["timeout"],
        lambda world, watchdog: _collective(options, world, watchdog, what, specs, sizes, files),
        forced,
    )


def _kinds(what: Collective) -> set[str]:
    """What of `_APPLIES_TO` a collective is."""
    kinds = {_REDUCTIONS: what.reduces, _ROOTED: what.is_rooted, _UNEVEN: what.uneven}
    return {_COLLECTIVES, *(kind for kind, holds in kinds.items() if holds)}


def _refuse_inapplicable(name: str, kinds: set[str]) -> None:
    """Refuse what was given on the command line and does not apply to `name`, which is of these `kinds`."""
    from clusterbench.bench.output import note

    context = click.get_current_context()
    for parameter, (flag, kind) in _APPLIES_TO.items():
        source = context.get_parameter_source(parameter)
        if kind in kinds or source is None or source.name != "COMMANDLINE":
            continue
        said = f"{flag} does not apply to {name}; it is for {kind}"
        if parameter not in _PASSED_OVER:
            raise click.UsageError(said)
        note(said)


def _sizes(options: dict[str, Any]) -> list[int]:
    last = options["maxbytes"] if options["maxbytes"] is not None else options["minbytes"]
    return sweep(options["minbytes"], last, options["stepfactor"], options["stepbytes"])


def _specs(options: dict[str, Any], what: Collective) -> tuple[list[Spec], dict[str, str]]:
    """The algorithms that are asked for, `all` among them as it is, and the environment that the library is to find."""
    from clusterbench.bench.forced_library import forced_environment
    from clusterbench.collectives.algorithm import parse_specs

    text = options["algorithm"]
    specs = parse_specs(text if text is not None else "" if options["files"] else "library")
    if not specs and not options["files"]:
        raise click.UsageError(f"--algorithm is {text!r}; expected names with commas between, or all")
    library = [spec.name for spec in specs if spec.name.partition(":")[0] in ("library", ALL)]
    forced = [name.partition(":")[2] for name in library if ":" in name]
    if forced and len(set(library)) > 1:
        raise click.UsageError(
            f"--algorithm names {' and '.join(dict.fromkeys(library))}; the library can be told one algorithm a run"
        )
    return specs, forced_environment(what.name, forced[0]) if forced else {}


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """The names that the rows of schedules from files get."""
    names = {f"file:{path.name}": path for path in files}
    if len(names) < len(files):
        raise click.UsageError("--schedule is given two files of the same name; rename one")
    return names


def _read(path: Path) -> Schedule:
    from clusterbench.collectives.schedule_file import read_schedule

    return read_schedule(path)


def _collective(
    options: dict[str, Any],
    world: World,
    watchdog: Watchdog,
    what: Collective,
    specs: list[Spec],
    sizes: list[int],
    files: dict[str, Path],
) -> int:
    """Read, prove, and measure."""
    from clusterbench.bench.collective_runs import CollectiveRuns
    from clusterbench.bench.recording import keeping_of, recorded
    from clusterbench.bench.world import agreed, alike

    read = {}
    for name, path in files.items():
        world.begin(f"reading {path}")
        read[name] = agreed(world, partial(_read, path))
    world.begin("choosing algorithms")
    request = alike(lambda: _request(options, world, what, specs, sizes, files, read))
    runs = CollectiveRuns(world, request)
    _warn(world)
    return recorded(
        world,
        watchdog,
        keeping_of(options),
        what.name,
        request.seed,
        len(request.points()),
        runs.run,
        lambda run, device, rows: _show(options, world, request, device, run, rows),
        [],
    )


def _request(
    options: dict[str, Any],
    world: World,
    what: Collective,
    specs: list[Spec],
    sizes: list[int],
    files: dict[str, Path],
    read: dict[str, Schedule],
) -> Request:
    """What to measure. What it refuses, it refuses on every rank."""
    from clusterbench.bench.collective_runs import PLACEMENTS, Request, is_library
    from clusterbench.bench.forced_library import refuse_ignored
    from clusterbench.bench.world import agreed
    from clusterbench.collectives import discovery, traffic
    from clusterbench.collectives.algorithm import Spec
    from clusterbench.collectives.transports.library import works_in_place
    from clusterbench.kernels.element_types import element_type
    from clusterbench.results.rates import count_for_size

    dtype = element_type(options["datatype"])
    counts = dict.fromkeys(count_for_size(what.name, size, dtype.itemsize, world.size) for size in sizes)
    root = _root(options, world, what, read)
    names: list[Spec] = []
    for spec in specs:
        if spec.name == ALL:
            names += [Spec("library"), *_all(world, what, root)]
        elif is_library(spec):
            refuse_ignored(what.name, spec.name.partition(":")[2])
            names.append(spec)
        else:
            names.append(Spec(discovery.algorithm(spec.name, what, world.size).name, spec.options))
    names += [Spec(name) for name in read]
    transport = "mpi" if options["transport"] == "auto" else options["transport"]
    if transport == "nccl":
        names = _nccl_only(options, names)
    placement = options["placement"].replace("-", "_")
    placements = PLACEMENTS if placement == "both" else (placement,)
    if not works_in_place(what) or (transport == "nccl" and what.exchanges):
        if placement == "in_place":
            raise click.UsageError(f"--placement in-place: {what.name} has no in-place form over {transport}")
        placements = ("out_of_place",)
    seed = world.comm.bcast(options["seed"] if options["seed"] is not None else secrets.randbits(32))
    weights = agreed(world, lambda: traffic.traffic(options["traffic_text"], world.size, seed)) if what.uneven else None
    return Request(
        collective=what,
        algorithms=tuple(dict.fromkeys(names)),
        counts=tuple(counts),
        dtype=dtype,
        op=options["op"] if what.reduces else "",
        placements=placements,
        transport=transport,
        buffers=options["buffers"] or ("device" if transport == "nccl" else "host"),
        check=options["check"] > 0,
        rules=_rules(options),
        seed=seed,
        root=root,
        weights=weights,
        traffic="" if weights is None else traffic.traffic_name(options["traffic_text"], weights, seed),
        read=read,
        paths={name: str(path.resolve()) for name, path in files.items()},
    )


def _all(world: World, what: Collective, root: int) -> list[Spec]:
    """All algorithms that serve the call; those whose schedules would be too large for so many ranks are told of."""
    from clusterbench.bench.collective_schedules import call_for
    from clusterbench.bench.output import note
    from clusterbench.collectives import discovery
    from clusterbench.collectives.algorithm import Spec, UnsuitableAlgorithmError

    served = []
    for name in discovery.suitable(what, world.size):
        try:
            discovery.schedule(Spec(name), call_for(what, world, root))
        except UnsuitableAlgorithmError as error:
            note(f"left out of all: {error}")
        else:
            served.append(Spec(name))
    return served


def _nccl_only(options: dict[str, Any], names: list[Spec]) -> list[Spec]:
    """What NCCL runs: its own collectives. `all` asks for just these; anything else by name is refused."""
    if options["buffers"] == "host":
        raise click.UsageError("--transport nccl needs --buffers device")
    others = [str(spec) for spec in names if str(spec) != "library"]
    if others and options["algorithm"] != ALL:
        raise click.UsageError(
            f"--transport nccl runs NCCL's own collectives, the algorithm library; not {', '.join(others)}"
        )
    return [spec for spec in names if str(spec) == "library"]


def _root(options: dict[str, Any], world: World, what: Collective, read: dict[str, Schedule]) -> int:
    """The root of the run; −1 where there is none. Schedules from files must be for this very call."""
    root: int = options["root"] if what.is_rooted else -1
    if root >= world.size:
        raise click.UsageError(f"-r is {root}; expected a rank from 0 to {world.size - 1}")
    for name, schedule in read.items():
        for thing, has, asked in (
            ("collective", schedule.collective.name, what.name),
            ("ranks", schedule.ranks, world.size),
            ("root", schedule.root, root),
        ):
            if has != asked:
                raise click.UsageError(f"--schedule {name.partition(':')[2]}: {thing} {has}; this run has {asked}")
    return root


def _rules(options: dict[str, Any]) -> Rules:
    from clusterbench.bench.sampling import Rules

    return Rules(options["precision"], options["budget"], options["iters"], options["warmup_iters"])


def _warn(world: World) -> None:
    from clusterbench.bench.nccl_table import SHARED_CORES
    from clusterbench.bench.output import note

    if world.oversubscribed:
        note(f"{world.size} ranks share fewer cores: {SHARED_CORES[bool(world.yields)]}")


def _show(
    options: dict[str, Any], world: World, request: Request, device: str, run: Run, rows: list[Measurement]
) -> None:
    """Print what was measured, in the order of the request and not in that of the measurement."""
    from clusterbench.bench.nccl_table import heading, table

    order = {str(spec): i for i, spec in enumerate(request.algorithms)}
    rows = sorted(rows, key=lambda row: (order[row.algorithm], row.count, row.placement != "out_of_place"))
    if not _emitted(options, run, rows):
        asked = heading(request, world.size)
        for name in order:
            click.echo(table(asked, world, device, name, [row for row in rows if row.algorithm == name]))


def _emitted(options: dict[str, Any], run: Run, rows: list[Measurement]) -> bool:
    """Print for machines, if that is asked for."""
    from clusterbench.bench.output import emit_csv, emit_json

    if options["as_json"]:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    return bool(options["as_json"] or options["as_csv"])


def _messages(options: dict[str, Any], world: World, watchdog: Watchdog, sizes: list[int]) -> int:
    from clusterbench.bench.point_to_point_runs import PointToPointRequest, PointToPointRuns
    from clusterbench.bench.recording import keeping_of, recorded
    from clusterbench.kernels.element_types import element_type

    dtype = element_type(options["datatype"])
    request = PointToPointRequest(
        name=options["collective"].lower(),
        counts=tuple(dict.fromkeys(max(1, size // dtype.itemsize) for size in sizes)),
        dtype=dtype,
        check=options["check"] > 0,
        rules=_rules(options),
        seed=world.comm.bcast(options["seed"] if options["seed"] is not None else secrets.randbits(32)),
        window=options["window"],
    )
    runs = PointToPointRuns(world, request)
    _warn(world)
    return recorded(
        world,
        watchdog,
        keeping_of(options),
        request.name,
        request.seed,
        len(request.points()),
        runs.run,
        lambda run, device, rows: _show_messages(options, world, request, device, run, rows),
        [],
    )


def _show_messages(
    options: dict[str, Any], world: World, request: PointToPointRequest, device: str, run: Run, rows: list[Measurement]
) -> None:
    from clusterbench.bench.nccl_table import message_heading, table
    from clusterbench.bench.point_to_point_table import pingpong_table

    rows = sorted(rows, key=lambda row: (request.algorithms.index(row.algorithm), row.count))
    if _emitted(options, run, rows):
        return
    if request.name == PINGPONG:
        click.echo(pingpong_table(request, world, device, rows))
    else:
        click.echo(table(message_heading(request), world, device, request.name, rows))
