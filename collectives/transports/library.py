"""The MPI library's own collectives, run by the same compiled loop as our schedules: the algorithm `library`.

Where MPI lacks something, it is made up for inside the timed region: an average is the sum, divided afterwards, as in
our own schedules; a broadcast out of place, which MPI does not have, is a copy at the root before the broadcast, as
NCCL does it (ncclBroadcast). The 16-bit floats are the matter of `library_types`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.programs.steps import COPY, INPUT, OUTPUT
from clusterbench.collectives.schedule import Count, Ints
from clusterbench.collectives.transports.library_types import carrier, marking
from clusterbench.collectives.transports.native import COMM, LARGEST_INT, MpiError, NativeMpi
from clusterbench.collectives.transports.prepared import (
    Buffers,
    PreparedCall,
    address,
    call_step,
    division_step,
    functions_for_call,
)

__all__ = ["function_name", "marking", "prepare", "puts_result_first", "works_in_place"]

_FUNCTIONS = {
    "all_reduce": "MPI_Allreduce",
    "reduce_scatter": "MPI_Reduce_scatter_block",
    "all_gather": "MPI_Allgather",
    "broadcast": "MPI_Bcast",
    "reduce": "MPI_Reduce",
    "all_to_all": "MPI_Alltoall",
    "all_to_all_v": "MPI_Alltoallv",
    "scatter": "MPI_Scatter",
    "gather": "MPI_Gather",
}

_NO_ARRAYS = np.zeros((1, 1), np.int32)


def function_name(collective: Collective, count: Count) -> str:
    """The MPI function for so many elements a rank: beyond an int, that of MPI 4.0 with counts of 64 bits.

    Of a matrix of counts the largest sum of a row or column decides, as places are counted from a buffer's start.
    """
    return _FUNCTIONS[collective.name] + ("_c" if _most(count) > LARGEST_INT else "")


def _most(count: Count) -> int:
    lengths = np.asarray(count, np.int64)
    return int(max(lengths.sum(0).max(), lengths.sum(1).max())) if lengths.ndim else int(lengths)


def puts_result_first(collective: Collective) -> bool:
    """Whether MPI in place leaves the result at the start of the buffer instead of at the rank's own part.

    So it does for reduce_scatter (MPI 4.1, section 6.10.1), where NCCL leaves it at the rank's own part.
    """
    return collective.name == "reduce_scatter"


def works_in_place(collective: Collective) -> bool:
    """Whether the library does it in place: MPI_Alltoallv can only where ranks send each other equally much."""
    return not collective.uneven


def prepare(
    mpi: NativeMpi,
    collective: Collective,
    count: Count,
    dtype: np.dtype[Any],
    op: str,
    buffers: Buffers,
    in_place: bool,
    root: int = -1,
) -> PreparedCall:
    """Make the library's call ready for `count` elements a rank (as in `schedule.layout`).

    `buffers` are arrays of length 0 where a rank brings or gets nothing. Raises `MpiError` where the library has no
    function for so many elements, or cannot do it in place.
    """
    if in_place and not works_in_place(collective):
        raise MpiError(f"the library has no {collective.name} in place; expected it out of place")
    function = mpi.address(function_name(collective, count))
    carried = carrier(dtype.name, "sum" if op == "avg" else op, _most(count) > LARGEST_INT)
    arrays = _counts_and_places(np.asarray(count, np.int64), mpi.comm.rank) if collective.uneven else _NO_ARRAYS
    if collective.uneven:
        arguments = _uneven(arrays, buffers, carried.datatype)
    elif collective.reduces:
        arguments = _reducing(collective, int(np.asarray(count)), buffers, in_place, root == mpi.comm.rank)
        arguments += [carried.datatype, carried.operation]
    else:
        arguments = _moving(collective, int(np.asarray(count)), carried.datatype, buffers, in_place,
                            root == mpi.comm.rank)  # fmt: skip
    arguments += [root] if collective.is_rooted else []
    arguments += [int(mpi.table[COMM])]
    steps, bases = [call_step(len(arguments))], np.zeros(3, np.int64)
    bases[INPUT], bases[OUTPUT] = address(buffers.send), address(buffers.receive)
    if collective.name == "broadcast" and root == mpi.comm.rank and not in_place:
        steps.insert(0, np.array([[COPY, -1, OUTPUT, 0, INPUT, 0, 0, buffers.send.nbytes, 0]], np.int64))
    if op == "avg" and len(buffers.result):
        bases[OUTPUT] = address(buffers.result)
        steps.append(division_step(OUTPUT, 0, len(buffers.result)))
    return PreparedCall(
        mpi=mpi,
        steps=np.concatenate(steps),
        bases=bases,
        functions=functions_for_call(dtype, op, mpi.comm.size, function, arguments),
        requests=np.zeros(1, np.uint8),
        scratch=arrays.view(np.uint8).reshape(-1),
        buffers=buffers,
    )


def _reducing(what: Collective, count: int, buffers: Buffers, in_place: bool, is_root: bool) -> list[int]:
    """Send buffer, receive buffer and count of a collective that reduces."""
    # In place, reduce_scatter takes its input from the whole buffer.
    receive = buffers.send if in_place and puts_result_first(what) else buffers.receive
    lies_there = in_place and (is_root or not what.is_rooted)
    return [_in_place() if lies_there else address(buffers.send), address(receive), count]


def _moving(
    what: Collective, count: int, datatype: int, buffers: Buffers, in_place: bool, is_root: bool
) -> list[int]:  # fmt: skip
    """All arguments up to the root of a collective that moves equal parts."""
    send, receive = address(buffers.send), address(buffers.receive)
    if what.name == "broadcast":
        return [receive, count, datatype]
    if in_place and (is_root or not what.is_rooted):
        if what.gives == "whole" or what.gives == "root":
            send = _in_place()
        else:  # the root of a scatter leaves its own part where it is
            receive = _in_place()
    return [send, count, datatype, receive, count, datatype]


def _uneven(arrays: NDArray[Any], buffers: Buffers, datatype: int) -> list[int]:
    """All arguments up to the communicator of an exchange of uneven parts."""
    row = [int(line.ctypes.data) for line in arrays]
    return [address(buffers.send), row[0], row[1], datatype, address(buffers.receive), row[2], row[3], datatype]


def _counts_and_places(lengths: Ints, rank: int) -> NDArray[Any]:
    """Counts and displacements of what a rank sends, then of what it receives: shape (4, ranks), as MPI takes them."""
    sent, received = lengths[rank], lengths[:, rank]
    rows = np.stack([sent, np.cumsum(sent) - sent, received, np.cumsum(received) - received])
    return np.ascontiguousarray(rows, np.int64 if _most(lengths) > LARGEST_INT else np.int32)


def _in_place() -> int:
    from mpi4py import MPI

    return int(MPI.IN_PLACE)
