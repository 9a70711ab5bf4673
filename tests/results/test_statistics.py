"""The statistics keep what they promise, on data whose truth is known. Every random test has its seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from clusterbench.results.statistics import (
    MIN_SAMPLES_CI95,
    Ratio,
    bootstrap_ratio,
    effective_count,
    faster,
    half_width,
    median_interval,
    median_ranks,
    median_resamples,
    paired_ratio,
    summarise,
)

RATIOS = st.floats(0.2, 5.0)


@pytest.mark.parametrize("n", [6, 15, 40, 101])
def test_the_interval_covers_the_true_median_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(n)
    samples = rng.lognormal(0.0, 0.5, (2000, n))  # its median is 1
    intervals = [median_interval(row) for row in samples]
    covered = np.mean([low <= 1.0 <= high for low, high in filter(None, intervals)])
    assert 0.94 <= covered <= 0.99


def test_too_few_samples_give_no_interval() -> None:
    assert median_interval(np.arange(MIN_SAMPLES_CI95 - 1.0)) is None
    assert median_interval(np.arange(MIN_SAMPLES_CI95 + 0.0)) == (0.0, 5.0)


@given(st.integers(6, 3000))
def test_the_ranks_enclose_the_middle_evenly(n: int) -> None:
    ranks = median_ranks(n)
    assert ranks is not None
    assert 0 <= ranks[0] < (n - 1) / 2 < ranks[1] == n - 1 - ranks[0]


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.8, 0.95, 0.99, 0.999999]))
def test_the_ranks_are_the_innermost_that_the_whole_binomial_distribution_allows(n: int, confidence: float) -> None:
    outside = binom.cdf(np.arange(n // 2 + 1), n, 0.5)
    low = int(np.count_nonzero(outside <= (1 - confidence) / 2))
    assert median_ranks(n, confidence) == (None if low == 0 else (low - 1, n - low))


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=150))
def test_a_summary_gives_only_what_its_samples_can_tell(values: list[float]) -> None:
    summary = summarise(np.array(values))
    assert (summary.ci95_low_s is None) == (len(values) < 6)
    assert (summary.p95_s is None) == (len(values) < 20)
    assert (summary.p99_s is None) == (len(values) < 100)
    assert summary.min_s <= summary.median_s <= max(values)
    if summary.ci95_low_s is not None and summary.ci95_high_s is not None:
        assert summary.ci95_low_s <= summary.median_s <= summary.ci95_high_s


@pytest.mark.parametrize(
    ("value", "low", "high", "change"),
    [
        (1.0, 0.99, 1.01, "same"),
        (1.015, 1.012, 1.018, "same"),
        (1.05, 1.01, 1.09, "worse"),
        (1.05, 0.99, 1.12, "cannot tell"),
        (1.015, 1.001, 1.04, "cannot tell"),
        (0.9, 0.85, 0.95, "better"),
        (0.985, 0.96, 0.999, "cannot tell"),
        (1.5, None, None, "cannot tell"),
    ],
)
def test_the_rule_of_the_four_changes(value: float, low: float | None, high: float | None, change: str) -> None:
    assert Ratio(value, low, high).change(0.02) == change


@given(RATIOS, RATIOS, RATIOS, st.floats(0.001, 0.5))
def test_swapping_a_and_b_swaps_better_and_worse(x: float, y: float, z: float, tolerance: float) -> None:
    low, value, high = sorted((x, y, z))
    opposite = {"better": "worse", "worse": "better"}
    there = Ratio(value, low, high).change(tolerance)
    back = Ratio(1 / value, 1 / high, 1 / low).change(tolerance)
    edges = (low, high, value, 1 / low, 1 / high, 1 / value)
    if all(abs(edge / limit - 1) > 1e-9 for edge in edges for limit in (1, 1 + tolerance, 1 / (1 + tolerance))):
        assert back == opposite.get(there, there)


def test_resampled_medians_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(3)
    ordered = np.sort(rng.lognormal(0.0, 0.3, 51))
    samples = ordered[np.arange(51) * 25 % 51]  # neighbours on opposite sides of the median: each counts in full
    plain = np.median(rng.choice(samples, (20_000, 51)), axis=1)
    quick = median_resamples(samples, (7,), 20_000)
    for q in (2.5, 25, 50, 75, 97.5):
        assert np.percentile(quick, q) == pytest.approx(np.percentile(plain, q), rel=0.03)


def test_samples_that_drift_count_for_less_than_independent_ones() -> None:
    rng = np.random.default_rng(5)
    independent = rng.normal(1.0, 0.01, 1600)
    drifting = 1.0 + 0.01 * np.repeat(rng.normal(size=32), 50)
    assert effective_count(independent) > 800
    assert effective_count(drifting) < 200
    assert effective_count(np.ones(100)) == 100


def test_the_interval_is_wider_where_samples_drift_and_never_narrower_than_of_independent_ones() -> None:
    rng = np.random.default_rng(17)
    drifting = np.sort(rng.normal(1.0, 0.01, 200))
    shuffled = rng.permutation(drifting)
    for samples in (drifting, shuffled):
        interval, ranks = median_interval(samples), median_ranks(200)
        assert interval is not None
        assert ranks is not None
        assert interval[0] <= drifting[ranks[0]]
        assert interval[1] >= drifting[ranks[1]]
    there, mixed = summarise(drifting).half_width, summarise(shuffled).half_width
    assert there is not None
    assert mixed is not None
    assert there > 2 * mixed


@given(st.lists(st.floats(1e-6, 1.0), min_size=6, max_size=60))
def test_samples_count_for_at_most_their_number_and_their_interval_is_one_of_samples(values: list[float]) -> None:
    samples = np.array(values)
    assert 1 <= effective_count(samples) <= len(values)
    low, high = median_interval(samples) or (None, None)
    assert low in values
    assert high in values


def test_the_half_width_is_the_longer_arm() -> None:
    assert half_width(2.0, 1.9, 2.3) == pytest.approx(0.15)
    assert half_width(2.0, 2.0, 2.0) == half_width(0.0, 0.0, 0.0) == 0
    assert half_width(0.0, 0.0, 1.0) == np.inf
    assert half_width(2.0, None, None) is None
    assert summarise(np.ones(5)).half_width is None
    assert summarise(np.array([1.0, 2, 3, 4, 5, 6, 9])).half_width == pytest.approx(5 / 4)


def test_the_faster_of_two_ends_before_the_other_begins() -> None:
    assert faster((1.0, 2.0), (2.1, 3.0)) == "first"
    assert faster((2.1, 3.0), (1.0, 2.0)) == "second"
    assert faster((1.0, 2.0), (2.0, 3.0)) == faster((None, None), (2.0, 3.0)) == "cannot tell"
    assert faster((1.0, 2.0), (3.0, None)) == "cannot tell"


def test_equal_samples_are_seldom_called_different_and_a_real_change_is_found() -> None:
    rng = np.random.default_rng(11)

    def change(slowdown: float) -> str:
        a, b = rng.lognormal(0, 0.05, 60), slowdown * rng.lognormal(0, 0.05, 60)
        spread = median_resamples(a, (0,)), median_resamples(b, (1,))
        return bootstrap_ratio(*spread, float(np.median(b) / np.median(a))).change(0.02)

    equal = [change(1.0) for _ in range(500)]
    slower = [change(1.1) for _ in range(100)]
    assert sum(found in ("better", "worse") for found in equal) / 500 <= 0.065
    assert slower.count("worse") >= 95


def test_pairs_see_a_change_through_noise_that_both_sides_share() -> None:
    rng = np.random.default_rng(13)
    shared = rng.lognormal(0.0, 0.02, 30)
    ratio = paired_ratio(shared, 1.05 * shared * rng.normal(1, 0.001, 30), rng)
    assert ratio.low is not None
    assert ratio.change() == "worse"
    assert paired_ratio(shared[:5], shared[:5], rng).low is None
