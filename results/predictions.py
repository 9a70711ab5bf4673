"""How far predicted times are from measured ones: |expected / measured - 1| over rows that have both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

LIBRARY = "library"


@dataclass(frozen=True, slots=True)
class PredictionError:
    """Of so many rows the median error and the worst, as shares of the measured times, and where the worst is."""

    rows: int
    median: float
    worst: float
    algorithm: str
    size_bytes: int


def is_predicted(row: Any) -> bool:
    """Whether a row (a measurement, or a line of a frame) has a time measured here and one predicted on a topology.

    What a library is expected to take is the least of all algorithms, a goal and no prediction.
    """
    return bool(
        row.topology and row.expected_s and row.median_s and row.evidence in ("measured", "emulated")
        and row.algorithm.partition(":")[0] != LIBRARY
    )  # fmt: skip


def error_of(row: Any) -> float:
    """Of a row that is predicted."""
    return float(abs(row.expected_s / row.median_s - 1))


def prediction_error(rows: Iterable[Any]) -> PredictionError | None:
    """The error over the rows that are predicted; None where there are none."""
    errors = [(error_of(row), row.algorithm, int(row.size_bytes)) for row in rows if is_predicted(row)]
    if not errors:
        return None
    worst, algorithm, size_bytes = max(errors)
    return PredictionError(len(errors), median(error for error, _, _ in errors), worst, algorithm, size_bytes)
