"""Messages between hosts, begun and completed by the compiled loop of `shared_executor`."""

from __future__ import annotations

from typing import Any

from numba import njit

from clusterbench.collectives.programs.pieces import MOST_PIECES, piece_bytes
from clusterbench.collectives.transports.native import (
    ANY_SOURCE,
    BYTE,
    COMM,
    F_IPROBE,
    F_IRECV,
    F_ISEND,
    F_WAIT,
    FOUND,
    LONGEST_BYTES,
    MESSAGE_TAG,
    REQUEST_BYTES,
    STATUS,
    UNUSED_TAG,
    call,
)

SEND, RECEIVE, COMPLETE = range(100, 103)
"""Operations of a step beside those of `shared_executor`. SEND and RECEIVE: the peer, the first request, the operand,
the bytes. COMPLETE: -, the first request, -, the bytes. A message has a request for each piece."""


def requests_of(length: int, longest_bytes: int) -> int:
    """How many a message of up to `length` bytes has at most, if none is to be longer than `longest_bytes`."""
    return max(min(-(-length // longest_bytes), MOST_PIECES), -(-length // piece_bytes(length, longest_bytes)))


@njit(cache=True, nogil=True)
def message(step: Any, at: int, length: int, requests: int, mpi: Any) -> int:
    """Begin or complete a message of `length` bytes at an address. Returns the first error code of MPI, or 0.

    `requests` is the address of the rank's requests.
    """
    piece = piece_bytes(length, mpi[LONGEST_BYTES])
    request, done = requests + step[2] * mpi[REQUEST_BYTES], 0
    while done < length:
        now = min(length - done, piece)
        if step[0] == SEND:
            code = call(mpi[F_ISEND], (at + done, now, mpi[BYTE], step[1], MESSAGE_TAG, mpi[COMM], request))
        elif step[0] == RECEIVE:
            code = call(mpi[F_IRECV], (at + done, now, mpi[BYTE], step[1], MESSAGE_TAG, mpi[COMM], request))
        else:
            code = call(mpi[F_WAIT], (request, mpi[STATUS]))
        if code != 0:
            return code
        done += now
        request += mpi[REQUEST_BYTES]
    return 0


@njit(cache=True, nogil=True)
def progress(mpi: Any) -> int:
    """Let MPI go on with messages that have begun: a library may do so only while it is called (MPI 4.1, 2.9).

    A rank that looks at a flag may wait for one that waits for the very message that it is sending itself.
    """
    return call(mpi[F_IPROBE], (mpi[ANY_SOURCE], UNUSED_TAG, mpi[COMM], mpi[FOUND], mpi[STATUS]))
