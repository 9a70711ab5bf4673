"""What a message costs between two ranks: α seconds and β seconds a byte, from a ping-pong of two sizes.

From them the formula of a pipeline chooses its number of segments (see `algorithm.segments`). The two ranks are the
first and the last, which are as far apart as ranks of a block placement are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterbench.collectives.compiler import INPUT, OUTPUT, RECV, SEND, WAIT
from clusterbench.collectives.transports.native import REQUEST_BYTES, NativeMpi
from clusterbench.collectives.transports.prepared import Buffers, PreparedCall, address, functions_for

SHORT_BYTES, LONG_BYTES = 8, 1 << 20
SAMPLES, WARMUP = 21, 5


@dataclass(frozen=True, slots=True)
class Link:
    """The Hockney model of a message: α + β · bytes."""

    alpha_s: float
    beta_s: float
    """Seconds a byte."""

    def __str__(self) -> str:
        return f"α = {self.alpha_s * 1e6:.2f} µs, 1/β = {1e-9 / self.beta_s:.2f} GB/s"


def measure_link(mpi: NativeMpi) -> Link:
    """Measure it; all ranks call it together, and get the same. Raises `MpiError`."""
    if mpi.comm.size == 1:
        return Link(1e-6, 1e-10)  # nothing is sent: any will do
    short_s, long_s = (_one_way_s(mpi, size) for size in (SHORT_BYTES, LONG_BYTES))
    return Link(short_s, max(long_s - short_s, 1e-9) / (LONG_BYTES - SHORT_BYTES))


def _one_way_s(mpi: NativeMpi, size_bytes: int) -> float:
    rank, last = mpi.comm.rank, mpi.comm.size - 1
    sent, received = np.zeros(size_bytes, np.uint8), np.zeros(size_bytes, np.uint8)
    peer = last if rank == 0 else 0
    send = [SEND, peer, 0, 0, INPUT, 0, 0, size_bytes, 0]
    receive = [RECV, peer, OUTPUT, 0, 0, 0, 0, size_bytes, 0]
    wait = [WAIT, -1, 0, 0, 0, 0, 0, 0, 0]
    steps: list[list[int]] = []
    if rank in (0, last):
        steps = [send, wait, receive, wait] if rank == 0 else [receive, wait, send, wait]
    call = PreparedCall(
        mpi=mpi,
        steps=np.array(steps, np.int64).reshape(len(steps), 9),
        bases=np.array([address(sent), address(received), 0], np.int64),
        functions=functions_for(np.dtype(np.uint8), "", 1),
        requests=np.zeros(int(mpi.table[REQUEST_BYTES]), np.uint8),
        scratch=np.zeros(1, np.uint8),
        buffers=Buffers(sent, received, received),
    )
    call.time(WARMUP, 1)
    seconds: Any = call.time(SAMPLES, 1)[0]
    return float(np.median(seconds)) / 2
