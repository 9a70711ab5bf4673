"""`clusterbench kernels roofline`: the ceilings of this machine, its kernels under them, and GPUs by their vendors."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import BUDGET, PRECISION, SAMPLES, SEED, journal_option, machine_options, store_option
from clusterbench.bench.output import emit_csv, emit_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clusterbench.bench.measuring.kernel_runs import Plan
    from clusterbench.kernels.ceilings.vendor import Gpu
    from clusterbench.kernels.compiled.compiling import Compiled
    from clusterbench.kernels.kernel import Kernel
    from clusterbench.results.record import Measurement, Run
    from clusterbench.results.report.roofline import VendorRoof

KINDS = (".svg", ".png")


@click.command("roofline")
@click.argument("names", nargs=-1, metavar="[KERNEL]...")
@click.option("-d", "--dtype", "dtypes", multiple=True, help="Only this type; may be repeated.")
@click.option("--gpu", "gpu_names", multiple=True, metavar="GPU", help="Only the roof of this GPU; may be repeated.")
@click.option("--compiled", is_flag=True, help="Compile the Triton sources for these GPUs, and show what is counted.")
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw it into this .svg or .png file.")
@click.option("--run", "run_text", metavar="RUN", help="Take the rows of a run in the store instead of measuring.")
@store_option
@click.option("--precision", type=PRECISION, default=0.02, show_default=True, help="As of `kernels run`.")
@click.option("--budget", type=BUDGET, default=1.0, show_default=True, help="Seconds of samples a row at most.")
@click.option("-n", "--iters", type=SAMPLES, help="A fixed number of samples instead.")
@click.option("--seed", type=SEED, help="Order of the rows and test data [default: random, recorded].")
@journal_option
@machine_options
def roofline(
    names: tuple[str, ...],
    dtypes: tuple[str, ...],
    gpu_names: tuple[str, ...],
    compiled: bool,
    figure: Path | None,
    run_text: str | None,
    url: str,
    precision: float,
    budget: float,
    iters: int | None,
    seed: int | None,
    journal: Path,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Measure the ceilings of each level of memory and of arithmetic, and show the kernels under them; beside them the
    GPU sources under the figures of GPUs' vendors, as upper bounds."""
    from clusterbench.bench.hosts.environment import new_run_id
    from clusterbench.bench.measuring.kernel_runs import Plan
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.tables import roofline_tables
    from clusterbench.kernels.ceilings.vendor import gpu
    from clusterbench.kernels.ceilings.vendor import gpu_names as known
    from clusterbench.kernels.discovery import choose, choose_dtypes, discover

    if figure is not None and figure.suffix not in KINDS:
        raise click.BadParameter(f"{figure}; expected a name that ends in .svg or .png", param_hint="--figure")
    chosen = choose(discover(), names)
    types = tuple(choose_dtypes(chosen, dtypes))
    gpus = [gpu(name) for name in dict.fromkeys(gpu_names or known())]
    bounds = roofline_tables.upper_bounds(chosen, types, gpus)
    if compiled:
        bounds = roofline_tables.with_counts(bounds, _compiled(chosen, types, gpus))
    if run_text is not None:
        run, rows = _stored(url, run_text, {kernel.name for kernel in chosen}, set(types))
        code = exit_codes.GOOD
    else:
        plan = Plan(
            kernels=tuple(chosen),
            dtypes=types,
            rules=Rules(precision=precision, budget_s=budget, iterations=iters),
            seed=secrets.randbits(32) if seed is None else seed,
            run_id=new_run_id(),
            verify=False,
        )
        run, rows, code = _measured(plan, journal)
    if figure is not None:
        _draw(figure, rows, roofline_tables.vendor_roofs(gpus, bounds))
    if as_json:
        emit_json(run.as_row(), [*(row.as_row() for row in rows), *(bound.as_row() for bound in bounds)])
    elif as_csv:
        emit_csv([*(row.as_row() for row in rows), *(bound.as_row() for bound in bounds)])
    else:
        _print(rows, gpus)
        roofline_tables.print_bounds(bounds)
    return code


def _compiled(kernels: Sequence[Kernel], dtypes: tuple[str, ...], gpus: Sequence[Gpu]) -> list[Compiled]:
    from clusterbench.bench.output import progress
    from clusterbench.kernels import device
    from clusterbench.kernels.compiled.cache import cache_folder
    from clusterbench.kernels.compiled.compiling import jobs
    from clusterbench.kernels.compiled.pool import compile_all
    from clusterbench.kernels.compiled.targets import choose_targets

    todo = jobs(list(kernels), ("triton",), choose_targets([gpu.target for gpu in gpus]), dtypes)
    with progress("compile", len(todo)) as step:

        def done(row: Compiled) -> None:
            step(f"{row.kernel} {row.dtype} {row.target}", 1)

        return compile_all(todo, device.usable_cores(), cache_folder(), done)


def _print(rows: Sequence[Measurement], gpus: Sequence[Gpu]) -> None:
    from clusterbench.bench.tables import roofline_tables

    roofline_tables.print_ceilings([row for row in rows if row.suite == "roof"])
    roofline_tables.print_kernels([row for row in rows if row.suite == "kernels" and row.median_s is not None])
    for row in rows:
        if row.verdict not in ("PASS", None):
            click.echo(f"{row.verdict} {row.name} {row.dtype} {row.backend}: {row.reason}")
    roofline_tables.print_gpus(gpus)


def _measured(plan: Plan, folder: Path) -> tuple[Run, list[Measurement], int]:
    from clusterbench.bench.commands.kernels import run_and_keep
    from clusterbench.bench.hosts.environment import capture_environment, command_line
    from clusterbench.bench.measuring.kernel_runs import run_roofline
    from clusterbench.results.journal import now_iso
    from clusterbench.results.record import Run

    run = Run(
        run_id=plan.run_id,
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=plan.seed,
        environment=capture_environment(),
    )
    kept: list[Measurement] = []

    def show(run: Run, rows: list[Measurement]) -> None:
        kept[:] = rows

    journal, code = run_and_keep(plan, run, folder, False, show, run_roofline)
    return journal.run, kept, code


def _stored(url: str, run_text: str, kernels: set[str], dtypes: set[str]) -> tuple[Run, list[Measurement]]:
    from clusterbench.results.columns import plain_rows
    from clusterbench.results.record import Measurement
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        run = store.find_run(run_text)
        frame = store.frame(run_id=[run.run_id])
    rows = [Measurement.from_row(row) for row in plain_rows(frame)]
    ours = (row for row in rows if row.suite == "kernels" and row.name in kernels and row.dtype in dtypes)
    return run, [*(row for row in rows if row.suite == "roof"), *ours]


def _draw(path: Path, rows: Sequence[Measurement], roofs: Sequence[VendorRoof]) -> None:
    from clusterbench.results.columns import to_frame
    from clusterbench.results.report.figure_files import write_picture
    from clusterbench.results.report.roofline import roofline_beside

    write_picture(path, roofline_beside(to_frame(rows), roofs))
