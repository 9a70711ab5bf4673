"""Groups of ranks from matrices of times with noise, and the topology that they make."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.bench.pairs.groups import BANDWIDTH, HOST, LATENCY, near_groups, rank_groups
from clusterbench.bench.pairs.runs import rounds
from clusterbench.bench.pairs.topology import group_levels, measured_topology
from clusterbench.collectives.topology.graph import NO_HOST, Kind

Matrix = np.ndarray


def meeting(sizes: list[list[int]], ranks: int) -> Matrix:
    """For each pair of ranks the level at which they meet; `sizes` has those of groups, the innermost level first."""
    found = np.full((ranks, ranks), len(sizes))
    for level in reversed(range(len(sizes))):
        owner = np.repeat(np.arange(len(sizes[level])), sizes[level])
        found[owner[:, None] == owner[None, :]] = level
    return found


def times(levels: Matrix, steps_s: list[float], spread: float, seed: int) -> Matrix:
    """Times of pairs that meet at these levels, with noise; no rank with itself."""
    noise = np.random.default_rng(seed).lognormal(0, spread, levels.shape) if spread else 1.0
    found = np.array(steps_s)[levels] * noise
    np.fill_diagonal(found, np.nan)
    return found


def expected(sizes: list[list[int]]) -> set[frozenset[int]]:
    found = set()
    for level in sizes:
        ends = np.cumsum([0, *level])
        found |= {frozenset(range(a, b)) for a, b in pairwise(ends.tolist())}
    return {group for group in found if 1 < len(group) < sum(sizes[0])}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=2, max_size=4),
    st.floats(1.6, 6),
    st.sampled_from([0.0, 0.01, 0.03]),
    st.integers(0, 10_000),
)
def test_the_levels_of_a_cluster_are_found_in_noise(
    cluster: list[list[int]], factor: float, spread: float, seed: int
) -> None:
    # `cluster` lists racks, each with hosts of so many ranks; a single rank or host makes no group of its own.
    hosts = [ranks for rack in cluster for ranks in rack]
    racks = [sum(rack) for rack in cluster]
    levels = meeting([hosts, racks], sum(racks))
    found = near_groups(times(levels, [1e-6, factor * 1e-6, factor**2 * 1e-6], spread, seed))
    assert set(found) == expected([hosts, racks])
    assert len(set(found)) == len(found)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_numbers_of_the_ranks_do_not_matter(first: int, second: int, seed: int, order: int) -> None:
    ranks = first + second
    shuffled = np.random.default_rng(order).permutation(ranks)
    times_s = times(meeting([[first, second]], ranks), [1e-6, 3e-6], 0.02, seed)
    found = near_groups(times_s[np.ix_(shuffled, shuffled)])
    assert {frozenset(int(shuffled[rank]) for rank in group) for group in found} == {
        frozenset(range(first)), frozenset(range(first, ranks))
    }  # fmt: skip


@pytest.mark.parametrize("spread", [0.02, 0.05])
@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 32])
def test_noise_alone_makes_no_groups(ranks: int, spread: float) -> None:
    flat = np.zeros((ranks, ranks), np.int64)
    named = sum(bool(near_groups(times(flat, [1e-6], spread, seed))) for seed in range(100))
    assert named <= 2


def test_the_more_noise_the_wider_a_step_must_be() -> None:
    levels = meeting([[8, 8]], 16)
    assert near_groups(times(levels, [1e-6, 1.5e-6], 0.02, 1))
    assert not near_groups(times(levels, [1e-6, 1.5e-6], 0.3, 1))


def test_a_sample_of_the_pairs_is_enough() -> None:
    ranks = 96
    levels = meeting([[8] * 12, [32] * 3], ranks)
    times_s = np.full((ranks, ranks), np.nan)
    full = times(levels, [1e-6, 2e-6, 4e-6], 0.02, 5)
    for low, high in (pair for pairs in rounds(ranks, 3) for pair in pairs):
        times_s[low, high] = full[low, high]
    assert set(near_groups(times_s)) == expected([[8] * 12, [32] * 3])


def test_without_any_measurement_there_are_no_groups() -> None:
    assert near_groups(np.full((4, 4), np.nan)) == []
    assert near_groups(np.full((1, 1), np.nan)) == []


def test_hosts_are_groups_by_their_names_and_agree_with_what_is_measured() -> None:
    times_s = times(meeting([[2, 2]], 4), [1e-6, 5e-6], 0.01, 1)
    found = rank_groups(times_s, times_s, ["a", "a", "b", "b"])
    assert [(group.ranks, group.by) for group in found.groups] == [
        ((0, 1, 2, 3), ()),
        ((0, 1), (HOST, LATENCY, BANDWIDTH)),
        ((2, 3), (HOST, LATENCY, BANDWIDTH)),
    ]
    assert found.doubts == ()


def test_hosts_that_no_time_shows_are_told_of() -> None:
    flat = times(np.zeros((4, 4), np.int64), [1e-6], 0.0, 1)
    found = rank_groups(flat, flat, ["a", "a", "b", "b"])
    assert [group.by for group in found.groups] == [(), (HOST,), (HOST,)]
    assert found.doubts == ("neither latency nor bandwidth shows that the ranks of a, b share a host",)


def test_a_group_across_hosts_is_left_out_and_told_of() -> None:
    times_s = times(meeting([[2, 2]], 4), [1e-6, 5e-6], 0.0, 1)
    found = rank_groups(times_s, np.full((4, 4), np.nan), ["a", "b", "a", "b"])
    assert [group.ranks for group in found.groups] == [(0, 1, 2, 3), (0, 2), (1, 3)]
    assert "2 of the groups by latency cross hosts or other groups and are left out" in found.doubts


def test_bandwidth_tells_apart_what_latency_does_not() -> None:
    flat = times(np.zeros((4, 4), np.int64), [1e-6], 0.0, 1)
    narrow = times(meeting([[2, 2]], 4), [1e-4, 4e-4], 0.0, 1)
    found = rank_groups(flat, narrow, ["a", "b", "c", "d"])
    assert [(group.ranks, group.by) for group in found.groups[1:]] == [((0, 1), (BANDWIDTH,)), ((2, 3), (BANDWIDTH,))]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_groups_are_nested_or_disjoint_whatever_is_measured(ranks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hosts = [str(rng.integers(3)) for _ in range(ranks)]
    matrices = [rng.lognormal(-14, 1, (ranks, ranks)) for _ in range(2)]
    matrices[0][rng.random((ranks, ranks)) < 0.3] = np.nan
    found = [set(group.ranks) for group in rank_groups(matrices[0], matrices[1], hosts).groups]
    assert found[0] == set(range(ranks))
    for a, b in combinations(found, 2):
        assert a > b or not a & b
    for host in set(hosts):
        members = {rank for rank in range(ranks) if hosts[rank] == host}
        assert len(members) == 1 or members in found


def two_hosts(spread: float = 0.0) -> tuple[list[str], Matrix, Matrix]:
    levels = meeting([[2, 2]], 4)
    latency_s = times(levels, [1e-6, 5e-6], spread, 1)
    bandwidth = 1 / times(levels, [1e-10, 4e-10], spread, 2)
    return ["a.org", "a.org", "b.org", "b.org"], latency_s, bandwidth


def test_the_topology_gives_back_the_latencies_and_bandwidths_of_single_pairs() -> None:
    hosts, latency_s, bandwidth = two_hosts()
    groups = rank_groups(latency_s, 1 / bandwidth, hosts)
    found = measured_topology(hosts, groups, latency_s, bandwidth, rounds(4, 0), "test")
    src, dst = np.nonzero(~np.isnan(latency_s))
    routes = found.routes(src, dst)
    assert routes.sums(found.links.latency_s) == pytest.approx(latency_s[src, dst])
    narrowest = [found.links.bandwidth[routes.of(i)].min() for i in range(len(src))]
    inside = (src < 2) == (dst < 2)
    assert np.array(narrowest)[inside] == pytest.approx(1e10)
    # Two pairs cross at once, so that a host sends twice what one pair does.
    assert np.array(narrowest)[~inside] == pytest.approx(5e9)


def test_the_topology_is_marked_as_estimated_and_knows_its_hosts() -> None:
    hosts, latency_s, bandwidth = two_hosts(0.02)
    groups = rank_groups(latency_s, 1 / bandwidth, hosts)
    found = measured_topology(hosts, groups, latency_s, bandwidth, rounds(4, 0), "test")
    assert found.estimated
    assert found.nodes == 2
    assert found.names[:4] == ["a.rank0", "a.rank1", "b.rank2", "b.rank3"]
    assert found.names[4:] == ["ranks0-3", "a.ranks0-1", "b.ranks2-3"]
    assert found.hosts.tolist() == [0, 0, 1, 1, NO_HOST, 0, 1]
    assert found.kinds.tolist() == [Kind.CPU] * 4 + [Kind.SWITCH] * 3
    assert any("most that crossed it at once" in warning for warning in found.warnings)


def test_a_group_is_never_nearer_than_one_in_it() -> None:
    latency_s = np.array([[np.nan, 3e-6, 1e-6], [3e-6, np.nan, 1e-6], [1e-6, 1e-6, np.nan]])
    hosts = ["a", "a", "b"]
    levels = group_levels(rank_groups(latency_s, latency_s, hosts), latency_s, 1 / latency_s)
    assert [level.latency_s for level in levels] == [3e-6, 3e-6]
    found = measured_topology(
        hosts, rank_groups(latency_s, latency_s, hosts), latency_s, 1 / latency_s, rounds(3, 0), ""
    )
    assert (found.links.latency_s >= 0).all()
