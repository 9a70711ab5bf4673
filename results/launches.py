"""Launches of A and B as arrays, for many rows at once: whether they lie in turns, and the interval of their ratio.

The interval is that of a percentile bootstrap over launches. What is inside a launch is not resampled again: its spread
is in the launches' medians already, and resampling both levels overstates it (Davison and Hinkley, "Bootstrap Methods
and their Application", 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.significance import LEAST, Design, Times
from clusterbench.results.statistics import RESAMPLES, Ratio, percentile_interval

_AT_ONCE = 1280
"""Launches whose resamples are in memory together: some megabytes, which stay in the cache."""
_NETWORK = 32
"""Launches up to which a network of comparisons sorts faster than NumPy does row by row."""


def interleaved(a_at_s: Times, b_at_s: Times) -> NDArray[np.bool_]:
    """Of each row whether its launches were started in turns: of the first two of all, of the next two and so on
    one is of A and one of B. Both arrays hold starts, of shape (rows, launches), NaN where one is unknown.

    Rows with an unknown start, with other numbers of launches on the two sides, or with fewer than the signed-rank test
    needs, are not.
    """
    rows, launches = a_at_s.shape
    if launches != b_at_s.shape[1] or launches < LEAST["interleaved"]:
        return np.zeros(rows, np.bool_)
    starts = np.concatenate((a_at_s, b_at_s), axis=1)
    of_b = np.argsort(starts, axis=1, kind="stable") >= launches
    in_turns: NDArray[np.bool_] = np.all(of_b[:, ::2] != of_b[:, 1::2], axis=1) & ~np.isnan(starts).any(axis=1)
    return in_turns


def ratio_intervals(a_s: Times, b_s: Times, design: Design, seed: int) -> tuple[NDArray[np.float64], ...]:
    """Ratios of medians B / A with their 95 % intervals: value, low, high, one a row. Arguments as of `p_values`."""
    value = np.median(b_s, axis=1) / np.median(a_s, axis=1)
    low, high = np.empty_like(value), np.empty_like(value)
    resampled = _pairs(a_s, b_s, seed) if design == "interleaved" else _sides(a_s, b_s, seed)
    for rows, medians_a, medians_b in resampled:
        low[rows], high[rows] = percentile_interval(medians_b / medians_a)
    return value, np.minimum(low, value), np.maximum(high, value)


def geometric_mean(a_s: Times, b_s: Times, seed: int) -> Ratio:
    """The geometric mean over rows of the ratios of medians B / A, with its 95 % interval.

    Launches are in pairs, and those of one column ran next to each other for all rows: they are resampled together, so
    that the interval knows of what slowed all rows of a launch. It is None below as many pairs as the test needs.
    """
    value = float(np.exp(np.mean(np.log(np.median(b_s, axis=1) / np.median(a_s, axis=1)))))
    rows, launches = a_s.shape
    if launches < LEAST["interleaved"]:
        return Ratio(value, None, None)
    total = sum(np.log(of_b / of_a).sum(axis=0) for _, of_a, of_b in _pairs(a_s, b_s, seed))
    low, high = map(float, percentile_interval(np.exp(total / rows)))
    return Ratio(value, min(low, value), max(high, value))


Resampled = Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]
"""Some rows, and the medians of the resamples of both sides, each of shape (rows, RESAMPLES)."""


def _chunks(rows: int, launches: int) -> Iterator[slice]:
    together = max(1, _AT_ONCE // launches)
    for start in range(0, rows, together):
        yield slice(start, start + together)


def _sides(a_s: Times, b_s: Times, seed: int) -> Resampled:
    """The two sides are resampled each for itself; a resample's median is one of the ordered times, or the mean of two.

    Which places in the order these are is the same draw for every row of as many launches.
    """
    a_s, b_s = np.sort(a_s, axis=1), np.sort(b_s, axis=1)
    for rows in _chunks(*a_s.shape):
        yield rows, _at(a_s[rows], (seed, 0)), _at(b_s[rows], (seed, 1))


def _at(ordered: Times, stream: tuple[int, int]) -> NDArray[np.float64]:
    low, high = _middles(ordered.shape[1], stream)
    return (ordered[:, low] + ordered[:, high]) / 2


@lru_cache(maxsize=256)
def _middles(launches: int, stream: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The two places in the middle of each resample; the same one where the number of launches is odd."""
    chosen = np.sort(np.random.default_rng([launches, *stream]).integers(0, launches, (RESAMPLES, launches)), axis=1)
    return chosen[:, (launches - 1) // 2], chosen[:, launches // 2]


def _pairs(a_s: Times, b_s: Times, seed: int) -> Resampled:
    """Pairs are resampled together, so that what slowed both of a pair cancels."""
    launches = a_s.shape[1]
    chosen = np.random.default_rng([launches, seed]).integers(0, launches, (RESAMPLES, launches))
    for rows in _chunks(*a_s.shape):
        yield rows, _median_of(a_s[rows], chosen), _median_of(b_s[rows], chosen)


def _median_of(times_s: Times, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The medians of `times_s[row, chosen[resample]]`, of shape (rows, RESAMPLES).

    Times are compared by their place in the row's order, in one byte each, by a network of comparisons that works on
    all rows and resamples at once (odd-even transposition sort: Habermann, Carnegie Mellon University, 1972).
    """
    launches = times_s.shape[1]
    if launches > _NETWORK:
        medians: NDArray[np.float64] = np.median(times_s[:, chosen], axis=2)
        return medians
    places = np.argsort(np.argsort(times_s, axis=1), axis=1).astype(np.uint8)
    drawn = places[:, chosen.T]
    for turn in range(launches):
        left, right = drawn[:, turn % 2 : launches - 1 : 2], drawn[:, turn % 2 + 1 : launches : 2]
        smaller = np.minimum(left, right)
        np.maximum(left, right, out=right)
        left[...] = smaller
    ordered = np.sort(times_s, axis=1)
    row = np.arange(len(times_s))[:, None]
    middles: NDArray[np.float64] = ordered[row, drawn[:, (launches - 1) // 2]] + ordered[row, drawn[:, launches // 2]]
    return middles / 2
