"""Compiles one rank's messages of a schedule to the steps of its program. Compiled itself, over plain arrays.

State while the rounds are walked: which chunks of the vector hold a value of the rank's own (others are read from the
input), and the messages in flight. Before a step reads or writes a chunk, the messages that touch it are completed, in
the order in which they were listed; nothing else is waited for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.messages import IN, OUT, SELF

INPUT, OUTPUT, WORK, EXTRA, STAGING = range(5)
"""Regions: what a rank brings; what it gives; its working copy of what it does not give; scratch; messages' staging."""

RECV, SEND, WAIT, REDUCE, COPY, OPEN, GROW = range(7)
"""Operations. OPEN empties a staging area and GROW adds a piece to the message it will hold: they cost nothing."""

OP, PEER, DREG, DCHUNK, SREG, SCHUNK, AREG, LENGTH, COUNT, REQ = range(10)
"""Columns of a step. LENGTH is the chunk whose size counts (−1: whole scratch chunks); AREG the region of a reduction's
first operand, which lies at the destination's chunk."""

_NEXT, _IN_FLIGHT, _STAGING, _REQUESTS, _STAGED_NOW, _FREE = range(6)
_KIND, _LOW, _HIGH, _STAGE_LOW, _STAGE_HIGH, _REQUEST, _FIRST, _END, _LISTED = range(9)
_SENT, _DIRECT, _STAGED, _LOCAL = range(4)
_PLACED = 3
"""What the direction of a message becomes whose chunks are written straight to their places."""


@njit(cache=True, nogil=True)
def compile_steps(
    messages: Any, pieces: Any, chunks: int, space: int, takes: Any, gives: Any, in_place: bool, window: int
) -> Any:
    """Steps, requests and staging chunks of a rank, and the message with a read of nothing (−1: there is none).

    `messages` and `pieces` as `messages.messages_of` makes them; `takes` and `gives` are ranges of chunks.
    """
    steps = np.empty((_room(messages, pieces, gives), 10), np.int32)  # every row is written whole
    state = np.zeros(6, np.int64)
    flight = np.zeros((window, 9), np.int64)
    free = np.zeros(window, np.int64)
    written = np.zeros(space, np.bool_)
    if in_place:
        written[max(takes[0], gives[0]) : max(min(takes[1], gives[1]), max(takes[0], gives[0]))] = True
    given = (gives[0], gives[1], chunks)
    start = 0
    while start < len(messages):
        end = start
        while end < len(messages) and messages[end, 0] == messages[start, 0]:
            end += 1
        for m in range(start, end):
            if messages[m, 1] != IN:
                for p in range(messages[m, 3], messages[m, 4]):
                    low, high = pieces[p, 0], pieces[p, 0] + pieces[p, 2]
                    for chunk in range(low, high):
                        has_value = written[chunk] or takes[0] <= chunk < takes[1]
                        if not has_value and not _is_awaited(flight, state, chunk):
                            return steps[: state[_NEXT]], 0, 0, m
                    _settle(low, high, start, False, steps, state, flight, free, written, pieces, given)
        # Reads find the values before the round: what is brought together is a copy of them, and what this round
        # writes counts as written only at its end.
        for m in range(start, end):
            if messages[m, 1] == OUT:
                _bring_together(m, messages, pieces, steps, state, written, given)
        for m in range(start, end):
            if messages[m, 1] == SELF:
                _keep(m, start, end, messages, pieces, steps, state, flight, free, written, given)
        for m in range(start, end):
            if messages[m, 1] == IN:
                _receive(m, start, end, messages, pieces, steps, state, flight, free, written, given)
        for m in range(start, end):
            if messages[m, 1] == OUT:
                _send(m, messages, pieces, steps, state, flight, free, written, given)
        for m in range(start, end):
            if messages[m, 1] == _PLACED:
                for p in range(messages[m, 3], messages[m, 4]):
                    written[pieces[p, 1] : pieces[p, 1] + pieces[p, 2]] = True
        start = end
    while state[_IN_FLIGHT] > 0:
        _complete(_earliest(flight, state), steps, state, flight, free, written, pieces, given)
    chunk = gives[0]
    while chunk < gives[1]:
        run = chunk
        while run < gives[1] and not written[run]:
            run += 1
        if run > chunk:
            _emit(steps, state, COPY, -1, OUTPUT, chunk, INPUT, chunk, 0, chunk, run - chunk, 0)
        chunk = run + 1
    return steps[: state[_NEXT]].copy(), state[_REQUESTS], state[_STAGING], -1


@njit(cache=True)
def _room(messages: Any, pieces: Any, gives: Any) -> int:
    """No more steps than this: post, wait and staging of each message, and per piece its runs of chunks, twice."""
    moved = 0
    for p in range(len(pieces)):
        moved += pieces[p, 2]
    return 4 * len(messages) + 2 * len(pieces) + 4 * moved + (gives[1] - gives[0]) + 1


@njit(cache=True)
def _emit(
    steps: Any, state: Any, op: int, peer: int, dreg: int, dchunk: int, sreg: int, schunk: int, areg: int, length: int,
    count: int, req: int,
) -> None:  # fmt: skip
    row = steps[state[_NEXT]]
    row[OP], row[PEER], row[DREG], row[DCHUNK] = op, peer, dreg, dchunk
    row[SREG], row[SCHUNK], row[AREG], row[LENGTH], row[COUNT], row[REQ] = sreg, schunk, areg, length, count, req
    state[_NEXT] += 1


@njit(cache=True)
def _place(chunk: int, given: Any) -> int:
    """The region that a rank's own value of a chunk lies in."""
    if chunk >= given[2]:
        return EXTRA
    return OUTPUT if given[0] <= chunk < given[1] else WORK


@njit(cache=True)
def _source(chunk: int, written: Any, given: Any) -> int:
    """The region that a chunk is read from now."""
    return _place(chunk, given) if written[chunk] else INPUT


@njit(cache=True)
def _run(chunk: int, end: int, written: Any, given: Any) -> int:
    """End of the longest run from `chunk` whose chunks lie in one region, behind one another, in one state."""
    region = _place(chunk, given)
    run = chunk + 1
    while run < end and region != EXTRA and _place(run, given) == region and written[run] == written[chunk]:
        run += 1
    return run


@njit(cache=True)
def _length_chunk(mine: int, other: int, chunks: int) -> int:
    """The chunk that tells how long a piece is: of the vector where one of the two sides is."""
    if mine < chunks:
        return mine
    return other if other < chunks else -1


@njit(cache=True)
def _earliest(flight: Any, state: Any) -> int:
    first = 0
    for e in range(1, state[_IN_FLIGHT]):
        if flight[e, _LISTED] < flight[first, _LISTED]:
            first = e
    return first


@njit(cache=True)
def _is_awaited(flight: Any, state: Any, chunk: int) -> bool:
    """Whether a message in flight will write the chunk."""
    for e in range(state[_IN_FLIGHT]):
        if flight[e, _KIND] != _SENT and flight[e, _LOW] <= chunk < flight[e, _HIGH]:
            return True
    return False


@njit(cache=True)
def _settle(
    low: int, high: int, before: int, writing: bool, steps: Any, state: Any, flight: Any, free: Any, written: Any,
    pieces: Any, given: Any,
) -> None:  # fmt: skip
    """Make chunks [low, high) ready to be read (or written), as far as messages listed before `before` touch them."""
    wide_low, wide_high, widened = low, high, True
    while widened:
        # A message that overlaps one that is needed may have to be applied before it: take it in, too.
        widened = False
        for e in range(state[_IN_FLIGHT]):
            if flight[e, _KIND] == _SENT or flight[e, _LISTED] >= before:
                continue
            if flight[e, _LOW] < wide_high and wide_low < flight[e, _HIGH]:
                if flight[e, _LOW] < wide_low or flight[e, _HIGH] > wide_high:
                    widened = True
                wide_low = min(wide_low, flight[e, _LOW])
                wide_high = max(wide_high, flight[e, _HIGH])
    while True:
        chosen = -1
        for e in range(state[_IN_FLIGHT]):
            if flight[e, _KIND] == _SENT or flight[e, _LISTED] >= before:
                continue
            touches = flight[e, _LOW] < wide_high and wide_low < flight[e, _HIGH]
            if touches and (chosen < 0 or flight[e, _LISTED] < flight[chosen, _LISTED]):
                chosen = e
        if chosen < 0:
            break
        _complete(chosen, steps, state, flight, free, written, pieces, given)
    if writing:
        _await_sends(low, high, steps, state, flight, free)


@njit(cache=True)
def _await_sends(low: int, high: int, steps: Any, state: Any, flight: Any, free: Any) -> None:
    """Wait for the messages that are being sent from chunks [low, high)."""
    e = 0
    while e < state[_IN_FLIGHT]:
        if flight[e, _KIND] == _SENT and flight[e, _LOW] < high and low < flight[e, _HIGH]:
            _emit(steps, state, WAIT, -1, 0, 0, 0, 0, 0, 0, 0, flight[e, _REQUEST])
            _forget(e, state, flight, free)
        else:
            e += 1


@njit(cache=True)
def _forget(e: int, state: Any, flight: Any, free: Any) -> None:
    free[state[_FREE]] = flight[e, _REQUEST]
    state[_FREE] += 1
    state[_STAGED_NOW] -= flight[e, _STAGE_HIGH] - flight[e, _STAGE_LOW]
    state[_IN_FLIGHT] -= 1
    flight[e] = flight[state[_IN_FLIGHT]]


@njit(cache=True)
def _complete(e: int, steps: Any, state: Any, flight: Any, free: Any, written: Any, pieces: Any, given: Any) -> None:
    """Wait for a message, and apply it where it was staged."""
    kind, request, stage = flight[e, _KIND], flight[e, _REQUEST], flight[e, _STAGE_LOW]
    first, end = flight[e, _FIRST], flight[e, _END]
    _forget(e, state, flight, free)
    if kind != _LOCAL:
        _emit(steps, state, WAIT, -1, 0, 0, 0, 0, 0, 0, 0, request)
    if kind in (_SENT, _DIRECT):
        return
    if kind == _LOCAL:
        _emit(steps, state, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)  # filled here: to be read from its start
    for p in range(first, end):
        low, high = pieces[p, 1], pieces[p, 1] + pieces[p, 2]
        _await_sends(low, high, steps, state, flight, free)
        chunk = low
        while chunk < high:
            run = _run(chunk, high, written, given)
            length = _length_chunk(chunk, pieces[p, 0] + chunk - low, given[2])
            region = _place(chunk, given)
            op = REDUCE if pieces[p, 3] else COPY
            operand = _source(chunk, written, given)
            _emit(steps, state, op, -1, region, chunk, STAGING, stage, operand, length, run - chunk, 0)
            written[chunk:run] = True
            chunk = run


@njit(cache=True)
def _launch(
    kind: int, low: int, high: int, stage: int, staged: int, first: int, end: int, listed: int, steps: Any, state: Any,
    flight: Any, free: Any, written: Any, pieces: Any, given: Any,
) -> int:  # fmt: skip
    """Note a message as in flight, completing the earliest one if the window is full. Returns its request."""
    if state[_IN_FLIGHT] == len(flight):
        _complete(_earliest(flight, state), steps, state, flight, free, written, pieces, given)
    if state[_FREE] > 0:
        state[_FREE] -= 1
        request = free[state[_FREE]]
    else:
        request = state[_REQUESTS]
        state[_REQUESTS] += 1
    row = flight[state[_IN_FLIGHT]]
    row[_KIND], row[_LOW], row[_HIGH], row[_STAGE_LOW], row[_STAGE_HIGH] = kind, low, high, stage, stage + staged
    row[_REQUEST], row[_FIRST], row[_END], row[_LISTED] = request, first, end, listed
    state[_IN_FLIGHT] += 1
    state[_STAGED_NOW] += staged
    return request


@njit(cache=True)
def _stage(size: int, state: Any, flight: Any) -> int:
    """The lowest free place for `size` chunks in the staging area."""
    place = 0
    moved = True
    if state[_STAGED_NOW] + size > state[_STAGING]:
        place, moved = state[_STAGING], False  # there is no room: do not search for it
    while moved:
        moved = False
        for e in range(state[_IN_FLIGHT]):
            if flight[e, _STAGE_LOW] < place + size and place < flight[e, _STAGE_HIGH]:
                place = flight[e, _STAGE_HIGH]
                moved = True
    state[_STAGING] = max(state[_STAGING], place + size)
    return place


@njit(cache=True)
def _size(first: int, end: int, pieces: Any) -> int:
    size = 0
    for p in range(first, end):
        size += pieces[p, 2]
    return size


@njit(cache=True)
def _pack(
    first: int, end: int, stage: int, pieces: Any, steps: Any, state: Any, written: Any, given: Any
) -> None:  # fmt: skip
    """Copy a message's pieces behind one another into the staging area."""
    _emit(steps, state, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)
    for p in range(first, end):
        low, high = pieces[p, 0], pieces[p, 0] + pieces[p, 2]
        chunk = low
        while chunk < high:
            run = _run(chunk, high, written, given)
            length = _length_chunk(chunk, pieces[p, 1] + chunk - low, given[2])
            source = _source(chunk, written, given)
            _emit(steps, state, COPY, -1, STAGING, stage, source, chunk, 0, length, run - chunk, 0)
            chunk = run


@njit(cache=True)
def _keep(
    m: int, start: int, end: int, messages: Any, pieces: Any, steps: Any, state: Any, flight: Any, free: Any,
    written: Any, given: Any,
) -> None:  # fmt: skip
    """A local copy: made at once if that disturbs nobody in this round; else its values are taken now, and applied in
    its turn like those of a message."""
    first, last = messages[m, 3], messages[m, 4]
    low, high = _hull(first, last, pieces)
    direct = not _is_read(m, low, high, start, end, messages, pieces, written)
    for p in range(first, last):
        direct = direct and pieces[p, 3] == 0
        for chunk in range(pieces[p, 0], pieces[p, 0] + pieces[p, 2]):
            direct = direct and not (written[chunk] and low <= chunk < high)
    if direct:
        _settle(low, high, start, True, steps, state, flight, free, written, pieces, given)
        messages[m, 1] = _PLACED
        for p in range(first, last):
            i = 0
            while i < pieces[p, 2]:
                source, target = pieces[p, 0] + i, pieces[p, 1] + i
                size = _run(source, pieces[p, 0] + pieces[p, 2], written, given) - source
                size = min(size, _run(target, pieces[p, 1] + pieces[p, 2], written, given) - target)
                length = _length_chunk(target, source, given[2])
                region = _source(source, written, given)
                _emit(steps, state, COPY, -1, _place(target, given), target, region, source, 0, length, size, 0)
                i += size
        return
    size = _size(first, last, pieces)
    stage = _stage(size, state, flight)
    _launch(_LOCAL, low, high, stage, size, first, last, m, steps, state, flight, free, written, pieces, given)
    _pack(first, last, stage, pieces, steps, state, written, given)


@njit(cache=True)
def _is_read(m: int, low: int, high: int, start: int, end: int, messages: Any, pieces: Any, written: Any) -> bool:
    """Whether another message of the round [start, end) is still to read one of the chunks [low, high) from where it is
    going to be written; what lies in the input yet is read from there."""
    for other in range(start, end):
        if messages[other, 1] == OUT and other != m:
            for p in range(messages[other, 3], messages[other, 4]):
                for chunk in range(max(low, pieces[p, 0]), min(high, pieces[p, 0] + pieces[p, 2])):
                    if written[chunk]:
                        return True
    return False


@njit(cache=True)
def _hull(first: int, end: int, pieces: Any) -> tuple[int, int]:
    """The smallest range that holds all chunks that a message writes."""
    low, high = pieces[first, 1], pieces[first, 1] + pieces[first, 2]
    for p in range(first + 1, end):
        low = min(low, pieces[p, 1])
        high = max(high, pieces[p, 1] + pieces[p, 2])
    return low, high


@njit(cache=True)
def _is_row(first: int, end: int, side: int, pieces: Any) -> bool:
    """Whether the chunks of a message follow one another on one side (0 source, 1 destination)."""
    for p in range(first + 1, end):  # noqa: SIM110 - numba compiles no generators for all()
        if pieces[p, side] != pieces[p - 1, side] + pieces[p - 1, 2]:
            return False
    return True


@njit(cache=True)
def _is_together(low: int, high: int, given: Any) -> bool:
    """Whether a rank's own values of chunks [low, high) lie behind one another in one region."""
    for chunk in range(low + 1, high):
        if _place(chunk, given) != _place(low, given) or _place(chunk, given) == EXTRA:
            return False
    return True


@njit(cache=True)
def _receive(
    m: int, start: int, end: int, messages: Any, pieces: Any, steps: Any, state: Any, flight: Any, free: Any,
    written: Any, given: Any,
) -> None:  # fmt: skip
    """Post a receive: in place if that disturbs nobody in this round, else into the staging area."""
    peer, first, last = messages[m, 2], messages[m, 3], messages[m, 4]
    low, high = _hull(first, last, pieces)
    direct = _is_row(first, last, 1, pieces) and _is_together(low, high, given)
    for p in range(first, last):
        direct = direct and pieces[p, 3] == 0
    for other in range(start, end):
        if other != m and (messages[other, 1] == IN or messages[other, 1] == _PLACED):
            other_low, other_high = _hull(messages[other, 3], messages[other, 4], pieces)
            direct = direct and not (other_low < high and low < other_high)
    direct = direct and not _is_read(m, low, high, start, end, messages, pieces, written)
    size = _size(first, last, pieces)
    if direct:
        _settle(low, high, start, True, steps, state, flight, free, written, pieces, given)
        request = _launch(_DIRECT, low, high, 0, 0, first, last, m, steps, state, flight, free, written, pieces, given)
        length = _length_chunk(low, pieces[first, 0], given[2])
        _emit(steps, state, RECV, peer, _place(low, given), low, 0, 0, 0, length, size, request)
        messages[m, 1] = _PLACED
        return
    stage = _stage(size, state, flight)
    request = _launch(
        _STAGED, low, high, stage, size, first, last, m, steps, state, flight, free, written, pieces, given
    )
    _emit(steps, state, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)
    for p in range(first, last):
        i = 0
        while i < pieces[p, 2]:
            mine, other, left = pieces[p, 1] + i, pieces[p, 0] + i, pieces[p, 2] - i
            length = _length_chunk(mine, other, given[2])
            count = left if length >= 0 and length + left <= given[2] else 1
            _emit(steps, state, GROW, -1, STAGING, stage, 0, 0, 0, length, count, 0)
            i += count
    _emit(steps, state, RECV, peer, STAGING, stage, 0, 0, 0, -1, size, request)


@njit(cache=True)
def _goes_straight(first: int, end: int, pieces: Any, written: Any, given: Any) -> tuple[bool, int]:
    """Whether a message can be sent from where its chunks are to lie, and how many of them lie there already."""
    low = pieces[first, 0]
    high = low + _size(first, end, pieces)
    there = 0
    for p in range(first, end):
        for chunk in range(pieces[p, 0], pieces[p, 0] + pieces[p, 2]):
            there += written[chunk]
    return _is_row(first, end, 0, pieces) and (there == 0 or _is_together(low, high, given)), there


@njit(cache=True)
def _bring_together(m: int, messages: Any, pieces: Any, steps: Any, state: Any, written: Any, given: Any) -> None:
    """Copy what a message still has in the input to where the rest of it lies.

    What another message of the round brings may leave one that was passed over in two places: that one is packed.
    """
    first, end = messages[m, 3], messages[m, 4]
    straight, there = _goes_straight(first, end, pieces, written, given)
    low, high = pieces[first, 0], pieces[first, 0] + _size(first, end, pieces)
    if not straight or there == 0:
        return
    chunk = low
    while chunk < high:
        run = _run(chunk, high, written, given)
        if not written[chunk]:
            _emit(steps, state, COPY, -1, _place(chunk, given), chunk, INPUT, chunk, 0, chunk, run - chunk, 0)
            written[chunk:run] = True
        chunk = run


@njit(cache=True)
def _send(
    m: int, messages: Any, pieces: Any, steps: Any, state: Any, flight: Any, free: Any, written: Any, given: Any
) -> None:  # fmt: skip
    """Send a message: straight from its chunks if they lie together, else packed."""
    peer, first, end = messages[m, 2], messages[m, 3], messages[m, 4]
    size = _size(first, end, pieces)
    straight, there = _goes_straight(first, end, pieces, written, given)
    if straight and (there == 0 or there == size):
        low = pieces[first, 0]
        # What lies in the input is never written: nobody has to wait until it is sent.
        high = low + size if there else low
        request = _launch(_SENT, low, high, 0, 0, 0, 0, m, steps, state, flight, free, written, pieces, given)
        length = _length_chunk(low, pieces[first, 1], given[2])
        _emit(steps, state, SEND, peer, 0, 0, _source(low, written, given), low, 0, length, size, request)
        return
    stage = _stage(size, state, flight)
    request = _launch(_SENT, 0, 0, stage, size, 0, 0, m, steps, state, flight, free, written, pieces, given)
    _pack(first, end, stage, pieces, steps, state, written, given)
    _emit(steps, state, SEND, peer, 0, 0, STAGING, stage, 0, -1, size, request)
