"""Comparisons of launches whose truth is known: times by seeded noise, each pair of rows compared for itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.columns import to_frame
from clusterbench.results.compare import Side
from clusterbench.results.estimates import Estimate, Launch, estimates
from clusterbench.results.record import Measurement, Run
from clusterbench.results.significance import Design
from clusterbench.results.statistics import Change


def noisy(seed: int, rows: int, launches: int, noise: float) -> NDArray[np.float64]:
    """Medians of launches around 1, log-normal; shape (rows, launches)."""
    drawn: NDArray[np.float64] = np.exp(noise * np.random.default_rng(seed).standard_normal((rows, launches)))
    return drawn


def side(medians: NDArray[np.float64], name: str = "a", *, starts: Sequence[int] | None = None) -> Side:
    """A side of a comparison: a point a row, a run a launch; `starts` are seconds by launch."""
    runs = [Run(run_id=f"{name}{launch}", started_at="") for launch in range(medians.shape[1])]
    at = ["" if starts is None else _at(starts[launch]) for launch in range(medians.shape[1])]
    rows = [
        Measurement(
            run_id=runs[launch].run_id,
            suite="collectives",
            name="all_reduce",
            size_bytes=row + 1,
            median_s=float(time_s),
            started_at=at[launch],
        )
        for row, launches in enumerate(medians)
        for launch, time_s in enumerate(launches)
    ]
    return Side(tuple(runs), to_frame(rows))


def _at(seconds: int) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def each(
    a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float = 0.02, design: Design | None = None
) -> list[Estimate]:
    """What a comparison says of each pair of rows, as if it were the only one."""

    def launches(medians: NDArray[np.float64]) -> list[Launch]:
        return [Launch(float(time_s), np.nan, np.nan, False, np.nan, None, "") for time_s in medians]

    pairs = [(launches(x), launches(y)) for x, y in zip(a, b, strict=True)]
    return [estimates([pair], tolerance, 0, "launch", design)[0] for pair in pairs]


def changes(
    trials: int, launches: int, noise: float, slowdown: float = 1.0, design: Design = "independent", seed: int = 1
) -> list[Change]:
    """What a comparison says of each of so many pairs of one row, B slower by a factor."""
    a, b = noisy(seed, trials, launches, noise), slowdown * noisy(seed + 1, trials, launches, noise)
    return [row.change for row in each(a, b, design=design)]
