"""`clusterbench kernels soak`: fixed work for a given time, every result compared with the first."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench.options import BUDGET, SEED, journal_option, machine_options
from clusterbench.bench.output import emit_csv, emit_json, print_table, rate_text, time_text
from clusterbench.bench.sizes import SIZE

if TYPE_CHECKING:
    from clusterbench.bench.measuring.kernel_runs import Append, Plan, Step
    from clusterbench.bench.worlds.time_account import TimeAccount
    from clusterbench.results.record import Measurement, Run


@click.command("soak")
@click.argument("names", nargs=-1, metavar="[KERNEL]...")
@click.option("--seconds", type=BUDGET, default=60.0, show_default=True, help="How long.")
@click.option("-d", "--dtype", default="float32", show_default=True, help="The type.")
@click.option("--size", type=SIZE, help="Bytes of the largest array, as 16M [default: each kernel's own].")
@click.option("--seed", type=SEED, help="Test data, and the order of the kernels [default: random, recorded].")
@machine_options
@journal_option
@click.option("--run-id", help="Of the run that the rows belong to; a new one by default.")
def soak(
    names: tuple[str, ...],
    seconds: float,
    dtype: str,
    size: int | None,
    seed: int | None,
    as_json: bool,
    as_csv: bool,
    journal: Path,
    run_id: str | None,
) -> int:
    """Repeat fixed work on the CPU (gemm and triad unless named); any result unlike the first ends in exit code 3."""
    from clusterbench.bench.commands.kernels import run_and_keep
    from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
    from clusterbench.bench.measuring.kernel_runs import Plan
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.measuring.soak import run_soak
    from clusterbench.kernels.discovery import choose, choose_dtypes, discover
    from clusterbench.results.journal import now_iso
    from clusterbench.results.record import Run

    if size is not None and size < 1:
        raise click.BadParameter(f"{size} bytes; expected at least one", param_hint="--size")
    chosen = choose(discover(), names or ("gemm", "triad"))
    plan = Plan(
        kernels=tuple(chosen),
        dtypes=tuple(choose_dtypes(chosen, [dtype])),
        rules=Rules(),
        seed=secrets.randbits(32) if seed is None else seed,
        run_id=run_id or new_run_id(),
        size_bytes=size,
        verify=False,
    )
    run = Run(
        run_id=plan.run_id,
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=plan.seed,
        environment=capture_environment(),
    )

    def show(run: Run, rows: list[Measurement]) -> None:
        if as_json:
            emit_json(run.as_row(), [row.as_row() for row in rows])
        elif as_csv:
            emit_csv([row.as_row() for row in rows])
        else:
            _print(rows)

    def measure(plan: Plan, *, step: Step, append: Append, account: TimeAccount) -> list[Measurement]:
        rows = run_soak(plan, seconds, step, append)
        account.loops_s += sum(row.n * (row.mean_s or 0.0) for row in rows)
        return rows

    return run_and_keep(plan, run, journal, False, show, measure)[1]


def _print(rows: Sequence[Measurement]) -> None:
    columns = ("kernel", "type", "shape", "calls", "time µs", "GB/s", "GFLOP/s", "wrong", "verdict")
    cells = [
        (row.name, row.dtype, row.shape, row.n, time_text(row.median_s), rate_text(row.bytes_per_s),
         rate_text(row.flop_per_s), row.wrong, row.verdict)
        for row in rows
    ]  # fmt: skip
    print_table("Soak: each result compared bit for bit with the first", columns, cells)
    for row in rows:
        if row.reason or row.note:
            click.echo(f"{row.name}: {row.reason or row.note}")
