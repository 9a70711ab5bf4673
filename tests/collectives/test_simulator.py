"""The simulator: fair rates, rounds and events, against arithmetic, against each other, and with faults."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from collective_cases import roots, schedule_of, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call, parse_specs
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms, schedule
from clusterbench.collectives.schedule import Schedule, ScheduleError, phase
from clusterbench.collectives.simulator.closed import estimate
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.events import play
from clusterbench.collectives.simulator.fair import drain, fair_rates
from clusterbench.collectives.simulator.messages import ORDERS, messages
from clusterbench.collectives.simulator.patterns import Messages, Patterns
from clusterbench.collectives.simulator.phases import plan, price, price_by
from clusterbench.collectives.simulator.transfers import sizes
from clusterbench.collectives.topology.faults import with_faults
from clusterbench.collectives.topology.graph import Routes, TopologyError, routes_of_lengths
from clusterbench.collectives.topology.spec import topology_from

MIB = 1 << 20
RATE = 12.5e9
"""Of a port of `host`, bytes/s."""
HOP_S = 350e-9


def built(spec: str, collective: str, ranks: int, host_ranks: int = 0, root: int = -1) -> Schedule:
    return schedule(parse_specs(spec)[0], Call(COLLECTIVES[collective], ranks, root, host_ranks))


@st.composite
def flows(draw: st.DrawFn) -> tuple[Routes, np.ndarray]:
    number = draw(st.integers(1, 6))
    routes = draw(st.lists(st.lists(st.integers(0, number - 1), min_size=1, max_size=4, unique=True),
                           min_size=1, max_size=10))  # fmt: skip
    capacity = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, 10.0]), min_size=number, max_size=number))
    lengths = np.array([len(route) for route in routes])
    return routes_of_lengths(lengths, np.array([link for route in routes for link in route])), np.array(capacity)


@given(flows())
@settings(max_examples=200, deadline=None)
def test_fair_rates_fill_links_and_give_each_flow_a_link_on_which_none_is_faster(
    drawn: tuple[Routes, np.ndarray],
) -> None:
    assert_fair(*drawn)


@pytest.mark.parametrize("capacities", [1, 4, 0])
def test_rates_are_fair_where_few_and_where_all_links_have_another_share(capacities: int) -> None:
    """Few shares are served in sweeps, many link by link; 0 is for a capacity of each link's own."""
    rng = np.random.default_rng(7 + capacities)
    number, lengths = 400, rng.integers(1, 5, 1500)
    links = np.concatenate([rng.choice(number, length, replace=False) for length in lengths])
    capacity = 1.0 + (rng.integers(0, capacities, number) if capacities else rng.random(number))
    assert_fair(routes_of_lengths(lengths, links), capacity)


def assert_fair(routes: Routes, capacity: np.ndarray) -> None:
    """No link has more than it can take, and each flow names a link that is full and on which none is faster."""
    rate, limit = fair_rates(routes.offsets, routes.links, capacity, np.ones(len(routes), np.bool_))
    fastest = np.zeros(len(capacity))
    np.maximum.at(fastest, routes.links, rate[routes.owners()])
    load = np.bincount(routes.links, rate[routes.owners()], len(capacity))
    assert (load <= capacity * (1 + 1e-9)).all()
    for flow in range(len(routes)):
        assert limit[flow] in routes.of(flow)
        assert load[limit[flow]] == pytest.approx(capacity[limit[flow]])
        assert rate[flow] >= fastest[limit[flow]] * (1 - 1e-9)


@given(flows(), st.data())
@settings(max_examples=100, deadline=None)
def test_draining_takes_no_less_than_the_busiest_link_and_no_more_than_one_after_the_other(
    drawn: tuple[Routes, np.ndarray], data: st.DataObject
) -> None:
    routes, capacity = drawn
    size = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(routes), max_size=len(routes))), float)
    over_s, limit, _ = drain(routes.offsets, routes.links, capacity, size)
    load = np.bincount(routes.links, size[routes.owners()], len(capacity)) / capacity
    alone = np.array([size[flow] / capacity[routes.of(flow)].min() for flow in range(len(routes))])
    assert over_s.max() >= load.max() * (1 - 1e-9)
    assert over_s.max() <= alone.sum() * (1 + 1e-9)
    assert (over_s >= alone * (1 - 1e-9)).all()
    assert ((limit >= 0) == (size > 0)).all()


def test_equal_flows_over_one_link_take_what_the_link_takes_for_all() -> None:
    routes = routes_of_lengths(np.array([2, 2, 1]), np.array([0, 1, 0, 2, 3]))
    over_s, limit, shared = drain(
        routes.offsets, routes.links, np.array([1.0, 9.0, 9.0, 2.0]), np.array([3.0, 3.0, 8.0])
    )
    np.testing.assert_allclose(over_s, [6, 6, 4])
    assert limit.tolist() == [0, 0, 3]
    assert shared.tolist() == [2, 2, 1]


@pytest.mark.parametrize("ranks", [2, 5, 16])
@pytest.mark.parametrize("size_bytes", [4 * 16 * 5, 16 * 5 * MIB])
def test_a_ring_on_one_switch_takes_what_its_formula_says(ranks: int, size_bytes: int) -> None:
    machine = topology_from(f"single-switch:nodes={ranks}")
    ring = built("ring", "all_reduce", ranks)
    alpha, gamma = 2e-6, 1e-10
    chunk = -(-size_bytes // 4 // ranks) * 4
    expected = 2 * (ranks - 1) * (2 * HOP_S + alpha + chunk / RATE) + (ranks - 1) * chunk * gamma
    costs = Costs(alpha_s=alpha, gamma_s_per_byte=gamma)
    found = price(ring, machine, size_bytes, costs)
    assert found.time_s == pytest.approx(expected, rel=1e-9)
    assert found.patterns == 1
    assert found.rounds == 2 * (ranks - 1)
    assert found.latency_s + found.bandwidth_s + found.reduction_s == pytest.approx(found.time_s)
    if size_bytes % (4 * ranks) == 0:
        for order in ORDERS:
            assert play(ring, machine, size_bytes, costs, order=order).time_s == pytest.approx(expected, rel=1e-9)
        assert estimate(ring, machine, size_bytes, costs).time_s == pytest.approx(expected, rel=1e-9)


def test_more_than_a_port_holds_is_shared_and_the_port_named() -> None:
    machine = topology_from("single-switch:nodes=8")
    found = price(built("direct", "all_to_all", 8), machine, 8 * MIB)
    assert found.bandwidth_s == pytest.approx(7 * MIB / RATE)
    assert found.sharing == 7
    assert "switch0" in found.bottleneck
    assert "7 transfers at once" in found.explanation


def test_uplinks_that_are_tapered_are_what_a_round_waits_for() -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=4,taper=4")
    flat = price(built("recursive-doubling", "all_reduce", 8), topology_from("single-switch:nodes=8"), MIB)
    found = price(built("recursive-doubling", "all_reduce", 8), machine, MIB)
    # Two exchanges stay inside the racks; in the third four ranks share an uplink of one port's rate.
    assert found.bandwidth_s == pytest.approx(2 * MIB / RATE + 4 * MIB / RATE)
    assert found.time_s > flat.time_s
    assert "spine0" in found.bottleneck


ALL_REDUCE = [name for name, a in algorithms().items() if a.refusal(COLLECTIVES["all_reduce"], 5) is None]
SMALL = ("all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "all_to_all", "scatter", "gather")


@pytest.mark.parametrize("name", list(algorithms()))
@pytest.mark.parametrize("ranks", [4, 6])
def test_phases_are_priced_as_their_rounds_one_by_one(name: str, ranks: int) -> None:
    chosen = algorithms()[name]
    machine = topology_from("leaf-spine:racks=2,hosts=3,taper=3" if ranks == 6 else "torus:dims=2x2")
    for what in (COLLECTIVES[one] for one in SMALL if chosen.refusal(COLLECTIVES[one], ranks) is None):
        for options in variants(chosen, ranks):
            made = schedule_of(chosen, what, ranks, roots(what, ranks)[-1], options)
            apart = Schedule(what, ranks, made.chunks, lambda made=made: made.rounds(), made.scratch_chunks, made.root)
            size_bytes = 64 * made.chunks
            costs = Costs(1e-6, 2e-7, 1e-10)
            assert price(made, machine, size_bytes, costs).time_s == pytest.approx(
                price(apart, machine, size_bytes, costs).time_s, rel=1e-9
            )


@pytest.mark.parametrize("name", list(algorithms()))
def test_rounds_take_at_least_as_long_as_events_where_no_two_messages_share_a_link(name: str) -> None:
    """Full meshes: every pair of ranks has a link of its own, so that nothing but waiting makes a difference."""
    chosen, ranks = algorithms()[name], 8
    machine = topology_from("mi300x")
    for what in (COLLECTIVES[one] for one in SMALL if chosen.refusal(COLLECTIVES[one], ranks) is None):
        made = schedule_of(chosen, what, ranks, roots(what, ranks)[0], {})
        for size_bytes in (4 * made.chunks, 4096 * made.chunks):
            rounds = price(made, machine, size_bytes).time_s
            for order in ORDERS:
                assert play(made, machine, size_bytes, order=order).time_s <= rounds * (1 + 1e-9)


@given(seed=st.integers(0, 1000), ranks=st.sampled_from([5, 8]), name=st.sampled_from(ALL_REDUCE))
@settings(max_examples=40, deadline=None)
def test_events_take_no_less_than_their_critical_path_and_the_bytes_of_any_link(
    seed: int, ranks: int, name: str
) -> None:
    chosen, what = algorithms()[name], COLLECTIVES["all_reduce"]
    made = schedule_of(chosen, what, ranks, -1, {})
    machine = topology_from(f"fat-tree:nodes=8,radix=4,down=2,ecmp={seed},taper=2,ranks=random:{seed}")
    size_bytes = 4096 * made.chunks
    found = play(made, machine, size_bytes)
    sent = messages(made, sizes(made, size_bytes))
    routes = machine.routes(sent.pair_src, sent.pair_dst, sent.pair_route)
    load = np.bincount(sent.pair, sent.size_bytes, len(routes))[routes.owners()]
    busiest = (np.bincount(routes.links, load, len(machine.links)) / machine.links.bandwidth).max()
    assert found.time_s >= busiest * (1 - 1e-9)
    assert found.latency_s + found.bandwidth_s + found.reduction_s + found.waiting_s == pytest.approx(found.time_s)


@pytest.mark.parametrize("name", [name for name, a in algorithms().items() if "all_reduce" in a.collectives])
@pytest.mark.parametrize("order", ORDERS)
def test_what_waits_for_what_has_no_circle(name: str, order: str) -> None:
    made = schedule_of(algorithms()[name], COLLECTIVES["all_reduce"], 8, -1, {})
    sent = messages(made, sizes(made, 1 << 12), "data" if order == "data" else "blocking")
    awaited, ready, seen = sent.awaited.copy(), [int(m) for m in np.flatnonzero(sent.awaited == 0)], 0
    while ready:
        message = ready.pop()
        seen += 1
        for after in sent.successors[sent.offsets[message] : sent.offsets[message + 1]]:
            awaited[after] -= 1
            if awaited[after] == 0:
                ready.append(int(after))
    assert seen == len(sent)


def test_what_many_wrote_is_joined_before_many_read_it() -> None:
    made = built("direct", "all_reduce", 32)
    sent = messages(made, sizes(made, 1 << 12))
    assert len(sent) > 2 * 32 * 31  # joins
    assert len(sent.successors) < 12 * len(sent)  # and so not a product of writers and readers


def test_messages_that_are_rated_anew_again_and_again_do_not_overflow_what_is_to_happen() -> None:
    """Sixty messages of different sizes into one port: each end rates all others anew; then one releases many."""
    machine = topology_from("single-switch:nodes=64")
    incast = phase(src=np.arange(1, 61), dst=0, chunk=np.arange(60), count=1, modulus=64)
    release = phase(src=0, dst=np.arange(1, 41), chunk=np.arange(40), count=1, modulus=64)
    made = Schedule(COLLECTIVES["broadcast"], 64, 64, lambda: [incast, release] * 3, root=0)
    found = play(made, machine, 64 * MIB)
    assert found.time_s == pytest.approx(price(made, machine, 64 * MIB).time_s, rel=0.5)


def test_many_transfers_that_end_near_each_other_are_taken_together_within_the_share_that_is_said() -> None:
    machine = topology_from("fat-tree:nodes=80,radix=16,ecmp=1,taper=2")
    found = price(built("direct", "all_to_all", 80), machine, 80 * MIB).bandwidth_s  # 6,320 transfers
    exact = play(built("direct", "all_to_all", 80), machine, 80 * MIB).bandwidth_s
    assert exact * (1 - 1e-6) <= found <= exact * 1.01


def test_elements_are_as_long_as_their_type() -> None:
    machine = topology_from("single-switch:nodes=64,bandwidth=1K")
    ring = built("ring", "all_reduce", 64)
    times = {width: price(ring, machine, 64, element_bytes=width).bandwidth_s for width in (1, 4, 8)}
    assert times == {width: pytest.approx(126 * width / 1000) for width in (1, 4, 8)}


def test_blocking_ranks_go_through_their_rounds_one_by_one() -> None:
    machine = topology_from("single-switch:nodes=8")
    tree = built("binomial", "broadcast", 8, root=0)
    by_data, by_rank = (play(tree, machine, MIB, order=order).time_s for order in ORDERS)
    assert by_rank == pytest.approx(3 * (2 * HOP_S + MIB / RATE))
    assert by_data > by_rank  # the root's three sends share its port from the start, the deepest among them


def test_messages_of_one_sender_follow_one_another_by_the_overhead() -> None:
    machine = topology_from("single-switch:nodes=5")
    found = price(built("direct", "scatter", 5, root=0), machine, 20, Costs(overhead_s=1e-5))
    assert found.latency_s == pytest.approx(4e-5 + 2 * HOP_S)
    assert play(built("direct", "scatter", 5, root=0), machine, 20, Costs(overhead_s=1e-5)).time_s == pytest.approx(
        4e-5 + 2 * HOP_S + 4 / RATE
    )


@pytest.mark.parametrize("mode", ["phases", "events"])
def test_a_slower_link_a_late_and_a_slow_rank_lengthen_the_time_and_are_named(mode: str) -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=4,taper=2")
    ring = built("ring", "all_reduce", 8)

    def found(*faults: str):  # type: ignore[no-untyped-def] # a prediction
        faulty = with_faults(machine, faults)
        costs = Costs(1e-6, 0.0, 1e-11, 1.0, faulty.late_s, faulty.slowdown)
        return (price if mode == "phases" else play)(ring, faulty.topology, MIB, costs)

    well = found()
    degraded = [found(f"link:leaf0>spine0={share}") for share in (0.5, 0.1, 0.05)]
    times = [well.time_s, *(one.time_s for one in degraded)]
    assert all(before <= after for before, after in pairwise(times))
    assert times[-1] > 3 * times[0]
    assert degraded[-1].bottleneck == "leaf0 → spine0"
    late = found("late:5=3ms")
    assert late.time_s == pytest.approx(well.time_s + 3e-3, rel=0.2)
    assert late.late_rank == 5
    assert "rank 5 is late" in late.explanation
    slow = found("slow:2=10")
    assert slow.time_s > 5 * well.time_s
    assert "h2" in slow.bottleneck
    down = with_faults(topology_from("torus:dims=4x2"), ["down:h0-h1"]).topology
    assert price(ring, down, MIB).time_s > price(ring, topology_from("torus:dims=4x2"), MIB).time_s


def test_a_ring_placed_host_by_host_crosses_tapered_racks_less_than_one_placed_in_turn() -> None:
    machine = topology_from("leaf-spine:racks=4,hosts=8,taper=16,node=dgx-h100,ranks=round-robin")
    by_block = topology_from("leaf-spine:racks=4,hosts=8,taper=16,node=dgx-h100")
    ring = built("ring", "all_reduce", 256)
    assert price(ring, by_block, 64 * MIB).time_s < price(ring, machine, 64 * MIB).time_s


def test_an_all_to_all_v_is_priced_by_what_each_rank_sends_each() -> None:
    machine = topology_from("single-switch:nodes=4")
    made = built("pairwise", "all_to_all_v", 4)
    even = np.full((4, 4), 1000)
    skewed = even.copy()
    skewed[0, 1] = 50_000
    times = [price(made, machine, 0, matrix=matrix).time_s for matrix in (even, skewed)]
    assert times[1] - times[0] == pytest.approx(49_000 * 4 / RATE)
    assert play(made, machine, 0, matrix=skewed).time_s == pytest.approx(times[1], rel=0.2)
    with pytest.raises(ScheduleError, match="needs a matrix"):
        price(made, machine, 0)
    with pytest.raises(ScheduleError, match="found a matrix"):
        price(built("ring", "all_reduce", 4), machine, 64, matrix=even)


def test_more_ranks_than_places_and_more_messages_than_memory_holds_are_refused() -> None:
    with pytest.raises(TopologyError, match="8 ranks on single-switch:nodes=4, which has 4"):
        price(built("ring", "all_reduce", 8), topology_from("single-switch:nodes=4"), MIB)
    with pytest.raises(TopologyError, match="price it by phases"):
        play(built("ring", "all_reduce", 20000), topology_from("single-switch:nodes=20000"), MIB)


@pytest.mark.parametrize(("name", "value"), [("alpha_s", -1.0), ("gamma_s_per_byte", float("nan")), ("share", 0.0)])
def test_costs_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(TopologyError, match=name):
        Costs(**{name: value})


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_patterns_met_before_give_the_prices_of_a_first_meeting(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 50))
    machine = topology_from(f"fat-tree:nodes=8,radix=4,down=2,ecmp={seed},taper=2,ranks=random:{seed}")
    costs = Costs(alpha_s=data.draw(st.sampled_from([0.0, 1e-6, 1e-3])), overhead_s=1e-7, gamma_s_per_byte=1e-10)
    patterns = Patterns(machine, costs)
    for name in data.draw(st.lists(st.sampled_from(["ring", "direct", "swing", "two-level:dims=2x4"]), min_size=1)):
        made = built(name, "all_reduce", 8)
        for size_bytes in data.draw(st.lists(st.sampled_from([4, 64, 5000, MIB, 3 * MIB]), min_size=1, max_size=3)):
            again, first = price_by(patterns, made, size_bytes), price(made, machine, size_bytes, costs)
            assert again.time_s == pytest.approx(first.time_s, rel=1e-12)
            assert again.latency_s + again.bandwidth_s + again.reduction_s == pytest.approx(again.time_s, rel=1e-12)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_patterns_priced_together_cost_what_each_costs_alone(data: st.DataObject) -> None:
    machine = topology_from("fat-tree:nodes=8,radix=4,down=2,taper=2")
    costs = Costs(alpha_s=1e-6, overhead_s=1e-7)
    # In any order, several between the same ranks, some patterns twice, some empty.
    drawn = st.lists(st.tuples(*[st.integers(0, 7)] * 2, st.integers(0, 2), st.sampled_from([1, 4, 6])), max_size=12)
    several = [
        Messages(*np.array([row for row in rows if row[0] != row[1]], np.int64).reshape(-1, 4).T)
        for rows in data.draw(st.lists(drawn, max_size=5))
    ]
    for one, (pattern, units) in zip(several, Patterns(machine, costs).priced(several), strict=True):
        ((alone, unit),) = Patterns(machine, costs).priced([one])
        assert units == unit
        assert (alone.unit_s == pattern.unit_s).all()
        assert (alone.latency_s == pattern.latency_s).all()
        assert pattern.sends == bool(len(one.src))


def test_ten_thousand_gpus_are_priced_by_patterns_not_by_transfers() -> None:
    machine = topology_from("fat-tree:nodes=1250,node=dgx-h100,taper=2")
    for spec in ("ring", "two-level"):
        found = price(built(spec, "all_reduce", 10_000, 8), machine, 1 << 30)
        assert found.patterns <= 2
        assert found.rounds >= 2 * (8 - 1 + 1250 - 1)
        assert found.time_s > 2 * (1 << 30) / 513e9 * 0.9


@pytest.mark.parametrize("name", ["ring", "halving-doubling", "direct", "two-level"])
def test_a_plan_gives_at_every_size_what_a_price_of_that_size_is(name: str) -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=4,taper=4")
    made, costs = built(name, "all_reduce", 8), Costs(1e-6, 1e-7, 1e-10)
    planned = plan(Patterns(machine, costs), made)
    for size_bytes in (0, 4, 33, 4096, 5 * MIB):
        assert planned.at(size_bytes) == price(made, machine, size_bytes, costs)
    assert planned.at(0).time_s == 0
