"""`clusterbench collectives`: list the algorithms, prove one, and run them under mpiexec."""

from __future__ import annotations

import secrets
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NoReturn

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.names import DTYPE, OPERATIONS
from clusterbench.bench.options import BUDGET, PRECISION, SAMPLES, SEED, WARMUP, machine_options
from clusterbench.bench.sizes import SIZE, sweep

if TYPE_CHECKING:
    from clusterbench.bench.collective_runs import Request
    from clusterbench.bench.world import World
    from clusterbench.collectives.collective import Collective
    from clusterbench.results.record import Measurement, Run
    from clusterbench.results.store import Store


FORWARDING_S = 0.5
"""Between a failing rank's last words and its abort: launchers drop what they have not forwarded by then."""


@click.group()
def collectives() -> None:
    """What the interconnect can do: algorithms, their proofs, and their speed beside the MPI library's own."""


@collectives.command("list")
@machine_options
def list_algorithms(as_json: bool, as_csv: bool) -> None:
    """List every algorithm: which collectives it serves, what it costs, and where it was published."""
    from clusterbench.bench.output import emit_csv, emit_json, print_table
    from clusterbench.collectives.discovery import algorithms

    rows = [
        {"collective": name, "algorithm": a.name, "cost": cost, "summary": a.summary, "source": a.source}
        for a in algorithms().values()
        for name, cost in a.cost.items()
    ]
    rows.sort(key=lambda row: row["collective"])
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        columns = ("collective", "algorithm", "cost", "source")
        print_table(
            "Algorithms (n bytes, p ranks, α s a message, β s a byte, γ s a byte reduced), beside `library`",
            columns,
            [[row[c] for c in columns] for row in rows],
        )


@collectives.command("prove")
@click.argument("algorithm")
@click.option("-p", "--ranks", type=click.IntRange(1, 4096), default=8, show_default=True, help="Number of ranks.")
@click.option("--collective", "name", help="One collective; all that the algorithm serves by default.")
@machine_options
def prove_algorithm(algorithm: str, ranks: int, name: str | None, as_json: bool, as_csv: bool) -> None:
    """Prove that ALGORITHM computes its collectives, and that its programs cannot deadlock or race."""
    from dataclasses import asdict

    from clusterbench.bench.output import emit_csv, emit_json, print_table
    from clusterbench.collectives import discovery
    from clusterbench.collectives.collective import COLLECTIVES, collective
    from clusterbench.collectives.proof import prove

    wanted = [collective(name)] if name else [c for c in COLLECTIVES.values() if _serves(algorithm, c)]
    rows = [
        {
            "collective": what.name,
            "algorithm": algorithm,
            "ranks": ranks,
            **asdict(prove(discovery.algorithm(algorithm, what, ranks).schedule(what, ranks))),
        }
        for what in wanted or [COLLECTIVES["all_reduce"]]
    ]
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        print_table("Proven", list(rows[0]), [list(row.values()) for row in rows])


def _serves(algorithm: str, what: Collective) -> bool:
    from clusterbench.collectives.discovery import algorithms

    found = algorithms().get(algorithm.lower().replace("_", "-"))
    return found is not None and what.name in found.cost


@collectives.command("run")
@click.argument("collective")
@click.option("-b", "--minbytes", type=SIZE, default="32M", show_default=True, help="Smallest size.")
@click.option("-e", "--maxbytes", type=SIZE, default=None, help="Largest size; -b by default.")
@click.option("-f", "--stepfactor", type=float, default=None, help="Factor between sizes; 2 unless -i is given.")
@click.option("-i", "--stepbytes", type=SIZE, default=None, help="Step between sizes, instead of a factor.")
@click.option("-n", "--iters", type=SAMPLES, help="Samples a point; by default as many as --precision asks.")
@click.option("-w", "--warmup-iters", "--warmup_iters", type=WARMUP, help="Warm-up calls; else detected.")
@click.option("-c", "--check", type=click.IntRange(0), default=1, show_default=True, help="Check the data; 0: do not.")
@click.option("-o", "--op", type=click.Choice(OPERATIONS), default="sum", show_default=True, help="Reduction.")
@click.option("-d", "--datatype", type=DTYPE, default="float", show_default=True, help="Element type.")
@click.option("--algorithm", default="library", show_default=True, help="Names with commas between, or `all`.")
@click.option("--transport", type=click.Choice(["auto", "mpi"]), default="auto", show_default=True,
              help="How our own schedules are run.")  # fmt: skip
@click.option("--placement", type=click.Choice(["both", "out-of-place", "in-place"]), default="both", show_default=True)
@click.option("--precision", type=PRECISION, default=0.02, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=1.0, show_default=True,
              help="Seconds a point after which sampling stops anyway.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the order of points and of the data.")
@machine_options
@click.option("--journal", type=click.Path(file_okay=False, path_type=Path), default="clusterbench-out/journals",
              show_default=True, help="Folder of the journal, which gets every row at once.")  # fmt: skip
@click.option("--run-id", help="Of the run that the rows belong to; a new one by default.")
@click.option("--store", help="URL of a store to load the journal into at the end.")
@click.option("--strict", is_flag=True, help="Take INCONCLUSIVE for a failure.")
def run(**options: Any) -> int:
    """Run COLLECTIVE under mpiexec: all sizes, algorithms and placements, with nccl-tests' flags and tables.

    Sizes take K, M, G of 1024. Exit codes: 0 good, 1 failed, 2 wrong usage, 3 wrong data.
    """
    _check_options(options)  # before MPI starts, so that a typing error costs nothing
    from clusterbench.bench.world import AgreedError, InterruptedRunError, join_world

    world = join_world()
    request = _request(options, world)  # what it refuses, it refuses on every rank
    if world.rank != 0:
        # Ctrl-C reaches every rank, and one that stops by itself leaves the others waiting inside MPI: rank 0 ends all.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _run(options, world, request)
    except AgreedError:
        raise
    except KeyboardInterrupt:
        _abort(world, InterruptedRunError("interrupted"))
    except Exception as error:
        _abort(world, error)


def _check_options(options: dict[str, Any]) -> None:
    """What can be refused without knowing the world."""
    from clusterbench.collectives.collective import collective

    collective(options["collective"])
    last = options["maxbytes"] if options["maxbytes"] is not None else options["minbytes"]
    sweep(options["minbytes"], last, options["stepfactor"], options["stepbytes"])


def _request(options: dict[str, Any], world: World) -> Request:
    import numpy as np

    from clusterbench.bench.collective_runs import LIBRARY, PLACEMENTS, Request
    from clusterbench.bench.sampling import Rules
    from clusterbench.collectives import discovery
    from clusterbench.collectives.collective import collective
    from clusterbench.results.rates import count_for_size

    what, dtype = collective(options["collective"]), np.dtype(options["datatype"])
    last = options["maxbytes"] if options["maxbytes"] is not None else options["minbytes"]
    sizes = sweep(options["minbytes"], last, options["stepfactor"], options["stepbytes"])
    counts = dict.fromkeys(count_for_size(what.name, size, dtype.itemsize, world.size) for size in sizes)
    asked = [name.strip().lower() for name in options["algorithm"].split(",") if name.strip()]
    if not asked:
        raise click.UsageError(f"--algorithm is {options['algorithm']!r}; expected names with commas between, or all")
    if "all" in asked:
        names = [LIBRARY, *discovery.suitable(what, world.size)]
    else:
        names = [n if n == LIBRARY else discovery.algorithm(n, what, world.size).name for n in asked]
    placement = options["placement"].replace("-", "_")
    seed = options["seed"] if options["seed"] is not None else secrets.randbits(32)
    return Request(
        collective=what,
        algorithms=tuple(dict.fromkeys(names)),
        counts=tuple(counts),
        dtype=dtype,
        op=options["op"] if what.reduces else "",
        placements=PLACEMENTS if placement == "both" else (placement,),
        transport="mpi" if options["transport"] == "auto" else options["transport"],
        check=options["check"] > 0,
        rules=Rules(
            precision=options["precision"],
            budget_s=options["budget"],
            iterations=options["iters"],
            warmup=options["warmup_iters"],
        ),
        seed=world.comm.bcast(seed),
    )


def _run(options: dict[str, Any], world: World, request: Request) -> int:
    from clusterbench.bench.collective_runs import CollectiveRuns
    from clusterbench.bench.judge import exit_code
    from clusterbench.bench.nccl_table import SHARED_CORES
    from clusterbench.bench.output import note, progress
    from clusterbench.bench.world import agreed
    from clusterbench.kernels.device import cpu
    from clusterbench.results.journal import Journal

    runs = CollectiveRuns(world, request)
    device = agreed(world, lambda: cpu().name)
    journal: Journal | None = None

    def start() -> str:
        nonlocal journal
        if options["store"]:
            _open_store(options["store"]).close()
        journal = Journal.create(options["journal"], _new_run(options, world, request), request.collective.name)
        return journal.run.run_id

    run_id = agreed(world, start)
    if world.oversubscribed:
        note(f"{world.size} ranks share fewer cores: {SHARED_CORES[bool(world.yields)]}")
    rows: list[Measurement] = []
    finished = journal.append if journal else lambda row, seconds: None
    try:
        with progress(request.collective.name, len(request.points())) as step:
            for row in runs.run(run_id, device, finished, step):
                rows.append(row)
    except BaseException as error:
        if journal:
            journal.finish(exit_codes.FAILED, [f"{request.collective.name}: {error or type(error).__name__}"])
            with suppress(Exception):  # the first error is the one to tell
                _show(options, world, request, device, journal.run, rows)
        raise
    code = exit_code(rows, strict=options["strict"])
    if journal:
        journal.finish(code)
        _show(options, world, request, device, journal.run, rows)
        if options["store"]:
            with _open_store(options["store"]) as store:
                store.load(journal.path)
    return code


def _open_store(url: str) -> Store:
    from clusterbench.results.store import Store

    return Store.open(url, writable=True)


def _new_run(options: dict[str, Any], world: World, request: Request) -> Run:
    from clusterbench.bench.environment import capture_environment, command_line, new_run_id
    from clusterbench.results.journal import now_iso
    from clusterbench.results.record import Run

    return Run(
        run_id=options["run_id"] or new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=request.seed,
        environment=capture_environment(pinning=world.as_row()),
    )


def _show(
    options: dict[str, Any], world: World, request: Request, device: str, run: Run, rows: list[Measurement]
) -> None:
    """Print what was measured, in the order of the request and not in that of the measurement."""
    from clusterbench.bench.nccl_table import table
    from clusterbench.bench.output import emit_csv, emit_json

    order = {name: i for i, name in enumerate(request.algorithms)}
    rows = sorted(rows, key=lambda row: (order[row.algorithm], row.count, row.placement != "out_of_place"))
    if options["as_json"]:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    else:
        for name in request.algorithms:
            click.echo(table(request, world, device, name, [row for row in rows if row.algorithm == name]))


def _abort(world: World, error: Exception) -> NoReturn:
    """End all ranks with this one's exit code; the others may be waiting for a message that will not come."""
    code = getattr(error, "exit_code", None)
    message = f"clusterbench: rank {world.rank}: {error or type(error).__name__}\n"
    if code is None:
        code, message = exit_codes.FAILED, message + "".join(traceback.format_exception(error))
    sys.stdout.flush()
    sys.stderr.write(message)
    sys.stderr.flush()
    sleep(FORWARDING_S)
    world.comm.Abort(code)
    sys.exit(code)  # in case the library's abort returns
