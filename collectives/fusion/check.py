"""Checks fused programs against the schedule that they come from: the same operations in the same order, and no race.

Values are followed as expressions: what a rank brings is a name, a reduction the pair of its operands. So a fused
program that passes computes to the bit what the schedule does round by round. Every access to a place is compared, by
vector clocks (Mattern, "Virtual Time and Global States of Distributed Systems", 1989), with the last ones that it must
not overtake: what ranks tell each other must order the two, whatever their speed. As waiting is for one fixed event
each, the events are the same in every execution, and one stands for all.

Messages of a pair match in order, and are as synchronous as MPI may make them: each side is complete no sooner than the
other has begun. From there to its completion nobody may write what is sent, nor touch what is received. A message
orders nothing else: only flags do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from clusterbench.collectives.fusion.steps import (
    INBOX,
    INPUT,
    OUTPUT,
    STAGE,
    START,
    Complete,
    Finish,
    FusedProgram,
    Pass,
    Place,
    Receive,
    Send,
    Step,
    Wait,
    reads,
    writes,
)  # fmt: skip
from clusterbench.collectives.schedule import Schedule

Value = int


class _FaultError(Exception):
    """What is wrong with a step."""


@dataclass(slots=True)
class _Expressions:
    """Every expression once, by number."""

    numbers: dict[tuple[object, ...], Value] = field(default_factory=dict)

    def of(self, *what: object) -> Value:
        return self.numbers.setdefault(what, len(self.numbers))


def replayed(schedule: Schedule, expressions: _Expressions) -> dict[tuple[int, int], Value]:
    """What the schedule itself leaves in every chunk that must be given."""
    held = {
        (rank, chunk): expressions.of(rank, chunk)
        for rank in range(schedule.ranks)
        for chunk in range(*schedule.takes(rank))
    }
    for phase in schedule.rounds():
        before = dict(held)
        order: dict[tuple[int, int], int] = {}
        columns = (phase.src, phase.src_chunk, phase.dst, phase.dst_chunk, phase.count, phase.reduce)
        transfers = list(zip(*(c.tolist() for c in columns), strict=True))
        for src, _, dst, _, _, _ in transfers:
            order.setdefault((src, dst), len(order))
        for src, src_chunk, dst, dst_chunk, count, reduce in sorted(transfers, key=lambda t: order[t[0], t[2]]):
            for i in range(count):
                value = before[src, src_chunk + i]
                target = (dst, dst_chunk + i)
                held[target] = expressions.of("op", held[target], value) if reduce else value
    return {
        key: held[key] for rank in range(schedule.ranks) for key in ((rank, c) for c in range(*schedule.gives(rank)))
    }


@dataclass(slots=True)
class _Side:
    """A message as one of its two ranks has begun it; `number` counts those of a pair in one direction."""

    rank: int
    peer: int
    number: int
    places: list[Place]
    length_of: tuple[Place, int]
    values: list[Value]
    """What is sent."""


@dataclass(slots=True)
class _Replay:
    """All ranks' memory while their programs are run, and who used it last."""

    schedule: Schedule
    in_place: bool
    staged: bool
    hosts: Sequence[int]
    expressions: _Expressions
    memory: dict[Place, Value]
    clocks: list[list[int]]
    finished: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """The clock of a rank when it had finished a round."""
    entered: dict[int, int] = field(default_factory=dict)
    last_write: dict[Place, tuple[int, int]] = field(default_factory=dict)
    last_reads: dict[Place, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    open: dict[tuple[int, int], _Side] = field(default_factory=dict)
    """Messages that are not complete, by their rank and their number there."""
    sent: dict[tuple[int, int], list[_Side]] = field(default_factory=lambda: defaultdict(list))
    received: dict[tuple[int, int], list[_Side]] = field(default_factory=lambda: defaultdict(list))
    """What has begun, by source and destination, in order."""
    leaving: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    """How many messages are being sent from a place."""
    arriving: set[Place] = field(default_factory=set)

    def place(self, place: Place) -> Place:
        """The place itself; in place, part of the input is the output."""
        rank, region, chunk = place
        low, high = self.schedule.gives(rank)
        return (rank, OUTPUT, chunk) if self.in_place and region == INPUT and low <= chunk < high else place

    def step(self, rank: int, step: Step) -> bool:
        """Do a step; False if it must wait. Raises `_FaultError`."""
        if isinstance(step, Wait):
            if self.hosts[step.rank] != self.hosts[rank]:
                raise _FaultError(f"waits for a flag of rank {step.rank}, which is on another host")
            there = self.finished.get((step.rank, step.round))
            if there is None:
                return False
            self.clocks[rank] = [max(pair) for pair in zip(self.clocks[rank], there, strict=True)]
            return True
        if isinstance(step, Complete) and not self._can_complete(rank, step.message):
            return False
        self.clocks[rank][rank] += 1
        if isinstance(step, Finish):
            self.finished[rank, step.round] = list(self.clocks[rank])
            if step.round == START:
                self.entered[rank] = self.clocks[rank][rank]
        elif isinstance(step, Complete):
            self._complete(rank, self.open.pop((rank, step.message)))
        elif isinstance(step, Pass):
            self._pass(rank, step)
        else:
            self._begin(rank, step)
        return True

    def _pass(self, rank: int, step: Pass) -> None:
        for i in range(step.count):
            sources, targets = (
                [self.place((r, region, c + i)) for r, region, c in side] for side in (step.sources, step.targets)
            )
            for place in sources:
                self._may_read(rank, place)
            for place in targets:
                self._may_write(rank, place)
            value = self.memory[sources[0]]
            for place in sources[1:]:
                value = self.expressions.of("op", value, self.memory[place])
            for place in sources:
                self.last_reads[place][rank] = self.clocks[rank][rank]
            for place in targets:
                self._write(rank, place, value)

    def _begin(self, rank: int, step: Send | Receive) -> None:
        if self.hosts[step.peer] == self.hosts[rank]:
            raise _FaultError(f"has a message with rank {step.peer}, which is on its own host")
        if (rank, step.message) in self.open:
            raise _FaultError(f"begins message {step.message} again before it is complete")
        places = [self.place(place) for place in (*reads(step), *writes(step))]
        length_of = (step.length_of, step.count)
        for place in places:
            if place[0] != rank:
                raise _FaultError(f"has a message of what belongs to rank {place[0]}")
            (self._may_read if isinstance(step, Send) else self._may_write)(rank, place)
        if isinstance(step, Send):
            begun, values = self.sent[rank, step.peer], [self.memory[place] for place in places]
            for place in places:
                self.leaving[place] += 1
        else:
            begun, values = self.received[step.peer, rank], []
            self.arriving.update(places)
        begun.append(_Side(rank, step.peer, len(begun), places, length_of, values))
        self.open[rank, step.message] = begun[-1]

    def _other(self, side: _Side) -> _Side | None:
        """The other rank's side of a message, if that has begun it."""
        begun = self.received[side.rank, side.peer] if side.values else self.sent[side.peer, side.rank]
        return begun[side.number] if side.number < len(begun) else None

    def _can_complete(self, rank: int, message: int) -> bool:
        if (rank, message) not in self.open:
            raise _FaultError(f"waits for its message {message}, which it has not begun")
        return self._other(self.open[rank, message]) is not None

    def _complete(self, rank: int, side: _Side) -> None:
        other = self._other(side)
        if other is None or other.length_of != side.length_of:
            raise _FaultError(f"has a message with rank {side.peer} of other chunks than that has")
        for place, value in zip(side.places, side.values or other.values, strict=True):
            if side.values:
                self.leaving[place] -= 1
                self.last_reads[place][rank] = self.clocks[rank][rank]
            else:
                self.arriving.remove(place)
                self._write(rank, place, value)

    def _write(self, rank: int, place: Place, value: Value) -> None:
        self.memory[place] = value
        self.last_write[place] = (rank, self.clocks[rank][rank])
        self.last_reads[place] = {}

    def _may_touch(self, rank: int, place: Place) -> None:
        owner, region, _ = place
        if owner != rank:
            if self.hosts[owner] != self.hosts[rank]:
                raise _FaultError(f"touches memory of rank {owner}, which is on another host")
            if owner not in self.entered or self.clocks[rank][owner] < self.entered[owner]:
                raise _FaultError(f"touches memory of rank {owner}, which may not have entered yet")
            if region >= INBOX or (self.staged and region in (INPUT, OUTPUT)):
                raise _FaultError(f"touches what is out of reach: region {region} of rank {owner}")
        if place in self.arriving:
            raise _FaultError(f"touches {_named(place)}, where a message may be arriving")

    def _may_read(self, rank: int, place: Place) -> None:
        self._may_touch(rank, place)
        if place not in self.memory:
            raise _FaultError(f"reads {_named(place)}, which has no value")
        self._is_ordered(rank, "reads", place, self.last_write.get(place))

    def _may_write(self, rank: int, place: Place) -> None:
        self._may_touch(rank, place)
        if place[1] == STAGE and place[0] != rank:
            raise _FaultError(f"writes to the stage of rank {place[0]}")
        if self.leaving[place]:
            raise _FaultError(f"writes {_named(place)}, which a message may be taking")
        for access in (*self.last_reads[place].items(), self.last_write.get(place)):
            self._is_ordered(rank, "writes", place, access)

    def _is_ordered(self, rank: int, verb: str, place: Place, access: tuple[int, int] | None) -> None:
        if access is not None and self.clocks[rank][access[0]] < access[1]:
            raise _FaultError(f"{verb} {_named(place)}, which rank {access[0]} may be using")


def check_fused(
    schedule: Schedule,
    programs: Sequence[FusedProgram],
    in_place: bool,
    staged: bool,
    host_of: Sequence[int] | None = None,
) -> str | None:
    """What is wrong with the programs of all ranks as `fuse` makes them for the same arguments, or None."""
    expressions = _Expressions()
    expected = replayed(schedule, expressions)
    ranks = schedule.ranks
    hosts = host_of if host_of is not None else [0] * ranks
    replay = _Replay(schedule, in_place, staged, hosts, expressions, {}, [[0] * ranks for _ in range(ranks)])
    for rank in range(ranks):
        for chunk in range(*schedule.takes(rank)):
            replay.memory[replay.place((rank, INPUT, chunk))] = expressions.of(rank, chunk)
    brought = dict(replay.memory)
    return _run(replay, programs) or _results(replay, expected, brought) or _leaves_too_early(replay, programs)


def _run(replay: _Replay, programs: Sequence[FusedProgram]) -> str | None:
    """Run all programs as far as they go."""
    at, moved = [0] * len(programs), True
    while moved:
        moved = False
        for rank, program in enumerate(programs):
            try:
                while at[rank] < len(program.steps) and replay.step(rank, program.steps[at[rank]]):
                    at[rank] += 1
                    moved = True
            except _FaultError as fault:
                return f"rank {rank}, step {at[rank]}: {fault}"
    for rank, program in enumerate(programs):
        if at[rank] < len(program.steps):
            return f"deadlock: rank {rank}, step {at[rank]}, waits for ever"
    for rank, message in replay.open:
        return f"rank {rank} returns before its message {message} is complete"
    for src, dst in {*replay.sent, *replay.received}:
        sent, received = len(replay.sent[src, dst]), len(replay.received[src, dst])
        if sent != received:
            return f"rank {src} sends rank {dst} {sent} messages, of which that receives {received}"
    return None


def _results(
    replay: _Replay, expected: dict[tuple[int, int], Value], brought: dict[Place, Value]
) -> str | None:  # fmt: skip
    for (rank, chunk), value in expected.items():
        if replay.memory.get((rank, OUTPUT, chunk)) != value:
            return f"at the end: chunk {chunk} of the output of rank {rank} is not what the schedule computes"
    for place, value in brought.items():
        if place[1] == INPUT and replay.memory[place] != value:
            return f"the input of rank {place[0]} is overwritten at chunk {place[2]}"
    return None


def _leaves_too_early(replay: _Replay, programs: Sequence[FusedProgram]) -> str | None:
    """Whether a rank takes its memory back while another may be using it."""
    for place in {*replay.last_write, *replay.last_reads}:
        writes = [replay.last_write[place]] if place in replay.last_write else []
        for other, when in (*writes, *replay.last_reads[place].items()):
            if replay.staged and other in programs[place[0]].readers:
                continue  # the next call but one waits for it
            if other != place[0] and replay.clocks[place[0]][other] < when:
                return f"rank {place[0]} returns while rank {other} uses {_named(place)}"
    return None


def _named(place: Place) -> str:
    return f"chunk {place[2]} of region {place[1]} of rank {place[0]}"
