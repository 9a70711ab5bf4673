"""Cells, heads and tables of the report: what is shown, and the number or text by which a column sorts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clusterbench.results.report import units
from clusterbench.results.statistics import half_width


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
    behind: tuple[tuple[int, ...], ...] = ()
    """The measurements (by the index of the frame) that each row stands for, by which a page filters it; empty where
    rows stand for none."""


def text_cell(value: Any) -> Cell:
    """Text; nothing where it is missing or empty."""
    text = "" if value is None or value != value else str(value)
    return Cell(text or units.NOTHING, text)


def number_cell(value: Any, text: str) -> Cell:
    """A number, shown as `text`; nothing where it is missing."""
    missing = value is None or value != value
    return Cell(units.NOTHING if missing else text, "" if missing else float(value))


def size_cell(size_bytes: int) -> Cell:
    """A size."""
    return number_cell(size_bytes, units.size(size_bytes))


def mark_cell(value: Any, otherwise: str = units.NOTHING) -> Cell:
    """A verdict or a mode as a badge."""
    text = value if isinstance(value, str) and value else ""
    return Cell(text or otherwise, text, text.lower())


def evidence_cell(row: Any) -> Cell:
    """Where a row comes from, as a badge."""
    text = row.evidence if row.origin == "own" else f"{row.evidence}, {row.origin}"
    return Cell(text, text, row.evidence if row.origin == "own" else "imported")


def heads(*names: str) -> tuple[Head, ...]:
    """Heads from names; a leading # marks a column of numbers."""
    return tuple(Head(name.removeprefix("#"), name.startswith("#")) for name in names)


def timing_cells(row: Any) -> tuple[Cell, Cell]:
    """The median of a row and the half-width of its interval."""
    return (
        number_cell(row.median_s, units.time(row.median_s)),
        number_cell(
            half_width(row.median_s, row.ci95_low_s, row.ci95_high_s),
            units.spread(row.median_s, row.ci95_low_s, row.ci95_high_s),
        ),
    )


def table_of(
    anchor: str,
    caption: str,
    columns: tuple[Head, ...],
    rows: tuple[tuple[Cell, ...], ...],
    behind: Iterable[Sequence[int]] = (),
) -> Table:
    """A table without the columns in which no row has anything."""
    kept = [i for i in range(len(columns)) if any(row[i].sort != "" for row in rows)]
    cells = tuple(tuple(row[i] for i in kept) for row in rows)
    return Table(anchor, caption, tuple(columns[i] for i in kept), cells, tuple(tuple(found) for found in behind))
