"""Prices a schedule round by round: each distinct traffic pattern once, times how often it comes.

A round ends when its last transfer has arrived and been reduced, and the next begins then: a little dearer than the
truth where rounds overlap, and never cheaper where routes share no link. All transfers of a round begin at once and
have max-min fair rates until they end; each ends later by its latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.partners import Partners, partners_of
from clusterbench.collectives.simulator.patterns import Messages, Pattern, Patterns
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.simulator.transfers import ELEMENT_BYTES, longest, sizes
from clusterbench.collectives.topology.graph import Topology, TopologyError

AT_ONCE = 1 << 16
"""Messages that are priced together: enough to be fast where a pattern has few, and little memory."""


def price(
    schedule: Schedule,
    topology: Topology,
    size_bytes: int,
    costs: Costs | None = None,
    matrix: Ints | None = None,
    element_bytes: int = ELEMENT_BYTES,
) -> Prediction:
    """The time of a schedule on a topology for a vector of `size_bytes` (or a matrix of elements, all_to_all_v).

    Raises `TopologyError` where the topology has fewer ranks than the schedule, or no way between two of them.
    """
    return price_by(Patterns(topology, costs), schedule, size_bytes, matrix, element_bytes)


def price_by(
    patterns: Patterns,
    schedule: Schedule,
    size_bytes: int,
    matrix: Ints | None = None,
    element_bytes: int = ELEMENT_BYTES,
) -> Prediction:
    """The same, with patterns that were met before: of several schedules each pattern is priced once."""
    return plan(patterns, schedule, matrix, element_bytes).at(size_bytes)


@dataclass(frozen=True, slots=True)
class _Step:
    """A pattern of a schedule: how many times it comes, and what is sent and reduced in it for each byte of a chunk."""

    pattern: Pattern
    units: int
    times: int
    reduced: float
    """Chunks that the slowest rank reduces, times what it takes longer than others."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A schedule with its patterns priced, whose time at any size is then arithmetic."""

    patterns: Patterns
    schedule: Schedule
    element_bytes: int
    steps: tuple[_Step, ...]

    def at(self, size_bytes: int) -> Prediction:
        """The time for a vector of `size_bytes`; that of a collective with uneven parts is of its matrix."""
        chunk_bytes = self._chunk_bytes(size_bytes)
        latency_s = bandwidth_s = reduction_s = 0.0
        on_link: dict[int, tuple[float, int]] = {}
        for step in self.steps if chunk_bytes else ():
            last = step.pattern.last(step.units * chunk_bytes)
            latency_s += step.times * last.latency_s
            bandwidth_s += step.times * last.bandwidth_s
            reduction_s += step.times * step.reduced * chunk_bytes * self.patterns.costs.gamma_s_per_byte
            if last.link >= 0:
                so_far, most = on_link.get(last.link, (0.0, 0))
                on_link[last.link] = so_far + step.times * last.bandwidth_s, max(most, last.sharing)
        late = self.patterns.costs.late(self.schedule.ranks)
        waiting_s = float(late.max(initial=0.0))
        link, (spent_s, sharing) = max(on_link.items(), key=lambda item: item[1][0], default=(-1, (0.0, 0)))
        return Prediction(
            time_s=latency_s + bandwidth_s + reduction_s + waiting_s,
            latency_s=latency_s,
            bandwidth_s=bandwidth_s,
            reduction_s=reduction_s,
            waiting_s=waiting_s,
            bottleneck=self.patterns.topology.link_name(link) if link >= 0 else "",
            bottleneck_s=spent_s,
            sharing=sharing,
            mode="phases",
            rounds=sum(step.times for step in self.steps),
            patterns=len({id(step.pattern) for step in self.steps if step.pattern.sends}),
            late_rank=int(late.argmax()) if waiting_s > 0 else -1,
        )

    def steps_s(self, size_bytes: int) -> list[float]:
        """Seconds of each pattern, in the order of the schedule, all the times that it comes."""
        chunk_bytes, gamma = self._chunk_bytes(size_bytes), self.patterns.costs.gamma_s_per_byte
        found = []
        for step in self.steps:
            last = step.pattern.last(step.units * chunk_bytes)
            reduction_s = step.reduced * chunk_bytes * gamma
            found.append(step.times * (last.latency_s + last.bandwidth_s + reduction_s))
        return found

    def messages_at(self, size_bytes: int, matrix: Ints | None = None) -> list[tuple[int, Partners]]:
        """Of each pattern, in the order of the schedule, bytes of its longest message, 0 where it sends nothing, and
        with whom ranks exchange."""
        chunk_bytes, ranks = self._chunk_bytes(size_bytes), self.schedule.ranks
        found = []
        for one in _rounds(self.schedule, self.patterns, matrix, self.element_bytes):
            sent = one.messages
            _, number = np.unique(sent.src * ranks + sent.dst, return_inverse=True)  # between two it goes as one
            longest_chunks = int(np.bincount(number, sent.size).max(initial=0))
            found.append((longest_chunks * chunk_bytes, partners_of(sent.src, sent.dst)))
        return found

    def _chunk_bytes(self, size_bytes: int) -> int:
        return 1 if self.schedule.collective.uneven else longest(self.schedule, size_bytes, self.element_bytes)


def plan(
    patterns: Patterns, schedule: Schedule, matrix: Ints | None = None, element_bytes: int = ELEMENT_BYTES
) -> Plan:
    """A schedule with its patterns priced, for all sizes; raises what `price` does."""
    refuse_too_few(schedule, patterns.topology)
    steps = []
    for batch in _batches(_rounds(schedule, patterns, matrix, element_bytes)):
        for one, (pattern, units) in zip(batch, patterns.priced([one.messages for one in batch]), strict=True):
            steps.append(_Step(pattern, units, one.times, one.reduced))
    return Plan(patterns, schedule, element_bytes, tuple(steps))


@dataclass(frozen=True, slots=True)
class _Round:
    """What is sent in a round, how many times it comes, and what the slowest rank reduces in it."""

    messages: Messages
    times: int
    reduced: float


def _rounds(schedule: Schedule, patterns: Patterns, matrix: Ints | None, element_bytes: int) -> Iterator[_Round]:
    of = None
    if schedule.collective.uneven or matrix is not None:
        of = sizes(schedule, 0, matrix, element_bytes)
    slow = patterns.costs.slow(len(patterns.topology.ranks))
    for part in schedule.phases():
        if not len(part) or not part.repetitions:
            continue
        # In chunks, which all count for the longest; parts that are uneven in bytes, round by round.
        for one, length, times in (
            ((part, part.count, part.repetitions),)
            if of is None
            else ((each, of.exact(each), 1) for each in part.rounds())
        ):
            reduced = 0.0
            if patterns.costs.gamma_s_per_byte:
                reduced = float((np.bincount(one.dst, length * one.reduce, len(slow)) * slow).max(initial=0.0))
            moves = (one.src != one.dst) & (length > 0)
            if moves.all():
                yield _Round(Messages(one.src, one.dst, one.route, length), times, reduced)
            else:
                yield _Round(Messages(one.src[moves], one.dst[moves], one.route[moves], length[moves]), times, reduced)


def _batches(rounds: Iterable[_Round]) -> Iterator[list[_Round]]:
    """The rounds in lists of up to so many messages that they fit into memory at once."""
    batch: list[_Round] = []
    held = 0
    for one in rounds:
        batch.append(one)
        held += len(one.messages.src)
        if held >= AT_ONCE:
            yield batch
            batch, held = [], 0
    yield batch


def refuse_too_few(schedule: Schedule, topology: Topology) -> None:
    """Raises `TopologyError` where the schedule has more ranks than the topology."""
    if schedule.ranks > len(topology.ranks):
        raise TopologyError(
            f"{schedule.ranks} ranks on {topology.name[:120]}, which has {len(topology.ranks)}; expected at most that"
        )
