"""Messages between two ranks, and round a ring, in compiled loops: ping-pong, one way, two ways, sendrecv.

latency   rank a sends one message, rank b sends one back, both with the blocking functions; the time is a's. It is that
          of a round trip: the latency is half of it.
one-way   rank a has a window of messages in flight to b, which answers with an empty message when all have arrived; the
          time is a's.
two-way   both have a window in flight to each other; the time is that of the later one.
sendrecv  every rank sends to its right neighbour and receives from its left one at once; the time is the last one's.

The first three are OSU's `osu_latency`, `osu_bw` and `osu_bibw` (OSU Micro-Benchmarks 7, c/mpi/pt2pt), with their
default of one buffer for a whole window: the figures compare, and memory does not grow with the window. All messages of
a window then carry the same data. To check the data, every message has a place of its own (`stride`).

Before the clock starts, the two ranks meet by an empty message there and back, so that no time holds the lateness of
the other. Round a ring they meet in a barrier.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.checking.splitmix import mixed
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.transports.atomics import store_plain
from clusterbench.collectives.transports.native import (
    BYTE,
    COMM,
    LARGEST_INT,
    MESSAGE_TAG,
    STATUS,
    MpiError,
    NativeMpi,
    barrier,
    call,
)
from clusterbench.collectives.transports.whereabouts import AT_BARRIER, OUTSIDE, begin_call, tell
from clusterbench.kernels.clock import now_ns

LATENCY, ONE_WAY, TWO_WAY, SENDRECV = range(4)
KINDS = {"latency": LATENCY, "one-way": ONE_WAY, "two-way": TWO_WAY, "sendrecv": SENDRECV}
"""The number of each kind of exchange in compiled code, by its name."""

_SEND, _RECV, _ISEND, _IRECV, _WAITALL, _SENDRECV = range(6)
_FUNCTIONS = ("MPI_Send", "MPI_Recv", "MPI_Isend", "MPI_Irecv", "MPI_Waitall", "MPI_Sendrecv")
_COUNTED = ("MPI_Send", "MPI_Recv", "MPI_Isend", "MPI_Irecv", "MPI_Sendrecv")
"""Functions that take a count of bytes; beyond an int, those of MPI 4.0 with counts of 64 bits."""

(
    _KIND, _LEADS, _TO, _FROM, _SIZE, _WINDOW, _STRIDE, _SEND_AT, _RECEIVE_AT, _REQUESTS, _REQUEST_BYTES, _STATUSES,
) = range(12)  # fmt: skip
"""Entries of the plan that compiled code gets."""

_MEETING_TAG = 3
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True, slots=True)
class WrongBits:
    """Elements of a received message that differ from what was sent, on one rank; the first of them as an example."""

    count: int
    index: int = -1
    expected: int = 0
    found: int = 0
    """The bits of an element, whatever its type."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange made ready on one rank; the other ranks in it have theirs."""

    mpi: NativeMpi
    plan: Ints
    functions: Ints
    held: tuple[NDArray[np.uint8], ...]
    """What the plan names the addresses of."""

    def run(self) -> None:
        """Run it once. Raises `MpiError`."""
        self.mpi.check(_exchange(self.plan, self.functions, self.mpi.table))

    def time(self, samples: int, batch: int) -> tuple[NDArray[np.float64], float]:
        """Time `samples` samples of `batch` exchanges each, as this rank sees them.

        Returns the seconds an exchange of every sample, and the seconds that all of it took. Raises `MpiError`.
        """
        started = perf_counter()
        seconds = np.empty(samples)
        self.mpi.check(_time_samples(seconds, batch, self.plan, self.functions, self.mpi.table))
        return seconds, perf_counter() - started


def prepare(
    mpi: NativeMpi,
    kind: str,
    send: NDArray[np.uint8],
    receive: NDArray[np.uint8],
    size_bytes: int,
    *,
    to: int,
    source: int,
    leads: bool = True,
    window: int = 1,
    apart: bool = False,
) -> Exchange:
    """Make one exchange of `KINDS` ready: messages of `size_bytes` to rank `to` and from rank `source`.

    `leads` is true on rank a. With `apart` every message of the window has a place of its own, one behind the other, so
    that both buffers need window · size_bytes; else size_bytes. Raises `MpiError` where the library has no functions
    for so many bytes.
    """
    requests = np.zeros(2 * window * _request_bytes(), np.uint8)
    statuses = np.zeros(2 * window * _status_bytes(), np.uint8)
    plan = np.zeros(12, np.int64)
    plan[_KIND], plan[_LEADS], plan[_TO], plan[_FROM] = KINDS[kind], leads, to, source
    plan[_SIZE], plan[_WINDOW], plan[_STRIDE] = size_bytes, window, size_bytes if apart else 0
    plan[_SEND_AT], plan[_RECEIVE_AT] = send.ctypes.data, receive.ctypes.data
    plan[_REQUESTS], plan[_REQUEST_BYTES] = requests.ctypes.data, _request_bytes()
    plan[_STATUSES] = statuses.ctypes.data
    wide = size_bytes > LARGEST_INT
    names = [name + "_c" if wide and name in _COUNTED else name for name in _FUNCTIONS]
    return Exchange(
        mpi, plan, np.array([_address(mpi, n, size_bytes) for n in names]), (send, receive, requests, statuses)
    )


def _address(mpi: NativeMpi, name: str, size_bytes: int) -> int:
    try:
        return mpi.address(name)
    except MpiError as error:
        raise MpiError(f"a message of {size_bytes} bytes is more than an int counts, and {error}") from None


def _request_bytes() -> int:
    from mpi4py import MPI

    return MPI._sizeof(MPI.Request)


def _status_bytes() -> int:
    from mpi4py import MPI

    return MPI._sizeof(MPI.Status)


def fill(buffer: NDArray[np.uint8], itemsize: int, rank: int, seed: int) -> None:
    """Data whose every element depends on the rank that sends it and on its index, as bits: any type carries them."""
    _fill(buffer.view(_BITS[itemsize]), rank, seed)


def spoil(buffer: NDArray[np.uint8], itemsize: int, rank: int, seed: int) -> None:
    """Fill with what is wrong everywhere in a message from `rank`, so that an element that never came shows."""
    bits = buffer.view(_BITS[itemsize])
    _fill(bits, rank, seed)
    np.invert(bits, out=bits)


def check(buffer: NDArray[np.uint8], itemsize: int, rank: int, seed: int) -> WrongBits:
    """Compare what arrived from `rank` with what it sent, element by element, bit by bit."""
    bits = buffer.view(_BITS[itemsize])
    count, index = _check(bits, rank, seed)
    if count == 0:
        return WrongBits(0)
    expected = int(mixed(rank, 0, index, seed)) & (1 << 8 * itemsize) - 1
    return WrongBits(int(count), int(index), expected, int(bits[index]))


@njit(cache=True)
def _fill(buffer: Any, rank: int, seed: int) -> None:
    for i in range(len(buffer)):
        buffer[i] = mixed(rank, 0, i, seed)


@njit(cache=True)
def _check(buffer: Any, rank: int, seed: int) -> tuple[int, int]:
    wrong, first = 0, -1
    one = np.empty(1, buffer.dtype)  # cuts the bits off at the element's width
    for i in range(len(buffer)):
        one[0] = mixed(rank, 0, i, seed)
        if buffer[i] != one[0]:
            if wrong == 0:
                first = i
            wrong += 1
    return wrong, first


@njit(cache=True)
def _send(size: int, tag: int, plan: Any, functions: Any, mpi: Any) -> int:
    return call(functions[_SEND], (plan[_SEND_AT], size, mpi[BYTE], plan[_TO], tag, mpi[COMM]))


@njit(cache=True)
def _receive(size: int, tag: int, plan: Any, functions: Any, mpi: Any) -> int:
    return call(functions[_RECV], (plan[_RECEIVE_AT], size, mpi[BYTE], plan[_FROM], tag, mpi[COMM], mpi[STATUS]))


@njit(cache=True)
def _post(function: int, start: int, other: int, first: int, plan: Any, mpi: Any) -> int:
    """Start the window's messages; their requests are those from `first` on."""
    for w in range(plan[_WINDOW]):
        request = plan[_REQUESTS] + (first + w) * plan[_REQUEST_BYTES]
        where = start + w * plan[_STRIDE]
        code = call(function, (where, plan[_SIZE], mpi[BYTE], other, MESSAGE_TAG, mpi[COMM], request))
        if code != 0:
            return code
    return 0


@njit(cache=True, nogil=True)
def _exchange(plan: Any, functions: Any, mpi: Any) -> int:
    """One exchange of the plan's kind. Returns the first error code of MPI, or 0."""
    kind, leads, to, source = plan[_KIND], plan[_LEADS] != 0, plan[_TO], plan[_FROM]
    send, receive, size = plan[_SEND_AT], plan[_RECEIVE_AT], plan[_SIZE]
    code = 0
    if kind == LATENCY:
        if leads:
            code = _send(size, MESSAGE_TAG, plan, functions, mpi)
        if code == 0:
            code = _receive(size, MESSAGE_TAG, plan, functions, mpi)
        if code == 0 and not leads:
            code = _send(size, MESSAGE_TAG, plan, functions, mpi)
    elif kind == ONE_WAY:
        if leads:
            code = _post(functions[_ISEND], send, to, 0, plan, mpi)
        else:
            code = _post(functions[_IRECV], receive, source, 0, plan, mpi)
        if code == 0:
            code = call(functions[_WAITALL], (plan[_WINDOW], plan[_REQUESTS], plan[_STATUSES]))
        if code == 0:
            code = (
                _receive(0, _MEETING_TAG, plan, functions, mpi)
                if leads
                else _send(0, _MEETING_TAG, plan, functions, mpi)
            )
    elif kind == TWO_WAY:
        code = _post(functions[_IRECV], receive, source, 0, plan, mpi)
        if code == 0:
            code = _post(functions[_ISEND], send, to, plan[_WINDOW], plan, mpi)
        if code == 0:
            code = call(functions[_WAITALL], (2 * plan[_WINDOW], plan[_REQUESTS], plan[_STATUSES]))
    else:
        code = call(
            functions[_SENDRECV],
            (send, size, mpi[BYTE], to, MESSAGE_TAG, receive, size, mpi[BYTE], source, MESSAGE_TAG, mpi[COMM],
             mpi[STATUS]),
        )  # fmt: skip
    return code


@njit(cache=True)
def _meet(plan: Any, functions: Any, mpi: Any) -> int:
    """All that take part are here when it returns."""
    if plan[_KIND] == SENDRECV:
        return barrier(mpi)
    leads, code = plan[_LEADS] != 0, 0
    if leads:
        code = _send(0, _MEETING_TAG, plan, functions, mpi)
    if code == 0:
        code = _receive(0, _MEETING_TAG, plan, functions, mpi)
    if code == 0 and not leads:
        code = _send(0, _MEETING_TAG, plan, functions, mpi)
    return code


@njit(cache=True, nogil=True)
def _time_samples(seconds: Any, batch: int, plan: Any, functions: Any, mpi: Any) -> int:
    """Fill `seconds` with samples: meet, clock, `batch` exchanges, clock; seconds an exchange on this rank."""
    for i in range(len(seconds)):
        tell(mpi, AT_BARRIER)
        code = _meet(plan, functions, mpi)
        if code != 0:
            return code
        start = now_ns()
        for _ in range(batch):
            store_plain(begin_call(mpi, 1), 1)
            code = _exchange(plan, functions, mpi)
            if code != 0:
                return code
        seconds[i] = (now_ns() - start) * 1e-9 / batch
    tell(mpi, OUTSIDE)
    return 0
