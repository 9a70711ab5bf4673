"""Cuts long messages between hosts into pieces, where an exchange is faster so: measured, and not asked of the library.

A library announces a long message and sends its data once the other side has answered. Over a byte stream such as TCP
the answer waits behind whatever is on its way already: of two ranks that exchange, one may send all of its data before
it can let the other begin, and a link that carries both directions at once is used in one at a time. Messages below the
library's threshold are sent unasked, and do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.programs.program import MESSAGE_BYTES
from clusterbench.collectives.transports.link import exchange
from clusterbench.collectives.transports.native import LONGEST_BYTES, NativeMpi

EXCHANGED_BYTES = 1 << 21
"""Above the thresholds of the libraries that are known: 64 KiB of Open MPI's `btl_tcp_eager_limit`, about 1 MiB of UCX
over TCP, 8 KiB to 64 KiB over fast networks."""
PIECES = (1 << 20, 1 << 18, 1 << 15)
GAIN = 1.25
"""How many times as fast an exchange in pieces must be, as one in whole messages is what a library expects."""
CLOSE = 1.05
"""Pieces that take no more than so many times the fastest are as good, and the longest of these are taken."""
SAMPLES = 3
SLOW_S = 0.5
"""An exchange that takes longer is timed once more, and not `SAMPLES` times."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Into what messages between hosts are cut; the same on all ranks."""

    longest_bytes: int = MESSAGE_BYTES
    reason: str = ""

    def __str__(self) -> str:
        """What a row says of it; empty where messages are whole."""
        if self.longest_bytes >= MESSAGE_BYTES:
            return ""
        return f"messages between hosts in pieces of {self.longest_bytes} bytes{self.reason}"


def cut(mpi: NativeMpi, hosts: Sequence[str], longest_bytes: int) -> None:
    """From now on messages to ranks on other hosts travel in pieces of so many bytes; `hosts` has that of each rank."""
    mine = hosts[mpi.comm.rank]
    elsewhere = np.array([host != mine for host in hosts])
    mpi.longest_bytes[elsewhere] = longest_bytes
    mpi.table[LONGEST_BYTES] = longest_bytes


def best_cut(mpi: NativeMpi, hosts: Sequence[str]) -> Cut:
    """Time an exchange of `EXCHANGED_BYTES` of all ranks with others on another host, whole and in pieces.

    All ranks call it together, and are left with whole messages. Raises `MpiError`.
    """
    peer = _peer(mpi.comm.rank, hosts)
    times_s = {}
    for longest_bytes in (MESSAGE_BYTES, *PIECES):
        cut(mpi, hosts, longest_bytes)
        call = exchange(mpi, peer, peer, EXCHANGED_BYTES)
        first_s = float(call.time(1, 1)[0][0])
        times_s[longest_bytes] = float(np.median(call.time(1 if first_s > SLOW_S else SAMPLES, 1)[0]))
    cut(mpi, hosts, MESSAGE_BYTES)
    return choose(times_s)


def choose(times_s: dict[int, float]) -> Cut:
    """The longest pieces that are about as fast as any, or whole messages, given the seconds of an exchange in each."""
    whole_s, best_s = times_s[MESSAGE_BYTES], min(times_s.values())
    if whole_s < GAIN * best_s:
        return Cut()
    longest_bytes = max(longest for longest, time_s in times_s.items() if time_s <= CLOSE * best_s)
    gain = whole_s / times_s[longest_bytes]
    return Cut(longest_bytes, f", with which exchanges of {EXCHANGED_BYTES} bytes were {gain:.1f} times as fast")


def _peer(rank: int, hosts: Sequence[str]) -> int:
    """Half the ranks away, in the order of hosts; −1 where there is none on another host."""
    order = sorted(range(len(hosts)), key=lambda other: (hosts[other], other))
    half = len(hosts) // 2
    at = order.index(rank)
    if at >= 2 * half:
        return -1
    other = order[(at + half) % (2 * half)]
    return other if hosts[other] != hosts[rank] else -1
