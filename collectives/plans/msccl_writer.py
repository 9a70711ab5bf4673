"""Writes a schedule as MSCCL XML, within what MSCCL takes.

Each message of a schedule becomes a step that sends and a step that receives. A GPU has a thread block for each peer
and direction, and one for what moves inside it; a channel whose thread block is full is followed by another. Steps
wait for those of other thread blocks that touch the same chunks, by nothing else: rounds are no barriers there
either.

An input is never written: the first reduction into a chunk is of the input into the output, and what is not an output
of a rank lies in scratch. No input is read once its output is written, so that the plan runs in place and out of
place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from clusterbench.collectives.plans.msccl_xml import MOST_MOVES, NAMES
from clusterbench.collectives.plans.plan import Place
from clusterbench.collectives.schedule import Phase, Schedule, ScheduleError

MOST_STEPS = 256
MOST_BLOCKS = 216
MOST_COUNT = 71
MOST_CHANNELS = 32
MOST_PEERS = 32
MOST_CHUNKS = 32767
"""MSCCL_MAX_NUM_STEPS, MSCCL_MAX_NUM_THREAD_BLOCKS, MSCCL_MAX_COUNT (itself not allowed), MAXCHANNELS, and
MSCCL_MAX_NUM_THREAD_BLOCKS_PER_CHANNEL of microsoft/msccl (`src/include/msccl.h`, `devcomm.h`); offsets are int16_t."""

FULL = 160
"""Steps from which a thread block is followed by one of another channel: those that only wait need room as well."""
SLOTS = 2
"""Messages of a round that one channel takes: as many as it keeps under the protocol Simple, whose step fills
MSCCL_CHUNKSTEPS = NCCL_STEPS / 2 of its NCCL_STEPS buffers. A later round follows when these were received, so that no
send waits for its own round."""
MOST_BYTES = 1 << 40
"""Up to which size a plan is offered; MSCCL offers one that does not say it up to 128 MiB."""

_THEIRS = {ours: theirs for theirs, ours in NAMES.items()}


def xml_of(schedule: Schedule, name: str) -> str:
    """The text of a plan that does what a schedule does.

    Raises `ScheduleError` for a collective that MSCCL does not have, and for more thread blocks, steps, channels or
    chunks than it takes.
    """
    what = schedule.collective
    if what.name not in _THEIRS:
        raise ScheduleError(f"MSCCL has no {what.name}; it has {', '.join(_THEIRS)}")
    if schedule.chunks > MOST_CHUNKS:
        raise ScheduleError(f"{schedule.chunks} chunks; MSCCL takes at most {MOST_CHUNKS}")
    ranks = [_Rank(schedule, rank) for rank in range(schedule.ranks)]
    moved = 0
    for number, part in enumerate(schedule.rounds()):
        moved += int(part.count.sum())
        if moved > MOST_MOVES:
            raise ScheduleError(f"round {number}: {moved} chunks moved up to here; at most {MOST_MOVES} are written")
        _write_round(schedule, ranks, part)
    for rank in ranks:
        rank.finish()
    return _text(schedule, ranks, name)


class _Operation(NamedTuple):
    type: str
    source: Place
    target: Place
    chunks: int


@dataclass(slots=True)
class _Block:
    number: int
    send: int
    recv: int
    channel: int
    lines: list[tuple[_Operation | None, tuple[int, int] | None]] = field(default_factory=list)
    """Steps with what they wait for; None is a step that only waits."""
    told: set[int] = field(default_factory=set)
    known: dict[int, int] = field(default_factory=dict)
    """The last step of each other thread block that is known to have ended."""
    coming: int = 0
    """Steps that will follow, as what they receive is sent already."""


class _Access(NamedTuple):
    block: _Block
    step: int


class _Rank:
    """One GPU while its thread blocks are written."""

    def __init__(self, schedule: Schedule, rank: int) -> None:
        self.schedule, self.rank = schedule, rank
        chunks = schedule.chunks
        takes, self.gives = range(*schedule.takes(rank)), range(*schedule.gives(rank))
        self.offset = {"i": takes.start if schedule.collective.takes == "part" else 0,
                       "o": self.gives.start if schedule.collective.gives == "part" else 0}  # fmt: skip
        self.at: dict[int, Place] = {chunk: Place("i", chunk - self.offset["i"]) for chunk in takes if chunk < chunks}
        """Where the value of each chunk lies."""
        self.homes: dict[int, Place] = {}
        self.scratch = 0
        self.blocks: list[_Block] = []
        self.inside: list[_Block] = []
        """The thread blocks that move what stays on the GPU."""
        self.lanes: dict[tuple[int, int], tuple[_Block, _Block]] = {}
        """By peer and lane, the thread block that sends now and that which receives from it there."""
        self.channels: Counter[int] = Counter()
        """How many channels to each peer there are."""
        self.written: dict[int, _Access] = {}
        self.read: dict[int, list[_Access]] = defaultdict(list)

    def home(self, chunk: int) -> Place:
        """Where a chunk is written: in the output, if it is one of the rank's, else in scratch."""
        if chunk in self.gives:
            return Place("o", chunk - self.offset["o"])
        if chunk not in self.homes:
            self.homes[chunk] = Place("s", self.new_scratch())
        return self.homes[chunk]

    def new_scratch(self) -> int:
        if self.scratch >= MOST_CHUNKS:
            raise ScheduleError(f"rank {self.rank} needs more than {MOST_CHUNKS} chunks of scratch, the most of MSCCL")
        self.scratch += 1
        return self.scratch - 1

    def new_block(self, send: int, recv: int, channel: int) -> _Block:
        if len(self.blocks) >= MOST_BLOCKS:
            raise ScheduleError(f"rank {self.rank} needs more than {MOST_BLOCKS} thread blocks, the most of MSCCL")
        self.blocks.append(_Block(len(self.blocks), send, recv, channel))
        return self.blocks[-1]

    def waits(self, block: _Block, reads: list[int], writes: list[int]) -> dict[int, int]:
        """The steps of other thread blocks, one of each, that a step must wait for."""
        found: dict[int, int] = {}
        for chunk in reads:
            self._wait(block, self.written.get(chunk), found)
        for chunk in writes:
            for access in (self.written.get(chunk), *self.read[chunk]):
                self._wait(block, access, found)
        return found

    def _wait(self, block: _Block, access: _Access | None, found: dict[int, int]) -> None:
        if access is not None and access.block is not block:
            other = access.block.number
            if access.step > max(found.get(other, -1), block.known.get(other, -1)):
                found[other] = access.step

    def add(self, block: _Block, what: _Operation, reads: list[int], writes: list[int]) -> None:
        """One more step of a thread block, behind as many that wait as it needs."""
        needed = sorted(self.waits(block, reads, writes).items())
        if len(block.lines) + max(1, len(needed)) > MOST_STEPS:
            raise ScheduleError(f"rank {self.rank} needs over {MOST_STEPS} steps in a thread block, the most of MSCCL")
        block.lines += [(None, wait) for wait in needed[:-1]]
        block.lines.append((what, needed[-1] if needed else None))
        for other, step in needed:
            self.blocks[other].told.add(step)
            block.known[other] = step
        access = _Access(block, len(block.lines) - 1)
        for chunk in reads:
            self.read[chunk].append(access)
        for chunk in writes:
            self.written[chunk], self.read[chunk] = access, []

    def local(self, step: _Operation, reads: list[int], writes: list[int]) -> None:
        """A step inside the GPU; where the thread block for these is full, in one more."""
        for block in self.inside:
            if len(block.lines) + 1 + len(self.waits(block, reads, writes)) <= MOST_STEPS:
                break
        else:
            block = self.new_block(-1, -1, 0)
            self.inside.append(block)
        self.add(block, step, reads, writes)

    def value(self, chunk: int) -> Place:
        """Where the value of a chunk lies."""
        if chunk not in self.at:
            raise ScheduleError(f"chunk {chunk} of rank {self.rank} is read before it has a value")
        return self.at[chunk]

    def moved_home(self, chunks: list[int]) -> None:
        """The values of these chunks were written where they are to stay."""
        self.at.update((chunk, self.home(chunk)) for chunk in chunks)

    def finish(self) -> None:
        """Copy what is still in the input, but belongs to the output."""
        left = [chunk for chunk in self.gives if chunk in self.at and self.at[chunk].buffer == "i"]
        _local(self, left, left, False)


def _write_round(schedule: Schedule, ranks: list[_Rank], part: Phase) -> None:
    """A round: all that it reads is sent, or put aside where it is moved inside a rank, before anything is written."""
    columns = (part.src, part.src_chunk, part.dst, part.dst_chunk, part.count, part.reduce)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    first = {ends: number for number, ends in reversed(list(enumerate((row[0], row[2]) for row in rows)))}
    # Several reductions into a chunk are applied in the order in which their messages are first listed.
    rows.sort(key=lambda row: first[row[0], row[2]])
    written = Counter((dst, dst_chunk + k) for _, _, dst, dst_chunk, count, _ in rows for k in range(count))
    aside = dict.fromkeys({row[0] for row in rows}, schedule.chunks + schedule.scratch_chunks)
    messages: Counter[tuple[int, int]] = Counter()
    writes: list[Callable[[], None]] = []
    for src, src_chunk, dst, dst_chunk, count, reduces in rows:
        here, there = ranks[src], ranks[dst]
        sources, targets = list(range(src_chunk, src_chunk + count)), list(range(dst_chunk, dst_chunk + count))
        if src != dst:
            alone = {chunk for chunk in targets if reduces and written[dst, chunk] > 1}
            for sent, received in _runs(here, sources, there, targets, reduces, alone):
                lane = messages[src, dst] // SLOTS
                messages[src, dst] += 1
                writes.append(_message(here, there, lane, sent, received, reduces))
            continue
        if any(written[src, chunk] for chunk in sources):
            kept = list(range(aside[src], aside[src] + count))
            aside[src] += count
            _local(here, sources, kept, False)
            sources = kept
        writes.append(partial(_local, here, sources, targets, reduces))
    for write in writes:
        write()


def _runs(
    here: _Rank, sources: list[int], there: _Rank, targets: list[int], reduces: bool, alone: set[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Chunks that are neighbours wherever one step finds and leaves them, at most as many as it takes."""
    run: list[int] = []
    last: tuple[Place, ...] = ()
    for k, (source, target) in enumerate(zip(sources, targets, strict=True)):
        ends = (here.value(source), there.home(target), *([there.value(target)] if reduces else []))
        follows = ends == tuple(Place(buffer, offset + 1) for buffer, offset in last)
        if run and not (follows and len(run) < MOST_COUNT and target not in alone):
            yield [sources[i] for i in run], [targets[i] for i in run]
            run = []
        run.append(k)
        # One that is reduced into several times in a round lies elsewhere after the first.
        last = () if target in alone else ends
    if run:
        yield [sources[i] for i in run], [targets[i] for i in run]


def _message(
    here: _Rank, there: _Rank, lane: int, sent: list[int], received: list[int], reduces: bool
) -> Callable[[], None]:
    """Write the step that sends; gives back what writes the one that receives."""
    source, target, count = here.value(sent[0]), there.home(received[0]), len(sent)
    sending, receiving = _channel(here, there, lane)
    here.add(sending, _Operation("s", source, target, count), sent, [])
    receiving.coming += 1

    def receive() -> None:
        receiving.coming -= 1
        old = there.value(received[0]) if reduces else source
        there.add(receiving, _Operation("rrc" if reduces else "r", old, target, count), [], received)
        there.moved_home(received)

    return receive


def _channel(here: _Rank, there: _Rank, lane: int) -> tuple[_Block, _Block]:
    """The thread blocks at both ends of a lane of a pair; where one is nearly full, on a channel more."""
    ends = here.lanes.get((there.rank, lane))
    if ends is None or max(len(ends[0].lines), len(ends[1].lines) + ends[1].coming) >= FULL:
        ranks = here.schedule.ranks
        # So that no rank has more than MOST_PEERS peers on a channel, in either direction.
        channel = (there.rank - here.rank) % ranks // MOST_PEERS + -(-ranks // MOST_PEERS) * here.channels[there.rank]
        if channel >= MOST_CHANNELS:
            raise ScheduleError(f"rank {here.rank} sends rank {there.rank} more than {MOST_CHANNELS} channels can take")
        here.channels[there.rank] += 1
        ends = here.new_block(there.rank, -1, channel), there.new_block(-1, here.rank, channel)
        here.lanes[there.rank, lane] = ends
    return ends


def _local(rank: _Rank, sources: list[int], targets: list[int], reduces: bool) -> None:
    """Steps inside a GPU, which reduce only into what lies where it is to stay."""
    if reduces:
        moving = [chunk for chunk in targets if rank.value(chunk) != rank.home(chunk)]
        _local(rank, moving, moving, False)
    for read, written in list(_runs(rank, sources, rank, targets, False, set())):
        step = _Operation("re" if reduces else "cpy", rank.value(read[0]), rank.home(written[0]), len(read))
        rank.local(step, read, written)
        rank.moved_home(written)


def _text(schedule: Schedule, ranks: list[_Rank], name: str) -> str:
    what, chunks = schedule.collective, schedule.chunks
    parts = [chunks // (schedule.ranks if extent == "part" else 1) for extent in (what.takes, what.gives)]
    channels = 1 + max((block.channel for rank in ranks for block in rank.blocks), default=0)
    head = {
        "name": name, "proto": "Simple", "nchannels": channels, "nchunksperloop": chunks, "ngpus": schedule.ranks,
        "coll": _THEIRS[what.name], "inplace": 1, "outofplace": 1, "minBytes": 0, "maxBytes": MOST_BYTES,
    }  # fmt: skip
    lines = [_tag("algo", head)]
    for rank in ranks:
        sizes = {"i_chunks": parts[0], "o_chunks": parts[1], "s_chunks": rank.scratch}
        lines.append("  " + _tag("gpu", {"id": rank.rank, **sizes}))
        for block in rank.blocks:
            ends = {"id": block.number, "send": block.send, "recv": block.recv, "chan": block.channel}
            lines.append("    " + _tag("tb", ends))
            lines += ["      " + _step(number, block) for number in range(len(block.lines))]
            lines.append("    </tb>")
        lines.append("  </gpu>")
    return "\n".join([*lines, "</algo>", ""])


def _step(number: int, block: _Block) -> str:
    what, wait = block.lines[number]
    step = what or _Operation("nop", Place("i", -1), Place("o", -1), 0)
    depends, on = wait or (-1, -1)
    return _tag("step", {
        "s": number, "type": step.type, "srcbuf": step.source.buffer, "srcoff": step.source.offset,
        "dstbuf": step.target.buffer, "dstoff": step.target.offset, "cnt": step.chunks, "depid": depends, "deps": on,
        "hasdep": int(number in block.told),
    }, "/>")  # fmt: skip


def _tag(name: str, attributes: Mapping[str, object], end: str = ">") -> str:
    return f"<{name} " + " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items()) + end
