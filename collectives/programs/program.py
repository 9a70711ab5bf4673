"""A program: what one rank does for its part of a schedule, as a list of steps that a transport runs.

The steps are in chunks, so one program serves every size of the vector; `lower` turns it into addresses and bytes.
Messages of a rank pair in one round travel as one. A message is sent straight from where its chunks lie if they lie
together, and packed otherwise; it is received in place if it only copies into chunks that nobody reads in that round,
and staged otherwise. A rank waits for a message only where a later step needs the chunks that it touches.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.messages import Columns, Transfers, messages_of, transfers_of
from clusterbench.collectives.programs.compiler import compile_steps
from clusterbench.collectives.programs.pieces import MESSAGE_BYTES, MOST_PIECES, piece_bytes
from clusterbench.collectives.programs.steps import (
    AREG,
    COPY,
    COUNT,
    DCHUNK,
    DREG,
    EXTRA,
    GROW,
    INPUT,
    LENGTH,
    OP,
    OPEN,
    OUTPUT,
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
)
from clusterbench.collectives.schedule import Count, Ints, Schedule, ScheduleError, layout

Made = TypeVar("Made")

MIN_WINDOW = 16
"""Messages that may be in flight on a rank, at least; twice the messages of its busiest round if that is more."""


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of one rank, in chunks: int32 of shape (steps, columns), as in `programs/steps.py`."""

    schedule: Schedule
    rank: int
    in_place: bool
    steps: NDArray[np.int32]
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
    return _compiled(schedule, rank, in_place, *messages_of(schedule, rank))


def compile_programs(schedule: Schedule, in_place: bool) -> list[Program]:
    """The programs of all ranks."""
    return for_each_program(schedule, transfers_of(schedule), in_place, lambda program: program)


def for_each_program(
    schedule: Schedule, transfers: Transfers, in_place: bool, make: Callable[[Program], Made]
) -> list[Made]:
    """What `make` makes of the program of every rank, in the order of ranks.

    Programs are compiled side by side on the cores that this process may use, and live only as long as `make` keeps
    them. `transfers` are those of the schedule. Raises `ScheduleError` as `compile_program` does.
    """

    def made(rank: int) -> Made:
        return make(_compiled(schedule, rank, in_place, *transfers.messages(rank)))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(made, range(schedule.ranks)))


def _compiled(schedule: Schedule, rank: int, in_place: bool, messages: Columns, pieces: Columns) -> Program:
    busiest = int(np.bincount(messages[:, 0]).max()) if len(messages) else 0
    window = max(MIN_WINDOW, 2 * busiest)
    space = schedule.chunks + schedule.scratch_chunks
    steps, requests, staging, fault = compile_steps(
        messages, pieces, schedule.chunks, space, schedule.takes(rank), schedule.gives(rank), in_place, window
    )
    if fault >= 0:
        raise ScheduleError(f"round {int(messages[fault, 0])}: rank {rank} reads a chunk that has no value yet")
    return Program(schedule, rank, in_place, steps, int(requests), int(staging))


def lower(program: Program, count: Count, itemsize: int, longest_bytes: Ints | None = None) -> LoweredProgram:
    """The program for `count` elements a rank of `itemsize` bytes each.

    `longest_bytes` says of each rank how long a message between it and this one may be that travels in one piece; None
    where only MPI's own limit cuts them.

    Raises `ScheduleError` where parts are uneven and a chunk is put aside: nobody but its two ends knows its length.
    """
    schedule, steps = program.schedule, program.steps
    places = layout(schedule, program.rank, count)
    taken, given = places.taken * itemsize, places.given * itemsize
    if schedule.collective.uneven and (steps[:, [DREG, SREG]] > OUTPUT).any():
        raise ScheduleError(
            f"rank {program.rank}: {schedule.collective.name} puts a chunk aside; expected all chunks to go straight "
            "from an input to an output"
        )
    longest = int(np.diff(given).max())
    work_bytes = int(given[-1]) if (steps[:, [DREG, SREG]] == WORK).any() else 0
    # Scratch holds the working copy of the vector, the scratch chunks, and the staging area, in this order.
    bases = np.zeros(5, np.int64)
    bases[EXTRA] = work_bytes
    bases[STAGING] = work_bytes + schedule.scratch_chunks * longest
    scratch_bytes = int(bases[STAGING]) + program.staging_chunks * longest
    is_message = np.isin(steps[:, OP], (SEND, RECV))
    longest_message = int(steps[is_message, COUNT].max(initial=0)) * max(longest, int(np.diff(taken).max()))
    limits = np.full(schedule.ranks, MESSAGE_BYTES) if longest_bytes is None else longest_bytes
    cuts = max(1, min(-(-longest_message // int(limits.min())), MOST_PIECES), -(-longest_message // MESSAGE_BYTES))
    lowered, used = _lower(steps, taken, given, longest, bases, program.staging_chunks, cuts, limits, MESSAGE_BYTES)
    return LoweredProgram(lowered[:used].copy(), program.requests * cuts, scratch_bytes)


SCRATCH = WORK
"""The region that WORK, EXTRA and STAGING lie in once a program is lowered."""


@njit(cache=True)
def _lower(
    steps: Any, taken: Any, given: Any, longest: int, bases: Any, staging_chunks: int, cuts: int, limits: Any,
    limit_bytes: int,
) -> Any:  # fmt: skip
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
            offsets = taken if step[SREG] == INPUT and op != RECV and op != GROW else given
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
        target = _byte(step[DREG], step[DCHUNK], given, longest, bases, filled)
        source = _byte(step[SREG], step[SCHUNK], taken if step[SREG] == INPUT else given, longest, bases, filled)
        if op in (COPY, REDUCE):
            for region, chunk in ((step[DREG], step[DCHUNK]), (step[SREG], step[SCHUNK])):
                if region == STAGING:
                    filled[chunk] += length
        is_message = op in (SEND, RECV)
        piece = piece_bytes(length, limits[step[PEER]], limit_bytes) if is_message else length
        cut, done = 0, 0
        while done < length:
            now = min(length - done, piece)
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
