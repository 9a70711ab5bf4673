"""`clusterbench kernels compile`: GPU sources to machine code for each target, without a GPU, and held to rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import machine_options
from clusterbench.bench.output import emit_csv, emit_json, note, print_table, progress, share_text

if TYPE_CHECKING:
    from clusterbench.kernels.compiled.compiling import Compiled
    from clusterbench.kernels.compiled.gate import Broken
    from clusterbench.results.record import Measurement, Run

OWN = "the suite's own"
"""What `--check` without a file takes."""


def _names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",")))


@click.command("compile")
@click.option("--target", callback=_names, multiple=True, help="sm_80, sm_90, sm_100, gfx942 [default: all].")
@click.option("--kernel", callback=_names, multiple=True, help="Only these; names with commas, or repeated.")
@click.option("--backend", callback=_names, multiple=True, help="triton, numba-cuda, cupy [default: all].")
@click.option("-d", "--dtype", "dtypes", callback=_names, multiple=True, help="Only these types.")
@click.option(
    "--check",
    metavar="[BASELINE]",
    is_flag=False,
    flag_value=OWN,
    help=f"Hold the rows to the rules of a file [without one: {OWN}]; a broken rule ends with code 4.",
)
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="BASELINE",
    help="Write what was found as a file of rules.",
)
@click.option("--cache/--no-cache", default=True, help="Take what was compiled before [default], or compile all again.")
@machine_options
@click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    default="clusterbench-out/journals",
    show_default=True,
    help="Folder of the journal, which gets the rows.",
)
@click.option("--run-id", help="Of the run that the rows belong to; a new one by default.")
@click.option("--store", "url", help="URL of a store to load the journal into at the end.")
def compile_kernels(
    target: tuple[str, ...],
    kernel: tuple[str, ...],
    backend: tuple[str, ...],
    dtypes: tuple[str, ...],
    check: str | None,
    write: Path | None,
    cache: bool,
    as_json: bool,
    as_csv: bool,
    journal: Path,
    run_id: str | None,
    url: str | None,
) -> int:
    """Compile the GPU sources for each target without a GPU: registers, spills, occupancy, instructions, counts."""
    from clusterbench.kernels import device
    from clusterbench.kernels.compiled import gate
    from clusterbench.kernels.compiled.cache import cache_folder, versions
    from clusterbench.kernels.compiled.compiling import BACKENDS, jobs
    from clusterbench.kernels.compiled.pool import compile_all
    from clusterbench.kernels.compiled.targets import choose_targets
    from clusterbench.kernels.discovery import choose, choose_dtypes, discover

    kernels = choose(discover(), kernel)
    types = tuple(choose_dtypes(kernels, dtypes)) if dtypes else ()
    rules = None if check is None else gate.read_rules(gate.BASELINE if check == OWN else Path(check))
    todo = jobs(kernels, backend or BACKENDS, choose_targets(target), types)
    with progress("compile", len(todo)) as step:
        rows = compile_all(
            todo,
            device.usable_cores(),
            cache_folder() if cache else None,
            lambda row: step(f"{row.kernel} {row.dtype} {row.backend} {row.target}", 1),
        )
    faults = None if rules is None else gate.broken(rows, rules)
    code = exit_codes.BELOW if faults else exit_codes.GOOD
    if write is not None:
        compilers = ", ".join(f"{name} {number}" for name, number in versions().items())
        _write(write, gate.as_rules(rows, compilers))
    run = _keep(rows, faults, code, journal, run_id, url)
    if as_json:
        emit_json(run.as_row(), [row.as_row() for row in rows])
    elif as_csv:
        emit_csv([row.as_row() for row in rows])
    else:
        _print(rows, faults)
    for fault in faults or ():
        note(str(fault)) if as_json or as_csv else click.echo(f"broken: {fault}")
    return code


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error


def _keep(
    rows: Sequence[Compiled],
    faults: Sequence[Broken] | None,
    code: int,
    folder: Path,
    run_id: str | None,
    url: str | None,
) -> Run:
    """Write the rows to a journal, and load it into a store where one is named."""
    import socket

    from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
    from clusterbench.bench.measuring.compiled_rows import measurements
    from clusterbench.results.journal import Journal, now_iso
    from clusterbench.results.record import Run
    from clusterbench.results.store import Store

    run = Run(
        run_id=run_id or new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        environment=capture_environment(),
    )
    if url is not None:
        Store.open(url, writable=True).close()
    found: list[Measurement] = measurements(rows, faults, run.run_id, socket.gethostname())
    with Journal.create(folder, run, "compile") as journal:
        for row in found:
            journal.append(row, None)
        journal.finish(code, [str(fault) for fault in faults or ()])
    if url is not None:
        with Store.open(url, writable=True) as store:
            store.load(journal.path)
    return journal.run


_COLUMNS = (
    *("kernel", "type", "back end", "target", "regs", "spills", "shared B", "occupied", "limited by"),
    *("load B", "store B", "matrix", "fp64", "bytes", "flops"),
)


def _print(rows: Sequence[Compiled], faults: Sequence[Broken] | None) -> None:
    made = [row for row in rows if row.status == "compiled"]
    if made:
        print_table(
            "Compiled without a GPU; bytes and flops over those of the model", _COLUMNS, [_cells(row) for row in made]
        )
    for row in rows:
        if row.status == "failed":
            click.echo(f"not compiled: {row.kernel} {row.dtype} {row.backend} {row.target}: {row.reason}")
    others = Counter((row.backend, row.reason) for row in rows if row.status in ("missing", "nothing"))
    for (backend, reason), count in others.items():
        click.echo(f"{backend}, {count} rows: {reason}")
    walks = Counter(row.not_followed for row in made if row.not_followed)
    for why, count in walks.items():
        click.echo(f"not followed, {count} rows: {why}")
    if faults is not None:
        held = len(made) - len({id(fault.row) for fault in faults if fault.row.status == "compiled"})
        click.echo(f"{held} of {len(made)} compiled rows keep every rule")


def _cells(row: Compiled) -> tuple[object, ...]:
    from clusterbench.bench.measuring.compiled_rows import ratio_text

    what = (row.kernel, row.dtype, row.backend, row.target)
    resources = (row.registers, row.spills, row.shared_bytes, share_text(row.occupancy), row.limited_by)
    counted = (ratio_text(row.counted_bytes, row.model_bytes), ratio_text(row.counted_flops, row.model_flops))
    return *what, *resources, row.load_bytes, row.store_bytes, row.path, row.fp64, *counted
