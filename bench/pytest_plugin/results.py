"""What a benchmark of a test came to: rows with their samples, or why it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import float64
    from numpy.typing import NDArray

    from clusterbench.results.record import Measurement


class BenchmarkError(AssertionError):
    """Why a test fails: wrong data, ranks that ended, a regression, or a request that cannot be served."""


@dataclass(frozen=True, slots=True)
class Result:
    """A row that was measured."""

    row: Measurement
    samples: NDArray[float64] | None
    """Seconds; None where it was not timed."""
    is_kept: bool = False
    """Whether a journal of the session has it already: ranks write their own."""


def middle(results: Sequence[Result]) -> Measurement:
    """Of several launches the row with the middle time."""
    rows = sorted((result.row for result in results), key=lambda row: row.median_s or 0.0)
    return rows[len(rows) // 2]


def refuse_wrong(results: Sequence[Result]) -> None:
    """Raise `BenchmarkError` where data are wrong, or faster than is possible."""
    for result in results:
        row = result.row
        if row.verdict in ("FAIL", "INVALID"):
            what = " ".join(filter(None, (row.name, row.algorithm, row.dtype, row.shape)))
            raise BenchmarkError(f"{what}: {row.verdict}: {row.reason}")
