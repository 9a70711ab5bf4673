"""Walks a program step by step: it stays in its buffers, does not race with its messages in flight, and waits for all.

The walk also writes down what the program does as plain numbers, its trace, by which `programs/check.py` runs the
programs of all ranks together: regions, staging areas and requests are resolved to addresses and messages there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.programs.program import Program
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
from clusterbench.collectives.schedule import Ints, Schedule

Words = NDArray[np.uint64]

_REGION_NAMES = {INPUT: "input", OUTPUT: "output", WORK: "working copy", EXTRA: "scratch", STAGING: "staging area"}
_FINE, _OUTSIDE, _RACE, _WRITES_INPUT, _UNFINISHED, _NOTHING_POSTED, _LENGTH = range(7)


class ProgramFaultError(ValueError):
    """A program that is wrong for itself: the message names rank and step, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a program does, as plain numbers. Addresses are in chunks, in one memory for all regions of the rank."""

    events: NDArray[np.int32]
    """For every step its operation, and the number of the message or of the move that it is about, of shape
    (steps, 2)."""
    messages: NDArray[np.int32]
    """Per message, in the order of their posting: whether it is received, the other rank, its address, its chunks."""
    signatures: Words
    """Per message: what its length depends on. Messages of equal signatures have equal lengths for vectors of every
    size, but for a chance of 2^-64."""
    moves: NDArray[np.int32]
    """Per copy or reduction inside the rank: addresses of destination, source and first operand, and its chunks; the
    third is −1 for a copy."""
    requests: int
    """Messages in flight at once."""
    memory_chunks: int
    input_at: int
    """What to add to the number of a chunk of the vector for its address in the input."""
    output_at: int
    """The same for the output."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A random number for each thing that the length of a chunk depends on, for `Trace.signatures`.

    That is its place in its part, and where parts are uneven the two ranks between which it goes.
    """

    of_chunks: Words
    """By place in a part, of shape (chunks of a part,); by source, destination and place where parts are uneven."""
    of_scratch: np.uint64

    def sums(self, schedule: Schedule, rank: int) -> tuple[Words, Words]:
        """Running sums of the numbers of a rank's chunks, as they are brought and as they are given: chunks + 1 each"""
        if schedule.collective.uneven:
            brought, given = self.of_chunks[rank].ravel(), self.of_chunks[:, rank].ravel()
        else:
            brought = given = self.of_chunks[np.arange(schedule.chunks) % schedule.chunks_per_part]
        nothing = np.zeros(1, np.uint64)
        return (
            np.concatenate([nothing, np.cumsum(brought, dtype=np.uint64)]),
            np.concatenate([nothing, np.cumsum(given, dtype=np.uint64)]),
        )


def weights_for(schedule: Schedule) -> Weights:
    """Weights for the programs of all ranks, the same at each call."""
    generator = np.random.default_rng(schedule.chunks)
    of_scratch = generator.integers(0, 2**64, dtype=np.uint64)
    ends = (schedule.ranks, schedule.ranks) if schedule.collective.uneven else ()
    return Weights(generator.integers(0, 2**64, (*ends, schedule.chunks_per_part), dtype=np.uint64), of_scratch)


def walk(schedule: Schedule, program: Program, weights: Weights) -> Trace:
    """Walk a program. Raises `ProgramFaultError`; lets other threads run meanwhile."""
    ranges = _ranges(schedule, program)
    bases, memory_chunks = _bases(ranges, program.in_place)
    sums = weights.sums(schedule, program.rank)
    steps = program.steps
    fault, step, region, events, messages, signatures, moves = _walk(
        steps, ranges, bases, memory_chunks, program.requests, *sums, weights.of_scratch
    )
    where = f"rank {program.rank}, step {step} of its program"
    if fault == _OUTSIDE:
        low, high = ranges[region]
        chunk = int(steps[step, DCHUNK if steps[step, DREG] == region else SCHUNK])
        raise ProgramFaultError(
            f"{where}: chunk {chunk} lies outside the {_REGION_NAMES[region]}, which holds {low} to {high - 1}"
        )
    if fault != _FINE:
        raise ProgramFaultError({
            _RACE: f"{where}: touches the {_REGION_NAMES[region]} while a message that uses it is in flight",
            _UNFINISHED: f"{where}: a message is never waited for",
            _WRITES_INPUT: f"{where}: writes to the input",
            _NOTHING_POSTED: f"{where}: waits for a message that is not in flight",
            _LENGTH: f"{where}: takes the length of another chunk than its operand's",
        }[fault])  # fmt: skip
    if schedule.collective.uneven and (steps[:, [DREG, SREG]] > OUTPUT).any():
        raise ProgramFaultError(f"rank {program.rank}: puts a chunk aside whose length only its two ends know")
    at = int(bases[INPUT]), int(bases[OUTPUT])
    return Trace(events, messages, signatures, moves, program.requests, memory_chunks, *at)


def _ranges(schedule: Schedule, program: Program) -> Ints:
    """First chunk and end of every region of a rank, of shape (5, 2)."""
    ranges = np.zeros((5, 2), np.int64)
    ranges[INPUT], ranges[OUTPUT] = schedule.takes(program.rank), schedule.gives(program.rank)
    ranges[WORK] = (0, schedule.chunks)
    ranges[EXTRA] = (schedule.chunks, schedule.chunks + schedule.scratch_chunks)
    ranges[STAGING] = (0, program.staging_chunks)
    return ranges


def _bases(ranges: Ints, in_place: bool) -> tuple[Ints, int]:
    """What to add to a chunk's number for its address, by region, and the chunks of the memory.

    In place the input and the output lie inside one another, so that a chunk has one address in both.
    """
    low, high = ranges.T.copy()
    if in_place and (ranges[: OUTPUT + 1, 0] < ranges[: OUTPUT + 1, 1]).all():
        low[: OUTPUT + 1], high[: OUTPUT + 1] = low[: OUTPUT + 1].min(), high[: OUTPUT + 1].max()
        high[INPUT] = low[INPUT]  # it takes no room of its own
    ends = np.cumsum(high - low)
    return ends - high, int(ends[-1])


@njit(cache=True, nogil=True)
def _walk(
    steps: Any, ranges: Any, bases: Any, memory_chunks: int, requests: int, brought: Any, given: Any, of_scratch: Any
) -> Any:  # fmt: skip
    """The fault, its step and region, and the arrays of the trace."""
    posted = moved = 0
    for s in range(len(steps)):
        posted += steps[s, OP] == SEND or steps[s, OP] == RECV
        moved += steps[s, OP] == COPY or steps[s, OP] == REDUCE
    events = np.empty((len(steps), 2), np.int32)
    messages, signatures = np.empty((posted, 4), np.int32), np.empty(posted, np.uint64)
    moves = np.empty((moved, 4), np.int32)
    fault, step, region = _follow(
        steps, ranges, bases, memory_chunks, requests, brought, given, of_scratch, events, messages, signatures, moves
    )
    return fault, step, region, events, messages, signatures, moves


@njit(cache=True)
def _follow(
    steps: Any, ranges: Any, bases: Any, memory_chunks: int, requests: int, brought: Any, given: Any, of_scratch: Any,
    events: Any, messages: Any, signatures: Any, moves: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Fill in the trace, as far as there is no fault. Returns the fault, its step and region."""
    posted = moved = 0
    in_flight = np.full(requests, -1, np.int64)  # by request: the message, or −1
    users = np.zeros(memory_chunks, np.int32)  # messages in flight that read a chunk, or −1 where one writes it
    staged = np.zeros(ranges[STAGING, 1] + 1, np.int64)  # chunks of the message in a staging area
    cursor = np.zeros(ranges[STAGING, 1] + 1, np.int64)  # chunks of it that have been put, or taken out, so far
    packed = np.zeros(ranges[STAGING, 1] + 1, np.uint64)  # signature of what has been put, or is to come, there
    at = np.zeros(3, np.int64)  # addresses of destination, source, and first operand
    for s in range(len(steps)):
        op, request, count = steps[s, OP], steps[s, REQ], steps[s, COUNT]
        events[s, 0], events[s, 1] = op, -1
        if op == WAIT:
            if in_flight[request] < 0:
                return _NOTHING_POSTED, s, 0
            events[s, 1] = in_flight[request]
            _release(messages, in_flight[request], users)
            in_flight[request] = -1
            continue
        weight = np.uint64(count) * of_scratch
        if steps[s, LENGTH] >= 0:
            sums = brought if steps[s, SREG] == INPUT and op != RECV and op != GROW else given
            if steps[s, LENGTH] + count >= len(sums):
                return _OUTSIDE, s, OUTPUT
            weight = sums[steps[s, LENGTH] + count] - sums[steps[s, LENGTH]]
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
        is_message = op in (SEND, RECV)
        if is_message and in_flight[request] >= 0:
            return _UNFINISHED, s, 0
        fault, region = _locate(steps, s, ranges, bases, cursor, users, at)
        if fault != _FINE:
            return fault, s, region
        if not _has_length_of_operand(steps, s):
            return _LENGTH, s, 0
        if is_message:
            region, low = (steps[s, DREG], steps[s, DCHUNK]) if op == RECV else (steps[s, SREG], steps[s, SCHUNK])
            messages[posted, 0], messages[posted, 1] = op == RECV, steps[s, PEER]
            messages[posted, 2], messages[posted, 3] = at[0 if op == RECV else 1], count
            signatures[posted] = packed[low] if region == STAGING else weight
            if op == SEND and region == STAGING:  # what is put there next is another message
                cursor[low], packed[low] = 0, 0
            for chunk in range(messages[posted, 2], messages[posted, 2] + count):
                users[chunk] = -1 if op == RECV else users[chunk] + 1
            in_flight[request] = events[s, 1] = posted
            posted += 1
            continue
        moves[moved, 0], moves[moved, 1], moves[moved, 2] = at[0], at[1], at[2] if op == REDUCE else -1
        moves[moved, 3] = count
        events[s, 1] = moved
        moved += 1
        if steps[s, DREG] == STAGING:
            packed[steps[s, DCHUNK]] += weight
            cursor[steps[s, DCHUNK]] += count
        if steps[s, SREG] == STAGING:
            cursor[steps[s, SCHUNK]] += count
    for request in range(requests):
        if in_flight[request] >= 0:
            return _UNFINISHED, len(steps), 0
    return _FINE, 0, 0


@njit(cache=True, forceinline=True)
def _locate(steps: Any, s: int, ranges: Any, bases: Any, cursor: Any, users: Any, at: Any) -> tuple[int, int]:
    """Fill in the addresses of a step's operands. Returns what is wrong with them, and the region."""
    op, count = steps[s, OP], steps[s, COUNT]
    for side in range(3):  # destination, source, and first operand of a reduction, which lies at the destination
        writes = side == 0
        if (op == SEND and writes) or (op == RECV and not writes) or (side == 2 and op != REDUCE):
            continue
        region = steps[s, DREG] if side == 0 else steps[s, SREG] if side == 1 else steps[s, AREG]
        low = np.int64(steps[s, SCHUNK] if side == 1 else steps[s, DCHUNK])
        if region == STAGING and op in (COPY, REDUCE) and 0 <= low < len(cursor):
            low += cursor[low]
        if region == INPUT and writes:
            return _WRITES_INPUT, region
        if low < ranges[region, 0] or low + count > ranges[region, 1]:
            return _OUTSIDE, region
        at[side] = low + bases[region]
        for chunk in range(at[side], at[side] + count):
            if users[chunk] < 0 or (writes and users[chunk] > 0):
                return _RACE, region
    return _FINE, 0


@njit(cache=True, forceinline=True)
def _release(messages: Any, m: int, users: Any) -> None:
    """A message is done with its chunks."""
    for chunk in range(messages[m, 2], messages[m, 2] + messages[m, 3]):
        users[chunk] = 0 if messages[m, 0] else users[chunk] - 1


@njit(cache=True, forceinline=True)
def _has_length_of_operand(steps: Any, s: int) -> bool:
    """Whether the chunk whose length counts is that of an operand that lies in a vector, if there is one."""
    op = steps[s, OP]
    if op != SEND and (steps[s, DREG] == OUTPUT or steps[s, DREG] == WORK):
        return steps[s, LENGTH] == steps[s, DCHUNK]
    if op != RECV and (steps[s, SREG] == INPUT or steps[s, SREG] == OUTPUT or steps[s, SREG] == WORK):
        return steps[s, LENGTH] == steps[s, SCHUNK]
    return True
