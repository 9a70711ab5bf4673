"""Messages between pairs of ranks that are timed when a run on an emulated network begins: what its rows' expected time
is calibrated on.

All ranks send a message and receive one at once (`collectives/simulator/pair_fit.py` has the rounds and the fit): of
`SHORT_BYTES`, and of the sizes that the schedules send, as libraries send messages of other sizes in other ways. No
collective is looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import log2

from clusterbench.bench.worlds.world import World, agreed
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.events import play
from clusterbench.collectives.simulator.pair_fit import Fitted, Round, Timed, fitted, is_exchange, rounds
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import Plan, plan
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.transports.link import exchange, reduce_s_per_byte
from clusterbench.collectives.transports.native import NativeMpi

SHORT_BYTES = 8
LEAST_BYTES, MOST_BYTES = 1 << 16, 1 << 22
"""Of long messages: powers of 2."""
SAMPLES = 3
BUDGET_S = 0.5
"""Of a round and size, beyond the first call."""
MOST_IN_A_ROW = 16
MOST_PLAYED = 1 << 15
"""Transfers of a schedule that is played message by message, which takes about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class PairTimes:
    """What was measured, the same on all ranks."""

    rounds: tuple[Timed, ...]
    gamma_s_per_byte: float

    def fits(self, topology: Topology) -> dict[tuple[int, bool], Fitted]:
        """The topology as it explains short messages and those of a size, by the sizes of long ones and whether
        messages go both ways."""
        keys = {(one.size_bytes, one.both_ways) for one in self.rounds if one.size_bytes != SHORT_BYTES}
        return {
            (size, both): fitted(
                topology,
                [one for one in self.rounds if one.both_ways == both and one.size_bytes in (SHORT_BYTES, size)],
                self.gamma_s_per_byte,
            )
            for size, both in sorted(keys)
        }


class Calibrated:
    """Prices schedules on a topology as pairs of ranks have measured it."""

    def __init__(self, topology: Topology, measured: PairTimes) -> None:
        self.fits = measured.fits(topology)
        self._patterns = {key: Patterns(fit.topology, fit.costs) for key, fit in self.fits.items()}

    def price_s(self, schedule: Schedule, size_bytes: int, matrix: Ints | None = None) -> float:
        """Seconds: each round as messages of the size nearest to its longest one take, and all rounds times what it
        makes that a message sets out as soon as its data are there."""
        plans = {key: plan(patterns, schedule, matrix) for key, patterns in self._patterns.items()}
        steps_s = {key: of.steps_s(size_bytes) for key, of in plans.items()}
        sent = next(iter(plans.values())).messages_at(size_bytes, matrix)
        by_rounds_s = sum(
            steps_s[self._nearest(message, both)][number] for number, (message, both) in enumerate(sent) if message
        )
        key = self._longest(sent)
        return by_rounds_s * self._overlap(plans[key], self.fits[key], size_bytes, matrix)

    def said(self, schedule: Schedule, size_bytes: int) -> str:
        """The fit for the longest message of a schedule, in words."""
        sent = plan(next(iter(self._patterns.values())), schedule).messages_at(size_bytes)
        key = self._longest(sent)
        return f"{self.fits[key]}, with messages of {key[0]} bytes"

    @staticmethod
    def _overlap(rounds: Plan, fit: Fitted, size_bytes: int, matrix: Ints | None) -> float:
        """Time by events over that by rounds: less than 1 where rounds overlap, more where messages of several rounds
        set out at once and share what they would have had one after the other."""
        made, by_rounds_s = rounds.schedule, rounds.at(size_bytes).time_s
        if by_rounds_s <= 0 or sum(len(part) * part.repetitions for part in made.phases()) > MOST_PLAYED:
            return 1.0
        return play(made, fit.rates, size_bytes, fit.busy, matrix).time_s / by_rounds_s

    def _longest(self, sent: Collection[tuple[int, bool]]) -> tuple[int, bool]:
        """The fit for the longest of messages."""
        return self._nearest(*max(sent, default=(LEAST_BYTES, True)))

    def _nearest(self, message: int, both_ways: bool) -> tuple[int, bool]:
        there = [key for key in self.fits if key[1] == both_ways] or list(self.fits)
        return min(there, key=lambda key: abs(log2(key[0]) - log2(max(1, message))))


def long_messages(schedule: Schedule, size_bytes: int, patterns: Patterns) -> set[tuple[int, bool]]:
    """What a schedule sends in its rounds: sizes of long messages, powers of 2, and whether they go both ways."""
    sent = plan(patterns, schedule).messages_at(size_bytes) if not schedule.collective.uneven else []
    return {
        (int(min(max(1 << round(log2(message)), LEAST_BYTES), MOST_BYTES)), both) for message, both in sent if message
    }


def time_pairs(world: World, mpi: NativeMpi, topology: Topology, wanted: Collection[tuple[int, bool]]) -> PairTimes:
    """Time rounds of short messages, and of those of sizes that go both ways or not; all ranks call it together.

    Where ranks are too few for one way, both ways stand for it. Raises `MpiError`.
    """
    found: list[Round] = agreed(world, lambda: rounds(topology))
    one_way = any(not is_exchange(sends) for sends in found)
    keys = {(size, both or not one_way) for size, both in wanted}
    keys |= {(SHORT_BYTES, both) for _, both in keys}
    timed = []
    for size_bytes, both in sorted(keys):
        for sends in found:
            if is_exchange(sends) == both:
                world.begin(f"timing pairs with {size_bytes} bytes")
                timed.append(Timed(sends, size_bytes, _round_s(world, mpi, sends, size_bytes)))
    return PairTimes(tuple(timed), reduce_s_per_byte(mpi))


def _round_s(world: World, mpi: NativeMpi, sends: Round, size_bytes: int) -> float:
    """Seconds of the slowest message, the mean of several in a row; the first call of a size only warms up."""
    to = next((dst for src, dst in sends if src == world.rank), -1)
    source = next((src for src, dst in sends if dst == world.rank), -1)
    call = exchange(mpi, to, source, size_bytes)
    first_s = float(call.time(1, 1)[0][0])
    if first_s > BUDGET_S:
        return float(call.time(1, 1)[0][0])
    in_a_row = int(min(max(BUDGET_S / SAMPLES / max(first_s, 1e-9), 1), MOST_IN_A_ROW))
    seconds = call.time(SAMPLES, in_a_row)[0]
    return float(sorted(seconds)[SAMPLES // 2])
