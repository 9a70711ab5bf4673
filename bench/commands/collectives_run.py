"""`clusterbench collectives run`: collectives and messages under mpiexec."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.names import ALL, AUTO, DTYPE, MESSAGES, OPERATIONS, PINGPONG
from clusterbench.bench.options import BUDGET, PRECISION, SEED, keeping_options, machine_options, sampling_options
from clusterbench.bench.sizes import PIECES, SIZE, SIZES, sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clusterbench.bench.measuring.collective_request import Request
    from clusterbench.bench.measuring.point_to_point_runs import PointToPointRequest
    from clusterbench.bench.worlds.watchdog import Watchdog
    from clusterbench.bench.worlds.world import World
    from clusterbench.collectives.algorithm import Spec
    from clusterbench.collectives.collective import Collective
    from clusterbench.collectives.schedule import Schedule
    from clusterbench.results.record import Measurement, Run

_COLLECTIVES, _REDUCTIONS, _ROOTED = "collectives", "collectives that reduce", "collectives with a root"
_UNEVEN = "all_to_all_v"
_APPLIES_TO = {
    "algorithm": ("--algorithm", _COLLECTIVES),
    "rules": ("--library-rules", _COLLECTIVES),
    "files": ("--schedule", _COLLECTIVES),
    "placement": ("--placement", _COLLECTIVES),
    "transport": ("--transport", _COLLECTIVES),
    "host_ranks": ("--host-ranks", _COLLECTIVES),
    "pieces": ("--pieces", _COLLECTIVES),
    "topology": ("--topology", _COLLECTIVES),
    "table": ("--table", _COLLECTIVES),
    "buffers": ("--buffers", _COLLECTIVES),
    "op": ("-o", _REDUCTIONS),
    "root": ("-r", _ROOTED),
    "traffic_text": ("--traffic", _UNEVEN),
    "window": ("--window", PINGPONG),
    "leave_out": ("--leave-out", _COLLECTIVES),
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
@click.option("--sizes", "listed", type=SIZES, help="Sizes with commas between, instead of -b, -e, -f and -i.")
@sampling_options
@click.option("-o", "--op", type=click.Choice(OPERATIONS), default="sum", show_default=True, help="Reduction.")
@click.option("-d", "--datatype", type=DTYPE, default="float", show_default=True, help="Element type.")
@click.option("-r", "--root", type=click.IntRange(0), default=0, show_default=True,
              help="Root of broadcast, reduce, scatter and gather.")  # fmt: skip
@click.option("--algorithm", help="Names with commas between, with options as in chain:segments=4; `all`; `best` of a "
              "table; `library` (the default) or library:ID for one that the library is told to use.")  # fmt: skip
@click.option("--library-rules", "rules", type=click.Path(dir_okay=False, path_type=Path), help="Have the library, "
              "Open MPI's, choose by the rules in a file; its rows are named library:rules.")  # fmt: skip
@click.option("--schedule", "files", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Run the schedule in a file (JSON or MSCCL XML), once it is proven; may be repeated.")  # fmt: skip
@click.option("--transport", type=click.Choice(["auto", "mpi", "shared", "hybrid", "nccl"]), default="auto",
              show_default=True, help="How our own schedules are run: mpi by messages, shared over memory that the "
              "ranks of a host share, hybrid by that inside hosts and by messages between them; auto: the fastest by "
              "a table, and mpi without one; nccl: NCCL's own, as `library`.")  # fmt: skip
@click.option("--host-ranks", type=click.IntRange(1), help="Of hybrid: as if each host had only so many neighbouring "
              "ranks, to try on one host what is for several.")  # fmt: skip
@click.option("--pieces", type=PIECES, default="auto", show_default=True, help="Longest message of ours between hosts "
              "that is not cut; auto: as is fastest in an exchange timed at the start.")  # fmt: skip
@click.option(
    "--topology",
    help="What this machine is, as `clusterbench topology show` takes it: rows are held against "
    "the bound proven on it, and what its simulation expects; else against messages that are timed.",
)
@click.option("--table", type=click.Path(dir_okay=False, path_type=Path), help="The table for auto and best, made by "
              "`collectives calibrate`; in the user's cache directory unless given.")  # fmt: skip
@click.option("--buffers", type=click.Choice(["host", "registered", "device"]), help="Where buffers are: in each "
              "rank's memory, in a window that all ranks of a host see, or on its GPU (GPU-aware MPI, or NCCL). Host "
              "by default; device with --transport nccl.")  # fmt: skip
@click.option("--placement", type=click.Choice(["both", "out-of-place", "in-place"]), default="both", show_default=True)
@click.option("--traffic", "traffic_text", default="uniform", show_default=True,
              help="Of all_to_all_v: uniform, skewed, skewed:EXPONENT, or a file with a matrix.")  # fmt: skip
@click.option("--window", type=click.IntRange(1, 4096), default=64, show_default=True,
              help="Of pingpong: messages in flight where bandwidth is measured.")  # fmt: skip
@click.option("--leave-out", multiple=True, type=click.Path(dir_okay=False, path_type=Path), metavar="JOURNAL",
              help="Measure only what has no row in this journal; may be given several times.")  # fmt: skip
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
    from clusterbench.bench.worlds.recording import guarded

    # All that can be refused without knowing the world is refused before MPI starts: a typing error costs nothing.
    sizes = _sizes(options)
    name = options["collective"].lower()
    if name in MESSAGES:
        _refuse_inapplicable(name, {name})
        return guarded(options, lambda world, watchdog: _messages(options, world, watchdog, sizes))
    from clusterbench.collectives.collective import collective

    what = collective(name)
    _refuse_inapplicable(what.name, _kinds(what))
    specs, forced = _specs(options, what)
    files = _named(options["files"])
    return guarded(
        options,
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
    if options["listed"] is not None:
        context = click.get_current_context()
        for flag, parameter in (("-b", "minbytes"), ("-e", "maxbytes"), ("-f", "stepfactor"), ("-i", "stepbytes")):
            source = context.get_parameter_source(parameter)
            if source is not None and source.name == "COMMANDLINE":
                raise click.UsageError(f"--sizes and {flag} are both given; expected one of them")
        return list(dict.fromkeys(options["listed"]))
    last = options["maxbytes"] if options["maxbytes"] is not None else options["minbytes"]
    return sweep(options["minbytes"], last, options["stepfactor"], options["stepbytes"])


def _specs(options: dict[str, Any], what: Collective) -> tuple[list[Spec], dict[str, str]]:
    """The algorithms that are asked for, `all` among them as it is, and the environment that the library is to find."""
    from clusterbench.bench.measuring.forced_library import RULES, forced_environment, rules_environment
    from clusterbench.collectives.algorithm import LIBRARY, Spec, parse_specs

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
    if options["rules"] is None:
        return specs, forced_environment(what.name, forced[0]) if forced else {}
    if library != [LIBRARY]:
        raise click.UsageError(f"--library-rules is for --algorithm {LIBRARY}, alone or beside ours; found {text}")
    by_rules = Spec(f"{LIBRARY}:{RULES}")
    return [by_rules if spec.name == LIBRARY else spec for spec in specs], rules_environment(options["rules"])


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """The names that the rows of schedules from files get."""
    names = {f"file:{path.name}": path for path in files}
    if len(names) < len(files):
        raise click.UsageError("--schedule is given two files of the same name; rename one")
    return names


def _read(path: Path) -> Schedule:
    from clusterbench.collectives.plans.files import read_schedule

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
    from clusterbench.bench.commands.collectives_request import request_of
    from clusterbench.bench.measuring.collective_request import REGISTERED
    from clusterbench.bench.measuring.collective_runs import CollectiveRuns
    from clusterbench.bench.measuring.shared_calls import NoWindowError
    from clusterbench.bench.output import note
    from clusterbench.bench.worlds.recording import keeping_of, recorded
    from clusterbench.bench.worlds.world import agreed, alike

    read = {}
    for name, path in files.items():
        world.begin(f"reading {path}")
        read[name] = agreed(world, partial(_read, path))
    world.begin("choosing algorithms")
    request = alike(lambda: request_of(options, world, what, specs, sizes, files, read))
    try:
        runs = CollectiveRuns(world, request)
    except NoWindowError as error:
        # What ranks cannot share is replaced only where the choice was left to us, and never the buffers.
        if options["transport"] != AUTO or request.buffers == REGISTERED:
            raise
        note(f"{error}; --transport auto runs all over mpi")
        request = request.without_window("over mpi, as the ranks can share no memory")
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


def _warn(world: World) -> None:
    from clusterbench.bench.output import note
    from clusterbench.bench.tables.nccl_table import SHARED_CORES

    if world.oversubscribed:
        note(f"{world.size} ranks share fewer cores: {SHARED_CORES[bool(world.yields)]}")


def _show(
    options: dict[str, Any], world: World, request: Request, device: str, run: Run, rows: list[Measurement]
) -> None:
    """Print what was measured, in the order of the request and not in that of the measurement."""
    from clusterbench.bench.tables.nccl_table import heading, table
    from clusterbench.results.predictions import prediction_error

    order = {str(spec): i for i, spec in enumerate(request.algorithms)}
    rows = sorted(rows, key=lambda row: (order[row.algorithm], row.count, row.placement != "out_of_place"))
    error = prediction_error(rows)
    if _emitted(options, run, rows, {"prediction": asdict(error)} if error else {}):
        return
    asked = heading(request, world.size)
    for name in order:
        click.echo(table(asked, world, device, name, [row for row in rows if row.algorithm == name]))
    if error:
        click.echo(
            f"# Prediction: off by {error.median:.1%} in the median of {error.rows} rows, at most by {error.worst:.1%} "
            f"({error.algorithm}, {error.size_bytes} B)"
        )


def _emitted(
    options: dict[str, Any], run: Run, rows: list[Measurement], more: Mapping[str, Any] = MappingProxyType({})
) -> bool:
    """Print for machines, if that is asked for; `more` are parts of the JSON document beside the run and its rows."""
    from clusterbench.bench.output import emit_csv, emit_document

    if options["as_json"]:
        emit_document({"run": run.as_row(), "rows": [row.as_row() for row in rows], **more})
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    return bool(options["as_json"] or options["as_csv"])


def _messages(options: dict[str, Any], world: World, watchdog: Watchdog, sizes: list[int]) -> int:
    from clusterbench.bench.commands.collectives_request import rules_of
    from clusterbench.bench.measuring.point_to_point_runs import PointToPointRequest, PointToPointRuns
    from clusterbench.bench.worlds.recording import keeping_of, recorded
    from clusterbench.kernels.element_types import element_type

    dtype = element_type(options["datatype"])
    request = PointToPointRequest(
        name=options["collective"].lower(),
        counts=tuple(dict.fromkeys(max(1, size // dtype.itemsize) for size in sizes)),
        dtype=dtype,
        check=options["check"] > 0,
        rules=rules_of(options),
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
    from clusterbench.bench.tables.nccl_table import message_heading, table
    from clusterbench.bench.tables.point_to_point_table import pingpong_table

    rows = sorted(rows, key=lambda row: (request.algorithms.index(row.algorithm), row.count))
    if _emitted(options, run, rows):
        return
    if request.name == PINGPONG:
        click.echo(pingpong_table(request, world, device, rows))
    else:
        click.echo(table(message_heading(request), world, device, request.name, rows))
