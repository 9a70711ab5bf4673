"""Bounds: equal to the worst of all cuts one by one, as published, and beaten by no algorithm of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from collective_cases import named, roots, schedule_of, variants
from hypothesis import given, settings
from hypothesis import strategies as st
from topologies import cluster, ring, small_topologies, star, two_levels

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.bounds import cuts
from clusterbench.collectives.bounds.bounds import bound, limits
from clusterbench.collectives.bounds.capacities import whole_numbers
from clusterbench.collectives.bounds.groups import blocks, families
from clusterbench.collectives.bounds.needs import BoundError
from clusterbench.collectives.collective import COLLECTIVES, UnknownCollectiveError
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError, both_ways, links, topology
from clusterbench.collectives.topology.papers import paper_topology

EXCHANGES = ("all_to_all", "all_to_all_v", "sendrecv")
SEARCHED = tuple(name for name in COLLECTIVES if name not in EXCHANGES)


def subsets(made: Topology) -> Iterator[np.ndarray[Any, Any]]:
    """Every set of vertices."""
    for flags in product([False, True], repeat=made.vertices):
        yield np.array(flags)


def bandwidth_out(made: Topology, inside: np.ndarray[Any, Any]) -> Fraction | None:
    """Of the links out of a set; None where that of one is infinite."""
    crossing = made.links.bandwidth[inside[made.links.src] & ~inside[made.links.dst]]
    return None if np.isinf(crossing).any() else sum(map(Fraction, crossing.tolist()), Fraction(0))


def must_leave(name: str, inside: set[int], ranks: int, root: int, matrix: Ints | None) -> Fraction:
    """What must get from the ranks inside to the others, by the definition of the collective, for a size of 1."""
    outside = set(range(ranks)) - inside
    if not inside or not outside:
        return Fraction(0)
    if name == "all_to_all":
        return Fraction(len(inside) * len(outside), ranks)
    if matrix is not None:
        moved = sum(int(matrix[i, j]) for i in inside for j in outside)
        return Fraction(moved * ranks, int(matrix.sum()))
    if name == "sendrecv":
        return Fraction(sum((rank + 1) % ranks in outside for rank in inside))
    if name == "pingpong":
        return Fraction(int(0 in inside and ranks - 1 in outside))
    what = COLLECTIVES[name]
    sources = {root} if what.takes == "root" else set(range(ranks))
    targets = {root} if what.gives == "root" else set(range(ranks))
    if not sources & inside or not targets & outside:
        return Fraction(0)
    if what.takes == "part" and what.gives != "part":  # the parts that start inside
        return Fraction(len(inside), ranks)
    if what.gives == "part":  # the parts that end outside
        return Fraction(len(outside), ranks)
    return Fraction(1)


def worst_by_force(made: Topology, name: str, root: int, matrix: Ints | None = None) -> Fraction:
    """Seconds for each byte of the size over the worst of all cuts."""
    worst = Fraction(0)
    for inside in subsets(made):
        bandwidth = bandwidth_out(made, inside)
        held = {rank for rank, vertex in enumerate(made.ranks.tolist()) if inside[vertex]}
        if bandwidth:
            worst = max(worst, must_leave(name, held, len(made.ranks), root, matrix) / bandwidth)
    return worst


def root_of(name: str, ranks: int) -> int:
    return ranks - 1 if name in COLLECTIVES and COLLECTIVES[name].is_rooted else -1


@pytest.mark.parametrize("name", [*SEARCHED, "pingpong"])
@settings(max_examples=60)
@given(made=small_topologies())
def test_the_cut_is_the_worst_of_all_cuts(name: str, made: Topology) -> None:
    root = root_of(name, len(made.ranks))
    found = limits(made, name, root)
    assert found.cut.seconds_per_byte == worst_by_force(made, name, root)
    assert found.complete


@pytest.mark.parametrize("name", EXCHANGES)
@settings(max_examples=60)
@given(made=small_topologies(), seed=st.integers(0, 99))
def test_cuts_of_exchanges_are_valid_and_the_worst_for_three_ranks(name: str, made: Topology, seed: int) -> None:
    """With three ranks all cuts are round single ranks; with more, what was tried is a bound and not more."""
    ranks = len(made.ranks)
    matrix = np.random.default_rng(seed).integers(0, 9, (ranks, ranks)) + 1 if name == "all_to_all_v" else None
    found = limits(made, name, matrix=matrix)
    worst = worst_by_force(made, name, -1, matrix)
    assert found.cut.seconds_per_byte <= worst
    if len(np.unique(made.ranks)) <= 3:
        assert found.cut.seconds_per_byte == worst
    assert found.complete is (len(np.unique(made.ranks)) < 2)


@pytest.mark.parametrize("name", [*COLLECTIVES, "sendrecv", "pingpong"])
@settings(max_examples=20)
@given(made=small_topologies(most_vertices=5))
def test_natural_cuts_alone_are_a_bound_as_well(name: str, made: Topology) -> None:
    ranks, root = len(made.ranks), root_of(name, len(made.ranks))
    matrix = np.ones((ranks, ranks), np.int64) if name == "all_to_all_v" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "MOST_WORK", 0)
        natural = limits(made, name, root, matrix)
    assert natural.cut.seconds_per_byte <= worst_by_force(made, name, root, matrix)
    assert len(np.unique(made.ranks)) < 2 or not natural.complete


@settings(max_examples=40)
@given(made=small_topologies(), factor=st.sampled_from([2.0, 3.0, 1e9]))
def test_a_faster_machine_has_a_lower_bound(made: Topology, factor: float) -> None:
    faster = replace(made, links=replace(made.links, bandwidth=made.links.bandwidth * factor))
    for name in ("all_gather", "all_reduce", "all_to_all"):
        before, after = (limits(one, name).cut.seconds_per_byte for one in (made, faster))
        # Products of a bandwidth and the factor are rounded to a float.
        assert float(after) == pytest.approx(float(before) / factor, rel=1e-12)


def link_loads(made: Topology, schedule: Schedule) -> np.ndarray[Any, Any]:
    """Chunks over each link in a whole schedule, over the default routes."""
    loads = np.zeros(len(made.links))
    for round_ in schedule.rounds():
        moved = round_.src != round_.dst
        routes = made.routes(round_.src[moved], round_.dst[moved])
        np.add.at(loads, routes.links, round_.count[moved][routes.owners()])
    return loads


SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]


@pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED])
def test_no_algorithm_sends_less_than_the_bound_says(algorithm: Algorithm, what: Any) -> None:
    """With chunks of one byte, some cut must carry what the bound says, and some link what end points must send."""
    for made in (star(4), star(5), ring(5), two_levels(2, 2), two_levels(2, 3, outside=150e9)):
        ranks = len(made.ranks)
        if algorithm.refusal(what, ranks) is not None:
            continue
        masks = np.array(list(subsets(made)))
        crosses = masks[:, made.links.src] & ~masks[:, made.links.dst]
        bandwidth = np.maximum(crosses @ made.links.bandwidth, 1.0)
        for root in roots(what, ranks):
            matrix = np.ones((ranks, ranks), np.int64) if what.uneven else None
            found = limits(made, what.name, root, matrix)
            for options in variants(algorithm, ranks):
                schedule = schedule_of(algorithm, what, ranks, root, options)
                loads = link_loads(made, schedule)
                with named(topology=made.name, ranks=ranks, root=root, options=options):
                    carried = (crosses @ loads / bandwidth).max()
                    assert carried >= float(found.cut.seconds_per_byte * schedule.chunks) * (1 - 1e-12)
                    if found.end_points is not None:
                        busiest = (loads / made.links.bandwidth).max()
                        assert busiest >= found.end_points.seconds(schedule.chunks) * (1 - 1e-12)


def test_the_ring_reaches_the_bound_on_one_switch() -> None:
    """So the bound is no lower than it must be, and a byte less over any link would be noticed."""
    made = star(5)
    for name in ("all_reduce", "reduce_scatter", "all_gather"):
        schedule = schedule_of(algorithms()["ring"], COLLECTIVES[name], 5, -1, {})
        busiest_s = (link_loads(made, schedule) / made.links.bandwidth).max()
        found = limits(made, name)
        assert found.end_points is not None
        assert busiest_s == pytest.approx(found.end_points.seconds(schedule.chunks), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "nodes", "algbw"),
    [
        ("forestcoll-a100", 1, Fraction(2400, 7)),
        ("forestcoll-a100", 2, Fraction(1040, 3)),
        ("forestcoll-a100", 4, Fraction(800, 3)),
        ("forestcoll-mi250", 1, Fraction(2400, 7)),
        ("forestcoll-mi250", 2, Fraction(32 * 83 * 2, 15)),
        ("teccl-ndv2", 2, Fraction(25)),
        ("teccl-ndv2", 4, Fraction(50, 3)),
        ("teccl-dgx2", 2, Fraction(4000, 31)),
    ],
)
def test_optima_of_published_topologies(name: str, nodes: int, algbw: Fraction) -> None:
    """All-gather and reduce-scatter in GB/s: ForestColl's formula on the definitions of ForestColl and TE-CCL."""
    made = paper_topology(name, nodes)
    for collective in ("all_gather", "reduce_scatter"):
        found = bound(made, collective, 10**9)
        assert 1 / found.seconds_per_byte == algbw * 10**9
        assert found.bound_s == pytest.approx(float(1 / algbw), rel=1e-9)
        assert found.complete


@pytest.mark.parametrize(
    ("name", "nodes", "latency_s"), [("teccl-ndv2", 2, 4.1e-6), ("teccl-ndv2", 4, 5.4e-6), ("teccl-dgx2", 2, 4.0e-6)]
)
def test_small_messages_take_the_longest_shortest_way(name: str, nodes: int, latency_s: float) -> None:
    found = bound(paper_topology(name, nodes), "all_gather", 1024)
    assert found.bound_s == found.latency_s == pytest.approx(latency_s, rel=1e-9)
    assert found.kind == "latency"
    assert found.by.startswith("latency from rank ")


@pytest.mark.parametrize(
    ("name", "share"),
    [("all_reduce", 2 * 7 / 8), ("reduce_scatter", 7 / 8), ("all_gather", 7 / 8), ("broadcast", 1.0), ("reduce", 1.0),
     ("scatter", 7 / 8), ("gather", 7 / 8), ("all_to_all", 7 / 8), ("sendrecv", 1.0), ("pingpong", 1.0)],
)  # fmt: skip
def test_on_one_switch_bounds_are_those_of_the_textbook(name: str, share: float) -> None:
    """Factors of busbw: nccl-tests, doc/PERFORMANCE.md."""
    found = bound(star(8, 1e9, 0.0), name, 10**9, root_of(name, 8))
    assert found.bound_s == pytest.approx(share)
    assert found.kind == ("end-point" if name == "all_reduce" else "cut")
    assert found.hardware_s == pytest.approx(min(share, 1.0))


def test_a_switch_that_reduces_leaves_a_vector_in_and_out() -> None:
    plain, reducing = (bound(star(8, reducing=flag), "all_reduce", 10**9) for flag in (False, True))
    assert (plain.kind, reducing.kind) == ("end-point", "in-network")
    assert reducing.bound_s == plain.hardware_s == 1.0
    assert bound(star(8, reducing=True), "all_gather", 10**9).kind == "cut", "that it copies helps nobody here"
    assert "8 ranks together: 8 GB/s, each byte must leave one of them 14 times" in plain.by


def test_between_hosts_end_points_are_hosts() -> None:
    """2 (N − 1) n / ΣB over hosts, whatever reduces inside them."""
    made = two_levels(4, 8, inside=100e9, outside=10e9)
    inside = replace(made, reducing=made.hosts >= 0)
    for one in (made, inside):
        found = bound(one, "all_reduce", 10**9)
        assert found.kind == "end-point"
        assert found.seconds_per_byte == Fraction(2 * 3, 40 * 10**9)
        assert "4 hosts together: 40 GB/s" in found.by
    everywhere = bound(replace(made, reducing=made.kinds == Kind.SWITCH), "all_reduce", 10**9)
    assert everywhere.seconds_per_byte == Fraction(1, 10 * 10**9)


def test_a_pair_pays_latency_and_then_bandwidth() -> None:
    made = two_levels(2, 2)
    found = bound(made, "ping-pong", 10**9)
    assert found.bound_s == pytest.approx(0.1 + 6e-6, rel=1e-12)
    assert bound(made, "sendrecv", 10**9).bound_s == pytest.approx(0.1 + 6e-6, rel=1e-12)


@pytest.mark.parametrize(
    ("made", "collective", "by"),
    [
        (two_levels(3, 4), "all_gather", "links into h0 (4 ranks): 10 GB/s over 1 link (spine → h0.hub)"),
        (two_levels(3, 4), "gather", "links into h2 (4 ranks): 10 GB/s over 1 link (spine → h2.hub)"),
        (star(4), "all_gather", "links into rank 0 (gpu0): 1 GB/s over 1 link (switch → gpu0)"),
        (
            cluster(8, per_leaf=4, spines=2, taper=4),
            "all_to_all",
            "links out of h0, h1, h2, ... (4 hosts, 32 ranks): 400 GB/s over 2 links (leaf0 → spine0, leaf0 → spine1)",
        ),
        (star(1), "all_reduce", "one rank: nothing crosses a link"),
        (star(3, float("inf")), "all_reduce", "latency from rank 0 (gpu0) to rank 1 (gpu1)"),
    ],
)
def test_the_limit_is_named(made: Topology, collective: str, by: str) -> None:
    found = bound(made, collective, 10**9, root_of(collective, len(made.ranks)))
    assert found.by == by


def test_ranks_on_one_vertex_need_no_link() -> None:
    made = replace(star(3), ranks=np.array([1, 1, 1]))
    found = bound(made, "all_reduce", 10**9)
    assert (found.bound_s, found.kind) == (0.0, "none")
    assert found.by == "all ranks share one vertex: nothing crosses a link"


def test_no_data_takes_no_time() -> None:
    assert bound(star(3), "all_reduce", 0).bound_s == 0.0


def test_a_bound_of_measured_links_says_so() -> None:
    assert bound(replace(star(3), estimated=True), "all_reduce", 8).estimated
    assert not bound(star(3), "all_reduce", 8).estimated


def test_a_graph_in_two_parts_is_refused_with_names() -> None:
    made = topology(name="two", kinds=[Kind.GPU] * 2, names=["a", "b"], links=links([0], [1], 1e9), ports=[])
    with pytest.raises(TopologyError, match=r"rank 0 \(a\) to rank 1 \(b\)"):
        bound(made, "all_reduce", 8)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("broadcast", 8), "root -1 of broadcast; expected a rank from 0 to 2"),
        (("reduce", 8, 3), "root 3"),
        (("all_to_all_v", 8), "no matrix of all_to_all_v; expected one"),
        (("all_gather", 8, -1, np.ones((3, 3), np.int64)), "a matrix of all_gather; expected none"),
        (("all_to_all_v", 8, -1, np.ones((2, 3), np.int64)), r"of shape \(2, 3\)"),
        (("all_to_all_v", 8, -1, np.ones((3, 3))), "float64"),
        (("all_to_all_v", 8, -1, np.zeros((3, 3), np.int64)), "sum 0"),
        (("all_to_all_v", 8, -1, np.full((3, 3), -1)), "least number -1"),
        (("all_gather", -1), "size of -1 bytes"),
    ],
)
def test_incomplete_calls_are_refused(arguments: tuple[Any, ...], complaint: str) -> None:
    with pytest.raises(BoundError, match=complaint):
        bound(star(3), *arguments)
    with pytest.raises(UnknownCollectiveError):
        bound(star(3), "all_reduse", 8)


def test_skewed_traffic_is_bound_by_the_busiest_rank() -> None:
    matrix = np.ones((4, 4), np.int64)
    matrix[:, 2] = 13
    found = bound(star(4, latency_s=0.0), "all_to_all_v", 10**9, matrix=matrix)
    assert found.bound_s == pytest.approx(3 * 13 * 4 / matrix.sum())
    assert "links into rank 2" in found.by


@given(
    values=st.lists(st.floats(1e-3, 1e15) | st.sampled_from([1.0, 0.1, 25e9]), min_size=1, max_size=9),
    most=st.integers(100, 2**60),
)
def test_whole_numbers_are_in_proportion_or_rounded_up(values: list[float], most: int) -> None:
    whole, exact = whole_numbers(np.array(values), most)
    assert whole.min() > 0
    assert int(whole.sum()) <= most
    rates = [Fraction(value) / int(number) for value, number in zip(values, whole.tolist(), strict=True)]
    if exact:
        assert len(set(rates)) == 1
        assert np.gcd.reduce(whole) == 1
    else:
        assert max(rates) <= sum(map(Fraction, values)) / (most - len(values))


def test_bandwidths_that_share_no_unit_are_searched_rounded_and_bound_exactly() -> None:
    random = np.random.default_rng(0)
    made = star(6)
    rough = replace(made, links=replace(made.links, bandwidth=random.uniform(1e-3, 1e12, len(made.links))))
    found = limits(rough, "all_gather")
    worst = worst_by_force(rough, "all_gather", -1)
    assert not found.complete
    assert float(worst) * (1 - 1e-9) <= float(found.cut.seconds_per_byte) <= float(worst)


def test_groups_are_found_level_by_level() -> None:
    made = cluster(6, per_leaf=2, spines=2)
    found = {family.name: family for family in families(made)}
    assert {name: family.count for name, family in found.items()} == {
        "single ranks": 48, "hosts": 6, "groups of hosts under the same switches": 3,
    }  # fmt: skip
    leaves = found["groups of hosts under the same switches"].labels
    leaf = [made.names.index(f"leaf{i}") for i in range(3)]
    assert leaves[leaf].tolist() == [0, 1, 2]
    assert leaves[made.names.index("spine0")] == -1
    assert (leaves[made.ranks] == np.arange(48) // 16).all()


def test_a_host_is_under_the_switch_that_most_of_it_is_plugged_into() -> None:
    """Two hosts on one switch, one on another, and one with a link to the first and two to the second."""
    host, switch = [0, 1, 2, 3, 3, 3, 4, 5], [4, 4, 5, 4, 5, 5, 6, 6]
    made = topology(
        name="uneven",
        kinds=[Kind.CPU] * 4 + [Kind.SWITCH] * 3,
        names=[*"abcd", *"xyz"],
        links=both_ways(links(host, switch, 1e9)),
        hosts=[0, 1, 2, 3, -1, -1, -1],
        ports=[],
    )
    assert families(made)[-1].labels.tolist() == [0, 0, 1, 1, 0, 1, -1]
    halves, quarters = blocks(made)[0], blocks(made)[1:]
    assert halves.labels.tolist() == [0, 0, 1, 1, 0, 1, 0]
    assert quarters == []


def test_hosts_round_switches_that_all_share_are_one_group_and_no_family() -> None:
    """Three hosts round three switches, each on two of them."""
    made = topology(
        name="round",
        kinds=[Kind.CPU] * 3 + [Kind.SWITCH] * 3,
        names=[*"abc", *"xyz"],
        links=links([0, 0, 1, 1, 2, 2, 3, 4, 5], [3, 4, 4, 5, 5, 3, 1, 2, 0], 1e9),
        hosts=[0, 1, 2, -1, -1, -1],
        ports=[],
    )
    assert [family.name for family in families(made)] == ["single ranks", "hosts"]


def test_a_tapered_cluster_is_limited_by_the_links_that_are_tapered() -> None:
    made = cluster(8, per_leaf=2, spines=2, taper=4)
    found = bound(made, "all_to_all", 10**9)
    # Of two hosts of eight: 16 · 48 / 64 vectors over 800 / 4 GB/s.
    assert found.seconds_per_byte == Fraction(12, 200 * 10**9)
    assert found.by.startswith("links out of h0, h1 (16 ranks): 200 GB/s over 2 links (leaf0 → spine0")
    degraded = made.links.bandwidth.copy()
    degraded[made.links.src == made.names.index("leaf2")] /= 2
    slow = bound(replace(made, links=replace(made.links, bandwidth=degraded)), "all_to_all", 10**9)
    assert slow.bound_s == pytest.approx(2 * found.bound_s)
    assert "h4, h5" in slow.by
