"""Rounds of pairs of ranks give back what links and messages cost, and rounds are what collectives meet, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from two_planes import two_planes

from clusterbench.collectives.algorithm import Call, Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.pair_fit import Timed, Turns, fitted, partners_in, rounds
from clusterbench.collectives.simulator.partners import Partners, partners_of
from clusterbench.collectives.simulator.patterns import Messages, Patterns
from clusterbench.collectives.simulator.phases import plan, price
from clusterbench.collectives.topology.graph import Topology, topology
from clusterbench.collectives.topology.graph import links as links_of
from clusterbench.collectives.topology.spec import topology_from

RACKS = "leaf-spine:racks=2,hosts=4,taper=16"
MIXED = "leaf-spine:racks=4,hosts=2,taper=2,ranks=random:1"


def real(declared: Topology, at_hosts: float, between: float, hop_s: float) -> Topology:
    """A machine whose links carry another share of their declared rates at hosts than between switches."""
    links = declared.links
    ranks = np.isin(links.src, declared.ranks) | np.isin(links.dst, declared.ranks)
    rate = links.bandwidth * np.where(ranks, at_hosts, between)
    return replace(declared, links=replace(links, bandwidth=rate, latency_s=np.full(len(links), hop_s)))


def taken_s(machine: Topology, turns: Turns, size_bytes: int, costs: Costs) -> float:
    """What a round takes there in the mean, by the simulator."""
    several = [np.array(sends).T for sends in turns]
    messages = [Messages(a, b, np.zeros_like(a), np.full(len(a), size_bytes)) for a, b in several]
    lasts = [pattern.last(units) for pattern, units in Patterns(machine, costs).priced(messages)]
    return float(np.mean([last.latency_s + last.bandwidth_s for last in lasts]))


def without_latencies(text: str) -> Topology:
    found = topology_from(text)
    return replace(found, links=replace(found.links, latency_s=np.zeros(len(found.links))))


@pytest.mark.parametrize("text", [RACKS, f"{RACKS},ranks=round-robin:4", MIXED])
def test_the_fit_finds_what_messages_hops_and_each_class_of_links_cost(text: str) -> None:
    declared = without_latencies(text)
    machine, costs = real(declared, 0.9, 0.7, 40e-6), Costs(alpha_s=300e-6)
    timed = [Timed(p, size, taken_s(machine, p, size, costs)) for p in rounds(declared) for size in (4096, 1 << 20)]
    found = fitted(declared, timed)
    assert (found.alpha_s, found.hop_s) == pytest.approx((300e-6, 40e-6), rel=1e-6)
    assert sorted(found.shares) == pytest.approx([0.7, 0.9])
    made = schedule(Spec("halving-doubling"), Call(COLLECTIVES["all_reduce"], 8, -1))
    assert price(made, found.topology, 1 << 22, found.costs).time_s == pytest.approx(
        price(made, machine, 1 << 22, costs).time_s
    )


def test_latencies_that_are_known_are_kept_and_not_fitted() -> None:
    declared = without_latencies(RACKS)
    late = np.where(declared.links.src == declared.ranks[3], 0.02, 0.0)
    late_machine = replace(declared, links=replace(declared.links, latency_s=late))
    costs = Costs(alpha_s=300e-6)
    timed = [
        Timed(p, size, taken_s(late_machine, p, size, costs)) for p in rounds(declared) for size in (4096, 1 << 20)
    ]
    found = fitted(late_machine, timed)
    assert found.alpha_s + 2 * found.hop_s == pytest.approx(300e-6, rel=0.05)
    assert found.topology.links.latency_s - late == pytest.approx(np.full(len(late), found.hop_s))


@pytest.mark.parametrize("text", ["single-switch:nodes=7", RACKS, MIXED, "torus:dims=3x3", "fat-tree:nodes=8,taper=2"])
def test_ranks_of_a_round_send_as_often_as_they_receive_and_every_kind_has_a_round(text: str) -> None:
    declared = topology_from(text)
    ranks = np.arange(len(declared.ranks))
    lengths = {}
    for a in ranks:
        for b in ranks[ranks != a]:
            lengths[int(a), int(b)] = int(declared.routes(a, b).lengths[0])
    found = rounds(declared)
    assert len(set(found)) == len(found)
    for turns in found:
        assert len({partners_of(*np.array(sends).T) for sends in turns}) == 1
        for sends in turns:
            assert len(set(sends)) == len(sends)
            sent, received = (np.bincount([pair[end] for pair in sends], minlength=len(ranks)) for end in (0, 1))
            assert (sent == received).all()
            assert (sent.max() == 1) == (partners_in(turns) is not Partners.SEVERAL)
            assert len({lengths[pair] for pair in sends}) == 1
    assert {partners_in(turns) for turns in found} == set(Partners)
    exchanges = [turns for turns in found if partners_in(turns) is Partners.SAME]
    assert {lengths[turns[0][0]] for turns in exchanges} == set(lengths.values())
    assert all(len(turns) == 1 or not set(turns[0]) & set(turns[1]) for turns in exchanges)


def test_a_library_that_uses_all_rails_makes_the_first_as_fast_as_all(tmp_path: Path) -> None:
    """And messages to several ranks are not taken to share twice as many rails as there are."""
    declared = topology_from(str(two_planes(tmp_path / "planes.txt", 8)))
    declared = replace(declared, links=replace(declared.links, latency_s=np.zeros(len(declared.links))))
    rail = float(declared.links.bandwidth[np.isfinite(declared.links.bandwidth)].min())
    timed = [
        Timed(turns, size, 1e-6 + size / (2 * rail))
        for turns in rounds(declared)
        for size in (8, 1 << 20)
        if partners_in(turns) is Partners.SAME
    ]
    found = fitted(declared, timed)
    assert max(found.shares) == pytest.approx(2.0)
    to_all = schedule(Spec("direct"), Call(COLLECTIVES["all_gather"], 8, -1))
    expected_s = 1e-6 + 7 * (1 << 20) / (2 * rail)
    assert price(to_all, found.topology, 8 << 20).time_s == pytest.approx(expected_s, rel=1e-3)


def test_hosts_that_are_linked_to_each_other_have_no_rails_and_routes_are_kept() -> None:
    """A square of hosts, with two equally good ways between those across."""
    links = links_of([0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3], [1e6] * 8)
    square = topology(name="square", kinds=[1] * 4, names=list("abcd"), hosts=range(4), links=links)
    timed = [Timed(turns, size, 1e-3 + size / 1e6) for turns in rounds(square) for size in (8, 1 << 20)]
    assert fitted(square, timed).topology.router is square.router


def test_partners_are_those_of_most_messages_of_a_round() -> None:
    def of(*pairs: tuple[int, int]) -> Partners:
        return partners_of(*np.array(pairs).T)

    assert of((0, 1), (1, 0)) is Partners.SAME
    assert of((0, 1), (0, 1), (1, 0), (2, 3)) is Partners.SAME  # the first is one message in two parts
    assert of((0, 1), (1, 2), (2, 0)) is Partners.OTHERS
    assert of((0, 1)) is Partners.OTHERS
    assert of((0, 1), (0, 2), (1, 0), (2, 0)) is of((1, 0), (2, 0)) is Partners.SEVERAL
    assert partners_of(np.zeros(0, np.int64), np.zeros(0, np.int64)) is Partners.SAME


def test_links_that_limit_no_round_have_the_mean_share_of_the_others() -> None:
    """Two ranks in a line of three links, of which the one in the middle is wide."""
    machine = topology(
        name="line", kinds=[1, 3, 3, 1], names=["a", "s", "t", "b"], ranks=[0, 3],
        links=links_of([0, 1, 2, 3, 2, 1], [1, 2, 3, 2, 1, 0], [1e6, 9e6, 1e6, 1e6, 9e6, 1e6]),
    )  # fmt: skip
    found = fitted(machine, [Timed((((0, 1), (1, 0)),), size, 1e-3 + size / 0.8e6) for size in (4096, 1 << 20)])
    assert found.shares == pytest.approx((0.8,))
    assert found.topology.links.bandwidth == pytest.approx(machine.links.bandwidth * 0.8)


def test_the_steps_of_a_plan_add_up_to_its_time_and_messages_are_what_goes_between_two_ranks() -> None:
    machine = topology_from(RACKS)
    patterns = Patterns(machine, Costs(alpha_s=1e-5, gamma_s_per_byte=1e-11))
    made = schedule(Spec("halving-doubling"), Call(COLLECTIVES["all_reduce"], 8, -1))
    of = plan(patterns, made)
    assert sum(of.steps_s(1 << 20)) == pytest.approx(of.at(1 << 20).time_s)
    halves = [1 << 19, 1 << 18, 1 << 17, 1 << 17, 1 << 18, 1 << 19]
    assert of.messages_at(1 << 20) == [(half, Partners.SAME) for half in halves]
    ring = plan(patterns, schedule(Spec("ring"), Call(COLLECTIVES["all_reduce"], 8, -1)))
    assert set(ring.messages_at(1 << 20)) == {(1 << 17, Partners.OTHERS)}
