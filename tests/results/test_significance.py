"""The rank tests against plain enumeration, and what they promise on data whose truth is known."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clusterbench.results.launches import interleaved, ratio_intervals
from clusterbench.results.significance import (
    DESIGNS,
    LEAST,
    POWER,
    Design,
    adjusted,
    launches_needed,
    least_launches,
    least_p,
    p_values,
)

TIMES = st.lists(st.floats(0.5, 2.0), min_size=4, max_size=6, unique=True)


def by_enumeration(a: list[float], b: list[float]) -> float:
    """Mann and Whitney's p-value: the share of all ways to deal the times out whose U is as far from the middle."""
    pooled = [*a, *b]
    middle = len(a) * len(b) / 2

    def distance(chosen: tuple[int, ...]) -> float:
        mine = [pooled[i] for i in chosen]
        others = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        return abs(sum(x < y for x in mine for y in others) - middle)

    found = distance(tuple(range(len(a))))
    every = [distance(chosen) for chosen in combinations(range(len(pooled)), len(a))]
    return sum(each >= found for each in every) / len(every)


@settings(max_examples=50)
@given(TIMES, TIMES)
def test_the_test_of_independent_launches_is_that_of_all_ways_to_deal_them_out(a: list[float], b: list[float]) -> None:
    if len({*a, *b}) == len(a) + len(b):
        (p,) = p_values(np.array([a]), np.array([b]), "independent")
        assert p == pytest.approx(by_enumeration(a, b))


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 1.0), min_size=6, max_size=9, unique=True), st.integers(0, 511))
def test_the_test_of_pairs_is_that_of_all_signs(sizes: list[float], signs: int) -> None:
    ranks = 1 + np.argsort(np.argsort(sizes))
    sign = np.array([1 if signs >> i & 1 else -1 for i in range(len(sizes))])
    sizes = [0.01 * rank for rank in ranks.tolist()]  # as they are after exp and log, apart by more than their rounding
    found = abs(int(ranks @ sign))
    every = [abs(int(ranks @ np.array(each))) for each in product((-1, 1), repeat=len(sizes))]
    a = np.ones((1, len(sizes)))
    (p,) = p_values(a, np.exp(sign * np.array(sizes))[None], "interleaved")
    assert p == pytest.approx(np.mean([each >= found for each in every]))


@pytest.mark.parametrize("design", DESIGNS)
def test_equal_times_are_no_difference_and_ties_are_borne(design: Design) -> None:
    a = np.array([[1.0] * 8, [1, 1, 2, 2, 3, 3, 4, 4], [1, 2, 3, 4, 5, 6, 7, 8]])
    equal = p_values(a, a, design)
    assert equal.tolist() == pytest.approx([1.0] * 3)
    assert p_values(a, 10 * a, design)[1] < 0.05


@pytest.mark.parametrize("design", DESIGNS)
def test_the_least_numbers_of_launches_are_those_that_reach_the_level(design: Design) -> None:
    for launches in range(LEAST[design], 12):
        a = np.linspace(1.0, 1.1, launches)[None]
        b = a * np.linspace(1.5, 2.5, launches)
        assert p_values(a, b, design)[0] == pytest.approx(least_p(launches, design))
    assert least_p(LEAST[design], design) <= 0.05 < least_p(LEAST[design] - 1, design)
    assert least_launches(0.05, design) == LEAST[design]
    for level in (0.01, 1e-4):
        least = least_launches(level, design)
        assert least_p(least, design) <= level < least_p(least - 1, design)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40))
def test_adjusted_p_values_select_what_the_step_up_procedure_selects(values: list[float]) -> None:
    p = np.array(values)
    found = adjusted(p)
    ordered = np.sort(p)
    for rate in (0.01, 0.05, 0.3):
        passing = [k for k in range(1, len(p) + 1) if ordered[k - 1] <= rate * k / len(p)]
        if all(abs(ordered[k - 1] - rate * k / len(p)) > 1e-12 for k in range(1, len(p) + 1)):
            assert int(np.count_nonzero(found <= rate)) == max(passing, default=0)
    assert np.all(found >= p * (1 - 1e-12))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10), st.integers(0, 30))
def test_rows_that_are_compared_elsewhere_count_as_not_significant(values: list[float], more: int) -> None:
    p = np.array(values)
    together = adjusted(np.concatenate([p, np.ones(more)]))[: len(p)]
    assert np.allclose(adjusted(p, len(p) + more), together)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(("spread", "tolerance"), [(0.02, 0.02), (0.02, 0.05), (0.05, 0.05)])
def test_as_many_launches_as_are_said_to_be_needed_find_the_change(
    design: Design, spread: float, tolerance: float
) -> None:
    rng = np.random.default_rng(5)
    of_ratios = spread * np.sqrt(2) if design == "interleaved" else spread
    needed = int(launches_needed(of_ratios, tolerance, 0.05, design))
    a, b = np.exp(spread * rng.standard_normal((2, 1000, needed)))
    found = np.mean(p_values(a, (1 + tolerance) * b, design) <= 0.05)
    assert POWER - 0.04 <= found <= 1.0
    fewer = needed // 2
    if fewer > 2 * LEAST[design]:  # where as few as that are needed, the formula is too careful
        assert np.mean(p_values(a[:, :fewer], (1 + tolerance) * b[:, :fewer], design) <= 0.05) < POWER


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("launches", [6, 9])
def test_intervals_of_many_rows_are_those_of_a_plain_bootstrap(design: Design, launches: int) -> None:
    rng = np.random.default_rng(7)
    a, b = np.exp(0.05 * rng.standard_normal((2, 200, launches)))
    value, low, high = ratio_intervals(a, b, design, seed=3)
    np.testing.assert_allclose(value, np.median(b, axis=1) / np.median(a, axis=1))
    for row in (0, 199):
        chosen = rng.integers(0, launches, (2, 20_000, launches))
        of_b = chosen[0 if design == "interleaved" else 1]
        ratios = np.median(b[row][of_b], axis=1) / np.median(a[row][chosen[0]], axis=1)
        assert low[row] == pytest.approx(np.percentile(ratios, 2.5), rel=0.01)
        assert high[row] == pytest.approx(np.percentile(ratios, 97.5), rel=0.01)


def test_an_interval_of_pairs_does_not_depend_on_how_its_medians_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterbench.results import launches

    a, b = np.exp(0.05 * np.random.default_rng(9).standard_normal((2, 20, 11)))
    by_network = ratio_intervals(a, b, "interleaved", 1)
    monkeypatch.setattr(launches, "_NETWORK", 0)
    for quick, plain in zip(by_network, ratio_intervals(a, b, "interleaved", 1), strict=True):
        np.testing.assert_allclose(quick, plain)


def starts(order: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = ([float(i) for i, side in enumerate(order) if side == which] for which in "AB")
    return np.array([a]), np.array([b])


@pytest.mark.parametrize(
    ("order", "in_turns"),
    [
        ("ABABABABABAB", True),
        ("ABBAABBAABBA", True),
        ("BABABABABABA", True),
        ("AAAAAABBBBBB", False),
        ("ABABABABAABB", False),
        ("ABABABABAB", False),  # too few pairs for the test
        ("ABABABABABABA", False),
    ],
)
def test_launches_are_interleaved_where_each_next_two_are_one_of_each(order: str, in_turns: bool) -> None:
    assert interleaved(*starts(order)).tolist() == [in_turns]


def test_launches_of_unknown_start_are_not_interleaved() -> None:
    a, b = starts("ABABABABABAB")
    a[0, 3] = np.nan
    assert interleaved(a, b).tolist() == [False]


@pytest.mark.parametrize("design", DESIGNS)
def test_equal_launches_are_called_different_at_most_at_the_level(design: Design) -> None:
    rng = np.random.default_rng(21)
    heavy: Any = rng.standard_t(3, (2, 2000, 8))
    a, b = np.exp(0.02 * heavy)
    assert np.mean(p_values(a, b, design) <= 0.05) <= 0.06
