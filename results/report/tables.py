"""The tables of the report, as rows of cells: what is shown, and the number or text by which a column sorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clusterbench.results.record import Run, gravest
from clusterbench.results.report import units
from clusterbench.results.report.figures import collective_title, evidence_suffix, series_name
from clusterbench.results.report.rows import COLLECTIVE_FIELDS, groups, lines
from clusterbench.results.statistics import faster, half_width

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `sort` is what the column sorts by; `mark` names a badge (a verdict or an evidence), or is empty."""

    text: str
    sort: float | str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column; numbers are aligned to the right."""

    text: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption."""

    anchor: str
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]


def _text(value: Any) -> Cell:
    text = "" if value is None or value != value else str(value)
    return Cell(text or units.NOTHING, text)


def _number(value: Any, text: str) -> Cell:
    missing = value is None or value != value
    return Cell(units.NOTHING if missing else text, "" if missing else float(value))


def _size(size_bytes: int) -> Cell:
    return _number(size_bytes, units.size(size_bytes))


def _mark(value: Any, otherwise: str = units.NOTHING) -> Cell:
    text = value if isinstance(value, str) and value else ""
    return Cell(text or otherwise, text, text.lower())


def _evidence(row: Any) -> Cell:
    text = row.evidence if row.origin == "own" else f"{row.evidence}, {row.origin}"
    return Cell(text, text, row.evidence if row.origin == "own" else "imported")


def _heads(*names: str) -> tuple[Head, ...]:
    """Heads from names; a leading # marks a column of numbers."""
    return tuple(Head(name.removeprefix("#"), name.startswith("#")) for name in names)


def _timing(row: Any) -> tuple[Cell, Cell]:
    return (
        _number(row.median_s, units.time(row.median_s)),
        _number(
            half_width(row.median_s, row.ci95_low_s, row.ci95_high_s),
            units.spread(row.median_s, row.ci95_low_s, row.ci95_high_s),
        ),
    )


def _table(anchor: str, caption: str, heads: tuple[Head, ...], rows: tuple[tuple[Cell, ...], ...]) -> Table:
    """A table without the columns in which no row has anything."""
    kept = [i for i in range(len(heads)) if any(row[i].sort != "" for row in rows)]
    return Table(anchor, caption, tuple(heads[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


def kernels(rows: DataFrame, anchor: str) -> Table | None:
    """The kernels that were timed."""
    chosen = rows[(rows["suite"] == "kernels") & rows["median_s"].notna()]
    if chosen.empty:
        return None
    listed = tuple(
        (
            _text(row.name),
            _text(row.dtype),
            Cell(row.shape or units.size(row.size_bytes), float(row.size_bytes)),
            *_timing(row),
            _number(row.bytes_per_s, units.giga(row.bytes_per_s)),
            _number(row.flop_per_s, units.giga(row.flop_per_s)),
            _number(row.bound_share, units.share(row.bound_share)),
            _mark(row.verdict, "not judged"),
            _evidence(row),
            _text(row.bound_by),
            _number(row.error_over_bound, units.digits(row.error_over_bound, 2)),
            _text(row.backend),
            _text(row.reason),
        )
        for row in lines(chosen)
    )
    heads = _heads("Kernel", "Type", "Shape", "#Time", "#95 %", "#GB/s", "#GFLOP/s", "#Of roof", "Verdict", "Evidence")
    more = _heads("Limited by", "#Error / bound", "Back end", "Reason")
    return _table(anchor, "Kernels: median time, rates, and their share of the measured roof", heads + more, listed)


def roof(rows: DataFrame, anchor: str) -> Table | None:
    """The measured ceilings."""
    chosen = rows[rows["suite"] == "roof"]
    if chosen.empty:
        return None
    names = {"copy": "copy bandwidth", "read": "read bandwidth", "fma": "multiply-add peak"}
    listed = tuple(
        (
            _text(names.get(row.name, row.name)),
            _text(row.dtype),
            _number(row.bytes_per_s, f"{units.giga(row.bytes_per_s)} GB/s"),
            _number(row.flop_per_s, f"{units.giga(row.flop_per_s)} GFLOP/s"),
            _text(row.device),
            _evidence(row),
        )
        for row in lines(chosen)
    )
    heads = _heads("Ceiling", "Type", "#Bandwidth", "#Arithmetic", "Device", "Evidence")
    return _table(anchor, "The roof: each measurement of a ceiling; the highest counts", heads, listed)


def winners(rows: DataFrame, anchor: str) -> list[Table]:
    """The fastest algorithm of each size, and how sure that is (see `how_sure`)."""
    timed = rows[(rows["suite"] == "collectives") & rows["median_s"].notna()]
    # What was measured never competes with what was not.
    by = (*COLLECTIVE_FIELDS, "evidence", "origin")
    tables = []
    for number, (key, group) in enumerate(groups(timed, by)):
        if group["algorithm"].nunique() < 2:
            continue
        title = collective_title(dict(zip(by, key, strict=True))) + evidence_suffix(*key[-2:])
        listed = tuple(
            _winner(size_bytes, found)
            for (size_bytes,), found in groups(group.sort_values("size_bytes"), ("size_bytes",))
        )
        heads = _heads(
            "#Size", "Fastest", "#Time", "#Bus GB/s", "How sure", "Runner-up", "#Slower by", "#Library / fastest"
        )
        tables.append(_table(f"{anchor}-{number}", f"Fastest by size: {title}", heads, listed))
    return tables


def _winner(size_bytes: int, found: DataFrame) -> tuple[Cell, ...]:
    ranked = list(lines(found.sort_values("median_s", kind="stable")))
    first, second = ranked[0], next((row for row in ranked[1:] if row.algorithm != ranked[0].algorithm), None)
    library = next((row.median_s for row in ranked if row.algorithm == "library"), None)
    return (
        _size(size_bytes),
        _text(_series(first)),
        _number(first.median_s, units.time(first.median_s)),
        _number(first.busbw, units.giga(first.busbw)),
        _sure(how_sure(first, second)),
        _text(None if second is None else _series(second)),
        _number(*_slower(first, second)),
        _number(*((None, "") if library is None else (library / first.median_s, f"{library / first.median_s:.2f}×"))),
    )


def _series(row: Any) -> str:
    return series_name(row.algorithm, row.transport, row.backend, row.evidence, row.origin)


def _slower(first: Any, second: Any) -> tuple[float | None, str]:
    if second is None:
        return None, ""
    extra = second.median_s / first.median_s - 1
    return extra, f"{units.digits(extra * 100, 2)} %"


def how_sure(first: Any, second: Any) -> str:
    """`clear`, `cannot tell` (see `statistics.faster`), or `alone` (no rival)."""
    if second is None:
        return "alone"
    by = faster((first.ci95_low_s, first.ci95_high_s), (second.ci95_low_s, second.ci95_high_s))
    return "clear" if by == "first" else "cannot tell"


def _sure(text: str) -> Cell:
    return Cell(text, text, "inconclusive" if text == "cannot tell" else text)


def failures(rows: DataFrame, anchor: str) -> Table | None:
    """The rows that failed or cannot be, with reason and culprit."""
    chosen = rows[rows["verdict"].isin(["FAIL", "INVALID"])]
    if chosen.empty:
        return None
    listed = tuple(
        (
            _mark(row.verdict),
            _text(row.suite),
            _text(_what(row)),
            _text(row.shape or units.size(row.size_bytes)),
            _text(row.reason),
            _text(row.culprit),
            _number(row.wrong, f"{row.wrong}"),
            _text(row.host),
            _evidence(row),
        )
        for row in lines(chosen)
    )
    heads = _heads("Verdict", "Suite", "What", "Size", "Reason", "Culprit", "#Wrong elements", "Host", "Evidence")
    return _table(anchor, "Rows that failed, or that cannot be", heads, listed)


def _what(row: Any) -> str:
    parts = (row.name, row.algorithm, row.backend, row.dtype, row.op, row.placement.replace("_", " "))
    return " ".join(part for part in parts if part)


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
        head = (_text(backend), Cell(text, text, mark), _text(note), _text(what), _mark(verdict, "not judged"))
        figures = (_number(worst, units.digits(worst, 2)), _number(len(group), str(len(group))))
        listed.append((*head, *figures, _text(suite)))
    heads = _heads("Back end", "Evidence", "How, and why", "What", "Verdict", "#Worst error / bound", "#Rows", "Suite")
    return _table(anchor, "Not measured on this machine's own hardware", heads, tuple(listed))


def backends(run: Run, anchor: str) -> Table | None:
    """The back ends of the run, their mode and the reason."""
    listed = run.environment.get("backends")
    if not isinstance(listed, list) or not listed:
        return None
    listed = tuple(
        (_text(row.get("backend")), _mark(row.get("mode")), _text(row.get("version")), _text(row.get("reason")))
        for row in listed
        if isinstance(row, dict)
    )
    return _table(
        anchor,
        "Back ends: what runs natively, what is simulated",
        _heads("Back end", "Mode", "Version", "Reason"),
        listed,
    )


def everything(rows: DataFrame, anchor: str) -> Table | None:
    """All rows, so that every point of every figure can be read as text."""
    if rows.empty:
        return None
    listed = tuple(
        (
            _text(row.suite),
            _text(_what(row)),
            Cell(row.shape or units.size(row.size_bytes), float(row.size_bytes)),
            _number(row.ranks, str(row.ranks)),
            *_timing(row),
            _number(row.n, f"{row.n:,}"),
            _number(row.busbw if row.busbw is not None else row.bytes_per_s, _rate(row)),
            _number(row.wrong, f"{row.wrong}"),
            _mark(row.verdict, "not judged"),
            _evidence(row),
            _text(row.reason),
        )
        for row in lines(rows)
    )
    heads = _heads(
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
    )
    return _table(anchor, "All rows; GB/s is bus bandwidth for collectives, memory traffic for kernels", heads, listed)


def _rate(row: Any) -> str:
    return units.giga(row.busbw if row.busbw is not None else row.bytes_per_s)


def sample_units(rows: DataFrame) -> Sequence[str]:
    """What one sample was, in the words of the rows."""
    return [unit for unit in dict.fromkeys(rows["sample_unit"]) if unit]
