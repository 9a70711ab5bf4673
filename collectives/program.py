"""A program: what one rank does for its part of a schedule, as a list of steps that a transport runs.

The steps are in chunks, so one program serves every size of the vector; `lower` turns it into addresses and bytes.
Messages of a rank pair in one round travel as one. A message is sent straight from where its chunks lie if they lie
together, and packed otherwise; it is received in place if it only copies into chunks that nobody reads in that round,
and staged otherwise. A rank waits for a message only where a later step needs the chunks that it touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.compiler import (
    AREG,
    COPY,
    COUNT,
    DCHUNK,
    DREG,
    EXTRA,
    GROW,
    LENGTH,
    OP,
    OPEN,
    PEER,
    RECV,
    REDUCE,
    REQ,
    SCHUNK,
    SEND,
    SREG,
    STAGING,
    WAIT,
    WORK,
    compile_steps,
)  # fmt: skip
from clusterbench.collectives.schedule import Ints, Schedule, ScheduleError, chunk_offsets

MIN_WINDOW = 32
"""Messages that may be in flight on a rank, at least; twice the messages of its busiest round if that is more."""
MESSAGE_BYTES = 1 << 30
"""Longer messages are cut, as MPI counts bytes in an int."""


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of one rank, in chunks: int64 of shape (steps, columns of `compiler`)."""

    schedule: Schedule
    rank: int
    in_place: bool
    steps: Ints
    requests: int
    """Messages in flight at once."""
    staging_chunks: int

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """A program in bytes for one size of the vector.

    Columns of `steps`: operation, peer, destination region and byte, source region and byte, region of a reduction's
    first operand, bytes, request. Regions are INPUT, OUTPUT and SCRATCH; the offset of an operand in INPUT or OUTPUT
    counts from the start of the vector, so the base address handed to the executor is that of chunk 0.
    """

    steps: Ints
    requests: int
    scratch_bytes: int


def compile_program(schedule: Schedule, rank: int, in_place: bool) -> Program:
    """The program of one rank. Raises `ScheduleError` where a transfer reads a chunk that has no value."""
    messages, pieces = _messages(schedule, rank)
    what, chunks = schedule.collective, schedule.chunks
    takes = what.owned(what.takes, rank, schedule.ranks, chunks)
    gives = what.owned(what.gives, rank, schedule.ranks, chunks)
    busiest = int(np.bincount(messages[:, 0]).max()) if len(messages) else 0
    window = max(MIN_WINDOW, 2 * busiest)
    steps, requests, staging, fault = compile_steps(
        messages, pieces, chunks, chunks + schedule.scratch_chunks, takes, gives, in_place, window
    )
    if fault >= 0:
        raise ScheduleError(f"round {int(messages[fault, 0])}: rank {rank} reads a chunk that has no value yet")
    return Program(schedule, rank, in_place, steps, int(requests), int(staging))


def compile_programs(schedule: Schedule, in_place: bool) -> list[Program]:
    """The programs of all ranks."""
    return [compile_program(schedule, rank, in_place) for rank in range(schedule.ranks)]


def _messages(schedule: Schedule, rank: int) -> tuple[Ints, Ints]:
    """The rank's messages (round, 0 in / 1 out / 2 local, peer, first piece, end) and their pieces.

    A piece is (source chunk, destination chunk, count, reduces). Messages stand in the order of rounds, and inside a
    round in the order in which they are first listed.
    """
    columns = list(_rank_columns(schedule, rank))
    if not columns:
        return np.zeros((0, 5), np.int64), np.zeros((0, 4), np.int64)
    number, src, src_chunk, dst, dst_chunk, count, reduce = (np.concatenate(c) for c in zip(*columns, strict=True))
    direction = np.where(src == dst, 2, np.where(src == rank, 1, 0))
    peer = np.where(src == rank, dst, src)
    key = (number * 3 + direction) * schedule.ranks + peer
    _, first_listed, which = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first_listed[which], kind="stable")  # rounds are listed in order, so this sorts them too
    pieces = np.stack([src_chunk, dst_chunk, count, reduce], axis=1)[order]
    starts = np.flatnonzero(np.diff(first_listed[which][order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    heads = order[starts]
    return np.stack([number[heads], direction[heads], peer[heads], starts, ends], axis=1), pieces


def _rank_columns(schedule: Schedule, rank: int) -> Iterator[tuple[Ints, ...]]:
    """Round, source, source chunk, destination, destination chunk, count and reduces of a rank's transfers."""
    number = 0
    for phase in schedule.phases():
        mine = np.flatnonzero((phase.src == rank) | (phase.dst == rank))
        repetition = np.arange(phase.repetitions, dtype=np.int64)
        if len(mine) and phase.repetitions:
            shape = (phase.repetitions, len(mine))
            moved = np.multiply.outer(repetition, phase.step[mine])
            yield tuple(
                np.broadcast_to(column, shape).ravel()
                for column in (
                    number + repetition[:, None],
                    phase.src[mine],
                    (phase.src_chunk[mine] + moved) % phase.modulus,
                    phase.dst[mine],
                    (phase.dst_chunk[mine] + moved) % phase.modulus,
                    phase.count[mine],
                    phase.reduce[mine].astype(np.int64),
                )
            )
        number += phase.repetitions


def lower(program: Program, count: int, itemsize: int) -> LoweredProgram:
    """The program for `count` elements a rank of `itemsize` bytes each."""
    schedule = program.schedule
    offsets = chunk_offsets(schedule, count) * itemsize
    longest = int(np.diff(offsets).max())
    work_bytes = int(offsets[-1]) if (program.steps[:, [DREG, SREG]] == WORK).any() else 0
    # Scratch holds the working copy of the vector, the scratch chunks, and the staging area, in this order.
    bases = np.zeros(5, np.int64)
    bases[EXTRA] = work_bytes
    bases[STAGING] = work_bytes + schedule.scratch_chunks * longest
    scratch_bytes = int(bases[STAGING]) + program.staging_chunks * longest
    is_message = np.isin(program.steps[:, OP], (SEND, RECV))
    longest_message = int(program.steps[is_message, COUNT].max(initial=0)) * longest
    cuts = max(1, -(-longest_message // MESSAGE_BYTES))
    steps, used = _lower(program.steps, offsets, longest, bases, program.staging_chunks, cuts, MESSAGE_BYTES)
    return LoweredProgram(steps[:used].copy(), program.requests * cuts, scratch_bytes)


SCRATCH = WORK
"""The region that WORK, EXTRA and STAGING lie in once a program is lowered."""


@njit(cache=True)
def _lower(steps: Any, offsets: Any, longest: int, bases: Any, staging_chunks: int, cuts: int, limit: int) -> Any:
    out = np.zeros((len(steps) * cuts, 9), np.int64)
    filled = np.zeros(staging_chunks + 1, np.int64)  # bytes packed into, or applied from, a staging area so far
    expected = np.zeros(staging_chunks + 1, np.int64)  # bytes of the message that a staging area is to hold
    posted = np.zeros(steps[:, REQ].max() + 1 if len(steps) else 1, np.int64)
    used = 0
    for s in range(len(steps)):
        step = steps[s]
        op, req = step[OP], step[REQ]
        # A negative length chunk stands for scratch chunks, which have the length of the longest.
        length = step[COUNT] * longest
        if step[LENGTH] >= 0:
            length = offsets[step[LENGTH] + step[COUNT]] - offsets[step[LENGTH]]
        if op == OPEN:
            filled[step[DCHUNK]] = expected[step[DCHUNK]] = 0
            continue
        if op == GROW:
            expected[step[DCHUNK]] += length
            continue
        if op == WAIT:
            for cut in range(posted[req]):
                out[used, 0] = WAIT
                out[used, 8] = req * cuts + cut
                used += 1
            continue
        if op == SEND and step[SREG] == STAGING:
            length = filled[step[SCHUNK]]
            filled[step[SCHUNK]] = 0
        if op == RECV and step[DREG] == STAGING:
            length = expected[step[DCHUNK]]
        target = _byte(step[DREG], step[DCHUNK], offsets, longest, bases, filled)
        source = _byte(step[SREG], step[SCHUNK], offsets, longest, bases, filled)
        if op in (COPY, REDUCE):
            for region, chunk in ((step[DREG], step[DCHUNK]), (step[SREG], step[SCHUNK])):
                if region == STAGING:
                    filled[chunk] += length
        is_message = op in (SEND, RECV)
        cut, done = 0, 0
        while done < length:
            now = min(length - done, limit) if is_message else length
            out[used, 0], out[used, 1] = op, step[PEER]
            out[used, 2], out[used, 3] = min(step[DREG], WORK), target + done
            out[used, 4], out[used, 5] = min(step[SREG], WORK), source + done
            out[used, 6], out[used, 7], out[used, 8] = min(step[AREG], WORK), now, req * cuts + cut
            used += 1
            cut += 1
            done += now
        if is_message:
            posted[req] = cut
    return out, used


@njit(cache=True)
def _byte(region: int, chunk: int, offsets: Any, longest: int, bases: Any, filled: Any) -> int:
    """Where an operand starts, from the start of its region once lowered."""
    if region == STAGING:
        return bases[STAGING] + chunk * longest + filled[chunk]
    if region == EXTRA:
        return bases[EXTRA] + (chunk - (len(offsets) - 1)) * longest
    return offsets[chunk]
