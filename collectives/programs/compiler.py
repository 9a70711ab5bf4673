"""Compiles one rank's messages of a schedule to the steps of its program. Compiled itself, over plain arrays.

Round by round, what is to be read is made ready; then local copies are made, receives posted and messages sent. What
lies in the way of another message of the round is staged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.messages import IN, OUT, SELF
from clusterbench.collectives.programs.flight import (
    DIRECT,
    FREE_REQUEST,
    IN_FLIGHT,
    LOCAL,
    NEXT,
    REQUESTS,
    SENT,
    STAGED,
    UNAPPLIED,
    complete_earliest,
    emit,
    is_awaited,
    launch,
    length_chunk,
    mark,
    place,
    room,
    run_end,
    settle,
    source,
)
from clusterbench.collectives.programs.steps import (
    COLUMNS,
    COPY,
    EXTRA,
    GROW,
    INPUT,
    OPEN,
    OUTPUT,
    RECV,
    SEND,
    STAGING,
)

_PLACED = 3
"""What the direction of a message becomes whose chunks are written straight to their places."""


@njit(cache=True, nogil=True)
def compile_steps(
    messages: Any, pieces: Any, chunks: int, space: int, takes: Any, gives: Any, in_place: bool, window: int
) -> Any:
    """Steps, requests and staging chunks of a rank, and the message with a read of nothing (−1: there is none).

    `messages` and `pieces` as `messages.messages_of` makes them; the directions of messages are overwritten. `takes`
    and `gives` are ranges of chunks, `space` is the chunks with the scratch chunks, `window` how many messages may be
    in flight: no less than those of any round.
    """
    counters = np.zeros(6, np.int64)
    written = np.zeros(space, np.bool_)
    if in_place:
        written[max(takes[0], gives[0]) : max(min(takes[1], gives[1]), max(takes[0], gives[0]))] = True
    # Every row of the steps is written whole.
    steps = np.empty((_most_steps(messages, pieces, gives), COLUMNS), np.int32)
    flight = np.zeros((FREE_REQUEST + 1, window), np.int64)
    given = (gives[0], gives[1], chunks)
    read_in = np.full(space, -1, np.int64)  # the latest round in which a chunk is sent from where it is to be written
    crossing = np.zeros(len(messages), np.bool_)
    start = 0
    while start < len(messages):
        end = start
        while end < len(messages) and messages[end, 0] == messages[start, 0]:
            end += 1
        for m in range(start, end):
            if messages[m, 1] != IN:
                first, last = messages[m, 3], messages[m, 4]
                if not _make_ready(steps, counters, flight, written, pieces, given, first, last, start, takes):
                    return steps[:0], 0, 0, m
        # Reads find the values before the round: what is brought together is a copy of them, and what this round
        # writes counts as written only at its end.
        for m in range(start, end):
            if messages[m, 1] == OUT:
                _bring_together(steps, counters, written, pieces, given, messages[m, 3], messages[m, 4])
        for m in range(start, end):
            if messages[m, 1] == OUT:
                _note_reads(written, pieces, messages[m, 3], messages[m, 4], start, read_in)
        for m in range(start, end):
            if messages[m, 1] == SELF:
                _keep(steps, counters, flight, written, pieces, given, messages, m, start, read_in)
        _note_crossing(pieces, messages, start, end, crossing)
        for m in range(start, end):
            if messages[m, 1] == IN:
                _receive(steps, counters, flight, written, pieces, given, messages, m, start, read_in, crossing[m])
        for m in range(start, end):
            if messages[m, 1] == OUT:
                _send(steps, counters, flight, written, pieces, given, messages, m)
        for m in range(start, end):
            if messages[m, 1] == _PLACED:
                for p in range(messages[m, 3], messages[m, 4]):
                    mark(written, pieces[p, 1], pieces[p, 1] + pieces[p, 2])
        start = end
    while counters[IN_FLIGHT] > 0:
        complete_earliest(steps, counters, flight, written, pieces, given)
    chunk = gives[0]
    while chunk < gives[1]:
        run = chunk
        while run < gives[1] and not written[run]:
            run += 1
        if run > chunk:
            emit(steps, counters, COPY, -1, OUTPUT, chunk, INPUT, chunk, 0, chunk, run - chunk, 0)
        chunk = run + 1
    return steps[: counters[NEXT]].copy(), counters[REQUESTS], counters[STAGED], -1


@njit(cache=True)
def _most_steps(messages: Any, pieces: Any, gives: Any) -> int:
    """No more steps than this: post, wait and staging of each message, and per piece its runs of chunks, twice."""
    moved = 0
    for p in range(len(pieces)):
        moved += pieces[p, 2]
    return 4 * len(messages) + 2 * len(pieces) + 4 * moved + (gives[1] - gives[0]) + 1


@njit(cache=True)
def _make_ready(
    steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, first: int, end: int, start: int,
    takes: Any,
) -> bool:  # fmt: skip
    """Make ready what a message of the round from `start` reads. Returns whether there is a value in all of it."""
    for p in range(first, end):
        low, high = pieces[p, 0], pieces[p, 0] + pieces[p, 2]
        for chunk in range(low, high):
            if not (written[chunk] or takes[0] <= chunk < takes[1] or is_awaited(counters, flight, chunk)):
                return False
        settle(steps, counters, flight, written, pieces, given, low, high, start, False)
    return True


@njit(cache=True, forceinline=True)
def _goes_straight(written: Any, pieces: Any, given: Any, first: int, end: int) -> tuple[bool, int]:
    """Whether a message can be sent from where its chunks are to lie, and how many of them lie there already."""
    low = pieces[first, 0]
    high = low + _size(pieces, first, end)
    there = 0
    for p in range(first, end):
        for chunk in range(pieces[p, 0], pieces[p, 0] + pieces[p, 2]):
            there += written[chunk]
    return _is_row(pieces, first, end, 0) and (there == 0 or _is_together(given, low, high)), there


@njit(cache=True)
def _bring_together(steps: Any, counters: Any, written: Any, pieces: Any, given: Any, first: int, end: int) -> None:
    """Copy what a message still has in the input to where the rest of it lies.

    What another message of the round brings may leave one that was passed over in two places: that one is packed.
    """
    straight, there = _goes_straight(written, pieces, given, first, end)
    low = pieces[first, 0]
    high = low + _size(pieces, first, end)
    if not straight or there == 0:
        return
    chunk = low
    while chunk < high:
        run = run_end(written, given, chunk, high)
        if not written[chunk]:
            emit(steps, counters, COPY, -1, place(given, chunk), chunk, INPUT, chunk, 0, chunk, run - chunk, 0)
            mark(written, chunk, run)
        chunk = run


@njit(cache=True, forceinline=True)
def _note_reads(written: Any, pieces: Any, first: int, end: int, start: int, read_in: Any) -> None:
    """Note what a message of the round from `start` reads from where it may be written; not what the input has yet."""
    for p in range(first, end):
        for chunk in range(pieces[p, 0], pieces[p, 0] + pieces[p, 2]):
            if written[chunk]:
                read_in[chunk] = start


@njit(cache=True, forceinline=True)
def _is_read(pieces: Any, first: int, end: int, start: int, read_in: Any) -> bool:
    """Whether a message of the round from `start` is still to read a chunk from where this one is to write it."""
    for p in range(first, end):
        for chunk in range(pieces[p, 1], pieces[p, 1] + pieces[p, 2]):
            if read_in[chunk] == start:
                return True
    return False


@njit(cache=True)
def _note_crossing(pieces: Any, messages: Any, start: int, end: int, crossing: Any) -> None:
    """Note which of the messages of a round that arrive have a hull that overlaps another's, or a local copy's."""
    writing = 0
    for m in range(start, end):
        writing += messages[m, 1] == IN or messages[m, 1] == _PLACED
    if writing < 2:
        return
    which, lows = np.empty(writing, np.int64), np.empty(writing, np.int64)
    i = 0
    for m in range(start, end):
        if messages[m, 1] == IN or messages[m, 1] == _PLACED:
            which[i], lows[i] = m, _hull(pieces, messages[m, 3], messages[m, 4])[0]
            i += 1
    furthest, reached = -1, -1  # of those from the lowest up to here, the one whose hull ends last
    for i in np.argsort(lows):
        low, high = _hull(pieces, messages[which[i], 3], messages[which[i], 4])
        if low < reached:
            crossing[which[i]] = crossing[furthest] = True
        if high > reached:
            furthest, reached = which[i], high


@njit(cache=True, forceinline=True)
def _reduces(pieces: Any, first: int, end: int) -> bool:
    """Whether a piece of a message is reduced."""
    for p in range(first, end):  # noqa: SIM110 - numba compiles no generators for any()
        if pieces[p, 3]:
            return True
    return False


@njit(cache=True)
def _keep(
    steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, messages: Any, m: int, start: int,
    read_in: Any,
) -> None:  # fmt: skip
    """A local copy: made at once if that disturbs nobody in this round; else its values are taken now, and applied in
    its turn like those of a message."""
    first, end = messages[m, 3], messages[m, 4]
    low, high = _hull(pieces, first, end)
    direct = not _reduces(pieces, first, end) and not _is_read(pieces, first, end, start, read_in)
    for p in range(first, end):
        for chunk in range(pieces[p, 0], pieces[p, 0] + pieces[p, 2]):
            direct = direct and not (written[chunk] and low <= chunk < high)
    if direct:
        settle(steps, counters, flight, written, pieces, given, low, high, start, True)
        messages[m, 1] = _PLACED
        for p in range(first, end):
            i = 0
            while i < pieces[p, 2]:
                origin, target = pieces[p, 0] + i, pieces[p, 1] + i
                size = run_end(written, given, origin, pieces[p, 0] + pieces[p, 2]) - origin
                size = min(size, run_end(written, given, target, pieces[p, 1] + pieces[p, 2]) - target)
                length = length_chunk(given, target, origin)
                region = source(written, given, origin)
                emit(steps, counters, COPY, -1, place(given, target), target, region, origin, 0, length, size, 0)
                i += size
        return
    size = _size(pieces, first, end)
    stage = room(counters, flight, size)
    launch(steps, counters, flight, written, pieces, given, LOCAL, low, high, stage, size, first, end, m)
    _pack(steps, counters, written, pieces, given, first, end, stage)


@njit(cache=True)
def _receive(
    steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, messages: Any, m: int, start: int,
    read_in: Any, crosses: bool,
) -> None:  # fmt: skip
    """Post a receive: in place if that disturbs nobody in this round, else into the staging area."""
    peer, first, end = messages[m, 2], messages[m, 3], messages[m, 4]
    low, high = _hull(pieces, first, end)
    size = _size(pieces, first, end)
    straight = not crosses and not _reduces(pieces, first, end) and _is_row(pieces, first, end, 1)
    if straight and _is_together(given, low, high) and not _is_read(pieces, first, end, start, read_in):
        settle(steps, counters, flight, written, pieces, given, low, high, start, True)
        request = launch(steps, counters, flight, written, pieces, given, DIRECT, low, high, 0, 0, first, end, m)
        length = length_chunk(given, low, pieces[first, 0])
        emit(steps, counters, RECV, peer, place(given, low), low, 0, 0, 0, length, size, request)
        messages[m, 1] = _PLACED
        return
    stage = room(counters, flight, size)
    request = launch(steps, counters, flight, written, pieces, given, UNAPPLIED, low, high, stage, size, first, end, m)
    emit(steps, counters, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)
    for p in range(first, end):
        i = 0
        while i < pieces[p, 2]:
            mine, other, left = pieces[p, 1] + i, pieces[p, 0] + i, pieces[p, 2] - i
            length = length_chunk(given, mine, other)
            count = left if length >= 0 and length + left <= given[2] else 1
            emit(steps, counters, GROW, -1, STAGING, stage, 0, 0, 0, length, count, 0)
            i += count
    emit(steps, counters, RECV, peer, STAGING, stage, 0, 0, 0, -1, size, request)


@njit(cache=True)
def _send(steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, messages: Any, m: int) -> None:
    """Send a message: straight from its chunks if they lie together, else packed."""
    peer, first, end = messages[m, 2], messages[m, 3], messages[m, 4]
    size = _size(pieces, first, end)
    straight, there = _goes_straight(written, pieces, given, first, end)
    if straight and (there == 0 or there == size):
        low = pieces[first, 0]
        # What lies in the input is never written: nobody has to wait until it is sent.
        high = low + size if there else low
        request = launch(steps, counters, flight, written, pieces, given, SENT, low, high, 0, 0, 0, 0, m)
        length = length_chunk(given, low, pieces[first, 1])
        emit(steps, counters, SEND, peer, 0, 0, source(written, given, low), low, 0, length, size, request)
        return
    stage = room(counters, flight, size)
    request = launch(steps, counters, flight, written, pieces, given, SENT, 0, 0, stage, size, 0, 0, m)
    _pack(steps, counters, written, pieces, given, first, end, stage)
    emit(steps, counters, SEND, peer, 0, 0, STAGING, stage, 0, -1, size, request)


@njit(cache=True)
def _pack(steps: Any, counters: Any, written: Any, pieces: Any, given: Any, first: int, end: int, stage: int) -> None:
    """Copy a message's pieces behind one another into the staging area."""
    emit(steps, counters, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)
    for p in range(first, end):
        low, high = pieces[p, 0], pieces[p, 0] + pieces[p, 2]
        chunk = low
        while chunk < high:
            run = run_end(written, given, chunk, high)
            length = length_chunk(given, chunk, pieces[p, 1] + chunk - low)
            emit(
                steps,
                counters,
                COPY,
                -1,
                STAGING,
                stage,
                source(written, given, chunk),
                chunk,
                0,
                length,
                run - chunk,
                0,
            )
            chunk = run


@njit(cache=True, forceinline=True)
def _size(pieces: Any, first: int, end: int) -> int:
    """The chunks of a message."""
    size = 0
    for p in range(first, end):
        size += pieces[p, 2]
    return size


@njit(cache=True, forceinline=True)
def _hull(pieces: Any, first: int, end: int) -> tuple[int, int]:
    """The smallest range that holds all chunks that a message writes."""
    low, high = pieces[first, 1], pieces[first, 1] + pieces[first, 2]
    for p in range(first + 1, end):
        low = min(low, pieces[p, 1])
        high = max(high, pieces[p, 1] + pieces[p, 2])
    return low, high


@njit(cache=True, forceinline=True)
def _is_row(pieces: Any, first: int, end: int, side: int) -> bool:
    """Whether the chunks of a message follow one another on one side (0 source, 1 destination)."""
    for p in range(first + 1, end):  # noqa: SIM110 - numba compiles no generators for all()
        if pieces[p, side] != pieces[p - 1, side] + pieces[p - 1, 2]:
            return False
    return True


@njit(cache=True, forceinline=True)
def _is_together(given: Any, low: int, high: int) -> bool:
    """Whether a rank's own values of chunks [low, high) lie behind one another in one region."""
    for chunk in range(low + 1, high):
        if place(given, chunk) != place(given, low) or place(given, chunk) == EXTRA:
            return False
    return True
