"""`clusterbench kernels`: what one device can do."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.commands.kernels_compile import compile_kernels
from clusterbench.bench.commands.kernels_roofline import roofline
from clusterbench.bench.commands.kernels_soak import soak
from clusterbench.bench.commands.kernels_transfers import transfers
from clusterbench.bench.options import BUDGET, PRECISION, SAMPLES, SEED, WARMUP, journal_option, machine_options
from clusterbench.bench.output import emit_csv, emit_json, print_table, progress, rate_text, share_text, time_text
from clusterbench.bench.sizes import SIZE

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    from clusterbench.bench.measuring.kernel_runs import Plan
    from clusterbench.results.journal import Journal
    from clusterbench.results.record import Measurement, Run
    from clusterbench.results.store import Store


@click.group()
def kernels() -> None:
    """What one device can do: list, run, soak and compile kernels, and show them under its roof."""


kernels.add_command(compile_kernels)
kernels.add_command(roofline)
kernels.add_command(soak)
kernels.add_command(transfers)


@kernels.command("list")
@machine_options
def list_kernels(as_json: bool, as_csv: bool) -> int:
    """List the kernels: what they compute and cost, their types, and how each back end runs here."""
    from clusterbench.kernels.discovery import discover
    from clusterbench.kernels.running.backends import detect

    backends = detect()
    rows = [
        {
            "name": kernel.name,
            "what": kernel.what,
            "bytes": str(kernel.bytes),
            "flops": str(kernel.flops),
            "dtypes": list(kernel.dtypes),
            "bound": kernel.bound_source,
            "backends": {name: b.mode for name, b in backends.items() if name in kernel.implementations},
        }
        for kernel in discover().values()
    ]
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        _print_list(rows)
        columns = ("back end", "mode", "reason")
        print_table("Back ends", columns, [(b.name, b.mode, b.reason) for b in backends.values()])
    return exit_codes.GOOD


def _print_list(rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        "Kernels; s is the size of an element",
        ("kernel", "computes", "bytes", "flops", "types", "back ends"),
        [
            (row["name"], row["what"], row["bytes"], row["flops"], " ".join(row["dtypes"]), " ".join(row["backends"]))
            for row in rows
        ],
    )


@kernels.command("run")
@click.argument("names", nargs=-1, metavar="[KERNEL]...")
@click.option("-d", "--dtype", "dtypes", multiple=True, help="Only this type; may be repeated.")
@click.option("--size", type=SIZE, help="Bytes of the largest array, as 16M [default: far beyond the caches].")
@click.option(
    "--precision",
    type=PRECISION,
    default=0.02,
    show_default=True,
    help="Stop when the median's 95 % interval is within this share.",
)
@click.option(
    "--budget",
    type=BUDGET,
    default=1.0,
    show_default=True,
    help="Seconds of samples a row at most.",
)
@click.option("-n", "--iters", type=SAMPLES, help="A fixed number of samples instead.")
@click.option("-w", "--warmup", type=WARMUP, help="A fixed number of warm-up calls instead of detection.")
@click.option(
    "--cache",
    type=click.Choice(["hot", "cold", "both"]),
    default="hot",
    show_default=True,
    help="Time calls that find their data where the call before left them, in memory, or both.",
)
@click.option(
    "--launch",
    type=click.Choice(["graph", "stream", "both"]),
    default="graph",
    show_default=True,
    help="On a GPU: replay calls from a graph, let the host start each, or both.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Time each kernel in so many parts, between which all others are timed.",
)
@click.option("--seed", type=SEED, help="Order of the rows and test data [default: random, recorded].")
@click.option("--verify/--no-verify", default=True, help="Verify the GPU sources too (the CPU's always are).")
@machine_options
@journal_option
@click.option("--run-id", help="Of the run that the rows belong to; a new one by default.")
@click.option("--store", "url", help="URL of a store to load the journal into at the end.")
@click.option("--strict", is_flag=True, help="INCONCLUSIVE rows fail too.")
def run_kernels(
    names: tuple[str, ...],
    dtypes: tuple[str, ...],
    size: int | None,
    precision: float,
    budget: float,
    iters: int | None,
    warmup: int | None,
    cache: str,
    launch: str,
    rounds: int,
    seed: int | None,
    verify: bool,
    as_json: bool,
    as_csv: bool,
    journal: Path,
    run_id: str | None,
    url: str | None,
    strict: bool,
) -> int:
    """Time the CPU's kernels under this machine's measured roof, and verify the GPU sources; a GPU's are timed, too."""
    from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
    from clusterbench.bench.measuring import kernel_runs
    from clusterbench.bench.measuring.kernel_runs import Plan
    from clusterbench.bench.measuring.kernel_timing import CACHES
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.kernels.discovery import choose, choose_dtypes, discover
    from clusterbench.results.journal import now_iso
    from clusterbench.results.record import Run

    if size is not None and size < 1:
        raise click.BadParameter(f"{size} bytes; expected at least one", param_hint="--size")
    chosen = choose(discover(), names)
    plan = Plan(
        kernels=tuple(chosen),
        dtypes=tuple(choose_dtypes(chosen, dtypes)),
        rules=Rules(precision=precision, budget_s=budget, iterations=iters, warmup=warmup),
        seed=secrets.randbits(32) if seed is None else seed,
        run_id=run_id or new_run_id(),
        size_bytes=size,
        verify=verify,
        caches=tuple(one for one in CACHES if cache in (one, "both")),
        rounds=rounds,
        graphs=tuple(graph for graph, name in ((True, "graph"), (False, "stream")) if launch in (name, "both")),
    )
    run = Run(
        run_id=plan.run_id,
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=plan.seed,
        environment=capture_environment(),
    )
    if url is not None:
        _open_store(url).close()

    def show(run: Run, rows: list[Measurement]) -> None:
        if as_json:
            emit_json(run.as_row(), [row.as_row() for row in rows])
        elif as_csv:
            emit_csv([row.as_row() for row in rows])
        else:
            _print_rows(rows, plan.seed)

    finished, code = run_and_keep(plan, run, journal, strict, show, kernel_runs.run_kernels)
    if url is not None:
        with _open_store(url) as store:
            store.load(finished.path)
    return code


def _open_store(url: str) -> Store:
    from clusterbench.results.store import Store

    return Store.open(url, writable=True)


def run_and_keep(
    plan: Plan,
    run: Run,
    folder: Path,
    strict: bool,
    show: Callable[[Run, list[Measurement]], None],
    run_plan: Callable[..., list[Measurement]],
) -> tuple[Journal, int]:
    """Run, and show the rows, also where it fails. Returns the journal with the run as it ended, and the exit code."""
    from clusterbench.bench.judge import exit_code
    from clusterbench.bench.worlds.time_account import TimeAccount, with_time
    from clusterbench.results.journal import Journal, JournalWriteError

    account = TimeAccount()
    measured: list[Measurement] = []

    def finished(row: Measurement, samples: NDArray[float64] | None) -> None:
        measured.append(row)  # shown even where it cannot be written
        journal.append(row, samples)

    with Journal.create(folder, run, "kernels") as journal:
        try:
            with progress("kernels", plan.steps()) as step:
                account.ready()
                rows = run_plan(plan, step=step, append=finished, account=account)
            code = exit_code(rows, strict=strict)
            failures = [f"{r.name} {r.dtype} {r.backend}: {r.reason}" for r in rows if r.verdict in ("FAIL", "INVALID")]
            journal.run = with_time(journal.run, "kernels", account.spent())
            journal.finish(code, failures)
        except BaseException as error:
            with suppress(JournalWriteError):  # the first error is the one to tell
                code = getattr(error, "exit_code", exit_codes.FAILED)
                journal.finish(code, [f"kernels: {str(error) or type(error).__name__}"])
            show(journal.run, measured)
            raise
    show(journal.run, rows)
    return journal, code


_ROOF_COLUMNS = ("ceiling", "type", "where", "GB/s", "GFLOP/s", "samples", "how")
_TIMED_COLUMNS = (
    *("kernel", "type", "shape", "time µs", "95 % interval", "n"),
    *("GB/s", "GFLOP/s", "of roof", "limited by", "verdict"),
)
_VERIFIED_COLUMNS = ("kernel", "back end", "evidence", "types", "error/bound", "wrong", "verdict")


def _print_rows(rows: Sequence[Measurement], seed: int) -> None:
    from clusterbench.bench.measuring.gpu_timing import NO_GRAPH, SLOWED

    roofs = [row for row in rows if row.suite == "roof"]
    timed = [row for row in rows if row.suite == "kernels" and row.median_s is not None]
    others = [row for row in rows if row.suite == "kernels" and row.median_s is None]
    if roofs:
        for device in dict.fromkeys(row.device for row in roofs):
            ceilings = [
                (r.name, r.dtype, r.shape, rate_text(r.bytes_per_s), rate_text(r.flop_per_s), r.n, r.note)
                for r in roofs
                if r.device == device
            ]
            print_table(f"This machine's measured roof ({device})", _ROOF_COLUMNS, ceilings)
    on_gpu = [row for row in timed if row.backend != "numba"]
    if len(on_gpu) < len(timed):
        title = f"Kernels on the CPU, median of n samples, in the order of seed {seed}"
        print_table(title, _TIMED_COLUMNS, [_timed_cells(row) for row in timed if row.backend == "numba"])
    if on_gpu:
        title = f"Kernels on the GPU, median of n samples by its events, in the order of seed {seed}"
        columns = (_TIMED_COLUMNS[0], "back end", *_TIMED_COLUMNS[1:])
        print_table(title, columns, [(row.name, row.backend, *_timed_cells(row)[1:]) for row in on_gpu])
        for row in on_gpu:
            if SLOWED in row.note or NO_GRAPH in row.note:
                click.echo(f"{row.name} {row.dtype} {row.backend}: {row.note}")
    if others:
        groups = dict.fromkeys((row.name, row.backend) for row in others)
        verified = [_verified_cells([r for r in others if (r.name, r.backend) == group]) for group in groups]
        print_table("Verified, not timed", _VERIFIED_COLUMNS, verified)
        for backend, note in dict.fromkeys((row.backend, row.note) for row in others if row.note):
            click.echo(f"{backend}: {note}")
    for row in rows:
        if row.verdict not in ("PASS", None):
            click.echo(f"{row.verdict} {row.name} {row.dtype} {row.backend}: {row.reason}")


def _timed_cells(row: Measurement) -> tuple[object, ...]:
    interval = "" if row.ci95_low_s is None else f"{time_text(row.ci95_low_s)} – {time_text(row.ci95_high_s)}"
    samples = f"{row.n}" if row.batch == 1 else f"{row.n} of {row.batch}"
    rates = rate_text(row.bytes_per_s), rate_text(row.flop_per_s)
    share = share_text(row.bound_share)
    return (
        row.name,
        row.dtype,
        row.shape,
        time_text(row.median_s),
        interval,
        samples,
        *rates,
        share,
        row.bound_by,
        row.verdict,
    )


def _verified_cells(rows: Sequence[Measurement]) -> tuple[object, ...]:
    """One line for all types of an implementation: the worst of each figure."""
    from clusterbench.results.record import gravest

    first = rows[0]
    errors = [row.error_over_bound for row in rows if row.error_over_bound is not None]
    wrong = [row.wrong for row in rows if row.wrong is not None]
    verdict = gravest(row.verdict for row in rows)
    types = " ".join(row.dtype for row in rows)
    error = f"{max(errors):.3g}" if errors else ""
    return first.name, first.backend, first.evidence, types, error, sum(wrong) if wrong else None, verdict
