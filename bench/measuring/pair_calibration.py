"""Messages between pairs of ranks that are timed when a run on an emulated network begins: what its rows' expected time
is calibrated on.

All pairs of a kind exchange at once, both ways (`collectives/simulator/pair_fit.py` has the kinds and the fit):
messages of `SHORT_BYTES`, and long ones of the sizes that the schedules send, as libraries send messages of other sizes
in other ways. No collective is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2

from clusterbench.bench.worlds.world import World, agreed
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.pair_fit import Exchanged, Fitted, Pairs, fitted, rounds
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import plan
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


@dataclass(frozen=True, slots=True)
class PairTimes:
    """What was measured, the same on all ranks."""

    rounds: tuple[Exchanged, ...]
    gamma_s_per_byte: float

    def fits(self, topology: Topology) -> dict[int, Fitted]:
        """The topology as it explains short messages and those of a size, by the sizes of long ones."""
        sizes = sorted({one.size_bytes for one in self.rounds} - {SHORT_BYTES})
        return {
            size: fitted(
                topology, [one for one in self.rounds if one.size_bytes in (SHORT_BYTES, size)], self.gamma_s_per_byte
            )
            for size in sizes
        }


class Calibrated:
    """Prices schedules on a topology as pairs of ranks have measured it."""

    def __init__(self, topology: Topology, measured: PairTimes) -> None:
        self.fits = measured.fits(topology)
        self._patterns = {size: Patterns(fit.topology, fit.costs) for size, fit in self.fits.items()}

    def price_s(self, schedule: Schedule, size_bytes: int, matrix: Ints | None = None) -> float:
        """Seconds by phases, each round as messages of the size nearest to its longest one take."""
        plans = {size: plan(patterns, schedule, matrix) for size, patterns in self._patterns.items()}
        steps_s = {size: of.steps_s(size_bytes) for size, of in plans.items()}
        longest = next(iter(plans.values())).longest_messages(size_bytes, matrix)
        return sum(steps_s[self._nearest(message)][number] for number, message in enumerate(longest) if message)

    def said(self, schedule: Schedule, size_bytes: int) -> str:
        """The fit for the longest message of a schedule, in words."""
        size = self._nearest(
            max(long_messages(schedule, size_bytes, next(iter(self._patterns.values()))), default=LEAST_BYTES)
        )
        return f"{self.fits[size]}, with messages of {size} bytes"

    def _nearest(self, message: int) -> int:
        return min(self.fits, key=lambda size: abs(log2(size) - log2(message)))


def long_messages(schedule: Schedule, size_bytes: int, patterns: Patterns) -> set[int]:
    """The sizes of long messages, powers of 2, nearest to those that a schedule sends in its rounds."""
    sent = plan(patterns, schedule).longest_messages(size_bytes) if not schedule.collective.uneven else []
    return {int(min(max(1 << round(log2(message)), LEAST_BYTES), MOST_BYTES)) for message in sent if message}


def time_pairs(world: World, mpi: NativeMpi, topology: Topology, sizes: Iterable[int]) -> PairTimes:
    """Time rounds of pairs with short messages and those of `sizes`; all ranks call it together. Raises `MpiError`."""
    found: list[Pairs] = agreed(world, lambda: rounds(topology))
    timed = []
    for size_bytes in (SHORT_BYTES, *sorted(set(sizes))):
        for pairs in found:
            world.begin(f"timing pairs with {size_bytes} bytes")
            timed.append(Exchanged(pairs, size_bytes, _round_s(world, mpi, pairs, size_bytes)))
    return PairTimes(tuple(timed), reduce_s_per_byte(mpi))


def _round_s(world: World, mpi: NativeMpi, pairs: Pairs, size_bytes: int) -> float:
    """Seconds an exchange of the slowest pair, the mean of several in a row."""
    peer = next((a + b - world.rank for a, b in pairs if world.rank in (a, b)), -1)
    call = exchange(mpi, peer, size_bytes)
    first_s = float(call.time(1, 1)[0][0])
    if first_s > BUDGET_S:
        return first_s
    in_a_row = int(min(max(BUDGET_S / SAMPLES / max(first_s, 1e-9), 1), MOST_IN_A_ROW))
    seconds = call.time(SAMPLES, in_a_row)[0]
    return float(sorted(seconds)[SAMPLES // 2])
