"""The class of reduce-scatter and all-gather along trees: equal to the program over all cuts, between two bounds."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import linprog
from topologies import cluster, small_topologies, star, two_levels

from clusterbench.collectives.bounds.bounds import limits
from clusterbench.collectives.bounds.classes import NAME, best_shares, class_limit
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.papers import paper_topology


def rate_by_force(made: Topology) -> float:
    """The best rate over all cuts at once, variables in the order ω of each vertex, y, z of each link."""
    size, count = made.vertices, len(made.links)
    holds = np.isin(np.arange(size), made.ranks)
    rows, right = [], []
    for inside in map(np.array, product([False, True], repeat=size)):
        if inside[made.ranks].all() or not inside[made.ranks].any():
            continue
        out = inside[made.links.src] & ~inside[made.links.dst]
        into = ~inside[made.links.src] & inside[made.links.dst]
        rows += [
            np.concatenate((inside & holds, -1.0 * out, np.zeros(count))),
            np.concatenate((inside & holds, np.zeros(count), -1.0 * into)),
        ]
        right += [0.0, 0.0]
    for link in range(count):
        rows.append(np.concatenate((np.zeros(size), np.arange(count) == link, np.arange(count) == link)))
        right.append(made.links.bandwidth[link])
    passing = [v for v in range(size) if not holds[v] and not made.reducing[v]]
    kept = [
        np.concatenate((np.zeros(size), *(((made.links.src == v) * 1.0 - (made.links.dst == v)) * on for on in phases)))
        for v in passing
        for phases in ((1, 0), (0, 1))
    ]
    found = linprog(
        np.concatenate((-1.0 * holds, np.zeros(2 * count))), A_ub=np.array(rows), b_ub=right,
        A_eq=np.array(kept) if kept else None, b_eq=np.zeros(len(kept)) if kept else None,
        bounds=[(0.0, None if holds[v] else 0.0) for v in range(size)] + [(0.0, None)] * (2 * count), method="highs",
    )  # fmt: skip
    assert found.status == 0
    return -float(found.fun)


@settings(max_examples=30)
@given(made=small_topologies(most_vertices=5, finite=True))
def test_the_limit_is_that_of_the_program_over_all_cuts(made: Topology) -> None:
    found = class_limit(made)
    assert found.seconds_per_byte is not None
    if len(np.unique(made.ranks)) < 2:
        assert found.seconds_per_byte == 0
    else:
        assert 1 / found.seconds_per_byte == pytest.approx(rate_by_force(made), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [("forestcoll-a100", 1), ("forestcoll-a100", 2), ("teccl-ndv2", 2), ("forestcoll-mi250", 1), ("teccl-ndv2", 4)],
)
def test_trees_lie_between_the_bound_and_one_phase_after_the_other(name: str, nodes: int) -> None:
    made = paper_topology(name, nodes)
    found = class_limit(made)
    whole = limits(made, "all_reduce")
    phases = sum((limits(made, phase).cut.seconds_per_byte for phase in ("reduce_scatter", "all_gather")), Fraction(0))
    least = max(term.seconds_per_byte for term in (whole.cut, whole.end_points) if term is not None)
    assert found.reason == ""
    assert float(least) * (1 - 1e-6) <= (found.seconds_per_byte or 0.0) <= float(phases) * (1 + 1e-6)


def test_on_one_switch_trees_reach_the_bound_of_end_points() -> None:
    found = class_limit(star(8))
    assert found.name == NAME
    assert found.at(10**9) == pytest.approx(2 * 7 / 8)
    assert class_limit(two_levels(2, 4)).at(10**9) == pytest.approx(0.1, rel=1e-6)


def test_a_switch_that_multicasts_helps_the_class() -> None:
    plain, reducing = (class_limit(star(8, reducing=flag)).at(10**9) for flag in (False, True))
    assert plain is not None
    assert reducing is not None
    assert 1.0 <= reducing * (1 + 1e-6) < plain


def test_a_topology_that_is_too_large_is_refused_with_the_reason() -> None:
    found = class_limit(cluster(40))
    assert found.at(8) is None
    assert "320 ranks" in found.reason


def test_shares_are_of_the_best_rate_and_there_are_none_where_that_is_not_worth_it() -> None:
    made = two_levels(2, 4)
    found = best_shares(made, 0.99 * 10e9)
    assert found is not None
    assert found.roots.sum() == pytest.approx(10e9, rel=1e-6)
    assert best_shares(made, 10e9) is None
