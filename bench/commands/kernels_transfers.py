"""`clusterbench kernels transfers`: copies between the host and its GPUs, and between two GPUs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench.options import BUDGET, PRECISION, SAMPLES, SEED, journal_option, machine_options
from clusterbench.bench.output import emit_csv, emit_json, print_table, rate_text, time_text
from clusterbench.bench.sizes import SIZE

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from clusterbench.results.record import Measurement


@click.command("transfers")
@click.option(
    "--size", "sizes", type=SIZE, multiple=True, help="Bytes of a copy; may be repeated [default: 64K to 256M]."
)
@click.option("--precision", type=PRECISION, default=0.02, show_default=True, help="As of `kernels run`.")
@click.option("--budget", type=BUDGET, default=1.0, show_default=True, help="Seconds of samples a row at most.")
@click.option("-n", "--iters", type=SAMPLES, help="A fixed number of samples instead.")
@click.option("--seed", type=SEED, help="Of the bytes that are copied [default: random, recorded].")
@journal_option
@machine_options
def transfers(
    sizes: tuple[int, ...],
    precision: float,
    budget: float,
    iters: int | None,
    seed: int | None,
    journal: Path,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Time copies from the host to a GPU and back, from pinned and pageable memory, and between two GPUs."""
    from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
    from clusterbench.bench.judge import exit_code
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.measuring.transfer_runs import SIZES, run_transfers
    from clusterbench.results.journal import Journal, now_iso
    from clusterbench.results.record import Run

    if any(size < 1 for size in sizes):
        raise click.BadParameter(f"{min(sizes)} bytes; expected at least one", param_hint="--size")
    run = Run(
        run_id=new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=secrets.randbits(32) if seed is None else seed,
        environment=capture_environment(),
    )
    rules = Rules(precision=precision, budget_s=budget, iterations=iters)
    with Journal.create(journal, run, "transfers") as kept:

        def append(row: Measurement, samples: NDArray[float64] | None) -> None:
            kept.append(row, samples)

        rows = run_transfers(sizes or SIZES, rules, run.seed or 0, run.run_id, append)
        code = exit_code(rows)
        kept.finish(code, [f"{row.name} {row.shape}: {row.reason}" for row in rows if row.verdict == "FAIL"])
    if as_json:
        emit_json(kept.run.as_row(), [row.as_row() for row in rows])
    elif as_csv:
        emit_csv([row.as_row() for row in rows])
    else:
        cells = [(r.name, r.shape, time_text(r.median_s), rate_text(r.bytes_per_s), r.n, r.verdict) for r in rows]
        print_table("Copies between host and GPU, median of n samples", _COLUMNS, cells)
        for text in dict.fromkeys(f"{row.name}: {row.reason or row.note}" for row in rows if row.reason or row.note):
            click.echo(text)
    return code


_COLUMNS = ("copy", "what", "time µs", "GB/s", "n", "verdict")
