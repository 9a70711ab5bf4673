"""`clusterbench collectives pairs`: every pair of ranks, and which of them stand out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench.options import BUDGET, PRECISION, SEED, keeping_options, machine_options, sampling_options
from clusterbench.bench.sizes import SIZE

if TYPE_CHECKING:
    from clusterbench.bench.pairs.runs import PairRuns, PairsRequest
    from clusterbench.bench.worlds.watchdog import Watchdog
    from clusterbench.bench.worlds.world import World
    from clusterbench.results.record import Measurement, Run

LATENCY_BYTES = 8


@click.command()
@click.option("-b", "--bytes", "size_bytes", type=SIZE, default="1M", show_default=True, help="Message for bandwidth.")
@click.option("--window", type=click.IntRange(1, 4096), default=4, show_default=True,
              help="Messages in flight where bandwidth is measured.")  # fmt: skip
@sampling_options
@click.option("--precision", type=PRECISION, default=0.05, show_default=True,
              help="Half-width of the median's 95 % interval, as a share of it, at which sampling stops.")  # fmt: skip
@click.option("--budget", type=BUDGET, default=0.1, show_default=True,
              help="Seconds a measurement after which sampling stops anyway.")  # fmt: skip
@click.option("--seed", type=SEED, help="Of the data, and of the rounds that are drawn above 64 ranks.")
@machine_options
@keeping_options
def pairs(**options: Any) -> int:
    """Measure latency and bandwidth of all pairs of ranks under mpiexec, and name those that stand out.

    Pairs run in rounds of disjoint pairs, all of a round at once; above 64 ranks a sample in which every rank meets
    about 63 others. What stands out by median and MAD is measured again alone before it is named. Exit codes: 0 good,
    1 failed, 2 wrong usage, 3 wrong data, 124 nothing went on for --timeout.
    """
    if options["size_bytes"] < 1:
        raise click.UsageError(f"-b is {options['size_bytes']}; expected at least 1 byte")
    from clusterbench.bench.worlds.recording import guarded

    return guarded(options, lambda world, watchdog: _pairs(options, world, watchdog))


def pair_runs(options: dict[str, Any], world: World) -> tuple[PairsRequest, PairRuns]:
    """What the options of a command that measures all pairs ask for, and what measures it."""
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.output import note
    from clusterbench.bench.pairs.runs import PairRuns, PairsRequest
    from clusterbench.bench.tables.nccl_table import SHARED_CORES

    seed = options["seed"] if options["seed"] is not None else secrets.randbits(32)
    request = PairsRequest(
        latency_bytes=LATENCY_BYTES,
        bandwidth_bytes=options["size_bytes"],
        window=options["window"],
        check=options["check"] > 0,
        rules=Rules(options["precision"], options["budget"], options["iters"], options["warmup_iters"]),
        seed=world.comm.bcast(seed),
    )
    runs = PairRuns(world, request)
    if world.oversubscribed:
        note(f"{world.size} ranks share fewer cores: {SHARED_CORES[bool(world.yields)]}")
    return request, runs


def _pairs(options: dict[str, Any], world: World, watchdog: Watchdog) -> int:
    from clusterbench.bench.worlds.recording import keeping_of, recorded

    request, runs = pair_runs(options, world)
    return recorded(
        world,
        watchdog,
        keeping_of(options),
        "pairs",
        request.seed,
        len(runs.rounds),
        runs.run,
        lambda run, device, rows: _show(options, runs, run, device, rows),
        runs.skipped,
    )


def _show(options: dict[str, Any], runs: PairRuns, run: Run, device: str, rows: list[Measurement]) -> None:
    from clusterbench.bench.output import emit_csv, emit_json
    from clusterbench.bench.pairs.table import print_pairs

    if options["as_json"]:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif options["as_csv"]:
        emit_csv([row.as_row() for row in rows])
    else:
        print_pairs(runs, rows, device)
