"""The 95 % interval of the median at the sample where the rules stop: how often it holds the true median.

Stopping where the interval happens to be narrow takes some of the coverage away, and so do neighbours that are alike.
"""

from __future__ import annotations

import numpy as np
from interval_trials import coverage

from clusterbench.results.statistics import summarise


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
