"""Checks compiled programs: they compute what they must, cannot deadlock, do not race, and stay in their buffers.

No receive takes a message from just anybody, and no message overtakes another of the same pair, so the messages of a
set of programs match in one way only, and one execution stands for all: if the programs run to their end when a send
completes no sooner than its receive is posted, no other timing and no other amount of buffering can block them. As they
do not race either, that one execution also computes what every other one does.

What it computes is followed symbolically. A value is its origin (a chunk of the vector) and the sum, modulo 2^64, of
one random number for each rank whose contribution is in it: a contribution that is missing or there twice shows, but
for a chance of 2^-64 a chunk. The proof of the schedule itself (`proof.py`) has no such chance, and says what is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.compiler import (
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
from clusterbench.collectives.program import Program, steps_of
from clusterbench.collectives.schedule import Ints, Schedule

Steps = NDArray[np.int32]
Words = NDArray[np.uint64]

_REGION_NAMES = {INPUT: "input", OUTPUT: "output", WORK: "working copy", EXTRA: "scratch", STAGING: "staging area"}
_FINE, _OUTSIDE, _RACE, _WRITES_INPUT, _UNFINISHED, _NOTHING_POSTED, _LENGTH = range(7)
_STUCK, _UNDEFINED, _ORIGIN, _RESULT = range(1, 5)


def check_programs(schedule: Schedule, programs: list[Program]) -> str | None:
    """Check the programs of all ranks, in the order of ranks. Returns what is wrong, or None."""
    starts = np.cumsum([0, *(len(program) for program in programs)])
    signature = np.zeros(starts[-1], np.uint64)
    for program, first, end in zip(programs, starts[:-1], starts[1:], strict=True):
        problem = _check_buffers(schedule, program, signature[first:end])
        if problem is not None:
            return problem
    steps = steps_of(programs)
    sends, receives, problem = _match(starts, steps, signature)
    if problem is not None:
        return problem
    fault, who, where = _execute(schedule, programs, starts, steps, sends, receives)
    at = f"rank {who}, step {where} of its program"
    return {
        _FINE: None,
        _STUCK: f"deadlock: {at} waits for ever",
        _UNDEFINED: f"{at}: reads a chunk that has no value yet",
        _ORIGIN: f"{at}: reduces a chunk into a different one",
        _RESULT: f"at the end: chunk {where} of the output of rank {who} is not what it must be",
    }[fault]


def _ranges(schedule: Schedule, program: Program) -> Ints:
    """First chunk and end of every region of a rank, of shape (5, 2)."""
    ranges = np.zeros((5, 2), np.int64)
    ranges[INPUT], ranges[OUTPUT] = schedule.takes(program.rank), schedule.gives(program.rank)
    ranges[WORK] = (0, schedule.chunks)
    ranges[EXTRA] = (schedule.chunks, schedule.chunks + schedule.scratch_chunks)
    ranges[STAGING] = (0, program.staging_chunks)
    return ranges


def _check_buffers(schedule: Schedule, program: Program, signature: Words) -> str | None:
    """What is wrong with a program for itself; fills in, for every step, the signature of the message that it posts.

    The signature is the sum of one random number for each chunk in the message, drawn for what a chunk's length depends
    on: its place in its part, and where parts are uneven the two ranks between which it goes. Messages of equal
    signatures have equal lengths for vectors of every size, but for a chance of 2^-64.
    """
    ranges = _ranges(schedule, program)
    weights = _length_weights(schedule, program.rank)
    fault, step, region = _walk(program.steps, ranges, program.in_place, program.requests, *weights, signature)
    where = f"rank {program.rank}, step {step} of its program"
    if fault == _OUTSIDE:
        low, high = ranges[region]
        chunk = int(program.steps[step, DCHUNK if program.steps[step, DREG] == region else SCHUNK])
        return f"{where}: chunk {chunk} lies outside the {_REGION_NAMES[region]}, which holds {low} to {high - 1}"
    if fault == _RACE:
        return f"{where}: touches the {_REGION_NAMES[region]} while a message that uses it is in flight"
    if fault == _UNFINISHED:
        return f"{where}: a message is never waited for"
    if fault == _WRITES_INPUT:
        return f"{where}: writes to the input"
    if fault == _NOTHING_POSTED:
        return f"{where}: waits for a message that is not in flight"
    if fault == _LENGTH:
        return f"{where}: takes the length of another chunk than its operand's"
    if schedule.collective.uneven and (program.steps[:, [DREG, SREG]] > OUTPUT).any():
        return f"rank {program.rank}: puts a chunk aside whose length only its two ends know"
    return None


def _length_weights(schedule: Schedule, rank: int) -> tuple[Words, Words, np.uint64]:
    """Running sums of the random numbers of a rank's chunks, as they are brought and as they are given (chunks + 1
    numbers each), and the number of a scratch chunk."""
    ranks, chunks, per_part = schedule.ranks, schedule.chunks, schedule.chunks_per_part
    generator = np.random.default_rng(chunks)
    inside = np.arange(chunks) % per_part
    of_scratch = generator.integers(0, 2**64, dtype=np.uint64)
    if schedule.collective.uneven:
        pairs = generator.integers(0, 2**64, (ranks, ranks, per_part), dtype=np.uint64)
        brought, given = pairs[rank].ravel(), pairs[:, rank].ravel()
    else:
        brought = given = generator.integers(0, 2**64, per_part, dtype=np.uint64)[inside]
    nothing = np.zeros(1, np.uint64)
    return (
        np.concatenate([nothing, np.cumsum(brought, dtype=np.uint64)]),
        np.concatenate([nothing, np.cumsum(given, dtype=np.uint64)]),
        of_scratch,
    )


@njit(cache=True, nogil=True)
def _walk(
    steps: Any, ranges: Any, in_place: bool, requests: int, brought: Any, given: Any, of_scratch: Any, signature: Any
) -> tuple[int, int, int]:  # fmt: skip
    """Walk a program with the ranges that its messages in flight use; fills in the signatures of its messages.

    Returns the fault, its step and region.
    """
    # Per request: region, first chunk, end, 1 if it is written. Region −1: not in flight.
    flight = np.full((requests, 4), -1, np.int64)
    staged = np.zeros(ranges[STAGING, 1] + 1, np.int64)  # chunks of the message in a staging area
    cursor = np.zeros(ranges[STAGING, 1] + 1, np.int64)  # chunks of it that have been put, or taken out, so far
    packed = np.zeros(ranges[STAGING, 1] + 1, np.uint64)  # signature of what has been put, or is to come, there
    for s in range(len(steps)):
        op = steps[s, OP]
        if op == WAIT:
            if flight[steps[s, REQ], 0] < 0:
                return _NOTHING_POSTED, s, 0
            flight[steps[s, REQ], 0] = -1
            continue
        length, count = steps[s, LENGTH], steps[s, COUNT]
        weight = np.uint64(count) * of_scratch
        if length >= 0:
            sums = brought if steps[s, SREG] == INPUT and op != RECV and op != GROW else given
            if length + count >= len(sums):
                return _OUTSIDE, s, OUTPUT
            weight = sums[length + count] - sums[length]
        if op in (OPEN, GROW):
            area = steps[s, DCHUNK]
            if area < 0 or area >= len(staged):
                return _OUTSIDE, s, STAGING
            cursor[area] = 0 if op == OPEN else cursor[area]
            staged[area] = 0 if op == OPEN else staged[area] + count
            packed[area] = np.uint64(0) if op == OPEN else packed[area] + weight
            if staged[area] + area > ranges[STAGING, 1]:
                return _OUTSIDE, s, STAGING
            continue
        if op in (SEND, RECV) and flight[steps[s, REQ], 0] >= 0:
            return _UNFINISHED, s, flight[steps[s, REQ], 0]
        for side in range(3):  # destination, source, and first operand of a reduction, which lies at the destination
            writes = side == 0
            if (op == SEND and writes) or (op == RECV and not writes) or (side == 2 and op != REDUCE):
                continue
            region = steps[s, DREG] if side == 0 else steps[s, SREG] if side == 1 else steps[s, AREG]
            low = steps[s, SCHUNK] if side == 1 else steps[s, DCHUNK]
            if region == STAGING and op in (COPY, REDUCE) and 0 <= low < len(cursor):
                low += cursor[low]
            high = low + count
            if region == INPUT and writes:
                return _WRITES_INPUT, s, region
            if low < ranges[region, 0] or high > ranges[region, 1]:
                return _OUTSIDE, s, region
            if in_place and region == INPUT and low < ranges[OUTPUT, 1] and ranges[OUTPUT, 0] < high:
                region = OUTPUT  # the same memory
            for r in range(requests):
                touches = flight[r, 0] == region and flight[r, 1] < high and low < flight[r, 2]
                if touches and (writes or flight[r, 3] == 1):
                    return _RACE, s, region
            if op in (SEND, RECV):
                request = steps[s, REQ]
                flight[request, 0], flight[request, 1], flight[request, 2] = region, low, high
                flight[request, 3] = 1 if writes else 0
                signature[s] = packed[low] if region == STAGING else weight
        if not _has_length_of_operand(steps[s]):
            return _LENGTH, s, 0
        if op == COPY and steps[s, DREG] == STAGING:
            packed[steps[s, DCHUNK]] += weight
            cursor[steps[s, DCHUNK]] += count
        elif op in (COPY, REDUCE) and steps[s, SREG] == STAGING:
            cursor[steps[s, SCHUNK]] += count
    for r in range(requests):
        if flight[r, 0] >= 0:
            return _UNFINISHED, len(steps), flight[r, 0]
    return _FINE, 0, 0


@njit(cache=True)
def _has_length_of_operand(step: Any) -> bool:
    """Whether the chunk whose length counts is that of an operand that lies in a vector, if there is one."""
    op = step[OP]
    if op != SEND and (step[DREG] == OUTPUT or step[DREG] == WORK):
        return step[LENGTH] == step[DCHUNK]
    if op != RECV and (step[SREG] == INPUT or step[SREG] == OUTPUT or step[SREG] == WORK):
        return step[LENGTH] == step[SCHUNK]
    return True


def _match(starts: Ints, steps: Steps, signature: Words) -> tuple[Ints, Ints, str | None]:
    """Pair the k-th message that a rank sends another with the k-th that this one receives from it.

    Returns the steps of sends and of receives, in the order of pairs, and what is wrong: a message without its other
    side, or of another length.
    """
    sends, receives, pairs = _pair(starts, steps)
    ranks = len(starts) - 1
    differing = np.flatnonzero(pairs[0] != pairs[1])
    if len(differing):
        src, dst = divmod(int(differing[0]), ranks)
        sent, received = (int(side[differing[0]]) for side in pairs)
        return sends, receives, f"rank {src} sends rank {dst} {sent} messages, of which that receives {received}"
    unlike = np.flatnonzero((signature[sends] != signature[receives]) | (steps[sends, COUNT] != steps[receives, COUNT]))
    if len(unlike):
        send, receive = int(sends[unlike[0]]), int(receives[unlike[0]])
        src = int(np.searchsorted(starts, send, "right")) - 1
        return sends, receives, (
            f"rank {src}, step {send - starts[src]} of its program, sends {steps[send, COUNT]} chunks to rank "
            f"{steps[send, PEER]}, which receives {steps[receive, COUNT]} chunks, or chunks of other lengths"
        )  # fmt: skip
    return sends, receives, None


@njit(cache=True)
def _pair(starts: Any, steps: Any) -> Any:
    """Sends and receives in the order of pairs (source, destination), each pair's in theirs, and how many each has."""
    ranks = len(starts) - 1
    pairs = np.zeros((2, ranks * ranks), np.int64)
    for filling in range(2):
        if filling:
            at = np.zeros((2, ranks * ranks), np.int64)
            for side in range(2):
                at[side, 1:] = np.cumsum(pairs[side])[:-1]
            sends, receives = np.empty(pairs[0].sum(), np.int64), np.empty(pairs[1].sum(), np.int64)
        for rank in range(ranks):
            for s in range(starts[rank], starts[rank + 1]):
                if steps[s, OP] != SEND and steps[s, OP] != RECV:
                    continue
                side = 0 if steps[s, OP] == SEND else 1
                peer = steps[s, PEER]
                pair = rank * ranks + peer if side == 0 else peer * ranks + rank
                if not filling:
                    pairs[side, pair] += 1
                elif side == 0:
                    sends[at[0, pair]] = s
                    at[0, pair] += 1
                else:
                    receives[at[1, pair]] = s
                    at[1, pair] += 1
    return sends, receives, pairs


def _execute(
    schedule: Schedule, programs: list[Program], starts: Ints, steps: Steps, sends: Ints, receives: Ints
) -> tuple[int, int, int]:
    """Run all programs symbolically. Returns the fault (or _FINE), the rank, and the step or chunk."""
    what, ranks, chunks = schedule.collective, schedule.ranks, schedule.chunks
    space = max(chunks + schedule.scratch_chunks, *(program.staging_chunks for program in programs))
    mark = np.random.default_rng(schedule.ranks).integers(0, 2**64, ranks, dtype=np.uint64)
    origin = np.full((ranks, 5, space), -1, np.int32)
    marks = np.zeros((ranks, 5, space), np.uint64)
    expected = np.stack([what.expected(rank, ranks, chunks, schedule.root) for rank in range(ranks)]).astype(np.int32)
    ranges = np.stack([_ranges(schedule, program) for program in programs])
    in_place = programs[0].in_place
    for rank in range(ranks):
        first, end = ranges[rank, INPUT]
        low, high = ranges[rank, OUTPUT]
        origin[rank, INPUT, :chunks] = what.brought(rank, ranks, chunks, schedule.root)
        marks[rank, INPUT, first:end] = mark[rank] if what.reduces else 1
        if in_place:
            shared = slice(max(first, low), max(min(end, high), max(first, low)))
            origin[rank, OUTPUT, shared] = origin[rank, INPUT, shared]
            marks[rank, OUTPUT, shared] = marks[rank, INPUT, shared]
    total = mark.sum(dtype=np.uint64) if what.reduces else np.uint64(1)
    # Where the values of a message wait between its sending and its receipt.
    room = np.zeros(len(steps) + 1, np.int64)
    room[sends] = np.cumsum(steps[sends, COUNT]) - steps[sends, COUNT]
    room[receives] = room[sends]
    requests = max(program.requests for program in programs) + 1
    fault: tuple[int, int, int] = _run(
        starts, steps, room, int(steps[sends, COUNT].sum()), ranges, in_place, requests, origin, marks, expected, total
    )
    return fault


@njit(cache=True)
def _run(
    starts: Any, steps: Any, room: Any, moved_chunks: int, ranges: Any, in_place: bool, requests: int, origin: Any,
    marks: Any, expected: Any, total: Any,
) -> tuple[int, int, int]:  # fmt: skip
    ranks = len(starts) - 1
    at = starts[:-1].copy()
    sends = np.zeros((ranks, ranks), np.int32)  # messages that [src, dst] has posted
    receives = np.zeros((ranks, ranks), np.int32)
    flight = np.zeros((ranks, requests, 3), np.int64)  # the step of a message, its number in its pair, is a send
    cursor = np.zeros((ranks, origin.shape[2] + 1), np.int64)
    sent_origin, sent_marks = np.empty(moved_chunks, np.int32), np.empty(moved_chunks, np.uint64)
    moved = True
    while moved:
        moved = False
        for rank in range(ranks):
            shared = ranges[rank, OUTPUT] if in_place else np.zeros(2, np.int64)
            while at[rank] < starts[rank + 1]:
                s = at[rank]
                step = steps[s]
                op, peer = step[OP], step[PEER]
                if op == SEND:
                    flight[rank, step[REQ]] = np.array([s, sends[rank, peer], 1])
                    sends[rank, peer] += 1
                    _take(rank, step[SREG], step[SCHUNK], step[COUNT], shared, origin, marks, sent_origin, sent_marks,
                          room[s])  # fmt: skip
                    cursor[rank, step[SCHUNK]] = 0 if step[SREG] == STAGING else cursor[rank, step[SCHUNK]]
                elif op == RECV:
                    flight[rank, step[REQ]] = np.array([s, receives[peer, rank], 0])
                    receives[peer, rank] += 1
                elif op == WAIT:
                    posted, number, is_send = flight[rank, step[REQ]]
                    other = steps[posted, PEER]
                    if (receives[rank, other] if is_send == 1 else sends[other, rank]) <= number:
                        break
                    if is_send == 0:
                        _put(rank, steps[posted, DREG], steps[posted, DCHUNK], steps[posted, COUNT], origin, marks,
                             sent_origin, sent_marks, room[posted])  # fmt: skip
                elif op == OPEN:
                    cursor[rank, step[DCHUNK]] = 0
                elif op in (COPY, REDUCE):
                    fault = _apply(rank, step, shared, cursor, origin, marks)
                    if fault != _FINE:
                        return fault, rank, s - starts[rank]
                at[rank] += 1
                moved = True
    for rank in range(ranks):
        if at[rank] < starts[rank + 1]:
            return _STUCK, rank, at[rank] - starts[rank]
    for rank in range(ranks):
        for chunk in range(ranges[rank, OUTPUT, 0], ranges[rank, OUTPUT, 1]):
            if origin[rank, OUTPUT, chunk] != expected[rank, chunk] or marks[rank, OUTPUT, chunk] != total:
                return _RESULT, rank, chunk
    return _FINE, 0, 0


@njit(cache=True)
def _memory(region: int, chunk: int, shared: Any) -> int:
    """The region that a chunk is in: in place, part of the input is the output."""
    return OUTPUT if region == INPUT and shared[0] <= chunk < shared[1] else region


@njit(cache=True)
def _take(
    rank: int, region: int, first: int, count: int, shared: Any, origin: Any, marks: Any, sent_origin: Any,
    sent_marks: Any, room: int,
) -> None:  # fmt: skip
    for i in range(count):
        where = _memory(region, first + i, shared)
        sent_origin[room + i] = origin[rank, where, first + i]
        sent_marks[room + i] = marks[rank, where, first + i]


@njit(cache=True)
def _put(
    rank: int, region: int, first: int, count: int, origin: Any, marks: Any, sent_origin: Any, sent_marks: Any,
    room: int,
) -> None:  # fmt: skip
    for i in range(count):
        origin[rank, region, first + i] = sent_origin[room + i]
        marks[rank, region, first + i] = sent_marks[room + i]


@njit(cache=True)
def _apply(rank: int, step: Any, shared: Any, cursor: Any, origin: Any, marks: Any) -> int:
    """A copy or a reduction inside a rank; a staging area is filled, and read, from where it was left."""
    for i in range(step[COUNT]):
        source, target = step[SCHUNK] + i, step[DCHUNK] + i
        if step[SREG] == STAGING:
            source = step[SCHUNK] + cursor[rank, step[SCHUNK]] + i
        if step[DREG] == STAGING:
            target = step[DCHUNK] + cursor[rank, step[DCHUNK]] + i
        where = _memory(step[SREG], source, shared)
        value, mark = origin[rank, where, source], marks[rank, where, source]
        if value < 0:
            return _UNDEFINED
        if step[OP] == REDUCE:
            operand = _memory(step[AREG], target, shared)
            if origin[rank, operand, target] < 0:
                return _UNDEFINED
            if origin[rank, operand, target] != value:
                return _ORIGIN
            mark += marks[rank, operand, target]
        origin[rank, step[DREG], target] = value
        marks[rank, step[DREG], target] = mark
    for side in range(2):
        if step[DREG + 2 * side] == STAGING:
            cursor[rank, step[DCHUNK + 2 * side]] += step[COUNT]
    return _FINE
