"""NCCL's own collectives through CuPy: the algorithm `library` of the transport `nccl`.

One call here is one call of NCCL, or one group of sends and receives where NCCL has no collective of that name, as in
nccl-tests (its src/alltoall.cu, scatter.cu, gather.cu). It was written where no GPU was at hand and has only been read,
not run: what it computes is checked by the same data as every other collective.

Source: NCCL API, https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Count
from clusterbench.collectives.transports.device import DeviceBuffers, DeviceCall
from clusterbench.collectives.transports.device_values import divide
from clusterbench.collectives.transports.gpu import ArrayModule, NoDeviceBuffersError
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.collectives.transports.prepared import Buffers

_TYPES = {
    "float16": "NCCL_FLOAT16", "bfloat16": "NCCL_BFLOAT16", "float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64",
    "int8": "NCCL_INT8", "uint8": "NCCL_UINT8", "int32": "NCCL_INT32", "uint32": "NCCL_UINT32",
    "int64": "NCCL_INT64", "uint64": "NCCL_UINT64",
}  # fmt: skip


def communicator(mpi: NativeMpi) -> Any:
    """NCCL's communicator of all ranks; all call it together, each with its own device chosen.

    Raises `NoDeviceBuffersError` where CuPy finds no NCCL.
    """
    from cupy.cuda import nccl

    if not nccl.available:
        raise NoDeviceBuffersError("CuPy finds no NCCL for --transport nccl; pip install nvidia-nccl-cu13")
    identifier = mpi.comm.bcast(nccl.get_unique_id() if mpi.comm.rank == 0 else None)
    return nccl.NcclCommunicator(mpi.comm.size, identifier, mpi.comm.rank)


def prepare(
    mpi: NativeMpi, comm: Any, module: ArrayModule, what: Collective, count: Count, dtype: np.dtype[Any], op: str,
    root: int, buffers: Buffers, device: DeviceBuffers,
) -> DeviceCall:  # fmt: skip
    """NCCL's collective for `count` elements a rank, in place where the buffers are.

    An average is the sum and a division, as everywhere in this suite: NCCL's own divides every input before it adds,
    which rounds otherwise. Raises `NoDeviceBuffersError` for what CuPy has no name for.
    """
    from cupy.cuda import nccl

    kind = getattr(nccl, _TYPES[dtype.name], None)
    if kind is None:
        raise NoDeviceBuffersError(f"this CuPy knows no {_TYPES[dtype.name]}; a newer one does")
    operation = getattr(nccl, f"NCCL_{'SUM' if op == 'avg' else op.upper()}") if op else 0
    stream = module.xp.cuda.get_current_stream().ptr
    send, receive = device.send.data.ptr, device.receive.data.ptr
    ranks, rank = mpi.comm.size, mpi.comm.rank
    at_root = rank == root
    elements = np.asarray(count)

    def grouped(sends: Iterable[tuple[int, int, int]], receives: Iterable[tuple[int, int, int]]) -> Callable[[], None]:
        """Messages (peer, first element, elements) of one group; those of no elements are left out on both sides."""
        out = [(send + first * dtype.itemsize, n, peer) for peer, first, n in sends if n]
        into = [(receive + first * dtype.itemsize, n, peer) for peer, first, n in receives if n]

        def action() -> None:
            nccl.groupStart()
            for pointer, n, peer in out:
                comm.send(pointer, n, kind, peer, stream)
            for pointer, n, peer in into:
                comm.recv(pointer, n, kind, peer, stream)
            nccl.groupEnd()

        return action

    def parts(lengths: Any) -> list[tuple[int, int, int]]:
        """One message for every rank, behind one another."""
        starts = np.cumsum(lengths) - lengths
        return [(peer, int(starts[peer]), int(lengths[peer])) for peer in range(ranks)]

    even = np.full(ranks, elements if elements.ndim == 0 else 0)
    n = int(even[0])
    calls: dict[str, Callable[[], Callable[[], None]]] = {
        "all_reduce": lambda: lambda: comm.allReduce(send, receive, n, kind, operation, stream),
        "reduce_scatter": lambda: lambda: comm.reduceScatter(send, receive, n, kind, operation, stream),
        "all_gather": lambda: lambda: comm.allGather(send, receive, n, kind, stream),
        "broadcast": lambda: lambda: comm.broadcast(send, receive, n, kind, root, stream),
        "reduce": lambda: lambda: comm.reduce(send, receive, n, kind, operation, root, stream),
        "all_to_all": lambda: grouped(parts(even), parts(even)),
        "all_to_all_v": lambda: grouped(parts(elements[rank]), parts(elements[:, rank])),
        "scatter": lambda: grouped(parts(even) if at_root else [], [(root, 0, n)]),
        "gather": lambda: grouped([(root, 0, n)], parts(even) if at_root else []),
    }
    call = calls[what.name]()

    def action() -> None:
        call()
        if op == "avg" and len(device.result):
            divide(module.xp, device.result, dtype, ranks)

    return DeviceCall(mpi, module, buffers, device, action)
