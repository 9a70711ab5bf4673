"""The steps of a fused program: what one rank does where the ranks of a host see each other's memory."""

from __future__ import annotations

from dataclasses import dataclass

from clusterbench.collectives.schedule import Schedule

INPUT, OUTPUT, STAGE, WORK, OTHER, INBOX = range(6)
"""Regions of a rank: what it brings, what it gives, a copy of what it brings, two working copies of the vector with the
scratch chunks behind, and from `INBOX` on a region for each message that it receives, of no use beyond its round."""

BUFFERS = (INPUT, OUTPUT)
"""Regions whose chunks lie behind one another."""

START = -1
"""The round before all others: a rank has entered the call, and put in reach what it brings."""

Place = tuple[int, int, int]
"""A rank, a region and a chunk."""


@dataclass(frozen=True, slots=True)
class Pass:
    """targets = sources[0] op sources[1] op …, chunk for chunk: `count` neighbouring chunks from each place on."""

    sources: tuple[Place, ...]
    targets: tuple[Place, ...]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Wait:
    """Until a rank of this host has finished a round (`START`: has entered)."""

    rank: int
    round: int


@dataclass(frozen=True, slots=True)
class Finish:
    """This rank tells the others of its host that it has finished a round."""

    round: int


@dataclass(frozen=True, slots=True)
class Send:
    """Begin to send `count` neighbouring chunks to a rank of another host; they stay as they are until it is complete.

    What a rank sends another in one round, and what that receives, is in one order.
    """

    peer: int
    message: int
    """Its number among all that this rank sends and receives."""
    source: Place
    length_of: Place
    """The place of which both sides take the length of the first chunk."""
    count: int
    round: int


@dataclass(frozen=True, slots=True)
class Receive:
    """Begin to receive what `Send` sends; nobody uses its target until it is complete."""

    peer: int
    message: int
    target: Place
    length_of: Place
    count: int
    round: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Until a message of this rank's has been sent, or is there."""

    message: int


Step = Pass | Wait | Finish | Send | Receive | Complete


@dataclass(frozen=True, slots=True)
class FusedProgram:
    """What one rank does."""

    schedule: Schedule
    rank: int
    steps: tuple[Step, ...]
    readers: tuple[int, ...]
    """Ranks that read what this one puts in reach: it is theirs until they enter the next call but one."""
    rounds: int


def reads(step: Step) -> list[Place]:
    """Every place that a step reads, chunk by chunk."""
    match step:
        case Pass():
            return _chunks(step.sources, step.count)
        case Send():
            return _chunks((step.source,), step.count)
        case _:
            return []


def writes(step: Step) -> list[Place]:
    """Every place that a step writes, chunk by chunk."""
    match step:
        case Pass():
            return _chunks(step.targets, step.count)
        case Receive():
            return _chunks((step.target,), step.count)
        case _:
            return []


def _chunks(places: tuple[Place, ...], count: int) -> list[Place]:
    return [(rank, region, chunk + i) for rank, region, chunk in places for i in range(count)]
