"""What the steps of a plan do to memory: each chunk that moves, from where to where, and when.

A cell is a chunk of memory of one GPU. Run in place, the input and the output of a plan are the same cells; otherwise
they are two, of which a schedule has but one, its vector: an input chunk lies there until its output chunk is
written, and one that is needed longer is put aside first, into scratch.

Two steps that touch one cell, one of them writing, must come one after the other whatever the speed of thread blocks:
else the plan races. Then every order of its steps that `plans/order.py` allows computes the same, and one is followed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from clusterbench.collectives.plans.order import Order
from clusterbench.collectives.plans.plan import Place, Plan, PlanError, Step

_COPY, _RECEIVE, _SEND, _TIMES = range(4)
"""A step copies inside its GPU first, then receives, then sends; so many moments a step has."""

Cell = int
"""A chunk of one GPU's memory: inputs from 0, outputs from `chunks`, scratch behind them."""


class Move(NamedTuple):
    """One chunk that is copied, or reduced into another."""

    source_rank: int
    source: Cell
    target_rank: int
    target: Cell
    reduces: bool
    read_at: int
    """When its value leaves, which may be long before it is written: a channel keeps it meanwhile."""
    written_at: int


class Access(NamedTuple):
    """A cell that a step reads, writes, or reduces into (which is both)."""

    at: int
    writes: bool
    reduces: bool
    node: int


@dataclass(slots=True)
class Memory:
    """The moves of a plan, over the chunks of a schedule: those of the vector from 0, scratch chunks behind them."""

    moves: list[Move]
    ends: list[int]
    """Of each rank, the number of chunks that it has by now; more may be added."""

    def add_chunk(self, rank: int) -> int:
        """One more scratch chunk of a rank."""
        self.ends[rank] += 1
        return self.ends[rank] - 1


def memory_of(plan: Plan, order: Order, aliased: bool, outputs: list[range]) -> Memory:
    """The moves of a plan in an order, run in place (`aliased`) or not.

    `outputs` are the chunks that each rank must hold at the end. Raises `PlanError` where steps race, a chunk is read
    that nobody wrote, or, out of place, an output is never written.
    """
    reading = _Reading(plan, order, aliased, outputs)
    reading.collect()
    reading.refuse_races()
    reading.refuse_unwritten()
    reading.stay()
    reading.move()
    memory = (_shifted if aliased else _joined)(plan, reading.moves, reading.ends)
    return _packed(memory, plan.chunks)


@dataclass(slots=True)
class _Reading:
    plan: Plan
    order: Order
    aliased: bool
    outputs: list[range]
    accesses: dict[tuple[int, Cell], list[Access]] = field(default_factory=lambda: defaultdict(list))
    copied: dict[tuple[int, Cell], Cell] = field(default_factory=dict)
    """The cell from which one was first copied inside its GPU."""
    staying: dict[tuple[int, Cell], Cell] = field(default_factory=dict)
    """Scratch that needs no cells of its own, as those from which it was copied are free from then on."""
    moves: list[Move] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def cell(self, gpu: int, place: Place) -> Cell:
        if place.buffer == "s":
            return 2 * self.plan.chunks + place.offset
        is_input = place.buffer == "i" and not self.aliased
        return self.plan.position(gpu, place) + (0 if is_input else self.plan.chunks)

    def each(self) -> Iterator[tuple[int, int, int, Step, Cell, Cell]]:
        """Node, moment, GPU, step, and first cells of source and target, in order."""
        for place, node in enumerate(self.order.sorted):
            g, b, s = self.order.steps[node]
            step = self.plan.gpus[g].blocks[b].steps[s]
            yield node, place * _TIMES, g, step, self.cell(g, step.source), self.cell(g, step.target)

    def collect(self) -> None:
        """Which step touches which cell, in order."""
        for node, at, g, step, source, target in self.each():
            kind = step.kind
            kept = target if kind.stores else source
            for k in range(step.count):
                if kind.reads_source and (kind.is_local or (kind.stores and source != target)):
                    self.accesses[g, source + k].append(Access(at + _COPY, False, False, node))
                    writing = Access(at + _COPY, True, kind.is_local and kind.reduces, node)
                    self.accesses[g, target + k].append(writing)
                    self.copied.setdefault((g, target + k), source + k)
                if kind.receives:
                    self.accesses[g, kept + k].append(Access(at + _RECEIVE, kind.stores, kind.reduces, node))
                if kind.sends:
                    self.accesses[g, kept + k].append(Access(at + _SEND, False, False, node))
        for touched in self.accesses.values():
            touched.sort(key=lambda access: (access.at, access.writes))

    def refuse_races(self) -> None:
        """Of two steps that conflict, one comes after the other."""
        by_gpu: dict[int, list[Cell]] = defaultdict(list)
        for gpu, cell in self.accesses:
            by_gpu[gpu].append(cell)
        for gpu, cells in by_gpu.items():
            clocks = self.order.clocks(gpu)
            for cell in cells:
                for first, second in _conflicts(self.accesses[gpu, cell]):
                    _, b, s = self.order.steps[first]
                    if clocks[second, b] <= s:
                        line = self.plan.gpus[gpu].blocks[b].steps[s].line
                        raise PlanError(
                            f"{self.plan.where(*self.order.steps[second])} and tb {b}, step {s} (line {line}) race for "
                            f"{self._named(gpu, cell)}; expected one to wait for the other"
                        )

    def refuse_unwritten(self) -> None:
        """Scratch, and an output that is not the input, hold nothing before something was written there."""
        chunks = self.plan.chunks
        for (rank, cell), touched in self.accesses.items():
            if cell >= (2 * chunks if self.aliased else chunks) and not (touched[0].writes and not touched[0].reduces):
                where = self.plan.where(*self.order.steps[touched[0].node])
                raise PlanError(f"{where} reads {self._named(rank, cell)} before anything is written there")
        if self.aliased:
            return
        for rank, output in enumerate(self.outputs):
            for chunk in output:
                if (rank, chunks + chunk) not in self.accesses:
                    raise PlanError(f"{self.plan.file}: {self._named(rank, chunks + chunk)} is never written, "
                                    "out of place; expected the result there")  # fmt: skip

    def _named(self, rank: int, cell: Cell) -> str:
        chunks = self.plan.chunks
        if cell >= 2 * chunks:
            return f"chunk {cell - 2 * chunks} of the scratch of gpu {rank}"
        buffer = "buffer" if self.aliased else "output" if cell >= chunks else "input"
        return f"chunk {cell % chunks} of the vector in the {buffer} of gpu {rank}"

    def stay(self) -> None:
        """Find scratch that is a copy of what nobody needs afterwards, and is only reduced into."""
        chunks = self.plan.chunks
        for (rank, cell), source in self.copied.items():
            touched = self.accesses[rank, cell]
            is_copy = touched[0].writes and not touched[0].reduces and touched[0].at % _TIMES == _COPY
            alone = is_copy and all(access.reduces or not access.writes for access in touched[1:])
            free = source < 2 * chunks and source % chunks not in self.outputs[rank]
            if alone and free and cell >= 2 * chunks and self.accesses[rank, source][-1].at <= touched[0].at:
                self.staying[rank, cell] = source

    def held(self, gpu: int, cell: Cell) -> Cell:
        """The cell that holds what a plan's cell does."""
        return self.staying.get((gpu, cell), cell)

    def move(self) -> None:
        """All moves, those between GPUs at the moment of their receiver."""
        chunks = self.plan.chunks
        scratch = max((gpu.scratch_chunks for gpu in self.plan.gpus), default=0)
        self.ends = [2 * chunks + scratch] * len(self.plan.gpus)
        sent: dict[int, list[tuple[int, Cell, int]]] = {}
        for node, at, g, step, source, target in self.each():
            kind = step.kind
            into = [self.held(g, target + k) for k in range(step.count)]
            if kind.receives and not kind.stores:
                into = [self._summed(g, source + k, at) for k in range(step.count)]
            elif kind.reads_source and (kind.is_local or (kind.stores and source != target)):
                for k in range(step.count):
                    self._local(g, source + k, target + k, kind.is_local and kind.reduces, at + _COPY)
            if kind.receives:
                for (rank, cell, read_at), to in zip(sent.pop(self.order.sender[node]), into, strict=True):
                    self.moves.append(Move(rank, cell, g, to, kind.reduces, read_at, at + _RECEIVE))
            if kind.sends:
                out = into if kind.receives else [self.held(g, source + k) for k in range(step.count)]
                sent[node] = [(g, cell, at + _SEND) for cell in out]

    def _local(self, gpu: int, source: Cell, target: Cell, reduces: bool, at: int) -> None:
        source, target = self.held(gpu, source), self.held(gpu, target)
        if source != target or reduces:
            self.moves.append(Move(gpu, source, gpu, target, reduces, at, at))

    def _summed(self, gpu: int, source: Cell, at: int) -> Cell:
        """Where the sum is made that a step passes on without storing it: in its source, if nobody needs that again."""
        touched = self.accesses[gpu, source]
        behind = bisect_right(touched, at + _SEND, key=lambda access: access.at)
        if behind < len(touched):
            is_free = touched[behind].writes and not touched[behind].reduces
        else:
            chunks = self.plan.chunks
            is_free = not chunks <= source < 2 * chunks or source - chunks not in self.outputs[gpu]
        if is_free:
            return self.held(gpu, source)
        self.ends[gpu] += 1
        self._local(gpu, source, self.ends[gpu] - 1, False, at + _COPY)
        return self.ends[gpu] - 1


def _conflicts(touched: list[Access]) -> Iterator[tuple[int, int]]:
    """Pairs of different steps of which one at least writes; those that follow from others are left out."""
    written, read = -1, list[int]()
    for access in touched:
        before = [*read, written] if access.writes else [written]
        yield from ((each, access.node) for each in before if each not in (-1, access.node))
        if access.writes:
            written, read = access.node, []
        else:
            read.append(access.node)


def _shifted(plan: Plan, moves: list[Move], ends: list[int]) -> Memory:
    """Of a plan that runs in place: outputs are the vector, scratch follows."""
    chunks = plan.chunks
    shifted = [move._replace(source=move.source - chunks, target=move.target - chunks) for move in moves]
    return Memory(shifted, [end - chunks for end in ends])


def _joined(plan: Plan, moves: list[Move], ends: list[int]) -> Memory:
    """Inputs and outputs over one vector; inputs that are needed after their output is written are put aside."""
    chunks = plan.chunks
    overwritten: dict[tuple[int, Cell], int] = {}
    last: dict[tuple[int, Cell], int] = {}
    changed: dict[tuple[int, Cell], int] = {}
    for move in moves:
        if move.source < chunks:
            key = move.source_rank, move.source
            last[key] = max(last.get(key, -1), move.read_at)
        if move.target < chunks:
            key = move.target_rank, move.target
            last[key] = max(last.get(key, -1), move.written_at)
            changed[key] = min(changed.get(key, move.written_at), move.written_at)
        elif move.target < 2 * chunks and not _stays(move, chunks):
            key = move.target_rank, move.target - chunks
            overwritten[key] = min(overwritten.get(key, move.written_at), move.written_at)
    memory = Memory([], [end - chunks for end in ends])
    aside = {key: memory.add_chunk(key[0]) for key, at in overwritten.items() if last.get(key, -1) > at}
    memory.moves += [Move(rank, cell, rank, kept, False, -1, -1) for (rank, cell), kept in aside.items()]

    def chunk(rank: int, cell: Cell) -> int:
        return cell - chunks if cell >= chunks else aside.get((rank, cell), cell)

    for move in moves:
        key = move.source_rank, move.source
        if _stays(move, chunks) and (
            key not in aside or move.written_at < min(overwritten[key], changed.get(key, overwritten[key]))
        ):
            continue
        memory.moves.append(move._replace(source=chunk(*key), target=chunk(move.target_rank, move.target)))
    return memory


def _packed(memory: Memory, chunks: int) -> Memory:
    """The same with no scratch chunk that nobody touches."""
    used: list[dict[int, int]] = [{} for _ in memory.ends]

    def packed(rank: int, cell: int) -> int:
        return cell if cell < chunks else used[rank].setdefault(cell, chunks + len(used[rank]))

    moves = [
        move._replace(source=packed(move.source_rank, move.source), target=packed(move.target_rank, move.target))
        for move in memory.moves
    ]
    return Memory(moves, [chunks + len(each) for each in used])


def _stays(move: Move, chunks: int) -> bool:
    """Whether a move takes an input chunk to the same chunk of the output."""
    is_local = move.source_rank == move.target_rank and not move.reduces
    return is_local and move.source < chunks and move.target == move.source + chunks
