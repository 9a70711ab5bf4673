"""The number of segments of a pipeline: that of the published formula where there is one, and never a slower choice."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.building.segments import MOST, WORTH, Link, Links, choose_segments, price_s
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.schedule import Schedule

PIPELINES = [(a, COLLECTIVES[name]) for a in algorithms().values() if a.is_pipeline for name in a.cost]
links = st.builds(Link, st.floats(1e-7, 1e-3), st.floats(1e-12, 1e-8), st.floats(1, 2))


def builder(name: str, collective: str, ranks: int, host_ranks: int = 0) -> Callable[[int], Schedule]:
    what = COLLECTIVES[collective]
    root = 0 if what.is_rooted else -1

    def build(segments: int) -> Schedule:
        options = {"segments": str(segments)}
        return algorithms()[name].schedule(Call(what, ranks, root, host_ranks, options))

    return build


def alike(link: Link, gamma_s: float = 0.0, host_ranks: int = 0) -> Links:
    return Links(link, link, gamma_s, host_ranks)


@given(ranks=st.integers(2, 40), segments=st.integers(1, 64), link=links, gamma_s=st.floats(0, 1e-9))
def test_a_chain_costs_what_its_formula_says(ranks: int, segments: int, link: Link, gamma_s: float) -> None:
    full_duplex = Link(link.alpha_s, link.beta_s)
    size = 1 << 20
    for collective, gamma in (("broadcast", 0.0), ("reduce", gamma_s)):
        found = price_s(builder("chain", collective, ranks)(segments), size, alike(full_duplex, gamma))
        byte_s = full_duplex.beta_s + gamma
        assert found == pytest.approx((ranks - 2 + segments) * (full_duplex.alpha_s + size / segments * byte_s))


@given(ranks=st.integers(3, 24), size=st.integers(1, 1 << 30), alpha_s=st.floats(1e-7, 1e-4))
def test_a_chain_gets_about_as_many_segments_as_its_formula_says(ranks: int, size: int, alpha_s: float) -> None:
    beta_s = 1e-10
    best = math.sqrt((ranks - 2) * size * beta_s / alpha_s)
    chosen = choose_segments(builder("chain", "broadcast", ranks), size, alike(Link(alpha_s, beta_s)))
    assert chosen & (chosen - 1) == 0
    assert min(max(best, 1), MOST) / 4 <= chosen <= 2 * max(best, 1)


@pytest.mark.parametrize(("algorithm", "what"), PIPELINES, ids=[f"{w.name}-{a.name}" for a, w in PIPELINES])
@settings(max_examples=15)
@given(ranks=st.integers(1, 20), size=st.integers(1, 1 << 28), link=links, host_ranks=st.sampled_from([0, 1, 2, 4]))
def test_what_is_chosen_is_never_slower_than_one_segment(
    algorithm: object, what: object, ranks: int, size: int, link: Link, host_ranks: int
) -> None:
    build = builder(algorithm.name, what.name, ranks, host_ranks)  # type: ignore[attr-defined]  # from PIPELINES
    priced = alike(link, 1e-10, host_ranks)
    chosen = choose_segments(build, size, priced)
    allowed = [1 << k for k in range(MOST.bit_length())]
    assert chosen in allowed
    least = min(price_s(build(count), size, priced) for count in allowed)
    assert price_s(build(chosen), size, priced) <= min(least / WORTH * (1 + 1e-9), price_s(build(1), size, priced))


def test_two_ranks_gain_nothing_from_segments() -> None:
    for name, collective in (("chain", "broadcast"), ("double-binary-tree", "all_reduce"), ("two-level", "all_reduce")):
        assert choose_segments(builder(name, collective, 2), 1 << 26, alike(Link(1e-6, 1e-10, 2.0))) == 1


def test_levels_overlap_by_segments_only_where_they_have_links_of_their_own() -> None:
    link, size = Link(1e-6, 1e-10), 1 << 28
    one_host = builder("two-level", "all_reduce", 16, host_ranks=16)
    assert choose_segments(one_host, size, alike(link, host_ranks=16)) == 1
    four_hosts = builder("two-level", "all_reduce", 16, host_ranks=4)
    slower = Links(link, Link(5e-6, 4e-10), 0.0, 4)
    assert choose_segments(four_hosts, size, slower) > 1
    assert choose_segments(four_hosts, 1024, slower) == 1
