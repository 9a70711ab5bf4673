"""The MPI library's own collectives, run by the same compiled loop as our schedules: the algorithm `library`."""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.compiler import OUTPUT
from clusterbench.collectives.transports.executor import CALL
from clusterbench.collectives.transports.native import COMM, NativeMpi, handle
from clusterbench.collectives.transports.prepared import Buffers, PreparedCall, address, division_step, functions_for

_FUNCTIONS = {
    "all_reduce": "MPI_Allreduce",
    "reduce_scatter": "MPI_Reduce_scatter_block",
    "all_gather": "MPI_Allgather",
}

_TYPES = {
    # The library's own types: only these may be reduced by its own operations.
    "float32": "FLOAT",
    "float64": "DOUBLE",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}_T" for sign in ("", "u") for bits in (8, 32, 64)},
}


_LARGEST_INT = 2**31 - 1


def function_name(collective: Collective, count: int) -> str:
    """The MPI function for `count` elements a rank: beyond an int, that of MPI 4.0 with counts of 64 bits."""
    return _FUNCTIONS[collective.name] + ("_c" if count > _LARGEST_INT else "")


def puts_result_first(collective: Collective) -> bool:
    """Whether MPI in place leaves the result at the start of the buffer instead of at the rank's own part.

    So it does for reduce_scatter (MPI 4.1, section 6.10.1), where NCCL leaves it at the rank's own part.
    """
    return collective.name == "reduce_scatter"


def prepare(
    mpi: NativeMpi, collective: Collective, count: int, dtype: np.dtype[Any], op: str, buffers: Buffers, in_place: bool
) -> PreparedCall:
    """Make the library's call ready for `count` elements a rank (as nccl-tests counts them).

    MPI has no average: it is the sum, divided afterwards inside the timed region, as in our own schedules.
    Raises `MpiError` where the library has no function for so many elements.
    """
    from mpi4py import MPI

    kind = handle(getattr(MPI, _TYPES[dtype.name]))
    send = int(MPI.IN_PLACE) if in_place else address(buffers.send)
    comm = int(mpi.table[COMM])
    if collective.reduces:
        operation = {"sum": MPI.SUM, "avg": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}[op]
        # In place, reduce_scatter takes its input from the whole buffer.
        receive = buffers.send if in_place else buffers.receive
        arguments = [send, address(receive), count, kind, handle(operation), comm]
    else:
        arguments = [send, count, kind, address(buffers.receive), count, kind, comm]
    steps = np.zeros((1, 9), np.int64)
    steps[0, 0], steps[0, 1] = CALL, len(arguments)
    steps[0, 2 : 2 + len(arguments)] = arguments
    bases = np.zeros(3, np.int64)
    if op == "avg":
        bases[OUTPUT] = address(buffers.result)
        steps = np.concatenate([steps, division_step(OUTPUT, 0, len(buffers.result))])
    return PreparedCall(
        mpi=mpi,
        steps=steps,
        bases=bases,
        functions=functions_for(dtype, op, mpi.comm.size, mpi.address(function_name(collective, count))),
        requests=np.zeros(1, np.uint8),
        scratch=np.zeros(1, np.uint8),
        buffers=buffers,
    )
