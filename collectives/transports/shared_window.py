"""Memory that all ranks of a host see: an MPI window with each rank's flag, its stage, and its registered buffers.

Behind each other, for every rank: a page for its flag, two halves of a stage, and room for buffers. MPI makes the
memory (MPI 4.1, 12.2.3, MPI_WIN_ALLOCATE_SHARED) and is not called again: ranks load from it and store to it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.transports.pages import PAGE_BYTES

if TYPE_CHECKING:
    from mpi4py import MPI

SHM = Path("/dev/shm")
"""Where Linux keeps shared memory, and the libraries their windows."""


class NoSharedMemoryError(RuntimeError):
    """Memory that ranks cannot share here; the message says why, and what can be done."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class SharedWindow:
    """The parts of all ranks of a host as this process sees them; `comm` has just these, and is its own."""

    window: MPI.Win
    comm: MPI.Intracomm
    ranks: tuple[int, ...]
    """The number of each in a schedule, which may have ranks of other hosts too."""
    starts: Ints
    """For each rank of the schedule the address of its part, which is that of its flag; 0 for those of other hosts."""
    half_bytes: int
    """A half of a stage."""
    room_bytes: int
    state: Ints
    """What this rank keeps from call to call; see `shared_executor.BASE`."""

    @property
    def rank(self) -> int:
        """This one's number in a schedule."""
        return self.ranks[self.comm.rank]

    def stage(self, rank: int) -> int:
        """Address of the first half of a rank's stage; the second lies behind it."""
        return int(self.starts[rank]) + PAGE_BYTES

    def room(self, rank: int) -> int:
        """Address of a rank's room for buffers."""
        return self.stage(rank) + 2 * self.half_bytes

    def registered(self) -> NDArray[np.uint8]:
        """This rank's room for buffers; it is gone when the window is closed."""
        memory = _bytes(self.window.tomemory())
        first = self.room(self.rank) - memory.ctypes.data
        return memory[first : first + self.room_bytes]

    def close(self) -> None:
        """Give the memory back; all ranks call it together, and use nothing of it afterwards."""
        self.window.Free()
        self.comm.Free()


def first_state() -> Ints:
    """Before the first call: every flag is 0, and nobody is waited for."""
    return np.zeros(5, np.int64)


def part_bytes(half_bytes: int, room_bytes: int) -> int:
    """What the window has of each rank's memory, which begins at a page."""
    return PAGE_BYTES + 2 * _pages(half_bytes) + _pages(room_bytes)


def open_window(comm: MPI.Intracomm, half_bytes: int, room_bytes: int, folder: Path = SHM) -> SharedWindow:
    """A window over the ranks of `comm`; all call it together, with the same sizes.

    Raises `NoSharedMemoryError` on every rank where `comm` has ranks of several hosts, where the host's memory or its
    shared memory, which is `folder`, has no space for it, or where MPI refuses it.
    """
    _refuse_hosts(comm)
    part = part_bytes(half_bytes, room_bytes) + PAGE_BYTES  # so that it may start at a page
    _refuse_too_large(comm, part, folder)
    window = _allocate(comm, part)
    addresses = [_bytes(window.Shared_query(rank)[0]).ctypes.data for rank in range(comm.size)]
    starts = np.array([address + -address % PAGE_BYTES for address in addresses], np.int64)
    _bytes(window.tomemory()).fill(0)
    comm.Barrier()
    return SharedWindow(
        window, comm.Dup(), tuple(range(comm.size)), starts, _pages(half_bytes), _pages(room_bytes), first_state()
    )


def _allocate(comm: MPI.Intracomm, part: int) -> MPI.Win:
    from mpi4py import MPI

    info = MPI.Info.Create()
    info.Set("alloc_shared_noncontig", "true")  # each rank's part may then lie near its core
    window, refusal = None, ""
    try:
        window = MPI.Win.Allocate_shared(part, 1, info, comm)
    except (MPI.Exception, OverflowError) as error:
        refusal = str(error).strip().splitlines()[-1]  # the cause, under the functions that led to it
    info.Free()
    return _refuse_unless_all(comm, window, refusal, part)


def _refuse_unless_all(comm: MPI.Intracomm, window: MPI.Win | None, refusal: str, part: int) -> MPI.Win:
    """A window that only some ranks have cannot even be given back: that takes all of them."""
    refusals = [text for text in comm.allgather(refusal) if text]
    if window is None or refusals:
        raise NoSharedMemoryError(
            f"MPI gives {comm.size} ranks no shared window of {_mib(part)} each: {refusals[0]}; use --transport mpi"
        )
    return window


def _bytes(memory: MPI.buffer) -> NDArray[np.uint8]:
    # mpi4py's stub does not say that it is a buffer.
    return np.frombuffer(memory, np.uint8)  # type: ignore[call-overload]


def _pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def _mib(size_bytes: int) -> str:
    return f"{-(-size_bytes // 2**20)} MiB"


def _refuse_hosts(comm: MPI.Intracomm) -> None:
    from mpi4py import MPI

    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    alone = local.size == comm.size
    local.Free()
    if not comm.allreduce(alone, MPI.LAND):
        raise NoSharedMemoryError(
            f"the {comm.size} ranks are on several hosts, which share no memory; use --transport hybrid or mpi"
        )


def _refuse_too_large(comm: MPI.Intracomm, part: int, folder: Path) -> None:
    """Ask before: where memory or the file system is full, whoever writes to it is killed, and nobody says why."""
    import psutil

    needed = comm.size * part
    shared, memory = comm.bcast((_free_bytes(folder), int(psutil.virtual_memory().available)))
    asked = f"{comm.size} ranks need {_mib(needed)} of shared memory, and "
    if needed > memory:
        raise NoSharedMemoryError(
            f"{asked}the host has {_mib(memory)} of memory free; choose smaller sizes (-e), or fewer ranks"
        )
    if shared is not None and needed > shared:
        raise NoSharedMemoryError(
            f"{asked}{folder} has {_mib(shared)} free; enlarge it (docker run --shm-size={-(-needed // 2**20) + 64}m, "
            f"or mount -o remount,size=… {folder}), choose smaller sizes (-e), or use --transport mpi"
        )


def _free_bytes(folder: Path) -> int | None:
    """What is free in a file system; None where there is no such place, as libraries then keep windows elsewhere."""
    try:
        there = os.statvfs(folder)
    except OSError:
        return None
    return there.f_bavail * there.f_frsize
