"""MPI as compiled code sees it: addresses of its functions and values of its handles, all as 64-bit integers.

They reach compiled code as arguments and not as constants, so that compiled code can be kept between starts and serves
every MPI library. A handle has 4 bytes in MPICH's binary interface and is a pointer in Open MPI's; both are passed
as 64 bits. That is right on 64-bit Linux, where an integer argument of fewer bits occupies a whole register or 8-byte
stack slot whose upper bits the callee ignores (System V AMD64 ABI, 3.2.3; AAPCS64, 6.8.2).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from clusterbench.collectives.programs.pieces import MESSAGE_BYTES
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.transports.pages import Scratch

if TYPE_CHECKING:
    from mpi4py import MPI

(
    F_ISEND, F_IRECV, F_WAIT, F_SENDRECV, F_IPROBE, COMM, BYTE, REQUEST_BYTES, STATUS, FOUND, ANY_SOURCE, RANK, RANKS,
    PROGRESS, LONGEST_BYTES,
) = range(15)  # fmt: skip
"""Entries of the table that compiled code gets: functions, the communicator, the type of a byte, the size of a request,
a place for a status and one for what a probe has found, the rank that stands for any, this rank's number among how
many, the address of what `whereabouts` tells, and the longest message between hosts that travels in one piece."""

BARRIER_TAG, MESSAGE_TAG, UNUSED_TAG = 1, 2, 4
LARGEST_INT = 2**31 - 1
"""The most elements that a count in MPI's C interface can say; MPI 4.0's functions ending in `_c` have wider ones."""


class MpiError(RuntimeError):
    """An MPI function that returned an error, or a library in which a function cannot be found."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class NativeMpi:
    """The table of one communicator; it holds on to what the addresses point to."""

    comm: MPI.Intracomm
    library: ctypes.CDLL
    table: Ints
    status: np.ndarray[Any, np.dtype[np.uint8]]
    progress: Ints
    """What `whereabouts` tells, unless it was given another place."""
    longest_bytes: Ints
    """How long a message between each rank and this one may be that travels in one piece (`cutting`)."""
    scratch: Scratch = field(default_factory=Scratch)

    def address(self, function: str) -> int:
        """Address of an MPI function. Raises `MpiError` where the library has no such function."""
        try:
            found = ctypes.cast(getattr(self.library, function), ctypes.c_void_p).value
        except AttributeError:
            found = None
        if found is None:
            raise MpiError(f"{self.library._name} has no function {function}")
        return found

    def check(self, code: int) -> None:
        """Raise `MpiError` for a code other than MPI_SUCCESS."""
        if code != 0:
            from mpi4py import MPI

            raise MpiError(f"rank {self.comm.rank}: MPI failed: {MPI.Get_error_string(code)}")


def native(comm: MPI.Intracomm, progress_address: int = 0) -> NativeMpi:
    """The table for a communicator of its own, a duplicate of `comm`, so that no message meets a foreign one.

    `progress_address` is where `whereabouts` tells what compiled loops are at, for somebody to read.
    """
    from mpi4py import MPI

    own = comm.Dup()
    own.Set_errhandler(MPI.ERRORS_RETURN)
    status = np.zeros(MPI._sizeof(MPI.Status) + 64, np.uint8)
    longest = np.full(own.size, MESSAGE_BYTES)
    mpi = NativeMpi(
        own, ctypes.CDLL(str(loaded_library())), np.zeros(15, np.int64), status, np.zeros(3, np.int64), longest
    )
    table = mpi.table
    for entry, function in ((F_ISEND, "MPI_Isend"), (F_IRECV, "MPI_Irecv"), (F_WAIT, "MPI_Wait"),
                            (F_SENDRECV, "MPI_Sendrecv"), (F_IPROBE, "MPI_Iprobe")):  # fmt: skip
        table[entry] = mpi.address(function)
    table[COMM], table[BYTE] = handle(own), handle(MPI.BYTE)
    table[REQUEST_BYTES] = MPI._sizeof(MPI.Request)
    table[STATUS] = status.ctypes.data
    table[FOUND] = status.ctypes.data + len(status) - 8
    table[ANY_SOURCE] = MPI.ANY_SOURCE
    table[RANK], table[RANKS] = own.rank, own.size
    table[PROGRESS] = progress_address or mpi.progress.ctypes.data
    table[LONGEST_BYTES] = MESSAGE_BYTES
    return mpi


def handle(thing: Any) -> int:
    """The value of an MPI handle as compiled code passes it."""
    from mpi4py import MPI

    value = int(MPI._handleof(thing)) & (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value  # MPICH's handles are negative ints


def loaded_library() -> Path:
    """The file of the MPI library that this process runs on. Raises `MpiError` where none is loaded."""
    from mpi4py import MPI  # loads it

    del MPI
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.name.startswith(("libmpi.so", "libmpich.so", "libmpi_abi.so")):
            return path
    raise MpiError("no MPI library is loaded in this process; expected a libmpi.so in /proc/self/maps")


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of integers, and return its int."""
    width = len(arguments)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        function = ir.FunctionType(ir.IntType(32), [i64] * width)
        target = builder.inttoptr(args[0], function.as_pointer())
        values = [
            context.cast(builder, builder.extract_value(args[1], i), arguments[i], types.int64) for i in range(width)
        ]
        return builder.call(target, values)

    return types.int32(types.int64, arguments), codegen


@njit(cache=True, nogil=True)
def barrier(mpi: Any) -> int:
    """Dissemination barrier of our own: ⌈lg p⌉ rounds of empty messages, the same under every library.

    In round k rank r tells rank r + 2^k and hears from rank r − 2^k (Hensgen, Finkel and Manber, "Two algorithms for
    barrier synchronization", Int. J. Parallel Program. 17(1), 1988, doi 10.1007/BF01379320). Returns MPI's error code.
    """
    distance = 1
    while distance < mpi[RANKS]:
        there = (mpi[RANK] + distance) % mpi[RANKS]
        back = (mpi[RANK] - distance) % mpi[RANKS]
        code = call(
            mpi[F_SENDRECV],
            (0, 0, mpi[BYTE], there, BARRIER_TAG, 0, 0, mpi[BYTE], back, BARRIER_TAG, mpi[COMM], mpi[STATUS]),
        )
        if code != 0:
            return code
        distance *= 2
    return 0
