"""GPUs for collectives: the device of a rank, its array module, and whether the MPI library may be given its memory.

A library that is not built for GPUs reads a device address as one of the host and is killed for it. So it is asked
first, by the function that it has for that purpose, and what cannot be asked is refused.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterbench.collectives.transports.native import MpiError, NativeMpi

_MPIX_GPU_SUPPORT_CUDA = 0
"""mpi.h of MPICH: the first of the kinds that MPIX_GPU_query_support knows."""


class NoDeviceBuffersError(RuntimeError):
    """GPU buffers that cannot be had here; the message says why and what can."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class ArrayModule:
    """What holds the buffers of a call that compiled code cannot touch: CuPy, or NumPy in its place."""

    xp: Any
    """The array module."""
    synchronise: Callable[[], None]
    """Waits for everything that was queued."""
    to_host: Callable[[Any], Any]
    """An array of NumPy's with the same content."""
    device: str
    """Its name."""
    bus: str
    """Where it is in its host, by which two ranks know that they use the same one."""


def cupy_module(local_rank: int) -> ArrayModule:
    """CuPy on the device of a rank: the `local_rank`-th, counting round.

    Raises `NoDeviceBuffersError` where there is no CuPy or no device.
    """
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        raise NoDeviceBuffersError(f"buffers on the device need CuPy: {error}; use --buffers host") from None
    except Exception as error:  # CuPy's own, which exist only where CuPy does
        raise NoDeviceBuffersError(f"no GPU for buffers on the device: {error}; use --buffers host") from None
    number = local_rank % count
    cupy.cuda.Device(number).use()
    name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
    bus = cupy.cuda.runtime.deviceGetPCIBusId(number)
    return ArrayModule(cupy, cupy.cuda.get_current_stream().synchronize, cupy.asnumpy, name, bus)


def refuse_unaware(mpi: NativeMpi) -> None:
    """Raise `NoDeviceBuffersError` unless the MPI library says that it takes CUDA memory."""
    from mpi4py import MPI

    name = MPI.Get_library_version().splitlines()[0].rstrip("\0")
    aware, asked = _asked(mpi)
    if not aware:
        raise NoDeviceBuffersError(
            f"{name} is not GPU-aware ({asked}); use --buffers host, --transport nccl, or an MPI built for CUDA"
        )


def _asked(mpi: NativeMpi) -> tuple[bool, str]:
    """Whether the library takes CUDA memory, and how that was found out."""
    try:
        # Open MPI's extension, ompi/mpiext/cuda.
        query = ctypes.CFUNCTYPE(ctypes.c_int)(mpi.address("MPIX_Query_cuda_support"))
        return bool(query()), "MPIX_Query_cuda_support says no"
    except MpiError:
        pass
    try:
        supported = ctypes.c_int(0)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
        code = kind(mpi.address("MPIX_GPU_query_support"))(_MPIX_GPU_SUPPORT_CUDA, ctypes.byref(supported))
        return code == 0 and bool(supported.value), "MPIX_GPU_query_support says no"
    except MpiError:
        pass
    # Intel MPI has no function for it, but does nothing with device memory unless it is told to.
    offload = os.environ.get("I_MPI_OFFLOAD", "0")
    return offload not in ("", "0"), "it has no function to ask, and I_MPI_OFFLOAD is not set"
