"""What a rank knows while its rounds are compiled: the steps so far, where its values lie, and what is in flight.

Before a step reads or writes a chunk, the messages that touch it are completed, in the order in which they were listed;
nothing else is waited for. Compiled itself, over plain arrays; inlined by force, as Numba counts the references of each
array at a call, which took half of the time.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from clusterbench.collectives.programs.steps import (
    AREG,
    COPY,
    COUNT,
    DCHUNK,
    DREG,
    EXTRA,
    INPUT,
    LENGTH,
    OP,
    OPEN,
    OUTPUT,
    PEER,
    REDUCE,
    REQ,
    SCHUNK,
    SREG,
    STAGING,
    WAIT,
    WORK,
)

NEXT, IN_FLIGHT, STAGED, REQUESTS, STAGED_NOW, FREE = range(6)
"""Counters: steps so far; messages in flight; the most chunks staged at once; requests ever in use at once; chunks
staged now; requests that are free again."""

KIND, LOW, HIGH, STAGE_LOW, STAGE_HIGH, REQUEST, FIRST, END, LISTED, FREE_REQUEST = range(10)
"""Rows of what is in flight, a column each: its kind; the chunks that it reads or writes, and its room in the staging
area, as ranges; its request; its pieces as a range; its number. The last holds the requests that are free again."""

SENT, DIRECT, UNAPPLIED, LOCAL = range(4)
"""Kinds of what is in flight: sent; received in place; received into the staging area; a local copy that lies there."""


@njit(cache=True, forceinline=True)
def emit(
    steps: Any, counters: Any, op: int, peer: int, dreg: int, dchunk: int, sreg: int, schunk: int, areg: int,
    length: int, count: int, req: int,
) -> None:  # fmt: skip
    """Add a step."""
    s = counters[NEXT]  # indexed in full, as a view of a row would be counted
    steps[s, OP], steps[s, PEER], steps[s, DREG], steps[s, DCHUNK], steps[s, SREG] = op, peer, dreg, dchunk, sreg
    steps[s, SCHUNK], steps[s, AREG], steps[s, LENGTH], steps[s, COUNT], steps[s, REQ] = (
        schunk,
        areg,
        length,
        count,
        req,
    )
    counters[NEXT] += 1


@njit(cache=True, forceinline=True)
def place(given: Any, chunk: int) -> int:
    """The region that a rank's own value of a chunk lies in."""
    if chunk >= given[2]:
        return EXTRA
    return OUTPUT if given[0] <= chunk < given[1] else WORK


@njit(cache=True, forceinline=True)
def source(written: Any, given: Any, chunk: int) -> int:
    """The region that a chunk is read from now."""
    return place(given, chunk) if written[chunk] else INPUT


@njit(cache=True, forceinline=True)
def run_end(written: Any, given: Any, chunk: int, end: int) -> int:
    """End of the longest run from `chunk` whose chunks lie in one region, behind one another, in one state."""
    region = place(given, chunk)
    run = chunk + 1
    while run < end and region != EXTRA and place(given, run) == region and written[run] == written[chunk]:
        run += 1
    return run


@njit(cache=True, forceinline=True)
def mark(written: Any, low: int, high: int) -> None:
    """Note that chunks [low, high) hold a value of the rank's own."""
    for chunk in range(low, high):
        written[chunk] = True


@njit(cache=True, forceinline=True)
def length_chunk(given: Any, mine: int, other: int) -> int:
    """The chunk that tells how long a piece is: of the vector where one of the two sides is."""
    if mine < given[2]:
        return mine
    return other if other < given[2] else -1


@njit(cache=True, forceinline=True)
def is_awaited(counters: Any, flight: Any, chunk: int) -> bool:
    """Whether a message in flight will write the chunk."""
    for e in range(counters[IN_FLIGHT]):
        if flight[KIND, e] != SENT and flight[LOW, e] <= chunk < flight[HIGH, e]:
            return True
    return False


@njit(cache=True)
def settle(
    steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, low: int, high: int, before: int,
    writing: bool,
) -> None:  # fmt: skip
    """Make chunks [low, high) ready to be read (or written), as far as messages listed before `before` touch them."""
    wide_low, wide_high, touched, widened = low, high, False, True
    while widened:
        # A message that overlaps one that is needed may have to be applied before it: take it in, too.
        widened = False
        for e in range(counters[IN_FLIGHT]):
            if flight[LOW, e] < wide_high and wide_low < flight[HIGH, e] and _is_due(flight, e, before):
                touched = True
                if flight[LOW, e] < wide_low or flight[HIGH, e] > wide_high:
                    widened = True
                wide_low = min(wide_low, flight[LOW, e])
                wide_high = max(wide_high, flight[HIGH, e])
    while touched:
        chosen = -1
        for e in range(counters[IN_FLIGHT]):
            touches = flight[LOW, e] < wide_high and wide_low < flight[HIGH, e] and _is_due(flight, e, before)
            if touches and (chosen < 0 or flight[LISTED, e] < flight[LISTED, chosen]):
                chosen = e
        touched = chosen >= 0
        if touched:
            _complete(steps, counters, flight, written, pieces, given, chosen)
    if writing:
        _await_sends(steps, counters, flight, low, high)


@njit(cache=True, forceinline=True)
def _is_due(flight: Any, e: int, before: int) -> bool:
    return flight[KIND, e] != SENT and flight[LISTED, e] < before


@njit(cache=True)
def _await_sends(steps: Any, counters: Any, flight: Any, low: int, high: int) -> None:
    """Wait for the messages that are being sent from chunks [low, high)."""
    e = 0
    while e < counters[IN_FLIGHT]:
        if flight[KIND, e] == SENT and flight[LOW, e] < high and low < flight[HIGH, e]:
            emit(steps, counters, WAIT, -1, 0, 0, 0, 0, 0, 0, 0, flight[REQUEST, e])
            _forget(counters, flight, e)
        else:
            e += 1


@njit(cache=True, forceinline=True)
def _forget(counters: Any, flight: Any, e: int) -> None:
    flight[FREE_REQUEST, counters[FREE]] = flight[REQUEST, e]
    counters[FREE] += 1
    counters[STAGED_NOW] -= flight[STAGE_HIGH, e] - flight[STAGE_LOW, e]
    counters[IN_FLIGHT] -= 1
    for row in range(FREE_REQUEST):
        flight[row, e] = flight[row, counters[IN_FLIGHT]]


@njit(cache=True)
def complete_earliest(steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any) -> None:
    """Complete the message in flight that was listed first."""
    first = 0
    for e in range(1, counters[IN_FLIGHT]):
        if flight[LISTED, e] < flight[LISTED, first]:
            first = e
    _complete(steps, counters, flight, written, pieces, given, first)


@njit(cache=True)
def _complete(steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, e: int) -> None:
    """Wait for a message, and apply it where it was staged."""
    kind, request, stage = flight[KIND, e], flight[REQUEST, e], flight[STAGE_LOW, e]
    first, end = flight[FIRST, e], flight[END, e]
    _forget(counters, flight, e)
    if kind != LOCAL:
        emit(steps, counters, WAIT, -1, 0, 0, 0, 0, 0, 0, 0, request)
    if kind in (SENT, DIRECT):
        return
    if kind == LOCAL:
        emit(steps, counters, OPEN, -1, STAGING, stage, 0, 0, 0, 0, 0, 0)  # filled here: to be read from its start
    for p in range(first, end):
        low, high = pieces[p, 1], pieces[p, 1] + pieces[p, 2]
        _await_sends(steps, counters, flight, low, high)
        chunk = low
        while chunk < high:
            run = run_end(written, given, chunk, high)
            length = length_chunk(given, chunk, pieces[p, 0] + chunk - low)
            op = REDUCE if pieces[p, 3] else COPY
            operand = source(written, given, chunk)
            emit(steps, counters, op, -1, place(given, chunk), chunk, STAGING, stage, operand, length, run - chunk, 0)
            mark(written, chunk, run)
            chunk = run


@njit(cache=True)
def launch(
    steps: Any, counters: Any, flight: Any, written: Any, pieces: Any, given: Any, kind: int, low: int, high: int,
    stage: int, staged: int, first: int, end: int, listed: int,
) -> int:  # fmt: skip
    """Note a message as in flight, completing the earliest one if the window is full. Returns its request."""
    if counters[IN_FLIGHT] == flight.shape[1]:
        complete_earliest(steps, counters, flight, written, pieces, given)
    if counters[FREE] > 0:
        counters[FREE] -= 1
        request = flight[FREE_REQUEST, counters[FREE]]
    else:
        request = counters[REQUESTS]
        counters[REQUESTS] += 1
    e = counters[IN_FLIGHT]
    flight[KIND, e], flight[LOW, e], flight[HIGH, e] = kind, low, high
    flight[STAGE_LOW, e], flight[STAGE_HIGH, e], flight[REQUEST, e] = stage, stage + staged, request
    flight[FIRST, e], flight[END, e], flight[LISTED, e] = first, end, listed
    counters[IN_FLIGHT] += 1
    counters[STAGED_NOW] += staged
    return request


@njit(cache=True, forceinline=True)
def room(counters: Any, flight: Any, size: int) -> int:
    """The lowest free place for `size` chunks in the staging area."""
    low = 0
    moved = True
    if counters[STAGED_NOW] + size > counters[STAGED]:
        low, moved = counters[STAGED], False  # there is none: do not search for it
    while moved:
        moved = False
        for e in range(counters[IN_FLIGHT]):
            if flight[STAGE_LOW, e] < low + size and low < flight[STAGE_HIGH, e]:
                low = flight[STAGE_HIGH, e]
                moved = True
    counters[STAGED] = max(counters[STAGED], low + size)
    return low
