"""`clusterbench results`: list, load, import, export and compare what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import machine_options
from clusterbench.bench.output import emit_csv, emit_json, note, print_table, rate_text, size_text, time_text
from clusterbench.results.export import FORMATS, NCCL_JSON

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterbench.results.compare import ComparedRow, Comparison, Side
    from clusterbench.results.record import Run
    from clusterbench.results.store import Store

DEFAULT_STORE = "sqlite:///clusterbench-out/results.db"

SUITES = ("kernels", "collectives", "roof")

store_option = click.option("--store", "url", default=DEFAULT_STORE, show_default=True, help="URL of the store.")
suite_option = click.option("--suite", type=click.Choice(SUITES), help="Only rows of this suite.")


@click.group()
def results() -> None:
    """What was measured: list, load, import, export, compare."""


@results.command("list")
@store_option
@click.option("--run", "run_text", metavar="RUN", help="Rows of one run: its id, a unique beginning, latest, previous.")
@suite_option
@machine_options
def list_results(url: str, run_text: str | None, suite: str | None, as_json: bool, as_csv: bool) -> int:
    """List the runs of a store, or with --run or --suite its rows."""
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        if run_text is None and suite is None:
            _print_runs(store, as_json, as_csv)
            return exit_codes.GOOD
        run = store.find_run(run_text) if run_text is not None else None
        frame = store.frame(run_id=run.run_id if run else None, suite=suite)
    if as_json:
        emit_json(run.as_row() if run else {}, _rows(frame))
    elif as_csv:
        emit_csv(_rows(frame))
    else:
        _print_rows(frame, f"run {run.run_id}" if run else f"suite {suite}")
    return exit_codes.GOOD


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


def _rows(frame: DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries of plain values, missing ones as None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _print_rows(frame: DataFrame, title: str) -> None:
    columns = ("suite", "name", "what", "dtype", "size", "time us", "GB/s", "busbw GB/s", "n", "verdict", "evidence")
    table = []
    for row in _rows(frame):
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
    from clusterbench.bench.imported_runs import Asked, import_files

    return import_files(files, Asked(importer, ranks, topology, url, journals), as_json=as_json, as_csv=as_csv)


@results.command()
@store_option
@click.option("--format", "file_format", type=click.Choice([*FORMATS, NCCL_JSON]), required=True)
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--run", "run_text", metavar="RUN", help="Only this run: its id, a unique beginning, latest, previous.")
@suite_option
def export(url: str, file_format: Any, output: Path, run_text: str | None, suite: str | None) -> int:
    """Write measurements to a file for other programs; seconds, bytes, bytes/s.

    nccl-json is JSON with the keys and units of nccl-tests, a file for each collective, algorithm and number of ranks.
    """
    from clusterbench.results.export import export_frame
    from clusterbench.results.nccl_json import export_nccl_json
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        run_id = store.find_run(run_text).run_id if run_text is not None else None
        frame = store.frame(run_id=run_id, suite=suite)
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


@results.command()
@click.argument("a")
@click.argument("b")
@store_option
@click.option("--tolerance", default=2.0, show_default=True, help="Change in % from which a row is better or worse.")
@click.option("--force", is_flag=True, help="Compare rows that differ in dtype, ranks, nodes, evidence, device too.")
@machine_options
def compare(a: str, b: str, url: str, tolerance: float, force: bool, as_json: bool, as_csv: bool) -> int:
    """Compare run B with run A, the base: ratio of median times, with its interval.

    A and B are run ids, unique beginnings of them, `latest`, `previous`, or journal files. Ends with 4 where a row is
    worse: the interval of time B / time A lies above 1, and the ratio above the tolerance.
    """
    from clusterbench.results.compare import compare as compare_sides

    if not 0 < tolerance < 100:
        raise click.BadParameter(f"{tolerance} %; expected more than 0 and less than 100", param_hint="--tolerance")
    found = compare_sides(_side(a, url), _side(b, url), tolerance / 100, force)
    if as_json:
        emit_json(_comparison_head(found), [row.as_row() for row in found.rows])
    elif as_csv:
        emit_csv([row.as_row() for row in found.rows])
    else:
        _print_comparison(found)
    return exit_codes.BELOW if found.counts()["worse"] else exit_codes.GOOD


def _side(text: str, url: str) -> Side:
    """A run to compare: a journal file where there is one of that name, else a run of the store."""
    from clusterbench.results.columns import to_frame
    from clusterbench.results.compare import Side
    from clusterbench.results.journal import read_journal
    from clusterbench.results.store import Store

    path = Path(text)
    if path.is_file():
        contents = read_journal(path)
        for line in contents.damaged_lines:
            note(f"{path}, line {line.line}: skipped, {line.reason}")
        samples = {i: seconds for i, seconds in enumerate(contents.samples) if seconds is not None}
        return Side(contents.run, to_frame(contents.measurements), samples)
    if path.suffix == ".jsonl":
        raise click.BadParameter(f"{text}: there is no such journal file")
    with Store.open(url, create=False) as store:
        run = store.find_run(text)
        frame = store.frame(run_id=run.run_id)
        return Side(run, frame, store.samples(frame.index))


def _comparison_head(found: Comparison) -> dict[str, Any]:
    return {
        "a": _head(found.a),
        "b": _head(found.b),
        "tolerance": found.tolerance,
        "counts": found.counts(),
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "environment": [{"name": name, "a": x, "b": y} for name, x, y in found.environment],
    }


def _head(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("run_id", "started_at", "status", "command")}


def _print_comparison(found: Comparison) -> None:
    columns = ("suite", "what", "dtype", "size", "A us", "B us", "B/A", "95 % interval", "change", "why")
    print_table(
        f"B {found.b.run_id} against A {found.a.run_id}, tolerance {found.tolerance * 100:g} %",
        columns,
        [_comparison_cells(row) for row in found.rows],
    )
    counts = found.counts()
    click.echo(", ".join(f"{count} {change}" for change, count in counts.items()))
    for name, points in (("A", found.only_a), ("B", found.only_b)):
        for point in points:
            click.echo(f"only in {name}: {point['suite']} {_what(point)} {point['dtype']} {_size(point)}")
    for name, x, y in found.environment:
        click.echo(f"environment: {name}: {_brief(x)} -> {_brief(y)}")


def _comparison_cells(row: ComparedRow) -> tuple[object, ...]:
    ratio = row.ratio
    interval = "" if ratio is None or ratio.low is None else f"{ratio.low:.3f} .. {ratio.high:.3f}"
    value = "" if ratio is None else f"{ratio.value:.3f}"
    head = row.point["suite"], _what(row.point), row.point["dtype"], _size(row.point)
    return (*head, time_text(row.a_s), time_text(row.b_s), value, interval, row.change, row.reason)


def _what(point: dict[str, Any]) -> str:
    names = ("name", "algorithm", "transport", "backend", "op", "placement")
    # The library is its own transport, and host memory needs no mention.
    return " ".join(dict.fromkeys(point[name] for name in names if point[name] not in ("", "cpu")))


def _size(point: dict[str, Any]) -> str:
    return size_text(int(point["size"])) if point["size"].isdigit() else str(point["size"])


def _brief(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
