"""Runs the steps of a fused program: passes over memory, and flags that ranks of a host set for each other.

A rank's flag is a number that only it writes, and that only grows: what a round added to it says that all that the rank
did up to there can be seen.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from clusterbench.collectives.fusion.layout import LINE_BYTES
from clusterbench.collectives.transports.atomics import (
    flush_streams,
    load_acquire,
    relax,
    store_plain,
    store_release,
    stream_line,
    yield_core,
)
from clusterbench.collectives.transports.executor import copy_bytes
from clusterbench.collectives.transports.message_executor import SEND, message, progress
from clusterbench.collectives.transports.native import barrier, call
from clusterbench.collectives.transports.whereabouts import AT_BARRIER, OUTSIDE, begin_call, tell
from clusterbench.kernels.clock import now_ns

PASS, AWAIT, AWAIT_BEFORE, FINISH, MEET, DIVIDE = range(6)
"""Operations of a step, which is a row of five numbers.

PASS: how many sources, how many targets, where in `operands` they start, the bytes of each. AWAIT: the address of a
flag, and the number to wait for, counted from that of the piece; AWAIT_BEFORE: from that of the piece before. FINISH:
-, the number to set, counted likewise. MEET, which comes first: the number of the call, how many ranks there are, where
in `operands` their flags are. DIVIDE: -, -, the operand, the elements. Those from `message_executor.SEND` on are of
messages between hosts.
"""

AT, MOVES, TURNS, STREAMS = range(4)
"""Columns of an operand: its address, whether it moves on with the pieces (1) or each piece takes its place (0), how
far it is to the second half of a stage, and whether it is stored past the caches, which only a pass's last targets are.
"""

BASE, BEFORE, TURN, LAST, CALLS = range(5)
"""What a rank keeps of the window from call to call, the same on all ranks, and all 0 at first: the number from which
the next piece counts, that of the piece before, how many pieces there were (whose parity says which half of a stage has
its turn), the number of the call that ran last, and how many calls there are."""

BLOCK_BYTES = 8192
"""Of a pass at a time where its result is read or stored more than once: it is in the first cache then."""
LOOKS = 32
"""At a flag, between two calls of MPI where there are messages: about 1 µs."""


@njit(cache=True, nogil=True)
def _await(flag: int, number: int, patience: int, requests: int, mpi: Any) -> None:
    """Wait until a flag has come to a number; after `patience` looks the core is left to others between two.

    Where there are messages MPI goes on with them meanwhile.
    """
    looks = 0
    while load_acquire(flag) < number:
        looks += 1
        if requests != 0 and (looks >= patience or looks % LOOKS == 0):
            progress(mpi)
        if looks < patience:
            relax()
        else:
            yield_core()


@njit(cache=True, nogil=True)
def _stream(target: int, source: int, length: int) -> None:
    """Copy past the caches, but for the ends that are no whole line."""
    done = min(length, -target % LINE_BYTES)
    if done > 0:
        copy_bytes(target, source, done)
    while done + LINE_BYTES <= length:
        stream_line(target + done, source + done)
        done += LINE_BYTES
    if done < length:
        copy_bytes(target + done, source + done, length - done)


@njit(cache=True, nogil=True)
def _address(operand: Any, start: int, turn: int, done: int) -> int:
    """Where a block starts: `done` bytes into the piece that starts at `start`."""
    return operand[AT] + operand[MOVES] * start + operand[TURNS] * turn + done


@njit(cache=True, nogil=True)
def _pass(step: Any, operands: Any, start: int, turn: int, length: int, functions: Any, spare: int) -> None:
    """One pass over `length` bytes of a piece.

    The first target may be the first source, and any other target a source: a block is stored there after it was read.
    """
    sources, targets, first = step[1], step[2], step[3]
    stores = first + sources
    streams = operands[stores + targets - 1, STREAMS] != 0
    whole = targets == 1 and (sources == 1 or (sources == 2 and not streams))
    done = 0
    while done < length:
        now = length if whole else min(BLOCK_BYTES, length - done)
        value = _address(operands[first], start, turn, done)
        if sources > 1:
            into = spare if operands[stores, STREAMS] != 0 else _address(operands[stores], start, turn, done)
            for s in range(first + 1, stores):
                call(functions[0], (into, value, _address(operands[s], start, turn, done), now // functions[3]))
                value = into
        for t in range(stores, stores + targets):
            target = _address(operands[t], start, turn, done)
            if target == value:
                continue
            if operands[t, STREAMS] != 0:
                _stream(target, value, now)
            else:
                copy_bytes(target, value, now)
        done += now
    if streams:
        flush_streams()


@njit(cache=True, nogil=True)
def _meet(operands: Any, state: Any, flag: int, patience: int, requests: int, mpi: Any) -> None:
    """Go on when all ranks are here: nobody uses any longer what calls before this left in a stage."""
    state[BEFORE] = state[BASE]
    state[BASE] += 1
    store_release(flag, state[BASE])
    for r in range(len(operands)):
        _await(operands[r, AT], state[BASE], patience, requests, mpi)


@njit(cache=True, nogil=True)
def execute(
    repeats: int, steps: Any, after: Any, operands: Any, pieces: int, piece_bytes: int, numbers: int, state: Any,
    flag: int, patience: int, functions: Any, spare: int, requests: int, mpi: Any,
) -> int:  # fmt: skip
    """Run a program `repeats` times: all of `steps` for each piece, then those of `after`.

    `numbers` is by how much the flags grow with a piece, `flag` the address of this rank's, `functions` as in
    `executor.execute`, `spare` the address of a block, `requests` that of this rank's requests, or 0 where it has no
    messages. Returns the first error code of MPI, or 0.
    """
    for _ in range(repeats):
        at_step = begin_call(mpi, pieces * len(steps))
        for piece in range(pieces):
            base, turn, start = state[BASE], state[TURN] & 1, piece * piece_bytes
            for s in range(len(steps)):
                store_plain(at_step, piece * len(steps) + s + 1)
                op = steps[s, 0]
                if op == AWAIT:
                    _await(steps[s, 1], base + steps[s, 2], patience, requests, mpi)
                elif op == AWAIT_BEFORE:
                    _await(steps[s, 1], state[BEFORE] + steps[s, 2], patience, requests, mpi)
                elif op == FINISH:
                    store_release(flag, base + steps[s, 2])
                elif op == PASS:
                    length = min(piece_bytes, steps[s, 4] - start)
                    if length > 0:
                        _pass(steps[s], operands, start, turn, length, functions, spare)
                elif op >= SEND:
                    length = min(piece_bytes, steps[s, 4] - start)
                    if length > 0:
                        at = _address(operands[steps[s, 3]], start, turn, 0)
                        code = message(steps[s], at, length, requests, mpi)
                        if code != 0:
                            return code
                elif state[LAST] != steps[s, 1]:
                    meeting = operands[steps[s, 3] : steps[s, 3] + steps[s, 2]]
                    _meet(meeting, state, flag, patience, requests, mpi)
                    state[LAST], base = steps[s, 1], state[BASE]
            state[BEFORE] = base
            state[BASE] = base + numbers
            state[TURN] += 1
        for s in range(len(after)):
            call(functions[1], (operands[after[s, 3], AT], functions[4], after[s, 4]))
    tell(mpi, OUTSIDE)
    return 0


@njit(cache=True, nogil=True)
def time_samples(
    seconds: Any, batch: int, steps: Any, after: Any, operands: Any, pieces: int, piece_bytes: int, numbers: int,
    state: Any, flag: int, patience: int, functions: Any, spare: int, requests: int, mpi: Any,
) -> int:  # fmt: skip
    """Fill `seconds` as `executor.time_samples` does. Returns MPI's error code."""
    for i in range(len(seconds)):
        tell(mpi, AT_BARRIER)
        code = barrier(mpi)
        if code != 0:
            return code
        started = now_ns()
        code = execute(
            batch, steps, after, operands, pieces, piece_bytes, numbers, state, flag, patience, functions, spare,
            requests, mpi,
        )  # fmt: skip
        if code != 0:
            return code
        seconds[i] = (now_ns() - started) * 1e-9 / batch
    return 0
