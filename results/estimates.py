"""What the launches of a point on two sides say: the ratio, its interval, its significance, and what is still needed.

All rows of a comparison are estimated together: by numbers of launches as arrays, and because a p-value means what it
says only beside those of the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.launches import interleaved, ratio_intervals
from clusterbench.results.significance import (
    DESIGNS,
    FALSE_DISCOVERIES,
    LEAST,
    TESTS,
    Design,
    adjusted,
    launches_needed,
    least_launches,
    p_values,
)
from clusterbench.results.statistics import (
    MIN_SAMPLES_CI95,
    RESAMPLES,
    Change,
    Ratio,
    effective_counts,
    median_resamples,
    percentile_interval,
)

Unit = Literal["launch", "sample"]
"""What decides where both sides have a single launch: nothing, or the samples within it."""

_Z95 = 1.959964
_AT_ONCE = 32
"""Rows whose resamples are made together: they fit the cache, which those of thousands do not."""


class Launch(NamedTuple):
    """One row of a point; NaN for a figure that is missing. A tuple, as there are hundreds of thousands of them."""

    median_s: float
    low_s: float
    high_s: float
    exact: bool
    """Computed, not timed: it has no spread."""
    started_s: float
    """Since 1970."""
    samples: NDArray[np.float64] | None
    """Seconds, in the order taken."""
    verdict: str

    @property
    def is_timed(self) -> bool:
        """Whether it has a time."""
        return _is_time(self.median_s)


Launches = Sequence[Launch]
Sides = Sequence[tuple[Launches, Launches]]


@dataclass(slots=True)
class Estimate:
    """What is known of one point. Times are seconds, medians over launches; None where a side has none.

    Filled in steps, as significance is a matter of all rows.
    """

    a_s: float | None
    b_s: float | None
    launches: tuple[int, int]
    ratio: Ratio | None = None
    """None where a side has no time."""
    change: Change = "cannot tell"
    design: Design | None = None
    """How the launches were tested; None where they were not."""
    p: float | None = None
    """Adjusted over all rows; None of what was not tested."""
    needed: int | None = None
    """Launches a side, where nothing can be told."""
    reason: str = ""


@dataclass(slots=True)
class _Tested:
    """Rows that are tested: their p-values, and the spread of their launches."""

    rows: list[int] = field(default_factory=list)
    p: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    """Standard deviation of the logarithms that the test compares; NaN within a launch."""

    def add(self, rows: Sequence[int], p: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
        """Some more rows."""
        self.rows += rows
        self.p += p.tolist()
        self.spread += spread.tolist()


def estimates(
    sides: Sides, tolerance: float, seed: int, unit: Unit, design: Design | None, among: int = 0
) -> list[Estimate]:
    """The estimate of each row from the launches with a time on its two sides; arguments as of `compare.compare`.

    Where no design is given, launches in turns are tested in pairs from as many pairs on as can tell of one row among
    all; below, ranks over both sides, which are as valid, tell more.
    """
    found = [Estimate(_median(a), _median(b), (len(a), len(b))) for a, b in sides]
    tested, few = _Tested(), []
    together: dict[tuple[int, int], list[int]] = {}
    single: list[int] = []
    for i, (a, b) in enumerate(sides):
        row = found[i]
        if row.a_s is None or row.b_s is None:
            continue
        value = row.b_s / row.a_s
        row.ratio = Ratio(value, None, None)
        if all(launch.exact for launch in (*a, *b)):
            row.ratio = Ratio(value, value, value)
            row.change = row.ratio.change(tolerance)
        elif _can_be_tested(row.launches, design):
            together.setdefault(row.launches, []).append(i)
        elif row.launches == (1, 1):
            single.append(i)
        else:
            few.append(i)
    rows_in_all = max(len(single) + len(few) + sum(map(len, together.values())), among)
    pairs_needed = least_launches(FALSE_DISCOVERIES / max(1, rows_in_all), "interleaved")
    for launches, rows in together.items():
        of: Design | None = "independent" if design is None and min(launches) < pairs_needed else design
        _test_launches(found, sides, rows, seed, of, tested)
    _look_inside(found, sides, single, seed, tested if unit == "sample" else None)
    if unit == "launch":
        few += single
    _judge(found, tested, few, tolerance, design, among)
    return found


def _can_be_tested(launches: tuple[int, int], design: Design | None) -> bool:
    if design == "interleaved":
        return launches[0] == launches[1] >= LEAST["interleaved"]
    return min(launches) >= LEAST["independent"]


def _test_launches(
    found: list[Estimate], sides: Sides, rows: list[int], seed: int, design: Design | None, tested: _Tested
) -> None:
    """Interval and test of rows that have the same numbers of launches."""
    started = [np.array([[launch.started_s for launch in sides[i][side]] for i in rows]) for side in (0, 1)]
    medians = [np.array([[launch.median_s for launch in sides[i][side]] for i in rows]) for side in (0, 1)]
    in_turns = np.full(len(rows), design == "interleaved") if design else interleaved(started[0], started[1])
    designs: tuple[tuple[Design, NDArray[np.bool_]], ...] = (("independent", ~in_turns), ("interleaved", in_turns))
    for of_these, chosen in designs:
        if not chosen.any():
            continue
        a_s, b_s = (
            np.take_along_axis(m[chosen], np.argsort(at[chosen], axis=1, kind="stable"), axis=1)
            for m, at in zip(medians, started, strict=True)
        )
        values, low, high = ratio_intervals(a_s, b_s, of_these, seed)
        names = [i for i, use in zip(rows, chosen.tolist(), strict=True) if use]
        for i, *ratio in zip(names, values.tolist(), low.tolist(), high.tolist(), strict=True):
            found[i].ratio, found[i].design = Ratio(*ratio), of_these
        tested.add(names, p_values(a_s, b_s, of_these), _spread(a_s, b_s, of_these))


def _spread(a_s: NDArray[np.float64], b_s: NDArray[np.float64], design: Design) -> NDArray[np.float64]:
    if design == "interleaved":
        of_ratios: NDArray[np.float64] = np.std(np.log(b_s / a_s), axis=1, ddof=1)
        return of_ratios
    pooled: NDArray[np.float64] = np.sqrt(
        (np.var(np.log(a_s), axis=1, ddof=1) + np.var(np.log(b_s), axis=1, ddof=1)) / 2
    )
    return pooled


def _look_inside(found: list[Estimate], sides: Sides, rows: list[int], seed: int, tested: _Tested | None) -> None:
    """The interval of rows with one launch a side, by the samples within; it decides where `tested` is to have them."""
    from scipy.special import ndtr

    alone = [launches[0] for i in rows for launches in sides[i]]
    counts = _effective(alone)
    known: list[int] = []
    widths: list[tuple[float, float, float]] = []
    for start in range(0, len(rows), _AT_ONCE):
        ratios: list[NDArray[np.float64]] = []
        values: list[float] = []
        for place, i in enumerate(rows[start : start + _AT_ONCE], start):
            a, b = (_resamples(alone[2 * place + side], (seed, side), counts[2 * place + side]) for side in (0, 1))
            ratio = found[i].ratio
            if ratio is None or a is None or b is None:
                found[i].reason = f"fewer than {MIN_SAMPLES_CI95} samples"
                continue
            known.append(i)
            values.append(ratio.value)
            ratios.append(b / a)
        if not ratios:
            continue
        lows, highs = (ends.tolist() for ends in percentile_interval(np.stack(ratios)))
        for i, value, low, high in zip(known[-len(ratios) :], values, lows, highs, strict=True):
            width = value, min(low, value), max(high, value)
            found[i].ratio = Ratio(*width)
            found[i].reason = "the interval is that of samples within a launch"
            widths.append(width)
    if tested is None or not known:
        return
    value, low, high = np.log(np.array(widths, np.float64)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(value == 0, 0.0, np.abs(value) / ((high - low) / (2 * _Z95)))
    tested.add(known, 2 * ndtr(-z), np.full(len(known), np.nan))


def _judge(
    found: list[Estimate], tested: _Tested, few: list[int], tolerance: float, design: Design | None, among: int
) -> None:
    """Adjust the p-values over all rows, decide, and say of the rest how many launches it takes."""
    rows = max(len(tested.rows) + len(few), among)
    p = adjusted(np.array(tested.p), among)
    significant = int(np.count_nonzero(p <= FALSE_DISCOVERIES))
    # The level at which one more row would be significant, as the procedure steps up.
    level = FALSE_DISCOVERIES * min(significant + 1, rows) / max(rows, 1)
    spread = np.array(tested.spread)
    designs = np.array([found[i].design or "" for i in tested.rows])
    wanted = np.zeros(len(tested.rows), np.int64)
    for each in DESIGNS:
        wanted[designs == each] = launches_needed(spread[designs == each], tolerance, level, each)
    for i, adjusted_p, enough, width in zip(tested.rows, p.tolist(), wanted.tolist(), tested.spread, strict=True):
        row = found[i]
        row.p = adjusted_p
        change = row.ratio.change(tolerance) if row.ratio else "cannot tell"
        if change in ("better", "worse") and adjusted_p > FALSE_DISCOVERIES:
            change = "cannot tell"
        row.change = change
        if row.design is None or change != "cannot tell":
            continue
        if adjusted_p <= FALSE_DISCOVERIES:
            row.reason = f"differs, but whether by {tolerance * 100:.3g} % is open: the interval is wide"
            continue
        row.needed = max(enough, max(row.launches) + 1)
        row.reason = (
            f"not significant ({TESTS[row.design]}, adjusted over {rows} rows); {row.needed} launches a side show "
            f"a change of {tolerance * 100:.3g} % where they spread by {width * 100:.2g} %"
        )
    of: Design = design or "independent"
    for i in few:
        row = found[i]
        row.needed = least_launches(level, of)
        words = f"{row.launches[0]} launches against {row.launches[1]}, and {TESTS[of]} needs {LEAST[of]} a side"
        if of == "interleaved":
            words += " in pairs"
        if row.needed > LEAST[of]:
            words += f", or {row.needed} to tell of one of {rows} rows"
        row.reason = "; ".join(filter(None, (f"too few launches: {words}", row.reason)))


def _is_time(time_s: float) -> bool:
    return 0 < time_s < inf


def _median(launches: Launches) -> float | None:
    return median([launch.median_s for launch in launches]) if launches else None


def _effective(launches: Launches) -> list[float | None]:
    """How many independent samples each launch is worth; None of those whose samples are not to be used."""
    result: list[float | None] = [None] * len(launches)
    by_length: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
    for i, launch in enumerate(launches):
        samples = launch.samples
        if samples is not None and len(samples) >= MIN_SAMPLES_CI95 and samples.min() > 0:
            by_length.setdefault(len(samples), []).append((i, samples))
    for places in by_length.values():
        counts = effective_counts(np.stack([seconds for _, seconds in places]))
        for (i, _), count in zip(places, counts.tolist(), strict=True):
            result[i] = count
    return result


def _resamples(launch: Launch, stream: tuple[int, int], effective: float | None) -> NDArray[np.float64] | None:
    """Resampled medians of a launch: from raw samples; else from the stored interval, as that of a log-normal."""
    if effective is not None and launch.samples is not None:
        return median_resamples(launch.samples, stream, effective=effective)
    if launch.exact:
        return np.full(RESAMPLES, launch.median_s)
    if _is_time(launch.low_s) and _is_time(launch.high_s):
        spread = abs(float(np.log(launch.high_s / launch.low_s))) / (2 * _Z95)
        return launch.median_s * np.exp(spread * _normals(stream))
    return None


@lru_cache(maxsize=16)
def _normals(stream: tuple[int, int]) -> NDArray[np.float64]:
    drawn = np.random.default_rng(stream).normal(size=RESAMPLES)
    drawn.flags.writeable = False
    return drawn
