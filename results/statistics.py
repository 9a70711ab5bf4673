"""Distribution-free statistics of samples: the median, its interval, and the comparison of two sets.

No normality is assumed anywhere: run times are bounded below and have long tails
(Hoefler and Belli, "Scientific Benchmarking of Parallel Computing Systems", SC'15, doi 10.1145/2807591.2807644).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_SAMPLES_CI95 = 6
"""Below 6 samples no pair of order statistics covers the median with 95 % (2 · 2^-6 = 3.1 %)."""
MIN_SAMPLES_P99 = 100
"""Below 100 samples the 99th percentile is just the maximum."""
MIN_SAMPLES_P95 = 20
_Z95 = 1.959964


@lru_cache(maxsize=4096)
def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int] | None:
    """0-based positions of the order statistics that enclose the median with at least `confidence`.

    The number of samples below the median is Binomial(n, 1/2), whatever the distribution
    (David and Nagaraja, "Order Statistics", 3rd ed., section 7.1). None where n is too small for any pair.
    """
    from scipy.special import bdtr, ndtri  # scipy.stats would cost every rank 60 MB

    tail = (1 - confidence) / 2
    # The normal distribution is less than one position off at such tails, so that few of the binomial's are computed.
    near = int(n / 2 + ndtri(tail) * np.sqrt(n) / 2)
    first = max(0, near - 3)
    outside = bdtr(np.arange(first, min(near + 3, n // 2) + 1), n, 0.5)  # of k: at most k samples lie below the median
    low = first + int(np.count_nonzero(outside <= tail))
    return None if low == 0 else (low - 1, n - low)


def median(samples: NDArray[np.float64]) -> float:
    """The median, as NumPy's own but in a tenth of its time where samples are few; there is at least one."""
    return float(_medians(samples[None])[0])


def _medians(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    upper = samples.shape[1] // 2
    lower = upper - 1 + samples.shape[1] % 2
    ordered = np.partition(samples, (lower, upper), axis=1)
    middles: NDArray[np.float64] = (ordered[:, lower] + ordered[:, upper]) / 2
    return middles


def median_interval(samples: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median by order statistics, or None where there are too few samples.

    `samples` are in the order taken, as their likeness to their neighbours counts: the distance of the two positions
    from the middle is that of independent samples (`median_ranks`) times sqrt(n / `effective_count`), the factor by
    which the standard deviation of the number below the median grows. So the interval is never narrower than that of
    independent samples, and at its widest it is all that was seen. The same samples give the same interval everywhere.
    """
    n = len(samples)
    ranks = median_ranks(n, confidence)
    if ranks is None:
        return None
    middle = (n - 1) / 2
    reach = (middle - ranks[0]) * np.sqrt(n / effective_count(samples))
    low = min(ranks[0], max(0, int(np.floor(middle - reach))))
    ordered = np.partition(samples, (low, n - 1 - low))
    return float(ordered[low]), float(ordered[n - 1 - low])


def effective_count(samples: NDArray[np.float64]) -> float:
    """How many independent samples the samples, in the order taken, are worth for their median: 1 to their number.

    Times drift and come in bursts, so neighbours resemble each other, and an interval that takes them for independent
    is too narrow. What decides the variance of a median is on which side of it each sample lies. The sum of the sides
    (-1 or 1, 0 on the median itself) over every window of m = sqrt(n) neighbours is taken; its variance, divided by
    that of independent samples, is the factor by which n counts for less (overlapping batch means: Meketon and
    Schmeiser, WSC 1984; Flegal and Jones, Annals of Statistics 38(2), 2010). It rests on few windows, 1.5 (n/m - 1)
    degrees of freedom, so it is multiplied by the square of Student's quantile over the normal one.

    All sums are of integers, hence exact, so that all ranks of a run that sample together find the same number.
    """
    return float(effective_counts(samples[None])[0])


def effective_counts(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """`effective_count` of each row of samples, of shape (rows, n)."""
    rows, n = samples.shape
    if n < MIN_SAMPLES_CI95:
        return np.full(rows, float(n))
    middles = _medians(samples)[:, None]
    sides = (samples > middles).view(np.int8) - (samples < middles).view(np.int8)
    off_median = np.count_nonzero(sides, axis=1)
    size = int(np.sqrt(n))
    running = np.zeros((rows, n + 1), np.int64)
    np.cumsum(sides, axis=1, dtype=np.int64, out=running[:, 1:])
    sums = running[:, size:] - running[:, :-size]
    windows = n - size + 1
    mean = size * running[:, -1] / n
    squares = np.sum(sums * sums, axis=1) - 2 * mean * np.sum(sums, axis=1) + windows * mean**2
    variance = squares * n / (windows * (n - size))
    factor = _few_windows(n, size) * variance / (size * np.maximum(off_median, 1) / n)
    counts: NDArray[np.float64] = n / np.clip(np.where(off_median == 0, 1.0, factor), 1.0, float(n))
    return counts


@lru_cache(maxsize=4096)
def _few_windows(n: int, size: int) -> float:
    """What the uncertainty of a variance from overlapping windows costs an interval, as a factor of the variance."""
    from scipy.special import stdtrit

    return float((stdtrit(1.5 * (n / size - 1), 0.975) / _Z95) ** 2)


def half_width(median_s: float | None, low_s: float | None, high_s: float | None) -> float | None:
    """The longer arm of an interval as a share of its median: 0.02 is ±2 %. None without an interval."""
    if median_s is None or low_s is None or high_s is None:
        return None
    longer_s = max(median_s - low_s, high_s - median_s)
    if longer_s == 0:
        return 0.0
    return longer_s / median_s if median_s > 0 else float("inf")


Faster = Literal["first", "second", "cannot tell"]


def faster(first: tuple[float | None, float | None], second: tuple[float | None, float | None]) -> Faster:
    """Which of two times is the shorter, by their 95 % intervals (low, high): one must end before the other begins.

    `cannot tell` where they overlap, or one is missing. Two intervals that overlap may still differ significantly;
    `bootstrap_ratio` is sharper, where the raw samples are at hand.
    """
    low_1, high_1 = first
    low_2, high_2 = second
    if low_1 is None or high_1 is None or low_2 is None or high_2 is None:
        return "cannot tell"
    if high_1 < low_2:
        return "first"
    return "second" if high_2 < low_1 else "cannot tell"


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one row; seconds. None where the samples are too few for the figure to mean anything."""

    n: int
    median_s: float
    min_s: float
    mean_s: float
    ci95_low_s: float | None
    ci95_high_s: float | None
    p95_s: float | None
    p99_s: float | None

    @property
    def half_width(self) -> float | None:
        """The longer arm of the interval as a share of the median; None without an interval."""
        return half_width(self.median_s, self.ci95_low_s, self.ci95_high_s)


def summarise(samples: NDArray[np.float64]) -> Summary:
    """Summary of at least one sample, in seconds, in the order taken."""
    n = len(samples)
    interval = median_interval(samples)
    p95_s, p99_s = np.percentile(samples, (95, 99)).tolist()
    return Summary(
        n=n,
        median_s=median(samples),
        min_s=float(np.min(samples)),
        mean_s=float(np.mean(samples)),
        ci95_low_s=None if interval is None else interval[0],
        ci95_high_s=None if interval is None else interval[1],
        p95_s=p95_s if n >= MIN_SAMPLES_P95 else None,
        p99_s=p99_s if n >= MIN_SAMPLES_P99 else None,
    )


# Comparison of two sets of times

RESAMPLES = 4_000
"""Resamples of a bootstrap: the ends of a 95 % interval then move by less than a tenth of its width."""
DEFAULT_TOLERANCE = 0.02
"""A change of less than this is not worth a person's time; the same share as the default precision of sampling."""

Change = Literal["better", "worse", "same", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """time of B / time of A: over 1 means that B is slower. The interval is None where there is too little to tell."""

    value: float
    low: float | None
    high: float | None

    def change(self, tolerance: float = DEFAULT_TOLERANCE) -> Change:
        """What the ratio says about B, with tolerance t, in this order:

        same         the interval lies within 1/(1+t) .. 1+t
        worse        the interval lies above 1, and the ratio above 1+t
        better       the interval lies below 1, and the ratio below 1/(1+t)
        cannot tell  anything else: no interval, or one too wide for its place

        So a difference within the tolerance is never better or worse, however sure it is.
        """
        if self.low is None or self.high is None:
            return "cannot tell"
        smallest, largest = 1 / (1 + tolerance), 1 + tolerance
        if smallest <= self.low and self.high <= largest:
            return "same"
        if self.low > 1 and self.value > largest:
            return "worse"
        if self.high < 1 and self.value < smallest:
            return "better"
        return "cannot tell"


def median_resamples(
    samples: NDArray[np.float64],
    stream: tuple[int, ...] = (0,),
    resamples: int = RESAMPLES,
    effective: float | None = None,
) -> NDArray[np.float64]:
    """Medians of bootstrap resamples, without making them.

    The median of n uniform variates is Beta((n+1)/2, (n+1)/2), and a resample's median is the sample's quantile at such
    a variate (Efron, Annals of Statistics 7(1), 1979, section 3). n is `effective`, by default `effective_count`. Sets
    that are compared with each other need different streams of random numbers; the same stream gives the same resamples
    again.
    """
    count = effective_count(samples) if effective is None else effective
    chosen: NDArray[np.float64] = np.sort(samples)[_median_places(int(count), len(samples), stream, resamples)]
    return chosen


@lru_cache(maxsize=256)
def _median_places(n: int, samples: int, stream: tuple[int, ...], resamples: int) -> NDArray[np.int64]:
    """Places of resampled medians in the order of the samples; drawn once, as thousands of rows have the same few n."""
    drawn = np.random.default_rng([n, *stream]).beta((n + 1) / 2, (n + 1) / 2, resamples)
    places = np.minimum((drawn * samples).astype(np.int64), samples - 1)
    places.flags.writeable = False
    return places


def percentile_interval(
    values: NDArray[np.float64], confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high percentile of resampled values, along the last axis."""
    resamples = values.shape[-1]
    outside = int(resamples * (1 - confidence) / 2)
    ordered = np.sort(values, axis=-1)  # faster than a partition, as it uses wide registers
    return ordered[..., outside], ordered[..., resamples - 1 - outside]


def bootstrap_ratio(
    medians_a: NDArray[np.float64],
    medians_b: NDArray[np.float64],
    value: float,
    confidence: float = 0.95,
) -> Ratio:
    """The ratio `value` with its percentile interval from the resampled medians of both sides (same length)."""
    low, high = map(float, percentile_interval(medians_b / medians_a, confidence))
    return Ratio(value, min(low, value), max(high, value))


def paired_ratio(
    a_s: NDArray[np.float64], b_s: NDArray[np.float64], rng: np.random.Generator, confidence: float = 0.95
) -> Ratio:
    """Ratio of medians of interleaved units: `a_s[i]` and `b_s[i]` ran next to each other and are resampled together.

    What slowed both of a pair cancels in this way. Below 6 pairs the interval is None.
    """
    value = float(np.median(b_s) / np.median(a_s))
    if len(a_s) < MIN_SAMPLES_CI95:
        return Ratio(value, None, None)
    chosen = rng.integers(0, len(a_s), (RESAMPLES, len(a_s)))
    return bootstrap_ratio(np.median(a_s[chosen], axis=1), np.median(b_s[chosen], axis=1), value, confidence)
