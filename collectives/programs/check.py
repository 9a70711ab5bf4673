"""Checks compiled programs: they compute what they must, cannot deadlock, do not race, and stay in their buffers.

No receive takes a message from just anybody, and no message overtakes another of the same pair, so the messages of a
set of programs match in one way only, and one execution stands for all: if the programs run to their end when a send
completes no sooner than its receive is posted, no other timing and no other amount of buffering can block them. As they
do not race either (`programs/walk.py`), that one execution also computes what every other one does.

What it computes is followed symbolically. A value is its origin (a chunk of the vector) and the sum, modulo 2^64, of
one random number for each rank whose contribution is in it: a contribution that is missing or there twice shows, but
for a chance of 2^-64 a chunk. The proof of the schedule itself (`proof.py`) has no such chance, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.collective import NOTHING
from clusterbench.collectives.messages import Transfers
from clusterbench.collectives.programs.program import Program, for_each_program
from clusterbench.collectives.programs.steps import COPY, RECV, REDUCE, SEND, WAIT
from clusterbench.collectives.programs.walk import ProgramFaultError, Trace, walk, weights_for
from clusterbench.collectives.schedule import Ints, Schedule

Numbers = NDArray[np.int32]

_FINE, _STUCK, _UNDEFINED, _ORIGIN = range(4)


def check_compiled(schedule: Schedule, transfers: Transfers, in_place: bool) -> int:
    """Compile and check the programs of all ranks, given the schedule's transfers.

    Returns the messages in flight at once on the busiest rank. Raises `ProgramFaultError`.
    """
    weights = weights_for(schedule)
    traces = for_each_program(schedule, transfers, in_place, lambda program: walk(schedule, program, weights))
    window = max(trace.requests for trace in traces)
    check_traces(schedule, traces)
    return window


def check_programs(schedule: Schedule, programs: Sequence[Program]) -> str | None:
    """Check the programs of all ranks, in the order of ranks. Returns what is wrong, or None."""
    weights = weights_for(schedule)
    try:
        check_traces(schedule, [walk(schedule, program, weights) for program in programs])
    except ProgramFaultError as fault:
        return str(fault)
    return None


def check_traces(schedule: Schedule, traces: list[Trace]) -> None:
    """Check that programs work together, by their traces in the order of ranks. Raises `ProgramFaultError`."""
    starts = np.array([(0, 0, 0), *((len(t.events), len(t.messages), len(t.moves)) for t in traces)]).cumsum(axis=0)
    messages = np.concatenate([trace.messages for trace in traces])
    partner = _match(traces, starts[:, 1].copy(), messages)
    memory = _memory(schedule, traces)
    events = np.concatenate([trace.events for trace in traces])
    moves = np.concatenate([trace.moves for trace in traces])
    fault, rank, step = _run(starts, events, messages, partner, moves, *memory)
    if fault != _FINE:
        at = f"rank {rank}, step {step} of its program"
        raise ProgramFaultError({
            _STUCK: f"deadlock: {at} waits for ever",
            _UNDEFINED: f"{at}: reads a chunk that has no value yet",
            _ORIGIN: f"{at}: reduces a chunk into a different one",
        }[fault])  # fmt: skip
    _check_results(schedule, traces, *memory)


def _match(traces: list[Trace], starts: Ints, messages: Numbers) -> Numbers:
    """The other side of each message: the k-th that a rank sends another meets the k-th that this one receives from it.

    `messages` are those of all ranks, of which each rank's begin at its start. Raises `ProgramFaultError` where a
    message has no other side, or one of another length.
    """
    ranks = len(traces)
    signatures = np.concatenate([trace.signatures for trace in traces])
    sends, receives, *pairs = _in_order(starts, messages)
    common = min(len(sends), len(receives))
    differing = np.flatnonzero(pairs[0][:common] != pairs[1][:common])
    if len(differing) or len(sends) != len(receives):
        first = int(differing[0]) if len(differing) else common
        pair = min(int(side[first]) for side in pairs if first < len(side))
        sent, received = (np.count_nonzero(side == pair) for side in pairs)
        raise ProgramFaultError(
            f"rank {pair // ranks} sends rank {pair % ranks} {sent} messages, of which that receives {received}"
        )
    unlike = np.flatnonzero((signatures[sends] != signatures[receives]) | (messages[sends, 3] != messages[receives, 3]))
    if len(unlike):
        send, receive = int(sends[unlike[0]]), int(receives[unlike[0]])
        src = int(pairs[0][unlike[0]]) // ranks
        events = traces[src].events
        step = np.flatnonzero((events[:, 0] == SEND) & (events[:, 1] == send - starts[src]))[0]
        raise ProgramFaultError(
            f"rank {src}, step {step} of its program, sends {messages[send, 3]} chunks to rank {messages[send, 1]}, "
            f"which receives {messages[receive, 3]} chunks, or chunks of other lengths"
        )
    partner = np.empty(len(messages), np.int32)
    partner[sends], partner[receives] = receives, sends
    return partner


@njit(cache=True, nogil=True)
def _in_order(starts: Any, messages: Any) -> Any:
    """Sends and receives sorted by their pairs (source · ranks + destination), each pair's in their order, and the
    pairs of the ones and of the others."""
    ranks = len(starts) - 1
    # Where the next receive goes of what each rank sent, and the next send of a rank to each other one.
    to = np.zeros(ranks + 1, np.int64)
    for m in range(len(messages)):
        to[messages[m, 1] + 1] += messages[m, 0]
    to = np.cumsum(to)
    receives, receive_pairs = np.empty(to[ranks], np.int32), np.empty(to[ranks], np.int64)
    sends, send_pairs = np.empty(len(messages) - to[ranks], np.int32), np.empty(len(messages) - to[ranks], np.int64)
    end = 0
    for rank in range(ranks):
        sent = np.zeros(ranks + 1, np.int64)
        for m in range(starts[rank], starts[rank + 1]):
            sent[messages[m, 1] + 1] += 1 - messages[m, 0]
        sent = end + np.cumsum(sent)
        end = sent[ranks]
        for m in range(starts[rank], starts[rank + 1]):
            peer = messages[m, 1]
            if messages[m, 0]:
                receives[to[peer]], receive_pairs[to[peer]] = m, peer * ranks + rank
                to[peer] += 1
            else:
                sends[sent[peer]], send_pairs[sent[peer]] = m, rank * ranks + peer
                sent[peer] += 1
    return sends, receives, send_pairs, receive_pairs


def _contributions(schedule: Schedule) -> NDArray[np.uint64]:
    """What marks the values that each rank brings: a number of its own if the collective reduces."""
    if not schedule.collective.reduces:
        return np.ones(schedule.ranks, np.uint64)
    return np.random.default_rng(schedule.ranks).integers(0, 2**64, schedule.ranks, dtype=np.uint64)


def _memory(schedule: Schedule, traces: list[Trace]) -> tuple[Ints, Numbers, NDArray[np.uint64]]:
    """The memories of all ranks behind one another, before: where each begins, and the origin and marks of chunks."""
    what, ranks, chunks = schedule.collective, schedule.ranks, schedule.chunks
    starts = np.cumsum([0, *(trace.memory_chunks for trace in traces)])
    origin, marks = np.full(starts[-1], NOTHING, np.int32), np.zeros(starts[-1], np.uint64)
    mark = _contributions(schedule)
    for rank, trace in enumerate(traces):
        first, end = schedule.takes(rank)
        brought = slice(starts[rank] + trace.input_at + first, starts[rank] + trace.input_at + end)
        origin[brought] = what.brought(rank, ranks, chunks, schedule.root)[first:end]
        marks[brought] = mark[rank]
    return starts, origin, marks


def _check_results(schedule: Schedule, traces: list[Trace], starts: Ints, origin: Numbers, marks: Any) -> None:
    what, ranks, chunks = schedule.collective, schedule.ranks, schedule.chunks
    total = _contributions(schedule).sum(dtype=np.uint64) if what.reduces else np.uint64(1)
    for rank, trace in enumerate(traces):
        first, end = schedule.gives(rank)
        given = slice(starts[rank] + trace.output_at + first, starts[rank] + trace.output_at + end)
        expected = what.expected(rank, ranks, chunks, schedule.root)[first:end]
        wrong = np.flatnonzero((origin[given] != expected) | (marks[given] != total))
        if len(wrong):
            raise ProgramFaultError(
                f"at the end: chunk {first + wrong[0]} of the output of rank {rank} is not what it must be"
            )


@njit(cache=True, nogil=True)
def _run(
    starts: Any, events: Any, messages: Any, partner: Any, moves: Any, memory_starts: Any, origin: Any, marks: Any
) -> tuple[int, int, int]:  # fmt: skip
    """Run all programs symbolically, each as far as it goes in turn. Returns the fault (or _FINE), the rank and step.

    The columns of `starts` say where each rank's events, messages and moves begin. As nothing touches the chunks of a
    message in flight, its values are moved when one of its sides is waited for first.
    """
    ranks = len(starts) - 1
    at = starts[:-1, 0].copy()
    is_posted, has_arrived = np.zeros(len(messages), np.bool_), np.zeros(len(messages), np.bool_)
    advanced = True
    while advanced:
        advanced = False
        for rank in range(ranks):
            while at[rank] < starts[rank + 1, 0]:
                op, number = events[at[rank], 0], events[at[rank], 1]
                message = starts[rank, 1] + number
                if op in (SEND, RECV):
                    is_posted[message] = True
                elif op == WAIT:
                    other = partner[message]
                    if not is_posted[other]:
                        break
                    if not has_arrived[message]:
                        sent, received = (other, message) if messages[message, 0] else (message, other)
                        _deliver(messages, sent, received, memory_starts, origin, marks)
                        has_arrived[message] = has_arrived[other] = True
                elif op in (COPY, REDUCE):
                    fault = _apply(moves, starts[rank, 2] + number, memory_starts[rank], origin, marks)
                    if fault != _FINE:
                        return fault, rank, at[rank] - starts[rank, 0]
                at[rank] += 1
                advanced = True
    for rank in range(ranks):
        if at[rank] < starts[rank + 1, 0]:
            return _STUCK, rank, at[rank] - starts[rank, 0]
    return _FINE, 0, 0


@njit(cache=True, forceinline=True)
def _deliver(messages: Any, sent: int, received: int, memory_starts: Any, origin: Any, marks: Any) -> None:
    """Move the values of a message, of which each side names the rank of the other."""
    source = memory_starts[messages[received, 1]] + messages[sent, 2]
    target = memory_starts[messages[sent, 1]] + messages[received, 2]
    for i in range(messages[sent, 3]):
        origin[target + i], marks[target + i] = origin[source + i], marks[source + i]


@njit(cache=True, forceinline=True)
def _apply(moves: Any, m: int, base: int, origin: Any, marks: Any) -> int:
    """A copy or a reduction inside the rank whose memory begins at `base`."""
    reduces = moves[m, 2] >= 0
    for i in range(moves[m, 3]):
        target, source, operand = base + moves[m, 0] + i, base + moves[m, 1] + i, base + moves[m, 2] + i
        value, mark = origin[source], marks[source]
        if value == NOTHING or (reduces and origin[operand] == NOTHING):
            return _UNDEFINED
        if reduces:
            if origin[operand] != value:
                return _ORIGIN
            mark += marks[operand]
        origin[target], marks[target] = value, mark
    return _FINE
