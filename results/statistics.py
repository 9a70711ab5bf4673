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


@lru_cache(maxsize=4096)
def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int] | None:
    """0-based positions of the order statistics that enclose the median with at least `confidence`.

    The number of samples below the median is Binomial(n, 1/2), whatever the distribution
    (David and Nagaraja, "Order Statistics", 3rd ed., section 7.1). None where n is too small for any pair.
    """
    from scipy.special import bdtr  # the binomial distribution; scipy.stats would cost every rank 60 MB

    tail = (1 - confidence) / 2
    outside = bdtr(np.arange(n // 2 + 1), n, 0.5)  # outside[k]: at most k samples lie below the median
    low = int(np.count_nonzero(outside <= tail))
    return None if low == 0 else (low - 1, n - low)


def median_interval(samples: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median by order statistics, or None where there are too few samples."""
    ranks = median_ranks(len(samples), confidence)
    if ranks is None:
        return None
    ordered = np.sort(samples)
    return float(ordered[ranks[0]]), float(ordered[ranks[1]])


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


def summarise(samples: NDArray[np.float64]) -> Summary:
    """Summary of at least one sample, in seconds."""
    n = len(samples)
    interval = median_interval(samples)
    return Summary(
        n=n,
        median_s=float(np.median(samples)),
        min_s=float(np.min(samples)),
        mean_s=float(np.mean(samples)),
        ci95_low_s=None if interval is None else interval[0],
        ci95_high_s=None if interval is None else interval[1],
        p95_s=float(np.percentile(samples, 95)) if n >= MIN_SAMPLES_P95 else None,
        p99_s=float(np.percentile(samples, 99)) if n >= MIN_SAMPLES_P99 else None,
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


def effective_count(samples: NDArray[np.float64]) -> float:
    """How many independent samples the samples, in the order taken, are worth for their median; at most their number.

    Times drift and come in bursts, so neighbours resemble each other, and an interval that takes them for independent
    is too narrow. The share of samples above the median is averaged over batches of sqrt(n) neighbours; its variance,
    divided by that of independent samples, is the factor (method of batch means: Flegal and Jones, Annals of
    Statistics 38(2), 2010, applied to the indicator that decides the variance of a quantile).
    """
    n = len(samples)
    size = int(np.sqrt(n))
    if size < 4:
        return float(n)  # too few batches to see anything
    batches = n // size
    above = (samples > np.median(samples)).astype(np.float64)
    spread = float(np.var(above))
    if spread == 0:
        return float(n)
    means = above[: batches * size].reshape(batches, size).mean(axis=1)
    return n / max(1.0, size * float(np.var(means, ddof=1)) / spread)


def median_resamples(
    samples: NDArray[np.float64], stream: tuple[int, ...] = (0,), resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Medians of bootstrap resamples, without making them.

    The median of n uniform variates is Beta((n+1)/2, (n+1)/2), and a resample's median is the sample's quantile at such
    a variate (Efron, Annals of Statistics 7(1), 1979, section 3). n is `effective_count`. Sets that are compared with
    each other need different streams of random numbers; the same stream gives the same resamples again.
    """
    places = _median_places(int(effective_count(samples)), stream, resamples) * len(samples)
    chosen: NDArray[np.float64] = np.sort(samples)[np.minimum(places.astype(np.int64), len(samples) - 1)]
    return chosen


@lru_cache(maxsize=256)
def _median_places(n: int, stream: tuple[int, ...], resamples: int) -> NDArray[np.float64]:
    """Places of resampled medians between 0 and 1; drawn once, as thousands of rows have the same few numbers n."""
    places = np.random.default_rng([n, *stream]).beta((n + 1) / 2, (n + 1) / 2, resamples)
    places.flags.writeable = False
    return places


def bootstrap_ratio(
    medians_a: NDArray[np.float64],
    medians_b: NDArray[np.float64],
    value: float,
    confidence: float = 0.95,
) -> Ratio:
    """The ratio `value` with its percentile interval from the resampled medians of both sides (same length)."""
    outside = int(len(medians_a) * (1 - confidence) / 2)
    ratios = np.partition(medians_b / medians_a, (outside, len(medians_a) - 1 - outside))
    low, high = ratios[outside], ratios[len(medians_a) - 1 - outside]
    return Ratio(value, float(min(low, value)), float(max(high, value)))


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
