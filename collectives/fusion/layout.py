"""A fused program in bytes: where its operands lie, and in how many pieces it is run.

What ranks put in each other's reach lies in slots of a stage, one for each chunk of it that is used, of one size. Where
the buffers themselves are out of reach, chunks longer than a slot go through it piece by piece. So do messages between
hosts then, one for each chunk; else a message of several chunks stays one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clusterbench.collectives.fusion.steps import (
    BUFFERS,
    INBOX,
    INPUT,
    OUTPUT,
    STAGE,
    START,
    FusedProgram,
    Pass,
    Place,
    Receive,
    Send,
    reads,
    writes,
)  # fmt: skip
from clusterbench.collectives.schedule import Count, Ints, layout

LINE_BYTES = 64
"""Of the caches of x86-64, and of most ARM64."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Where a pass or a message reads or writes: a buffer of a rank (`INPUT`, `OUTPUT`), its `STAGE`, or what it has
    for messages (`INBOX`), and the byte in it.

    A byte of a buffer counts from the rank's first chunk in it; one of a stage from the start of its half.
    """

    rank: int
    region: int
    byte: int
    is_last: bool = False
    """Whether it is the output, and nobody reads it in the call: what is stored there needs no cache."""


@dataclass(frozen=True, slots=True)
class LoweredPass:
    """A pass over `length` bytes of each operand; in several pieces every piece takes its part of them."""

    sources: tuple[Operand, ...]
    targets: tuple[Operand, ...]
    length: int


@dataclass(frozen=True, slots=True)
class LoweredMessage:
    """A message of `length` bytes, in several pieces likewise."""

    operand: Operand
    length: int


@dataclass(frozen=True)
class FusedLayout:
    """The layout of all ranks' programs for one count."""

    programs: tuple[FusedProgram, ...]
    count: Count
    itemsize: int
    staged: bool

    @cached_property
    def offsets(self) -> list[tuple[Ints, Ints]]:
        """For every rank where its chunks start, in bytes, as they are brought and as they are given."""
        schedule = self.programs[0].schedule
        places = [layout(schedule, rank, self.count) for rank in range(schedule.ranks)]
        return [(place.taken * self.itemsize, place.given * self.itemsize) for place in places]

    @cached_property
    def longest_bytes(self) -> int:
        """Of a chunk."""
        return max(int(np.diff(starts).max()) for both in self.offsets for starts in both)

    def touched_bytes(self, ranks: Sequence[int]) -> int:
        """Of the buffers of some ranks, where they are large; in place some of it counts twice."""
        schedule = self.programs[0].schedule
        total = 0
        for rank in ranks:
            both = self.offsets[rank]
            for starts, (first, end) in zip(both, (schedule.takes(rank), schedule.gives(rank)), strict=True):
                total += int(starts[end] - starts[first])
        return total

    @cached_property
    def _read(self) -> frozenset[Place]:
        """Places that a pass or a message reads."""
        return frozenset(place for program in self.programs for step in program.steps for place in reads(step))

    @cached_property
    def slots(self) -> dict[Place, int]:
        """The number of the slot of every place that is in a stage, counted for each rank."""
        used = {
            place
            for program in self.programs
            for step in program.steps
            for place in (*reads(step), *writes(step))
            if place[1] not in BUFFERS and place[1] < INBOX
        }
        counted: dict[int, int] = {}
        numbers = {}
        for place in sorted(used):
            numbers[place] = counted.get(place[0], 0)
            counted[place[0]] = numbers[place] + 1
        return numbers

    @cached_property
    def _inboxes(self) -> tuple[dict[Place, int], list[int]]:
        """The byte of every place for a message in what its rank has for them, and the bytes of that.

        The messages of a round lie behind one another, each at a line of the cache, where those of the last one lay.
        """
        starts, sizes = {}, []
        for program in self.programs:
            size, end, now = 0, 0, START
            for step in program.steps:
                if not isinstance(step, Receive) or step.target[1] < INBOX:
                    continue
                end, now = (end if step.round == now else 0), step.round
                for i, place in enumerate(writes(step)):
                    starts[place] = end
                    end += self._length((step.length_of,), i, i + 1)
                end = _lines(end)
                size = max(size, end)
            sizes.append(size)
        return starts, sizes

    def inbox_bytes(self, rank: int) -> int:
        """What a rank needs for the messages of a round. In pieces it uses the first piece of each chunk only."""
        return self._inboxes[1][rank]

    @property
    def most_slots(self) -> int:
        """Of a rank."""
        return 1 + max(self.slots.values(), default=-1)

    def stage_bytes(self, limit_bytes: int) -> int:
        """How large a half of a stage must be: for whole chunks, or up to a limit where they go in pieces."""
        whole = self.most_slots * _lines(max(1, self.longest_bytes))
        return min(whole, max(limit_bytes, self.most_slots * LINE_BYTES)) if self.staged else whole

    def slot_bytes(self, half_bytes: int) -> int:
        """The size of a slot in a half of `half_bytes`, which is at least `stage_bytes`."""
        whole = _lines(max(1, self.longest_bytes))
        return min(whole, half_bytes // max(1, self.most_slots) // LINE_BYTES * LINE_BYTES)

    def lowered(self, step: Pass, slot_bytes: int) -> list[LoweredPass]:
        """A pass in bytes; one for each of its chunks where these do not lie behind one another."""
        together = all(region in BUFFERS or region >= INBOX for _, region, _ in (*step.sources, *step.targets))
        if together and self.longest_bytes <= slot_bytes:
            return [self._lowered(step, 0, step.count, slot_bytes)]
        return [self._lowered(step, i, i + 1, slot_bytes) for i in range(step.count)]

    def lowered_message(self, step: Send | Receive, slot_bytes: int) -> list[LoweredMessage]:
        """A message in bytes, as both sides have it; one for each of its chunks where these go in pieces."""
        place = step.source if isinstance(step, Send) else step.target
        together = self.longest_bytes <= slot_bytes
        return [
            LoweredMessage(self._operand(place, i, end, slot_bytes), self._length((step.length_of,), i, end))
            for i, end in ([(0, step.count)] if together else [(i, i + 1) for i in range(step.count)])
        ]

    def _lowered(self, step: Pass, first: int, end: int, slot_bytes: int) -> LoweredPass:
        return LoweredPass(
            tuple(self._operand(place, first, end, slot_bytes) for place in step.sources),
            tuple(self._operand(place, first, end, slot_bytes) for place in step.targets),
            self._length(step.targets + step.sources, first, end),
        )

    def _operand(self, place: Place, first: int, end: int, slot_bytes: int) -> Operand:
        rank, region, chunk = place[0], place[1], place[2] + first
        if region >= INBOX:
            return Operand(rank, INBOX, self._inboxes[0][rank, region, chunk])
        if region not in BUFFERS:
            return Operand(rank, STAGE, self.slots[rank, region, chunk] * slot_bytes)
        schedule = self.programs[0].schedule
        starts = self.offsets[rank][region == OUTPUT]
        owned = schedule.gives(rank) if region == OUTPUT else schedule.takes(rank)
        is_last = region == OUTPUT and all((rank, OUTPUT, place[2] + i) not in self._read for i in range(first, end))
        return Operand(rank, region, int(starts[chunk] - starts[owned[0]]), is_last)

    def _length(self, places: tuple[Place, ...], first: int, end: int) -> int:
        """The bytes of chunks [first, end) of a pass or a message.

        A chunk of the vector says its length; one put aside may have that of the longest.
        """
        chunks = self.programs[0].schedule.chunks
        for rank, region, chunk in places:
            if chunk < chunks:
                starts = self.offsets[rank][region not in (INPUT, STAGE)]
                return int(starts[chunk + end] - starts[chunk + first])
        return (end - first) * self.longest_bytes


def _lines(size_bytes: int) -> int:
    return -(-size_bytes // LINE_BYTES) * LINE_BYTES
