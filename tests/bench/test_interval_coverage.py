"""The 95 % interval of the median at the sample where the rules stop: how often it holds the true median.

Stopping where the interval happens to be narrow takes some of the coverage away, and so do neighbours that are alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from clusterbench.bench.sampling import Block, Rules, sample
from clusterbench.results.statistics import median_interval, median_ranks, summarise

TRIALS = 1000
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


def coverage(likeness: float, seed: int) -> tuple[float, float]:
    """Shares of the trials whose interval holds the median: ours, and that which takes samples for independent."""
    rng = np.random.default_rng(seed)
    ours = independent = 0
    for _ in range(TRIALS):
        seconds = stopped(likeness, rng)
        interval, ranks = median_interval(seconds), median_ranks(len(seconds))
        assert interval is not None
        assert ranks is not None
        ordered = np.sort(seconds)
        ours += interval[0] <= 1.0 <= interval[1]
        independent += bool(ordered[ranks[0]] <= 1.0 <= ordered[ranks[1]])
    return ours / TRIALS, independent / TRIALS


def test_independent_samples_keep_their_coverage_where_sampling_stops() -> None:
    ours, _ = coverage(0.0, 1)
    assert 0.93 <= ours <= 0.985


def test_samples_that_resemble_their_neighbours_get_a_wider_interval() -> None:
    ours, independent = coverage(0.8, 2)
    assert ours >= 0.85
    assert ours >= independent + 0.05


def test_a_burst_half_way_keeps_sampling_going() -> None:
    quiet = np.tile([0.999, 1.001], 20)
    burst = np.concatenate((quiet[:20], 1.05 * quiet[20:]))
    mixed = np.ravel(np.column_stack((quiet[:20], 1.05 * quiet[20:])))
    assert sorted(burst) == sorted(mixed)
    wide, narrow = summarise(burst).half_width, summarise(mixed).half_width
    assert wide is not None
    assert narrow is not None
    assert wide > 0.02
    assert wide >= narrow
