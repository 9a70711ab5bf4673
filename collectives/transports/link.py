"""Measures what messages and reductions cost, from which a pipeline's number of segments is chosen (`segments.py`).

Between hosts it asks the first and the last rank, inside a host the first two: a message there and back of two sizes
gives α and β, and two messages at once what they cost each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterbench.collectives.building.segments import Link, Links
from clusterbench.collectives.programs.pieces import piece_bytes
from clusterbench.collectives.programs.steps import INPUT, OUTPUT, RECV, REDUCE, SEND, WAIT
from clusterbench.collectives.transports.native import REQUEST_BYTES, NativeMpi
from clusterbench.collectives.transports.pages import page_aligned
from clusterbench.collectives.transports.prepared import Buffers, PreparedCall, address, functions_for

SHORT_BYTES, LONG_BYTES = 8, 1 << 20
SAMPLES, WARMUP = 15, 3

Step = list[int]


def measure_links(mpi: NativeMpi, host_ranks: int) -> Links:
    """Measure them; all ranks call it together, and get the same. `host_ranks` as in `algorithm.Call`.

    Raises `MpiError`.
    """
    ranks = mpi.comm.size
    if ranks == 1:
        alone = Link(1e-6, 1e-10)  # nothing is sent: any will do
        return Links(alone, alone, 0.0, host_ranks)
    remote = _link(mpi, ranks - 1)
    local = _link(mpi, 1) if 1 < host_ranks < ranks else remote
    return Links(local, remote, reduce_s_per_byte(mpi), host_ranks)


def exchange(mpi: NativeMpi, to: int, source: int, size_bytes: int) -> PreparedCall:
    """A message of so many bytes to one rank while one comes from another, or the same; nothing for ranks below 0.

    It travels in the pieces in which schedules' messages do. All ranks time the call together.
    """
    return exchanges(mpi, [([to] * (to >= 0), [source] * (source >= 0))], size_bytes)


def exchanges(mpi: NativeMpi, rounds: Sequence[tuple[Sequence[int], Sequence[int]]], size_bytes: int) -> PreparedCall:
    """Rounds, each begun when this rank has ended the one before: a message to each of some ranks at once, while one
    comes from each of others, or the same. As `exchange` otherwise."""
    steps: list[Step] = []
    for to, sources in rounds:
        messages: list[Step] = []
        for op, peers in ((RECV, sources), (SEND, to)):
            for number, peer in enumerate(peers):
                piece = piece_bytes(size_bytes, int(mpi.longest_bytes[peer]))
                for byte in range(0, size_bytes, piece):
                    length = min(piece, size_bytes - byte)
                    messages.append(_message(op, peer, length, len(messages), number * size_bytes + byte))
        steps += [*messages, *map(_wait, reversed(range(len(messages))))]
    at_once = max((len(peers) for sides in rounds for peers in sides), default=0)
    return _prepared(mpi, steps, size_bytes * max(1, at_once))


def reduce_s_per_byte(mpi: NativeMpi) -> float:
    """Seconds a byte that ranks take which all reduce at once; all call it together. Raises `MpiError`."""
    return _seconds(mpi, [[REDUCE, -1, OUTPUT, 0, INPUT, 0, OUTPUT, LONG_BYTES, 0]], LONG_BYTES) / LONG_BYTES


def _link(mpi: NativeMpi, last: int) -> Link:
    peer = last if mpi.comm.rank == 0 else 0
    takes_part = mpi.comm.rank in (0, last)

    def there_and_back_s(size_bytes: int) -> float:
        send, receive = _message(SEND, peer, size_bytes, 0), _message(RECV, peer, size_bytes, 0)
        steps = [send, _wait(0), receive, _wait(0)] if mpi.comm.rank == 0 else [receive, _wait(0), send, _wait(0)]
        return _seconds(mpi, steps if takes_part else [], size_bytes)

    short_s, long_s = there_and_back_s(SHORT_BYTES) / 2, there_and_back_s(LONG_BYTES) / 2
    other = peer if takes_part else -1
    both_s = _timed_s(exchange(mpi, other, other, LONG_BYTES))
    beta_s = max(long_s - short_s, 1e-9) / (LONG_BYTES - SHORT_BYTES)
    return Link(short_s, beta_s, float(np.clip(both_s / long_s, 1.0, 2.0)))


def _message(op: int, peer: int, size_bytes: int, request: int, byte: int = 0) -> Step:
    return [op, peer, OUTPUT, byte, INPUT, byte, 0, size_bytes, request]


def _wait(request: int) -> Step:
    return [WAIT, -1, 0, 0, 0, 0, 0, 0, request]


def _seconds(mpi: NativeMpi, steps: list[Step], size_bytes: int) -> float:
    """Median time of steps over buffers of floats; the slowest rank's, and so the same on all."""
    return _timed_s(_prepared(mpi, steps, size_bytes))


def _prepared(mpi: NativeMpi, steps: list[Step], size_bytes: int) -> PreparedCall:
    sent, received = page_aligned(size_bytes), page_aligned(size_bytes)
    sent.fill(1)
    received.fill(1)
    return PreparedCall(
        mpi=mpi,
        steps=np.array(steps, np.int64).reshape(len(steps), 9),
        bases=np.array([address(sent), address(received), 0], np.int64),
        functions=functions_for(np.dtype(np.float32), "max", 1),
        requests=np.zeros(max(2, len(steps)) * int(mpi.table[REQUEST_BYTES]), np.uint8),
        scratch=np.zeros(1, np.uint8),
        buffers=Buffers(sent, received, received),
    )


def _timed_s(call: PreparedCall) -> float:
    call.time(WARMUP, 1)
    seconds: Any = call.time(SAMPLES, 1)[0]
    return float(np.median(seconds))
