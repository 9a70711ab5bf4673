"""Transport `shared`: a fused program over memory that all ranks of one host see.

Registered: input and output of every rank lie in the window, and passes read and write them where they are. Staged:
they may lie anywhere; what others need is copied through the rank's stage, in pieces that stay in a cache, and while
one half of it is read the other is filled.

Programs with messages between hosts are run here as well: see `hybrid`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.fusion.layout import FusedLayout, Operand
from clusterbench.collectives.fusion.steps import (
    INBOX,
    INPUT,
    OUTPUT,
    START,
    Complete,
    Finish,
    FusedProgram,
    Pass,
    Receive,
    Send,
    Wait,
)  # fmt: skip
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.transports.message_executor import COMPLETE, RECEIVE, SEND, requests_of
from clusterbench.collectives.transports.native import LONGEST_BYTES, REQUEST_BYTES, NativeMpi
from clusterbench.collectives.transports.pages import PAGE_BYTES, page_aligned
from clusterbench.collectives.transports.prepared import Buffers, address, functions_for
from clusterbench.collectives.transports.shared_executor import (
    AWAIT,
    AWAIT_BEFORE,
    BLOCK_BYTES,
    CALLS,
    DIVIDE,
    FINISH,
    MEET,
    PASS,
    execute,
    time_samples,
)
from clusterbench.collectives.transports.shared_window import SharedWindow
from clusterbench.kernels.device import cpu

STAGE_BYTES = 1 << 20
"""A half of a stage, where chunks go through it in pieces: two halves of each of some ranks fit into a shared cache."""
PATIENCE = 20_000
"""Looks at a flag before the core is left to others: about 1 ms."""
PATIENCE_SHARED = 50
"""The same where ranks share cores, and whom one waits for may be waiting for the core."""


@dataclass(frozen=True, slots=True)
class SharedCall:
    """One collective call on one rank, as `prepared.PreparedCall`. All ranks must use theirs in the same order."""

    mpi: NativeMpi
    window: SharedWindow
    steps: Ints
    after: Ints
    operands: Ints
    pieces: int
    piece_bytes: int
    numbers: int
    patience: int
    functions: Ints
    spare: NDArray[np.uint8]
    requests: NDArray[np.uint8]
    inbox: NDArray[np.uint8]
    buffers: Buffers
    """Held here because the operands name their addresses."""

    def load(self) -> None:
        """The buffers are where the call reads them: there is nothing to bring anywhere."""

    def fetch(self) -> None:
        """The result is where it is checked."""

    def run(self) -> None:
        """Run it once. Raises `MpiError`."""
        self.mpi.check(execute(1, *self._arguments()))

    def time(self, samples: int, batch: int) -> tuple[NDArray[np.float64], float]:
        """Time it; see `PreparedCall.time`."""
        from mpi4py import MPI

        started = perf_counter()
        figures = np.empty(samples + 1)
        self.mpi.check(time_samples(figures[:-1], batch, *self._arguments()))
        figures[-1] = perf_counter() - started
        self.mpi.comm.Allreduce(MPI.IN_PLACE, figures, MPI.MAX)
        return figures[:-1], float(figures[-1])

    def _arguments(self) -> tuple[Any, ...]:
        flag = int(self.window.starts[self.window.rank])
        requests = address(self.requests) if len(self.requests) else 0
        return (
            self.steps, self.after, self.operands, self.pieces, self.piece_bytes, self.numbers, self.window.state,
            flag, self.patience, self.functions, address(self.spare), requests, self.mpi.table,
        )  # fmt: skip


def prepare(
    mpi: NativeMpi, window: SharedWindow, layout: FusedLayout, dtype: np.dtype[Any], op: str, buffers: Buffers,
    patience: int = PATIENCE,
) -> SharedCall:  # fmt: skip
    """Make the program of this rank ready; all ranks call it together.

    The window's stage has at least the `stage_bytes` of the layout; unless that is staged, `buffers` lie in the
    window's room. Raises `ValueError` where they do not.
    """
    rank = window.rank
    program = layout.programs[rank]
    where = _buffers(window, buffers, layout)
    slot_bytes = layout.slot_bytes(window.half_bytes)
    inbox = _untouched(layout.inbox_bytes(rank))
    tables = _Tables(
        window, layout, slot_bytes, where, address(inbox), _streams_from(layout, window.ranks),
        int(mpi.table[LONGEST_BYTES]),
    )  # fmt: skip
    tables.add_program(program)
    after = []
    if op == "avg" and len(buffers.receive):
        after.append([DIVIDE, 0, 0, len(tables.operands), len(buffers.receive)])
        tables.operands.append(tables.operand(Operand(rank, OUTPUT, 0)))
    pieces = max(1, -(-layout.longest_bytes // slot_bytes)) if layout.staged else 1
    longest_bytes = max((step[4] for step in tables.steps if step[0] in (PASS, SEND, RECEIVE)), default=1)
    return SharedCall(
        mpi=mpi,
        window=window,
        steps=_table(tables.steps, 5),
        after=_table(after, 5),
        operands=_table(tables.operands, 4),
        pieces=pieces,
        piece_bytes=slot_bytes if pieces > 1 else max(1, longest_bytes),
        numbers=_numbers(program),
        patience=patience,
        functions=functions_for(dtype, op, program.schedule.ranks),
        spare=page_aligned(BLOCK_BYTES),
        requests=np.zeros(tables.requests * int(mpi.table[REQUEST_BYTES]), np.uint8),
        inbox=inbox,
        buffers=buffers,
    )


@dataclass(slots=True)
class _Tables:
    """The steps of one rank and their operands, while they are made."""

    window: SharedWindow
    layout: FusedLayout
    slot_bytes: int
    where: list[tuple[int, int]]
    """Addresses of the input and of the output of every rank."""
    inbox: int
    """Address of this rank's place for messages."""
    streams_from: int | None
    """From how many bytes on a pass stores past the caches what nobody reads in the call; None for never."""
    longest_bytes: int
    """Of a message between hosts that travels in one piece."""
    steps: list[list[int]] = field(default_factory=list)
    operands: list[list[int]] = field(default_factory=list)
    requests: int = 0
    completions: dict[int, list[list[int]]] = field(default_factory=dict)
    """The steps that complete each message."""

    def add_program(self, program: FusedProgram) -> None:
        """All steps of a program, behind those that make its stage its own."""
        window = self.window
        window.state[CALLS] += 1
        self.steps.append([MEET, int(window.state[CALLS]), len(window.ranks), len(self.operands), 0])
        self.operands += [[int(window.starts[rank]), 0, 0, 0] for rank in window.ranks]
        # The half of the stage that is filled now was read two pieces ago, by ranks that have entered the last since.
        for reader in program.readers if self.layout.staged else ():
            self.steps.append([AWAIT_BEFORE, int(window.starts[reader]), _number(START), 0, 0])
        for step in program.steps:
            if isinstance(step, Wait):
                self.steps.append([AWAIT, int(window.starts[step.rank]), _number(step.round), 0, 0])
            elif isinstance(step, Finish):
                self.steps.append([FINISH, 0, _number(step.round), 0, 0])
            elif isinstance(step, Pass):
                self._add_pass(step)
            elif isinstance(step, Complete):
                self.steps += self.completions[step.message]
            else:
                self._add_message(step)

    def _add_pass(self, step: Pass) -> None:
        for one in self.layout.lowered(step, self.slot_bytes):
            self.steps.append([PASS, len(one.sources), len(one.targets), len(self.operands), one.length])
            self.operands += [self.operand(source) for source in one.sources]
            streams = self.streams_from is not None and one.length >= self.streams_from
            targets = [self.operand(target, streams and target.is_last) for target in one.targets]
            self.operands += sorted(targets, key=lambda operand: operand[-1])

    def _add_message(self, step: Send | Receive) -> None:
        complete = self.completions[step.message] = []
        for one in self.layout.lowered_message(step, self.slot_bytes):
            op = SEND if isinstance(step, Send) else RECEIVE
            self.steps.append([op, step.peer, self.requests, len(self.operands), one.length])
            complete.append([COMPLETE, -1, self.requests, len(self.operands), one.length])
            self.operands.append(self.operand(one.operand))
            self.requests += requests_of(one.length, self.longest_bytes)

    def operand(self, operand: Operand, streams: bool = False) -> list[int]:
        """A row of `operands`."""
        if operand.region in (INPUT, OUTPUT):
            return [self.where[operand.rank][operand.region == OUTPUT] + operand.byte, 1, 0, streams]
        if operand.region == INBOX:
            return [self.inbox + operand.byte, 0, 0, 0]
        return [self.window.stage(operand.rank) + operand.byte, 0, self.window.half_bytes, streams]


def _streams_from(layout: FusedLayout, ranks: tuple[int, ...]) -> int | None:
    """See `_Tables`. What fits into the caches with all that the call touches had better stay there."""
    return 1 if layout.touched_bytes(ranks) >= cpu().cache_bytes else None


def _untouched(size_bytes: int) -> NDArray[np.uint8]:
    """Bytes at a page boundary, whose pages take no memory until they are used."""
    room = np.zeros(size_bytes + PAGE_BYTES, np.uint8)
    skip = -room.ctypes.data % PAGE_BYTES
    return room[skip : skip + size_bytes]


def _numbers(program: FusedProgram) -> int:
    """By how much flags grow with a piece: one for having entered, and one for each round."""
    return program.rounds + 1


def _number(round_: int) -> int:
    return round_ - START + 1


def _table(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, columns)


def _buffers(window: SharedWindow, buffers: Buffers, layout: FusedLayout) -> list[tuple[int, int]]:
    """Addresses of the input and of the output of every rank of the host, as this process sees them; staged, its own.

    Raises `ValueError` where the window has not the room.
    """
    needed = layout.stage_bytes(0)
    if window.half_bytes < needed:
        raise ValueError(f"half a stage of {window.half_bytes} bytes; expected at least {needed}")
    mine = address(buffers.send), address(buffers.receive)
    if layout.staged:
        return [mine] * len(window.starts)
    room = window.room(window.rank)
    for buffer in (buffers.send, buffers.receive):
        first = address(buffer) - room
        if buffer.nbytes and not 0 <= first <= window.room_bytes - buffer.nbytes:
            raise ValueError("a buffer that is not in the window's room for it")
    where = [(0, 0)] * len(window.starts)
    there = window.comm.allgather((mine[0] - room, mine[1] - room))
    for rank, (send, receive) in zip(window.ranks, there, strict=True):
        where[rank] = window.room(rank) + send, window.room(rank) + receive
    return where
