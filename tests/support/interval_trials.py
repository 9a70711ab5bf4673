"""Trials of the sampling rules on series whose median is known: how often the interval of a measurement holds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from clusterbench.bench.measuring.sampling import Block, Rules, sample
from clusterbench.results.statistics import median_interval, median_ranks

RULES = Rules(precision=0.02, budget_s=3000.0, warmup=1)
"""Samples last a second, so there are 3,000 at most."""


def stopped(likeness: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The samples of one measurement, of median 1; log-normal, 5 %, with correlation `likeness` to the one before."""
    noise = rng.standard_normal(5000)
    noise[1:] *= np.sqrt(1 - likeness**2)
    series = np.exp(0.05 * lfilter([1.0], [1.0, -likeness], noise))
    taken = 0

    def block(samples: int, batch: int) -> Block:
        nonlocal taken
        seconds = series[taken : taken + samples]
        taken += samples
        return Block(seconds, float(seconds.sum()))

    return sample(block, RULES, 1e-9).seconds


def coverage(likeness: float, seed: int, trials: int = 1000) -> tuple[float, float]:
    """Shares of the trials whose interval holds the median: ours, and that which takes samples for independent."""
    rng = np.random.default_rng(seed)
    ours = independent = 0
    for _ in range(trials):
        seconds = stopped(likeness, rng)
        interval, ranks = median_interval(seconds), median_ranks(len(seconds))
        assert interval is not None
        assert ranks is not None
        ordered = np.sort(seconds)
        ours += interval[0] <= 1.0 <= interval[1]
        independent += bool(ordered[ranks[0]] <= 1.0 <= ordered[ranks[1]])
    return ours / trials, independent / trials
