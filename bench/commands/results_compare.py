"""`clusterbench results compare`: two sides, each of one run or several, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import FiniteRange, machine_options, store_option, strict_option
from clusterbench.bench.output import emit_csv, emit_json, note, print_table, size_text, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clusterbench.results.compare import ComparedRow, Comparison
    from clusterbench.results.record import Run

TOLERANCE = FiniteRange(0.0, 100.0, min_open=True, max_open=True)
"""`--tolerance`, in %."""


@click.command()
@click.argument("a")
@click.argument("b")
@store_option
@click.option("--tolerance", type=TOLERANCE, default=2.0, show_default=True, help="Change in % that a row may have.")
@click.option("--force", is_flag=True, help="Compare rows that differ in dtype, ranks, nodes, evidence, device too.")
@click.option(
    "--launches",
    type=click.Choice(("auto", "independent", "interleaved")),
    default="auto",
    show_default=True,
    help="How launches of A and B were started: in any order, or in turns; auto goes by their times.",
)
@click.option(
    "--unit",
    type=click.Choice(("launch", "sample")),
    default="launch",
    show_default=True,
    help="What decides where both sides have one launch: nothing, or the samples within it.",
)
@strict_option
@machine_options
def compare(
    a: str,
    b: str,
    url: str,
    tolerance: float,
    force: bool,
    launches: Any,
    unit: Any,
    strict: bool,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Compare side B with side A, the base: ratio of median times, its interval, and whether it is significant.

    A and B are runs with commas between, each a run's id, a unique beginning of one, `latest`, `previous`, or a journal
    file. Rows of the same point on a side are launches, and launches are what is tested. Ends with 4 where a row is
    worse: significant over all rows, the interval of time B / time A above 1, and the ratio above the tolerance.
    """
    from clusterbench.bench.stored.stored_runs import sides
    from clusterbench.results.compare import compare as compare_sides

    side_a, side_b = sides(a, b, url)
    design = None if launches == "auto" else launches
    found = compare_sides(side_a, side_b, tolerance / 100, force, unit=unit, design=design)
    if as_json:
        emit_json(_head(found), [row.as_row() for row in found.rows])
    elif as_csv:
        emit_csv([row.as_row() for row in found.rows])
    else:
        _print_comparison(found)
    counts = found.counts()
    if counts["cannot tell"] and (as_json or as_csv):
        note(f"nothing can be told of {counts['cannot tell']} of {len(found.rows)} rows")
    if counts["worse"]:
        return exit_codes.BELOW
    return exit_codes.FAILED if strict and counts["cannot tell"] else exit_codes.GOOD


def _head(found: Comparison) -> dict[str, Any]:
    return {
        "a": _runs(found.a),
        "b": _runs(found.b),
        "tolerance": found.tolerance,
        "counts": found.counts(),
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "environment": [{"name": name, "a": x, "b": y} for name, x, y in found.environment],
    }


def _runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [{name: getattr(run, name) for name in ("run_id", "started_at", "status", "command")} for run in runs]


def _print_comparison(found: Comparison) -> None:
    columns = (
        "suite",
        "what",
        "dtype",
        "size",
        "A us",
        "B us",
        "B/A",
        "95 % interval",
        "launches",
        "p",
        "change",
        "why",
    )
    side_a, side_b = (", ".join(run.run_id for run in runs) for runs in (found.a, found.b))
    print_table(
        f"B {side_b} against A {side_a}, tolerance {found.tolerance * 100:g} %",
        columns,
        [_cells(row) for row in found.rows],
    )
    click.echo(", ".join(f"{count} {change}" for change, count in found.counts().items()))
    open_row = next((row for row in found.rows if row.needed is not None), None)
    if open_row is not None:
        click.echo(f"cannot tell: {_what(open_row.point)} {_size(open_row.point)}, for one: {open_row.reason}")
    for name, points in (("A", found.only_a), ("B", found.only_b)):
        for point in points:
            click.echo(f"only in {name}: {point['suite']} {_what(point)} {point['dtype']} {_size(point)}")
    for name, x, y in found.environment:
        click.echo(f"environment: {name}: {_brief(x)} -> {_brief(y)}")


def _cells(row: ComparedRow) -> tuple[object, ...]:
    ratio = row.ratio
    interval = "" if ratio is None or ratio.low is None else f"{ratio.low:.3f} .. {ratio.high:.3f}"
    value = "" if ratio is None else f"{ratio.value:.3f}"
    head = row.point["suite"], _what(row.point), row.point["dtype"], _size(row.point)
    times = time_text(row.a_s), time_text(row.b_s)
    launches = f"{row.launches[0]}, {row.launches[1]}"
    p = "" if row.p is None else f"{row.p:.2g}"
    why = row.reason if row.needed is None else f"{row.needed} launches needed"
    return (*head, *times, value, interval, launches, p, row.change, why)


def _what(point: dict[str, Any]) -> str:
    names = ("name", "algorithm", "transport", "backend", "op", "placement")
    # The library is its own transport, and host memory needs no mention.
    return " ".join(dict.fromkeys(point[name] for name in names if point[name] not in ("", "cpu")))


def _size(point: dict[str, Any]) -> str:
    return size_text(int(point["size"])) if point["size"].isdigit() else str(point["size"])


def _brief(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
