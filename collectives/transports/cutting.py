"""Cuts long messages between hosts into pieces, where an exchange is faster so: measured, and not asked of the library.

A library announces a long message and sends its data once the other side has answered. Over a byte stream such as TCP
the answer waits behind whatever is on its way already: of two ranks that exchange, one may send all of its data before
it can let the other begin, and a link that carries both directions at once is used in one at a time. Messages below the
library's threshold are sent unasked, and do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

import numpy as np

from clusterbench.collectives.programs.pieces import MESSAGE_BYTES
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
    """Time exchanges of `EXCHANGED_BYTES` of all ranks with others on another host, whole and in pieces.

    They are with neighbours and with those half the ranks away, which may share links that are full in both directions
    whoever waits for whom; the geometric mean of both counts. All ranks call it together, and are left with whole
    messages. Raises `MpiError`.
    """
    partners = list(dict.fromkeys((neighbours(hosts), half_away(hosts))))
    times_s = {}
    for longest_bytes in (MESSAGE_BYTES, *PIECES):
        cut(mpi, hosts, longest_bytes)
        times_s[longest_bytes] = geometric_mean([_exchange_s(mpi, of[mpi.comm.rank]) for of in partners])
    cut(mpi, hosts, MESSAGE_BYTES)
    return choose(times_s)


def _exchange_s(mpi: NativeMpi, peer: int) -> float:
    call = exchange(mpi, peer, peer, EXCHANGED_BYTES)
    first_s = float(call.time(1, 1)[0][0])
    return float(np.median(call.time(1 if first_s > SLOW_S else SAMPLES, 1)[0]))


def choose(times_s: dict[int, float]) -> Cut:
    """The longest pieces that are about as fast as any, or whole messages, given the seconds of an exchange in each."""
    whole_s, best_s = times_s[MESSAGE_BYTES], min(times_s.values())
    if whole_s < GAIN * best_s:
        return Cut()
    longest_bytes = max(longest for longest, time_s in times_s.items() if time_s <= CLOSE * best_s)
    gain = whole_s / times_s[longest_bytes]
    return Cut(longest_bytes, f", with which exchanges of {EXCHANGED_BYTES} bytes were {gain:.1f} times as fast")


def half_away(hosts: Sequence[str]) -> tuple[int, ...]:
    """The partner of each rank half the ranks away, in the order of hosts; −1 where there is none on another host."""
    order = sorted(range(len(hosts)), key=lambda rank: (hosts[rank], rank))
    half = len(hosts) // 2
    partner = [-1] * len(hosts)
    for one, other in zip(order[:half], order[half : 2 * half], strict=True):
        if hosts[one] != hosts[other]:
            partner[one], partner[other] = other, one
    return tuple(partner)


def neighbours(hosts: Sequence[str]) -> tuple[int, ...]:
    """The partner of each rank on the host beside its own, in pairs of hosts; −1 where it has none there."""
    names = sorted(set(hosts))
    on = [[rank for rank, host in enumerate(hosts) if host == name] for name in names]
    partner = [-1] * len(hosts)
    for one, other in zip(on[::2], on[1::2], strict=False):
        for a, b in zip(one, other, strict=False):
            partner[a], partner[b] = b, a
    return tuple(partner)
