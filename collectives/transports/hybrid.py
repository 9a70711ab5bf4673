"""Transport `hybrid`: one schedule over shared memory inside each host, and over MPI's messages between hosts.

A program is made by `fuse` with the host of every rank, and run by `shared.prepare` on a window of this host's ranks. A
rank sends straight from its buffers. What only copies is received straight into its place as well; what is reduced is
received aside, and read there by the pass that reduces it. Staged, long chunks go in pieces between hosts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clusterbench.collectives.transports.shared_window import NoSharedMemoryError, SharedWindow, open_window

if TYPE_CHECKING:
    from mpi4py import MPI


def hosts_in_blocks(ranks: int, host_ranks: int) -> tuple[int, ...]:
    """The host of every rank, as if each host had `host_ranks` neighbouring ones; the last one may have fewer."""
    return tuple(rank // host_ranks for rank in range(ranks))


def hosts_of(comm: MPI.Intracomm) -> tuple[int, ...]:
    """The host of every rank, numbered by the first rank on each; all ranks call it together."""
    from mpi4py import MPI

    local = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    first = local.bcast(comm.rank)
    local.Free()
    return tuple(comm.allgather(first))


def split_window(comm: MPI.Intracomm, host_of: Sequence[int], half_bytes: int, room_bytes: int) -> SharedWindow:
    """A window over the ranks of `comm` that are on the host of this one; all call it together, with the same sizes.

    `host_of` may part the ranks of one host, but not join those of several. Raises `NoSharedMemoryError` on every rank
    where one of the windows is not to be had.
    """
    from mpi4py import MPI

    ranks = tuple(rank for rank in range(comm.size) if host_of[rank] == host_of[comm.rank])
    local = MPI.Intracomm(comm.Split(host_of[comm.rank], comm.rank))
    window, refusal = None, ""
    try:
        window = open_window(local, half_bytes, room_bytes)
    except NoSharedMemoryError as error:
        refusal = str(error)
    local.Free()
    refusals = [(ranks_of, text) for ranks_of, text in comm.allgather((ranks, refusal)) if text]
    if window is None or refusals:
        if window is not None:
            window.close()
        raise NoSharedMemoryError(f"ranks {', '.join(map(str, refusals[0][0]))}: {refusals[0][1]}")
    starts = np.zeros(comm.size, np.int64)
    starts[list(ranks)] = window.starts
    return replace(window, ranks=ranks, starts=starts)
