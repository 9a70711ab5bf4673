"""Programs from passes whose operands have places: what each rank waits for, and the messages between hosts.

A pass waits for the passes that wrote what it reads, and for those that read or wrote what it overwrites. They are all
of earlier rounds, so nothing can deadlock. In a round a rank begins to receive, then to send, then does its passes,
those that need a message last. A message is complete when the other side has begun its part, which waits for earlier
rounds only: so messages deadlock neither. They are waited for at the first use of what they touch; before the rank says
that it has finished the round only where another rank uses that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from clusterbench.collectives.fusion.steps import (
    BUFFERS,
    INBOX,
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
)  # fmt: skip
from clusterbench.collectives.fusion.versions import Draft, Hosts, Version
from clusterbench.collectives.schedule import Schedule


class _Event(NamedTuple):
    """An access to a place: by which rank, in which round, and by which of its messages (−1: a pass)."""

    rank: int
    round: int
    message: int = -1


@dataclass(slots=True)
class _Use:
    """Who used a place last."""

    writer: _Event
    readers: set[_Event] = field(default_factory=set)


class _Shown(NamedTuple):
    """Where a rank waits for a message of its own if another one uses what that touches."""

    message: int


@dataclass(slots=True)
class _Message:
    """A message between hosts, which grows while what follows lies behind it on both sides."""

    source: Place
    target: Place
    length_of: Place
    sent: int
    """Its number among the sender's."""
    received: int
    """And among the receiver's."""
    count: int = 1

    def is_followed_by(self, source: Place, target: Place, length_of: Place) -> bool:
        ours, theirs = (self.source, self.target, self.length_of), (source, target, length_of)
        together = source[1] in BUFFERS and (target[1] in BUFFERS or target[1] >= INBOX)
        return together and all(_behind(a, self.count) == b for a, b in zip(ours, theirs, strict=True))


@dataclass(slots=True)
class _Course:
    """The programs while they are written, round by round, and what is known meanwhile."""

    ranks: int
    steps: list[list[Step | _Shown]]
    clocks: list[list[int]]
    """The round that a rank knows each other one to have finished."""
    seen: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """The clock of a rank when it finished a round."""
    uses: dict[Place, _Use] = field(default_factory=dict)
    awaited: set[tuple[int, int]] = field(default_factory=set)
    """Ranks and rounds of theirs that somebody waits for."""
    shown: set[tuple[int, int]] = field(default_factory=set)
    """Ranks and messages of theirs whose places another rank uses afterwards."""
    messages: list[int] = field(default_factory=list)
    """How many every rank has."""

    def number(self, rank: int) -> int:
        """That of the next message of a rank."""
        self.messages[rank] += 1
        return self.messages[rank] - 1

    def use(self, place: Place) -> _Use:
        found = self.uses.get(place)
        if found is None:
            found = self.uses[place] = _Use(_Event(place[0], START))
        return found

    def wait(self, rank: int, events: Iterable[_Event], now: int) -> None:
        """Let a rank wait for what others, and messages of its own, did to places: for the latest first, as a rank that
        has come so far has done all before."""
        for event in sorted(set(events), key=lambda one: (one.rank == rank, -one.round, one)):
            if event.rank == rank:
                if event.message >= 0:
                    self.steps[rank].append(Complete(event.message))
                continue
            if event.message >= 0:
                self.shown.add((event.rank, event.message))
            if self.clocks[rank][event.rank] >= event.round:
                continue
            if event.round >= now:
                raise AssertionError("a pass waits for one of its own round")
            self.steps[rank].append(Wait(event.rank, event.round))
            self.awaited.add((event.rank, event.round))
            known = self.seen[event.rank, event.round]
            self.clocks[rank] = [max(pair) for pair in zip(self.clocks[rank], known, strict=True)]
            self.clocks[rank][event.rank] = max(self.clocks[rank][event.rank], event.round)

    def before_reading(self, places: Iterable[Place]) -> list[_Event]:
        return [self.use(place).writer for place in places]

    def before_writing(self, places: Iterable[Place]) -> list[_Event]:
        uses = map(self.use, places)
        return [event for use in uses for event in (use.writer, *use.readers)]

    def do(self, rank: int, now: int, sources: list[Place], targets: list[Place]) -> None:
        """A pass of a rank."""
        self.wait(rank, self.before_reading(sources) + self.before_writing(targets), now)
        for place in sources:
            self.use(place).readers.add(_Event(rank, now))
        for place in targets:
            self.uses[place] = _Use(_Event(rank, now))
        self.steps[rank].append(Pass(tuple(sources), tuple(targets)))

    def finish(self, now: int) -> None:
        """All ranks finish a round."""
        for rank in range(self.ranks):
            self.steps[rank].append(Finish(now))
            self.seen[rank, now] = list(self.clocks[rank])


def in_order(
    schedule: Schedule, versions: list[Version], passes: list[Draft], staged: bool, hosts: Hosts
) -> list[FusedProgram]:  # fmt: skip
    """The programs of all ranks."""
    ranks = schedule.ranks
    course = _Course(
        ranks,
        steps=[[] for _ in range(ranks)],
        clocks=[[START - 1] * ranks for _ in range(ranks)],
        awaited={(rank, START) for rank in range(ranks)},
        messages=[0] * ranks,
    )
    for version in versions:
        if version.place == STAGE:
            course.do(version.rank, START, [version.seen_from(version.rank)], [(version.rank, STAGE, version.chunk)])
    course.finish(START)
    for now, drafts in groupby(passes, key=lambda one: one.round):
        _round(course, schedule, versions, now, [one for one in drafts if one.targets], hosts)
        course.finish(now)
    rounds = 1 + max((one.round for one in passes), default=START)
    _deliver(course, schedule, versions, rounds)
    readers = _leave(course, rounds, staged)
    return [
        FusedProgram(schedule, rank, tuple(_tidy(course, rank)), tuple(sorted(readers[rank])), rounds)
        for rank in range(ranks)
    ]


def _round(
    course: _Course, schedule: Schedule, versions: list[Version], now: int, drafts: list[Draft], hosts: Hosts
) -> None:  # fmt: skip
    """A round of all ranks, but for its end."""
    messages, brought = _messages(course, schedule, versions, drafts, hosts)
    _begin(course, messages, now)
    later: list[tuple[int, list[Place], list[Place]]] = []
    for one in drafts:
        sources = [brought.get((v, one.rank)) or versions[v].seen_from(one.rank) for v in one.sources]
        targets = [place for v in one.targets for place in versions[v].places()]
        if not any((v, one.rank) in brought for v in one.sources):
            course.do(one.rank, now, sources, targets)
            continue
        if len(sources) == 1:  # the message itself may have brought it where it belongs
            targets = [place for place in targets if place != sources[0]]
        if targets:
            later.append((one.rank, sources, targets))
    for rank, sources, targets in later:
        course.do(rank, now, sources, targets)
    for message in messages:
        course.steps[message.source[0]].append(_Shown(message.sent))
        course.steps[message.target[0]].append(_Shown(message.received))


def _messages(
    course: _Course, schedule: Schedule, versions: list[Version], drafts: list[Draft], hosts: Hosts
) -> tuple[list[_Message], dict[tuple[int, int], Place]]:  # fmt: skip
    """The messages of a round, and where they bring a version to a rank: to its place if that is a copy of it."""
    messages: list[_Message] = []
    latest: dict[tuple[int, int], _Message] = {}
    brought: dict[tuple[int, int], Place] = {}
    for one in drafts:
        made = versions[one.targets[0]]
        for v in one.sources:
            version = versions[v]
            if hosts[version.rank] == hosts[one.rank] or (v, one.rank) in brought:
                continue
            # Of a chunk of the vector and a scratch chunk it is the former that has a length of its own.
            chunk = made.chunk if made.chunk < schedule.chunks else version.chunk
            source, length_of = version.seen_from(version.rank), (one.rank, OUTPUT, chunk)
            last = latest.get((version.rank, one.rank))
            if len(one.sources) == 1:
                target = (one.rank, made.own, made.chunk)
            else:  # into the region of the last message, if it goes on with that
                target = (one.rank, max(last.target[1], INBOX) if last is not None else INBOX, chunk)
            if last is not None and last.is_followed_by(source, target, length_of):
                last.count += 1
            else:
                received = course.number(one.rank)
                if len(one.sources) > 1:
                    target = (one.rank, INBOX + received, chunk)
                last = _Message(source, target, length_of, course.number(version.rank), received)
                latest[version.rank, one.rank] = last
                messages.append(last)
            brought[v, one.rank] = target
    return messages, brought


def _begin(course: _Course, messages: list[_Message], now: int) -> None:
    """Begin to receive and to send the messages of a round."""
    for one in messages:
        rank, peer, places = one.target[0], one.source[0], _places(one.target, one.count)
        course.wait(rank, course.before_writing(places), now)
        for place in places:
            course.uses[place] = _Use(_Event(rank, now, one.received))
        course.steps[rank].append(Receive(peer, one.received, one.target, one.length_of, one.count, now))
    for one in messages:
        rank, peer, places = one.source[0], one.target[0], _places(one.source, one.count)
        course.wait(rank, course.before_reading(places), now)
        for place in places:
            course.use(place).readers.add(_Event(rank, now, one.sent))
        course.steps[rank].append(Send(peer, one.sent, one.source, one.length_of, one.count, now))


def _deliver(course: _Course, schedule: Schedule, versions: list[Version], rounds: int) -> None:
    """Copy into the output what has come to lie elsewhere."""
    last = {(version.rank, version.chunk): version for version in versions if version.next < 0}
    for rank in range(schedule.ranks):
        for chunk in range(*schedule.gives(rank)):
            version = last[rank, chunk]
            if OUTPUT not in (version.place, version.own):
                course.do(rank, rounds, [(rank, version.own, chunk)], [(rank, OUTPUT, chunk)])


def _leave(course: _Course, rounds: int, staged: bool) -> list[set[int]]:
    """Complete all messages, and unless it is staged let each rank wait until nobody uses what is its own.

    Returns for every rank who else does.
    """
    others: list[set[_Event]] = [set() for _ in range(course.ranks)]
    for place, use in course.uses.items():
        others[place[0]].update(event for event in (use.writer, *use.readers) if event.rank != place[0])
    for rank, events in enumerate(others):
        if not staged:
            course.wait(rank, events, rounds + 1)
        course.steps[rank] += map(Complete, range(course.messages[rank]))
    return [{event.rank for event in events} for events in others]


def _tidy(course: _Course, rank: int) -> Iterator[Step]:
    """The steps of a rank without what nobody waits for, and with neighbouring passes as one."""
    waiting: Pass | None = None
    for step in _needed(course, rank):
        if isinstance(step, Pass) and waiting is not None and _goes_on(waiting, step):
            waiting = Pass(waiting.sources, waiting.targets, waiting.count + 1)
            continue
        if waiting is not None:
            yield waiting
            waiting = None
        if isinstance(step, Pass):
            waiting = step
        else:
            yield step
    if waiting is not None:
        yield waiting


def _needed(course: _Course, rank: int) -> Iterator[Step]:
    """The steps of a rank without a round's end that nobody waits for, and with one completion of each message."""
    complete: set[int] = set()
    for step in course.steps[rank]:
        if isinstance(step, Finish) and (rank, step.round) not in course.awaited:
            continue
        if isinstance(step, Complete | _Shown):
            if step.message in complete or (isinstance(step, _Shown) and (rank, step.message) not in course.shown):
                continue
            complete.add(step.message)
            yield Complete(step.message)
            continue
        yield step


def _goes_on(one: Pass, other: Pass) -> bool:
    """Whether a pass goes on where another ends, in all of its operands."""
    shapes = len(one.sources) == len(other.sources) and len(one.targets) == len(other.targets)
    return shapes and all(
        _behind(here, one.count) == there
        for here, there in zip(one.sources + one.targets, other.sources + other.targets, strict=True)
    )


def _behind(place: Place, count: int) -> Place:
    return place[0], place[1], place[2] + count


def _places(place: Place, count: int) -> list[Place]:
    """`count` neighbouring places."""
    return [_behind(place, i) for i in range(count)]
