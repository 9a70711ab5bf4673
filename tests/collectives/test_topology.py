"""Topologies hold together, routes are searched by cost, ranks are placed, and faults change what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.bounds.bounds import bound
from clusterbench.collectives.topology.faults import with_faults
from clusterbench.collectives.topology.graph import (
    Kind,
    Links,
    Routes,
    Topology,
    TopologyError,
    both_ways,
    chained,
    disconnected,
    joined,
    links,
    routes_of_lengths,
    taken,
    topology,
)
from clusterbench.collectives.topology.placement import placed
from clusterbench.collectives.topology.routing import SearchRouter
from clusterbench.collectives.topology.spec import topology_from


def square(**changes: Any) -> Topology:
    """Four GPUs in a ring of 10 GB/s."""
    made: dict[str, Any] = {
        "name": "square", "kinds": [Kind.GPU] * 4, "names": list("abcd"),
        "links": both_ways(links([0, 1, 2, 3], [1, 2, 3, 0], 10e9, 1e-6)),
    }  # fmt: skip
    return topology(**{**made, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": list("abca")}, "two vertices are named 'a'"),
        ({"names": list("abc")}, "3 names of 4 vertices"),
        ({"links": links(0, 4, 1e9)}, "a link to vertex 4; expected 0 to 3"),
        ({"links": links(0, 0, 1e9)}, "the link from a to a has end a; expected another vertex"),
        ({"links": links(0, 1, 0.0)}, "the link from a to b has bandwidth 0.0; expected more than 0"),
        ({"links": links(0, 1, -1.0)}, "bandwidth -1.0"),
        ({"links": links(0, 1, np.nan)}, "bandwidth nan"),
        ({"links": links(0, 1, 1e9, -1e-6)}, "latency -1e-06; expected a number of seconds from 0"),
        ({"links": links(0, 1, 1e9, np.inf)}, "latency inf"),
        ({"kinds": [Kind.SWITCH] * 4}, "neither GPUs nor CPUs"),
        ({"ranks": [7]}, "a rank on vertex 7; expected 0 to 3"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        square(**changes)
    assert message in str(caught.value)


def test_ranks_that_cannot_reach_each_other_are_found() -> None:
    assert disconnected(square()) is None
    one_way = square(links=links([0, 1, 2], [1, 2, 3], 1e9))
    assert disconnected(one_way) == (0, 1)
    with pytest.raises(TopologyError, match="no way from d to a"):
        one_way.routes(3, 0)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_routes_are_taken_and_chained_link_by_link(data: st.DataObject) -> None:
    def drawn(count: int) -> Routes:
        lengths = np.array(data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)), np.int64)
        return routes_of_lengths(lengths, np.arange(int(lengths.sum())) * 7 % 11)

    count = data.draw(st.integers(1, 6))
    one, other = drawn(count), drawn(count)
    which = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=8)), np.int64)
    some = taken(one, which)
    assert [some.of(i).tolist() for i in range(len(some))] == [one.of(int(i)).tolist() for i in which]
    both = chained([one, other])
    assert [both.of(i).tolist() for i in range(count)] == [
        one.of(i).tolist() + other.of(i).tolist() for i in range(count)
    ]
    figures = np.arange(11, dtype=float)
    np.testing.assert_allclose(both.sums(figures), [figures[both.of(i)].sum() for i in range(count)])


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_searched_route_costs_no_more_than_any_other(data: st.DataObject) -> None:
    vertices = data.draw(st.integers(2, 6))
    ends = st.tuples(st.integers(0, vertices - 1), st.integers(0, vertices - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = data.draw(st.lists(ends, min_size=1, max_size=12))
    rates = data.draw(st.lists(st.sampled_from([1e9, 5e9, 25e9]), min_size=len(pairs), max_size=len(pairs)))
    made = links([a for a, _ in pairs], [b for _, b in pairs], rates, 1e-6)
    router = SearchRouter(np.full(vertices, Kind.SWITCH, np.int8), made)
    cost = 1e-6 + (1 << 20) / made.bandwidth
    best = _cheapest(vertices, made, cost)
    for src in range(vertices):
        for dst in range(vertices):
            if not np.isfinite(best[src, dst]):
                with pytest.raises(TopologyError):
                    router(np.array([src]), np.array([dst]), np.zeros(1, np.int64))
                continue
            found = router(np.array([src]), np.array([dst]), np.zeros(1, np.int64))
            assert cost[found.links].sum() == pytest.approx(best[src, dst], abs=1e-10)


def _cheapest(vertices: int, made: Links, cost: np.ndarray) -> np.ndarray:
    """Floyd and Warshall."""
    best = np.full((vertices, vertices), np.inf)
    np.fill_diagonal(best, 0)
    np.minimum.at(best, (made.src, made.dst), cost)
    for k in range(vertices):
        best = np.minimum(best, best[:, k : k + 1] + best[k : k + 1])
    return best


def test_a_link_of_absurd_cost_does_not_keep_a_search_going_round() -> None:
    slow = square(links=both_ways(links([0, 1, 2, 3], [1, 2, 3, 0], [1e-12, 10e9, 10e9, 10e9], 1e-6)))
    assert slow.routes([0, 1, 0, 2], [1, 0, 2, 0]).lengths.tolist() == [3, 3, 2, 2]


def test_devices_do_not_forward_where_there_is_a_way_round_them() -> None:
    slow_way_round = both_ways(links([0, 1, 0, 3, 3], [1, 2, 3, 2, 1], [100e9, 100e9, 1e9, 1e9, 1e9]))
    machine = square(kinds=[Kind.GPU, Kind.GPU, Kind.GPU, Kind.SWITCH], links=slow_way_round)
    assert [machine.link_name(int(link)) for link in machine.routes(0, 2).of(0)] == ["a → d", "d → c"]


def test_equal_ways_are_drawn_by_pair_and_changed_by_choice() -> None:
    machine = square()
    ways = {tuple(machine.routes(0, 2, choice).of(0).tolist()) for choice in range(4)}
    assert len(ways) == 2


def test_ranks_are_placed_block_by_block_in_turn_at_random_and_by_file(tmp_path: Path) -> None:
    machine = topology_from("single-switch:nodes=3,node=dgx-1")
    assert placed(machine, "block") is machine
    in_turn = placed(machine, "round-robin")
    assert in_turn.hosts[in_turn.ranks[:6]].tolist() == [0, 1, 2, 0, 1, 2]
    racks = topology_from("leaf-spine:racks=2,hosts=3,ranks=round-robin:3")
    assert [racks.names[int(vertex)] for vertex in racks.ranks] == ["h0", "h3", "h1", "h4", "h2", "h5"]
    for text in ("round-robin:0", "round-robin:x", "round-robin:"):
        with pytest.raises(TopologyError, match="expected round-robin:N with N places"):
            placed(machine, text)
    one, again = (placed(machine, f"random:{seed}").ranks.tolist() for seed in (4, 4))
    assert one == again
    assert sorted(one) == machine.ranks.tolist() != one
    path = tmp_path / "ranks"
    path.write_text("h1.gpu3  # first\n\nh0.gpu0\n")
    assert [machine.names[int(vertex)] for vertex in placed(machine, str(path)).ranks] == ["h1.gpu3", "h0.gpu0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h1.gpu3\nh9.gpu0\n", "line 2: 'h9.gpu0' is no place for a rank"),
        ("h0.cpu0\n", "line 1: 'h0.cpu0' is no place for a rank"),
        ("switch0\n", "line 1: 'switch0' is no place for a rank"),
        ("# none\n", "no vertices; expected one a line"),
    ],
)
def test_a_file_of_places_that_is_wrong_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ranks"
    path.write_text(text)
    with pytest.raises(TopologyError) as caught:
        placed(topology_from("single-switch:nodes=2,node=dgx-1"), str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_link_is_slower_one_way_or_both() -> None:
    machine = square()
    one = with_faults(machine, ["link:a>b=0.5"]).topology.links.bandwidth
    both = with_faults(machine, ["link:a-b=0.25"]).topology.links.bandwidth
    assert (one != machine.links.bandwidth).sum() == 1
    assert one.min() == 5e9
    assert (both != machine.links.bandwidth).sum() == 2
    assert both.min() == 2.5e9


def test_names_with_signs_in_them_are_understood() -> None:
    machine = square(names=["n-1", "n-2", "n>3", "d"])
    assert with_faults(machine, ["link:n-1-n-2=0.5"]).topology.links.bandwidth.min() == 5e9
    assert with_faults(machine, ["link:n-2>n>3=0.1"]).topology.links.bandwidth.min() == 1e9


def test_routes_go_round_a_link_that_is_down_and_others_stay() -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=4,spines=2")
    src, dst = np.repeat(np.arange(4), 4), np.tile(np.arange(4, 8), 4)
    faulty = with_faults(machine, ["down:leaf0-spine0"]).topology
    usual, detour = machine.routes(src, dst), faulty.routes(src, dst)
    named = [[faulty.link_name(int(link)) for link in detour.of(i)] for i in range(len(detour))]
    assert not any("leaf0 → spine0" in way for way in named)
    over_other = [i for i in range(len(src)) if not any("spine0" in machine.link_name(int(x)) for x in usual.of(i))]
    assert over_other
    assert all([machine.link_name(int(link)) for link in usual.of(i)] == named[i] for i in over_other)


def test_late_and_slow_ranks_are_kept_beside_the_topology() -> None:
    faulty = with_faults(square(), ["late:1=250us", "slow:2=4", "late:1=50us"])
    assert faulty.late_s.tolist() == [0, pytest.approx(3e-4), 0, 0]
    assert faulty.slowdown.tolist() == [1, 1, 4, 1]
    touched = (faulty.topology.links.src == 2) | (faulty.topology.links.dst == 2)
    assert (faulty.topology.links.bandwidth[touched] == 2.5e9).all()
    assert (faulty.topology.links.bandwidth[~touched] == 10e9).all()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("broken:a-b", "expected link:A-B=FRACTION"),
        ("link:a-b", "expected link:A-B=FRACTION"),
        ("link:a-b=0", "expected a number above 0, from 1e-06 to 1"),
        ("link:a-b=2", "expected a number above 0, from 1e-06 to 1"),
        ("link:a-c=0.5", "no link between a and c"),
        ("link:a-z=0.5", "'a-z' is no link of square; expected one such as a>b"),
        ("late:9=1ms", "rank '9'; expected 0 to 3"),
        ("late:1=1", "expected a time such as 250us"),
        (f"late:1={'9' * 400}s", "expected a time below 1e+06 s"),
        ("slow:1=0.5", "expected a number above 0, from 1"),
    ],
)
def test_a_fault_that_names_nothing_is_refused(fault: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        with_faults(square(), [fault])
    assert message in str(caught.value)


def test_faults_that_cut_ranks_off_are_refused() -> None:
    with pytest.raises(TopologyError, match="no way is left from rank 0 to rank 1, with down:a-b, down:d-a"):
        with_faults(square(), ["down:a-b", "down:d-a"])


def test_a_link_that_is_down_counts_in_no_bound() -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=4,spines=2,taper=8")
    whole = bound(machine, "all_reduce", 1 << 26).bound_s
    half = bound(with_faults(machine, ["down:leaf0-spine0"]).topology, "all_reduce", 1 << 26)
    assert half.bound_s == pytest.approx(2 * whole)
    assert "spine0" not in half.by


def test_whom_a_slow_link_is_to_be_blamed_on_is_kept() -> None:
    assert with_faults(square(), ["link:a>b=0.5", "slow:2=2"]).culprits == {
        "a → b": "a → b", "b → c": "rank 2", "c → b": "rank 2", "c → d": "rank 2", "d → c": "rank 2",
    }  # fmt: skip


def test_links_are_joined_one_behind_the_other() -> None:
    assert len(joined([])) == 0
    both = joined([links(0, 1, 1e9), links(2, 3, 2e9)])
    assert both.src.tolist() == [0, 2]
    assert both.moved(10).dst.tolist() == [11, 13]
