"""What is expected on a topology once pairs of ranks were timed: each round by the messages of its size."""

from __future__ import annotations

from dataclasses import replace

import mpi
import numpy as np
import pytest

from clusterbench.bench.measuring import pair_calibration
from clusterbench.bench.measuring.pair_calibration import LEAST_BYTES, SHORT_BYTES, Calibrated, PairTimes, long_messages
from clusterbench.collectives.algorithm import Call, Spec
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.simulator.events import play
from clusterbench.collectives.simulator.pair_fit import Timed, Turns, partners_in, rounds
from clusterbench.collectives.simulator.partners import Partners
from clusterbench.collectives.simulator.patterns import Messages, Patterns
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.spec import topology_from

MIB = 1 << 20
SWITCH = topology_from("single-switch:nodes=8,bandwidth=1G")
SWITCH = replace(SWITCH, links=replace(SWITCH.links, latency_s=np.zeros(len(SWITCH.links))))
ALL_REDUCE = Call(COLLECTIVES["all_reduce"], 8, -1)
HALVING, DOUBLING = (schedule(Spec(name), ALL_REDUCE) for name in ("halving-doubling", "recursive-doubling"))


def times_s(size_bytes: int, partners: Partners = Partners.SAME) -> float:
    """Of a library that sends 4 MiB at half the rate of what is shorter, and what goes one way only a fifth faster."""
    factor = {Partners.SAME: 1.0, Partners.OTHERS: 0.8, Partners.SEVERAL: 3.0}[partners]
    return 1e-4 + size_bytes / 1e9 * (2 if size_bytes == 4 * MIB else 1) * factor


def timed(*sizes: int) -> PairTimes:
    found = rounds(SWITCH)
    all_sizes = (SHORT_BYTES, *sizes)
    return PairTimes(
        tuple(Timed(turns, size, times_s(size, partners_in(turns))) for size in all_sizes for turns in found), 0.0
    )


def test_long_messages_are_those_of_the_schedule_as_powers_of_2_within_limits() -> None:
    patterns = Patterns(SWITCH)
    halves = {(size, Partners.SAME) for size in (MIB // 2, MIB, 2 * MIB)}
    assert long_messages(HALVING, 4 * MIB, patterns) == halves
    assert long_messages(DOUBLING, 5 * MIB, patterns) == {(4 * MIB, Partners.SAME)}
    assert long_messages(DOUBLING, 500, patterns) == {(LEAST_BYTES, Partners.SAME)}
    assert long_messages(schedule(Spec("ring"), ALL_REDUCE), MIB, patterns) == {(MIB // 8, Partners.OTHERS)}
    assert long_messages(schedule(Spec("direct"), ALL_REDUCE), MIB, patterns) == {(MIB // 8, Partners.SEVERAL)}


def test_what_goes_along_a_ring_is_priced_by_messages_that_go_one_way() -> None:
    ring = schedule(Spec("ring"), ALL_REDUCE)
    expected_s = 14 * times_s(MIB // 2, Partners.OTHERS)
    assert Calibrated(SWITCH, timed(MIB // 2)).price_s(ring, 4 * MIB) == pytest.approx(expected_s, rel=1e-3)


@pytest.mark.parametrize("made", [HALVING, DOUBLING])
def test_each_round_is_priced_by_what_messages_of_its_size_take(made: Schedule) -> None:
    calibrated = Calibrated(SWITCH, timed(MIB // 2, MIB, 2 * MIB, 4 * MIB))
    messages = [2 * MIB, MIB, MIB // 2, MIB // 2, MIB, 2 * MIB] if made is HALVING else [4 * MIB] * 3
    assert calibrated.price_s(made, 4 * MIB) == pytest.approx(sum(map(times_s, messages)), rel=1e-3)
    assert f"with messages of {max(messages)} bytes" in calibrated.said(made, 4 * MIB)


def test_messages_of_several_rounds_that_set_out_at_once_share_a_link() -> None:
    """The root of a binomial tree sends to three ranks, the first of which to two and that to one: 3 + 2 + 1, after the
    three rounds of the reduction."""
    binomial = schedule(Spec("binomial"), ALL_REDUCE)
    bytes_s = times_s(MIB, Partners.OTHERS) - times_s(0)
    expected_s = (3 + 3 + 2 + 1) * bytes_s + 6 * times_s(0)
    assert Calibrated(SWITCH, timed(MIB)).price_s(binomial, MIB) == pytest.approx(expected_s, rel=1e-3)


def test_rounds_of_a_pipeline_overlap_unless_it_is_too_long_to_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are between racks while others are within them."""
    racks = topology_from("leaf-spine:racks=2,hosts=4,taper=16")
    racks = replace(racks, links=replace(racks.links, latency_s=np.zeros(len(racks.links))))
    found = [Timed(turns, size, round_s(racks, turns, size)) for size in (SHORT_BYTES, MIB) for turns in rounds(racks)]
    pipeline = schedule(Spec("two-level", (("dims", "4x2"), ("segments", "16"))), ALL_REDUCE)
    calibrated = Calibrated(racks, PairTimes(tuple(found), 0.0))
    overlapping_s = calibrated.price_s(pipeline, 64 * MIB)
    assert overlapping_s == pytest.approx(play(pipeline, racks, 64 * MIB).time_s, rel=0.01)
    monkeypatch.setattr(pair_calibration, "MOST_PLAYED", 0)
    assert overlapping_s < 0.9 * calibrated.price_s(pipeline, 64 * MIB)


def round_s(machine: Topology, turns: Turns, size_bytes: int) -> float:
    """What a round takes in the mean at the rates of a topology."""
    several = [np.array(sends).T for sends in turns]
    messages = [Messages(a, b, np.zeros_like(a), np.full(len(a), size_bytes)) for a, b in several]
    return float(np.mean([pattern.last(units).bandwidth_s for pattern, units in Patterns(machine).priced(messages)]))


RANK = """
from clusterbench.bench.measuring.pair_calibration import SHORT_BYTES, time_pairs
from clusterbench.bench.worlds.world import join_world
world = join_world()
from clusterbench.collectives.simulator.partners import Partners
from clusterbench.collectives.topology.spec import topology_from
from clusterbench.collectives.transports.native import native
wanted = {(1 << 16, Partners.SAME), (1 << 17, Partners.OTHERS), (1 << 18, Partners.SEVERAL)}
found = time_pairs(world, native(world.comm), topology_from("single-switch:nodes=4"), wanted)
assert len(set(world.comm.allgather(found))) == 1
assert [(one.size_bytes, one.partners) for one in found.rounds] == [
    *((SHORT_BYTES, partners) for partners in Partners), *sorted(wanted)
]
assert [len(one.turns) for one in found.rounds] == [1, 2, 1, 2, 1, 1]
assert all(one.time_s > 0 for one in found.rounds) and found.gamma_s_per_byte > 0
"""


@pytest.mark.mpi
def test_ranks_time_pairs_together_and_all_get_the_same_figures() -> None:
    """Four ranks of this machine stand for hosts at a switch."""
    done = mpi.ranks(4, "-c", RANK)
    assert done.exit_code == 0, done.stderr
