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
from clusterbench.collectives.simulator.pair_fit import Fitted, Timed, Turns, fitted, partners_in, rounds
from clusterbench.collectives.simulator.partners import Partners
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import Plan, plan
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.transports.link import exchanges, reduce_s_per_byte
from clusterbench.collectives.transports.native import NativeMpi

Sent = tuple[int, Partners]
"""Bytes of the messages of a round, and with whom its ranks exchange them."""
SHORT_BYTES = 8
LEAST_BYTES, MOST_BYTES = 1 << 13, 1 << 22
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

    def fits(self, topology: Topology) -> dict[Sent, Fitted]:
        """The topology as it explains short messages and those of a size, by the sizes of long ones and the partners
        that they go to."""
        keys = {(one.size_bytes, one.partners) for one in self.rounds if one.size_bytes != SHORT_BYTES}
        return {
            (size, partners): fitted(
                topology,
                [one for one in self.rounds if one.partners == partners and one.size_bytes in (SHORT_BYTES, size)],
                self.gamma_s_per_byte,
            )
            for size, partners in sorted(keys)
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
        by_rounds_s = sum(steps_s[self._nearest(*one)][number] for number, one in enumerate(sent) if one[0])
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

    def _longest(self, sent: Collection[Sent]) -> Sent:
        """The fit for the longest of messages."""
        return self._nearest(*max(sent, default=(LEAST_BYTES, Partners.SAME)))

    def _nearest(self, message: int, partners: Partners) -> Sent:
        there = [key for key in self.fits if key[1] == partners] or list(self.fits)
        return min(there, key=lambda key: abs(log2(key[0]) - log2(max(1, message))))


def long_messages(schedule: Schedule, size_bytes: int, patterns: Patterns) -> set[Sent]:
    """What a schedule sends in its rounds: sizes of long messages, powers of 2, and with which partners."""
    sent = plan(patterns, schedule).messages_at(size_bytes) if not schedule.collective.uneven else []
    return {
        (int(min(max(1 << round(log2(message)), LEAST_BYTES), MOST_BYTES)), partners)
        for message, partners in sent
        if message
    }


def time_pairs(world: World, mpi: NativeMpi, topology: Topology, wanted: Collection[Sent]) -> PairTimes:
    """Time rounds of short messages, and of those of sizes with some partners; all ranks call it together.

    Where ranks are too few for that, exchanges stand for it, and for schedules that send nothing. Raises `MpiError`.
    """
    found: list[Turns] = agreed(world, lambda: rounds(topology))
    there = {partners_in(turns) for turns in found}
    keys = {(size, of if of in there else Partners.SAME) for size, of in wanted or {(LEAST_BYTES, Partners.SAME)}}
    keys |= {(SHORT_BYTES, of) for _, of in keys}
    timed = []
    for size_bytes, of in sorted(keys):
        for turns in found:
            if partners_in(turns) == of:
                world.begin(f"timing pairs with {size_bytes} bytes")
                timed.append(Timed(turns, size_bytes, _round_s(world, mpi, turns, size_bytes)))
    return PairTimes(tuple(timed), reduce_s_per_byte(mpi))


def _round_s(world: World, mpi: NativeMpi, turns: Turns, size_bytes: int) -> float:
    """Seconds of a round on the slowest rank, the mean of several in a row; the first call of a size only warms up."""
    mine = [
        ([dst for src, dst in sends if src == world.rank], [src for src, dst in sends if dst == world.rank])
        for sends in turns
    ]
    call = exchanges(mpi, mine, size_bytes)
    first_s = float(call.time(1, 1)[0][0])
    budget_s = BUDGET_S * len(turns)
    if first_s > budget_s:
        return float(call.time(1, 1)[0][0]) / len(turns)
    in_a_row = int(min(max(budget_s / SAMPLES / max(first_s, 1e-9), 1), MOST_IN_A_ROW // len(turns)))
    seconds = call.time(SAMPLES, in_a_row)[0]
    return float(sorted(seconds)[SAMPLES // 2]) / len(turns)
