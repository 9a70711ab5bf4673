"""Curves of time over size from measurements, our own or imported: what `predictors.size_curve` is given rows for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clusterbench.collectives.predictors.size_curve import HeldOut, Pair, held_out_table
from clusterbench.results.importing import import_file
from clusterbench.results.record import Measurement


def measured_pairs(rows: Iterable[Measurement]) -> dict[str, list[Pair]]:
    """Sizes in bytes and median times in seconds of each collective, in the order of the rows.

    Where there are several algorithms, transports or numbers of ranks, the keys say which: `all_reduce, ring, 16
    ranks`. Both placements go together. Rows without a time are left out.
    """
    timed = [row for row in rows if row.median_s and row.size_bytes and row.suite in ("collectives", "point-to-point")]
    varying = [
        name for name in ("algorithm", "transport", "ranks")
        if any(len({getattr(row, name) for row in timed if row.name == one}) > 1 for one in {row.name for row in timed})
    ]  # fmt: skip
    found: dict[str, list[Pair]] = {}
    for row in timed:
        words = [row.name, *(f"{getattr(row, name)}{' ranks' * (name == 'ranks')}" for name in varying)]
        found.setdefault(", ".join(words), []).append((float(row.size_bytes), float(row.median_s or 0.0)))
    return found


def calibration_of_file(path: Path) -> list[HeldOut]:
    """The curves of a file of another tool's measurements, and how well they predict the sizes held out.

    Raises `importing.ImportedFileError`, and `size_curve.CurveError` where there is too little in it.
    """
    return held_out_table(measured_pairs(import_file(path).measurements))
