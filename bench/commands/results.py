"""`clusterbench results`: list, load, import, export, compare, check what was measured, and name what stands out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.commands.results_check import check, outliers
from clusterbench.bench.commands.results_compare import compare
from clusterbench.bench.options import chosen, machine_options, store_option, suite_option, where_option
from clusterbench.bench.output import emit_csv, emit_json, note, print_table, rate_text, size_text, time_text
from clusterbench.results.columns import plain_rows
from clusterbench.results.export import FORMATS, NCCL_JSON

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterbench.results.store import Store

SHOWN_ROWS = 1000
"""Rows of a table at most, unless `--limit` says otherwise."""


@click.group()
def results() -> None:
    """What was measured: list, load, import, export, compare, check, outliers."""


results.add_command(compare)
results.add_command(check)
results.add_command(outliers)


@results.command("list")
@store_option
@click.option("--run", "run_text", metavar="RUN", help="Rows of one run: its id, a unique beginning, latest, previous.")
@suite_option
@where_option
@click.option(
    "--limit", type=click.IntRange(1), help=f"Rows at most; by default {SHOWN_ROWS} in a table, all for programs."
)
@machine_options
def list_results(
    url: str,
    run_text: str | None,
    suite: str | None,
    where: tuple[tuple[str, list[Any]], ...],
    limit: int | None,
    as_json: bool,
    as_csv: bool,
) -> int:
    """List the runs of a store, or with --run, --suite or --where its rows."""
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        if run_text is None and suite is None and not where:
            _print_runs(store, as_json, as_csv)
            return exit_codes.GOOD
        run = store.find_run(run_text) if run_text is not None else None
        asked = _asked(store, run.run_id if run else None, suite, where)
        at_most = limit if limit or as_json or as_csv else SHOWN_ROWS
        frame = store.frame(**asked, limit=at_most)
        _say_if_cut(store, asked, len(frame), at_most)
    if as_json:
        emit_json(run.as_row() if run else {}, plain_rows(frame))
    elif as_csv:
        emit_csv(plain_rows(frame))
    else:
        _print_rows(frame, f"run {run.run_id}" if run else f"suite {suite}" if suite else "all runs")
    return exit_codes.GOOD


def _asked(
    store: Store, run_text: str | None, suite: str | None, where: tuple[tuple[str, list[Any]], ...]
) -> dict[str, Any]:
    """The fields of the rows that are asked for, as `Store.frame` takes them."""
    return {
        **chosen(where),
        **({"run_id": store.find_run(run_text).run_id} if run_text is not None else {}),
        **({"suite": suite} if suite else {}),
    }


def _say_if_cut(store: Store, asked: dict[str, Any], rows: int, at_most: int | None) -> None:
    if rows == at_most and (found := store.count(**asked)) > rows:
        note(f"the first {rows} of {found} rows; more with --limit")


def _print_runs(store: Store, as_json: bool, as_csv: bool) -> None:
    counts = store.counts()
    rows = []
    for run in store.runs():
        per_suite = counts.get(run.run_id, {})
        row = {name: getattr(run, name) for name in ("run_id", "started_at", "finished_at", "status", "exit_code")}
        rows.append({**row, "rows": sum(per_suite.values()), "suites": " ".join(per_suite), "command": run.command})
    if as_json:
        emit_json({}, rows)
    elif as_csv:
        emit_csv(rows)
    else:
        shown = ("run_id", "started_at", "status", "exit_code", "rows", "suites", "command")
        print_table(f"{len(rows)} runs in {store.url}", shown, [[row[name] for name in shown] for row in rows])


def _print_rows(frame: DataFrame, title: str) -> None:
    columns = ("suite", "name", "what", "dtype", "size", "time us", "GB/s", "busbw GB/s", "n", "verdict", "evidence")
    table = []
    for row in plain_rows(frame):
        what = " ".join(row[name] for name in ("algorithm", "transport", "backend", "placement") if row[name])
        size = row["shape"] or size_text(row["size_bytes"])
        rate = row["bytes_per_s"] if row["bytes_per_s"] is not None else row["algbw"]
        figures = time_text(row["median_s"]), rate_text(rate), rate_text(row["busbw"])
        table.append(
            (row["suite"], row["name"], what, row["dtype"], size, *figures, row["n"], row["verdict"], row["evidence"])
        )
    print_table(f"{len(table)} rows, {title}", columns, table)


@results.command()
@store_option
@click.argument("journals", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load(url: str, journals: tuple[Path, ...]) -> int:
    """Load journals into a store; what is there already is left as it is."""
    from clusterbench.results.store import Store, load_all

    with Store.open(url) as store:
        new, damaged = load_all(store, journals)
        for line in damaged:
            note(line)
        click.echo(f"{new} new rows from {len(journals)} journals in {store.url}")
    return exit_codes.GOOD


@results.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--importer", help="Whose output the files are; else recognised from what they hold.")
@click.option(
    "--ranks", type=click.IntRange(1), help="How many ranks ran, for files that do not say; else --topology's."
)
@click.option("--topology", default="", help="Hold the rows against a host, a fabric, or a file, such as dgx-h100.")
@store_option
@click.option(
    "--journal",
    "journals",
    type=click.Path(file_okay=False, path_type=Path),
    default="clusterbench-out/journals",
    show_default=True,
    help="Folder of the journals, one a file.",
)
@machine_options
def import_results(
    files: tuple[Path, ...], importer: str | None, ranks: int | None, topology: str, url: str, journals: Path,
    as_json: bool, as_csv: bool,
) -> int:  # fmt: skip
    """Import the output of other benchmarks: nccl-tests, rccl-tests, OSU, Intel MPI Benchmarks, pytest-benchmark.

    With --topology rows get a proven bound, an expected time and a verdict. Ends with 3 where data are wrong or a row
    cannot be, with 2 where a file was refused.
    """
    from clusterbench.bench.stored.imported_runs import Asked, import_files

    return import_files(files, Asked(importer, ranks, topology, url, journals), as_json=as_json, as_csv=as_csv)


@results.command()
@store_option
@click.option("--format", "file_format", type=click.Choice([*FORMATS, NCCL_JSON]), required=True)
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--run", "run_text", metavar="RUN", help="Only this run: its id, a unique beginning, latest, previous.")
@suite_option
@where_option
@click.option("--limit", type=click.IntRange(1), help="Rows at most; all by default.")
def export(
    url: str,
    file_format: Any,
    output: Path,
    run_text: str | None,
    suite: str | None,
    where: tuple[tuple[str, list[Any]], ...],
    limit: int | None,
) -> int:
    """Write measurements to a file for other programs; seconds, bytes, bytes/s.

    nccl-json is JSON with the keys and units of nccl-tests, a file for each collective, algorithm, transport and number
    of ranks.
    """
    from clusterbench.results.export import export_frame
    from clusterbench.results.nccl_json import export_nccl_json
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        asked = _asked(store, run_text, suite, where)
        frame = store.frame(**asked, limit=limit)
        _say_if_cut(store, asked, len(frame), limit)
        if file_format == NCCL_JSON:
            runs = {run.run_id: run for run in store.runs()}
            paths, left_out = export_nccl_json(frame, store.samples(frame.index), runs, output)
            if left_out:
                note(f"{left_out} rows left out: not measured collectives that nccl-tests has, or without a time")
            click.echo(f"{len(frame) - left_out} rows in {', '.join(map(str, paths)) or 'no file'}")
            return exit_codes.GOOD
    export_frame(frame, output, file_format)
    click.echo(f"{len(frame)} rows in {output}")
    return exit_codes.GOOD
