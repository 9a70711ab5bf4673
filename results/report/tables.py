"""The tables of the report: kernels, roof, failures, what was not measured, back ends, all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clusterbench.results.record import Run, gravest
from clusterbench.results.report import units
from clusterbench.results.report.cells import (
    Cell,
    Table,
    evidence_cell,
    heads,
    mark_cell,
    number_cell,
    table_of,
    text_cell,
    timing_cells,
)
from clusterbench.results.report.rows import buffers, groups, lines, traffic

if TYPE_CHECKING:
    from pandas import DataFrame


def kernels(rows: DataFrame, anchor: str) -> Table | None:
    """The kernels that were timed."""
    chosen = rows[(rows["suite"] == "kernels") & rows["median_s"].notna()]
    if chosen.empty:
        return None
    listed = tuple(
        (
            text_cell(row.name),
            text_cell(row.dtype),
            Cell(row.shape or units.size(row.size_bytes), float(row.size_bytes)),
            *timing_cells(row),
            number_cell(row.bytes_per_s, units.giga(row.bytes_per_s)),
            number_cell(row.flop_per_s, units.giga(row.flop_per_s)),
            number_cell(row.bound_share, units.share(row.bound_share)),
            mark_cell(row.verdict, "not judged"),
            evidence_cell(row),
            text_cell(row.bound_by),
            number_cell(row.error_over_bound, units.digits(row.error_over_bound, 2)),
            text_cell(row.backend),
            text_cell(row.reason),
        )
        for row in lines(chosen)
    )
    columns = heads("Kernel", "Type", "Shape", "#Time", "#95 %", "#GB/s", "#GFLOP/s", "#Of roof", "Verdict", "Evidence")
    more = heads("Limited by", "#Error / bound", "Back end", "Reason")
    return table_of(anchor, "Kernels: median time, rates, and their share of the measured roof", columns + more, listed)


def roof(rows: DataFrame, anchor: str) -> Table | None:
    """The measured ceilings."""
    chosen = rows[rows["suite"] == "roof"]
    if chosen.empty:
        return None
    names = {"copy": "copy bandwidth", "read": "read bandwidth", "fma": "multiply-add peak"}
    listed = tuple(
        (
            text_cell(names.get(row.name, row.name)),
            text_cell(row.dtype),
            number_cell(row.bytes_per_s, f"{units.giga(row.bytes_per_s)} GB/s"),
            number_cell(row.flop_per_s, f"{units.giga(row.flop_per_s)} GFLOP/s"),
            text_cell(row.device),
            evidence_cell(row),
        )
        for row in lines(chosen)
    )
    columns = heads("Ceiling", "Type", "#Bandwidth", "#Arithmetic", "Device", "Evidence")
    return table_of(anchor, "The roof: each measurement of a ceiling; the highest counts", columns, listed)


def failures(rows: DataFrame, anchor: str) -> Table | None:
    """The rows that failed or cannot be, with reason and culprit."""
    chosen = rows[rows["verdict"].isin(["FAIL", "INVALID"])]
    if chosen.empty:
        return None
    listed = tuple(
        (
            mark_cell(row.verdict),
            text_cell(row.suite),
            text_cell(_what(row)),
            text_cell(_size(row)),
            text_cell(row.reason),
            text_cell(row.culprit),
            number_cell(row.wrong, f"{row.wrong}"),
            text_cell(row.host),
            evidence_cell(row),
        )
        for row in lines(chosen)
    )
    columns = heads("Verdict", "Suite", "What", "Size", "Reason", "Culprit", "#Wrong elements", "Host", "Evidence")
    return table_of(anchor, "Rows that failed, or that cannot be", columns, listed)


def _what(row: Any) -> str:
    root = f"root {row.root}" if row.root >= 0 else ""
    routed = f"traffic {traffic(row.shape)}" if traffic(row.shape) else ""
    memory = f"{buffers(row.shape)} buffers" if buffers(row.shape) else ""
    placement = row.placement.replace("_", " ")
    parts = (row.name, row.algorithm, row.backend, row.dtype, row.op, placement, root, memory, routed)
    return " ".join(part for part in parts if part)


def _size(row: Any) -> str:
    """The shape of a kernel or of a message; the size of a collective."""
    return row.shape if row.shape and row.suite != "collectives" else units.size(row.size_bytes)


def not_measured(rows: DataFrame, anchor: str) -> Table | None:
    """What was simulated, emulated, compiled or imported, put together by back end and reason."""
    chosen = rows[(rows["evidence"] != "measured") | (rows["origin"] != "own")]
    if chosen.empty:
        return None
    listed = []
    for key, group in groups(chosen, ("suite", "backend", "evidence", "origin", "note")):
        suite, backend, evidence, origin, note = key
        worst = group["error_over_bound"].max()
        verdict = gravest(group["verdict"])
        text, mark = (evidence, evidence) if origin == "own" else (f"{evidence}, {origin}", "imported")
        what = ", ".join(dict.fromkeys(f"{row.name} {row.algorithm}".strip() for row in lines(group)))
        head = (
            text_cell(backend),
            Cell(text, text, mark),
            text_cell(note),
            text_cell(what),
            mark_cell(verdict, "not judged"),
        )
        figures = (number_cell(worst, units.digits(worst, 2)), number_cell(len(group), str(len(group))))
        listed.append((*head, *figures, text_cell(suite)))
    columns = heads("Back end", "Evidence", "How, and why", "What", "Verdict", "#Worst error / bound", "#Rows", "Suite")
    return table_of(anchor, "Not measured on this machine's own hardware", columns, tuple(listed))


def backends(run: Run, anchor: str) -> Table | None:
    """The back ends of the run, their mode and the reason."""
    listed = run.environment.get("backends")
    if not isinstance(listed, list) or not listed:
        return None
    listed = tuple(
        (
            text_cell(row.get("backend")),
            mark_cell(row.get("mode")),
            text_cell(row.get("version")),
            text_cell(row.get("reason")),
        )
        for row in listed
        if isinstance(row, dict)
    )
    return table_of(
        anchor,
        "Back ends: what runs natively, what is simulated",
        heads("Back end", "Mode", "Version", "Reason"),
        listed,
    )


def everything(rows: DataFrame, anchor: str) -> Table | None:
    """All rows, so that every point of every figure can be read as text."""
    if rows.empty:
        return None
    listed = tuple(
        (
            text_cell(row.suite),
            text_cell(_what(row)),
            Cell(_size(row), float(row.size_bytes)),
            number_cell(row.ranks, str(row.ranks)),
            *timing_cells(row),
            number_cell(row.n, f"{row.n:,}"),
            number_cell(row.busbw if row.busbw is not None else row.bytes_per_s, _rate(row)),
            number_cell(row.wrong, f"{row.wrong}"),
            mark_cell(row.verdict, "not judged"),
            evidence_cell(row),
            text_cell(row.reason),
            text_cell(row.note),
        )
        for row in lines(rows)
    )
    columns = heads(
        "Suite",
        "What",
        "#Size",
        "#Ranks",
        "#Time",
        "#95 %",
        "#Samples",
        "#GB/s",
        "#Wrong",
        "Verdict",
        "Evidence",
        "Reason",
        "Note",
    )
    return table_of(
        anchor,
        "All rows; GB/s is bus bandwidth for collectives and messages, memory traffic for kernels",
        columns,
        listed,
    )


def _rate(row: Any) -> str:
    return units.giga(row.busbw if row.busbw is not None else row.bytes_per_s)


def sample_units(rows: DataFrame) -> Sequence[str]:
    """What one sample was, in the words of the rows."""
    return [unit for unit in dict.fromkeys(rows["sample_unit"]) if unit]
