"""The versions of all chunks, the passes that write them, and where they lie.

Versions get their places backwards from the last, which belongs in the output: a version that somebody still reads
while the next is written lies in another place than that, and so no value has to be put aside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from clusterbench.collectives.fusion.steps import INPUT, OTHER, OUTPUT, STAGE, WORK, Place
from clusterbench.collectives.schedule import Phase, Schedule

Hosts = tuple[int, ...]
"""The host of every rank."""


@dataclass(slots=True)
class Version:
    """A value of a chunk on a rank."""

    rank: int
    chunk: int
    writer: int
    """The pass that writes it; −1 for what is brought."""
    previous: int
    value: int
    """The first version that has the same value, of which this is a copy, or itself."""
    next: int = -1
    readers: list[int] = field(default_factory=list)
    place: int = -1
    """The region that other ranks of its host read it from."""
    own: int = -1
    """The region that its own rank reads it from, and sends it from."""

    def seen_from(self, rank: int) -> Place:
        """Where a rank of its host reads it."""
        return self.rank, self.own if rank == self.rank else self.place, self.chunk

    def places(self) -> list[Place]:
        """Where it is written."""
        return [(self.rank, region, self.chunk) for region in dict.fromkeys((self.place, self.own))]


@dataclass(slots=True)
class Draft:
    """A pass before its operands have places; its versions by their numbers."""

    round: int
    rank: int
    sources: list[int]
    targets: list[int]
    """The first is what the schedule says, the others are copies that it makes on the way."""


def versions_of(schedule: Schedule) -> tuple[list[Version], list[Draft]]:
    """All versions and passes, in the order of rounds."""
    versions: list[Version] = []
    current: dict[tuple[int, int], int] = {}
    for rank in range(schedule.ranks):
        for chunk in range(*schedule.takes(rank)):
            current[rank, chunk] = len(versions)
            versions.append(Version(rank, chunk, -1, -1, len(versions)))
    passes: list[Draft] = []
    for number, phase in enumerate(schedule.rounds()):
        made: dict[tuple[int, int], int] = {}  # what this round writes: it is read from the next round on
        for (rank, chunk), sources, reduces in _written(phase):
            old = current.get((rank, chunk), -1)
            operands = [current[source] for source in sources]
            value = len(versions) if reduces else versions[operands[0]].value
            if old >= 0 and versions[old].value == value:
                continue  # it is there already
            one = Draft(number, rank, [old, *operands] if reduces else operands, [len(versions)])
            for operand in one.sources:
                versions[operand].readers.append(len(passes))
            if old >= 0:
                versions[old].next = len(versions)
            made[rank, chunk] = len(versions)
            versions.append(Version(rank, chunk, len(passes), old, value))
            passes.append(one)
        current.update(made)
    return versions, passes


def _written(phase: Phase) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]], bool]]:
    """The chunks that a round writes, each with what is read for it and whether it is reduced.

    Reductions into a chunk are in the order of its messages: those of one sender come where it is first listed.
    """
    order: dict[tuple[int, int], int] = {}
    found: dict[tuple[int, int], list[tuple[int, tuple[int, int]]]] = defaultdict(list)
    reduces: dict[tuple[int, int], bool] = {}
    columns = (phase.src, phase.src_chunk, phase.dst, phase.dst_chunk, phase.count, phase.reduce)
    for src, src_chunk, dst, dst_chunk, count, reduce in zip(*(c.tolist() for c in columns), strict=True):
        position = order.setdefault((src, dst), len(order))
        for i in range(count):
            found[dst, dst_chunk + i].append((position, (src, src_chunk + i)))
            reduces[dst, dst_chunk + i] = reduce
    for target, sources in found.items():
        yield target, [source for _, source in sorted(sources, key=lambda one: one[0])], reduces[target]


def store_on_the_way(versions: list[Version], passes: list[Draft], hosts: Hosts) -> None:
    """Let a reduction store its result also where later rounds copy it to on its host, if nobody else is there until
    then."""
    for p, reduction in enumerate(passes):
        if len(reduction.sources) < 2:
            continue
        result = versions[reduction.targets[0]]
        stay: list[int] = []
        for reader in result.readers:
            copy = passes[reader]
            moves = len(copy.sources) == len(copy.targets) == 1 and hosts[copy.rank] == hosts[reduction.rank]
            if not moves or _is_used_since(versions, passes, copy.targets[0], p, reader):
                stay.append(reader)
                continue
            reduction.targets.append(copy.targets[0])
            versions[copy.targets[0]].writer = p
            copy.sources, copy.targets = [], []
        result.readers = stay


def _is_used_since(versions: list[Version], passes: list[Draft], made: int, reduction: int, copy: int) -> bool:
    """Whether what the version `made` replaces is read or written by others in the round of a reduction, or later."""
    if versions[made].previous < 0:
        return False
    old, first = versions[versions[made].previous], passes[reduction].round
    if old.writer >= 0 and passes[old.writer].round >= first:
        return True
    return any(r not in (reduction, copy) and passes[r].round >= first for r in old.readers)


def drop_unread(schedule: Schedule, versions: list[Version], passes: list[Draft]) -> None:
    """Leave out what nobody reads, as of a value that is stored on the way wherever it is needed."""
    for p in range(len(passes) - 1, -1, -1):
        one = passes[p]
        one.targets = [v for v in one.targets if versions[v].readers or _is_given(schedule, versions[v])]
        if not one.targets:
            for v in one.sources:
                versions[v].readers = [reader for reader in versions[v].readers if reader != p]
            one.sources = []


def _is_given(schedule: Schedule, version: Version) -> bool:
    """Whether it is what the rank must hold at the end."""
    low, high = schedule.gives(version.rank)
    return low <= version.chunk < high and version.next < 0


def give_places(
    schedule: Schedule, versions: list[Version], passes: list[Draft], in_place: bool, staged: bool, hosts: Hosts
) -> None:  # fmt: skip
    """Give every version its region, the last ones before those that they replace."""
    for version in reversed(versions):
        low, high = schedule.gives(version.rank)
        given = low <= version.chunk < high
        reached = any(
            passes[r].rank != version.rank and hosts[passes[r].rank] == hosts[version.rank] for r in version.readers
        )
        if version.writer < 0:
            version.own = OUTPUT if in_place and given else INPUT
            version.place = STAGE if staged and reached else version.own
            continue
        following = versions[version.next] if version.next >= 0 else None
        taken: set[int] = set()
        if following is not None and _is_read_meanwhile(version, following, passes):
            taken = {following.place, following.own}
        before = versions[version.previous] if version.previous >= 0 else None
        # In place the input lies where the output is going to be: it may be read yet, staged only by its own rank.
        if in_place and given and before is not None and before.writer < 0:
            out_of_reach = hosts if staged else None
            if _is_read_meanwhile(before, version, passes, out_of_reach):
                taken = taken | {OUTPUT}
        if following is not None and not taken:
            version.place = following.place if following.place in (WORK, OTHER) or not staged else WORK
            version.own = version.place
        elif following is None and given and OUTPUT not in taken:
            version.own = OUTPUT
            version.place = WORK if staged and reached else OUTPUT
        else:
            version.place = version.own = WORK if WORK not in taken else OTHER


def _is_read_meanwhile(version: Version, following: Version, passes: list[Draft], own: Hosts | None = None) -> bool:
    """Whether a version is read in the round in which the next is written, or later, by another pass than that.

    With the hosts as `own` only what its own rank reads and sends counts.
    """
    when = passes[following.writer].round
    return any(
        r != following.writer
        and passes[r].round >= when
        and (own is None or passes[r].rank == version.rank or own[passes[r].rank] != own[version.rank])
        for r in version.readers
    )
