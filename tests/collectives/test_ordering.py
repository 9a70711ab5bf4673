"""Schedules whose ranks are renumbered, and the order that a network gives them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives import discovery
from clusterbench.collectives.algorithm import Call, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.building.ordering import renumbered
from clusterbench.collectives.collective import COLLECTIVES, collective
from clusterbench.collectives.proof import prove
from clusterbench.collectives.simulator.phases import price
from clusterbench.collectives.topology.nearness import Nearness, nearness
from clusterbench.collectives.topology.spec import topology_from

SERVED = [(name, what) for name, one in discovery.algorithms().items() for what in one.cost]


@settings(max_examples=5)
@given(data=st.data(), ranks=st.integers(2, 9))
@pytest.mark.parametrize(("name", "what"), SERVED)
def test_any_algorithm_computes_its_collective_in_any_order(
    name: str, what: str, data: st.DataObject, ranks: int
) -> None:
    call = Call(COLLECTIVES[what], ranks, 0 if COLLECTIVES[what].is_rooted else -1)
    order = np.array(data.draw(st.permutations(range(ranks))))
    (spec,) = parse_specs(name)
    try:
        made = discovery.schedule(spec, call)
    except UnsuitableAlgorithmError:
        return
    moved = renumbered(made, order)
    prove(moved)
    assert moved.root == (order[0] if call.collective.is_rooted else -1)


def test_what_is_no_permutation_is_refused() -> None:
    made = discovery.schedule(parse_specs("ring")[0], Call(collective("all_reduce"), 4))
    for order in ([0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="each of them once"):
            renumbered(made, np.array(order))


@pytest.mark.parametrize("placement", ["block", "round-robin", "random:1", "random:2"])
def test_the_order_of_a_network_has_racks_together_wherever_ranks_are(placement: str) -> None:
    machine = topology_from(f"leaf-spine:racks=3,hosts=4,ranks={placement}")
    near = nearness(machine)
    block = topology_from("leaf-spine:racks=3,hosts=4")
    rack = {int(vertex): i // 4 for i, vertex in enumerate(block.ranks)}
    racks = [rack[int(machine.ranks[rank])] for rank in near.order]
    assert near.together == 4
    assert len({tuple(racks[first : first + 4]) for first in (0, 4, 8)}) == 3
    assert all(len(set(racks[first : first + 4])) == 1 for first in (0, 4, 8))


def test_where_all_ranks_are_alike_there_are_no_groups() -> None:
    near = nearness(topology_from("single-switch:nodes=5"))
    assert near.together == 0
    assert sorted(near.order.tolist()) == list(range(5))


def test_a_ring_in_the_order_of_the_network_takes_no_longer_wherever_ranks_are() -> None:
    def time_s(text: str, placement: str) -> float:
        machine = topology_from(f"leaf-spine:racks=2,hosts=4,taper=4,ranks={placement}")
        call = Call(collective("all_reduce"), 8, nearness=lambda: nearness(machine))
        made = discovery.schedule(parse_specs(text)[0], call)
        return price(made, machine, 1 << 22).time_s

    block = time_s("ring", "block")
    assert time_s("ring", "random:3") > 1.5 * block
    for placement in ("block", "random:1", "random:3"):
        assert time_s("ring:order=topology", placement) == pytest.approx(block, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "option", "message"),
    [
        (Call(collective("all_reduce"), 4), "topology", "ring: order=topology, but what the ranks run on is not known"),
        (Call(collective("all_reduce"), 4), "size", "ring: order=size; expected rank or topology"),
        (
            Call(collective("all_reduce"), 4, nearness=lambda: Nearness(np.arange(3), 0)),
            "topology",
            "ring: order=topology: the topology has 3 ranks; expected 4",
        ),
    ],
)
def test_an_order_that_cannot_be_had_is_refused(call: Call, option: str, message: str) -> None:
    with pytest.raises(UnsuitableAlgorithmError, match=message):
        discovery.schedule(parse_specs(f"ring:order={option}")[0], call)


def test_groups_of_a_rack_are_the_inner_dimension_of_two_level() -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=3,ranks=random:5")
    call = Call(collective("all_reduce"), 6, nearness=lambda: nearness(machine))
    made = discovery.schedule(parse_specs("two-level:order=topology")[0], call)
    prove(made)
    first = next(iter(made.phases()))
    hosts = topology_from("leaf-spine:racks=2,hosts=3").ranks.tolist()
    rack = np.array([hosts.index(int(vertex)) // 3 for vertex in machine.ranks])
    assert np.array_equal(rack[first.src], rack[first.dst])
