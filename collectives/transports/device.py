"""Collectives on buffers that compiled code cannot touch: schedules and the library's own, on GPU memory.

Steps run from Python here, as messages wait for kernels and kernels for messages, and both are started on the host.
That costs microseconds a step, so small sizes show the host; large ones show the link. The same code runs over NumPy
arrays, which is how it is tested where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.collective import Collective
from clusterbench.collectives.programs.program import SCRATCH, Program, lower
from clusterbench.collectives.programs.steps import COPY, INPUT, OUTPUT, RECV, REDUCE, SEND, WAIT
from clusterbench.collectives.schedule import Count, layout
from clusterbench.collectives.transports.device_values import device_type, divide, reduction
from clusterbench.collectives.transports.gpu import ArrayModule, NoDeviceBuffersError
from clusterbench.collectives.transports.library_types import own_type
from clusterbench.collectives.transports.native import MESSAGE_TAG, NativeMpi, barrier
from clusterbench.collectives.transports.prepared import Buffers
from clusterbench.kernels.element_types import SHORT_FLOATS


@dataclass(frozen=True, slots=True)
class DeviceBuffers:
    """A rank's buffers on the device, cut and placed like those on the host, which are filled and checked."""

    send: Any
    receive: Any
    result: Any


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """One collective call on one rank, as `prepared.PreparedCall`. All ranks must use theirs in the same order."""

    mpi: NativeMpi
    module: ArrayModule
    buffers: Buffers
    """On the host."""
    device: DeviceBuffers
    action: Callable[[], None]
    """Starts one call; it is over when the module is synchronised."""

    def load(self) -> None:
        """Bring what is in the buffers on the host to the device."""
        for theirs, ours in ((self.device.result, self.buffers.result), (self.device.receive, self.buffers.receive),
                             (self.device.send, self.buffers.send)):  # fmt: skip
            theirs[...] = self.module.xp.asarray(ours.view(theirs.dtype))
        self.module.synchronise()

    def run(self) -> None:
        """Run it once."""
        self.action()
        self.module.synchronise()

    def fetch(self) -> None:
        """Bring the result to the host."""
        self.buffers.result.view(self.device.result.dtype)[...] = self.module.to_host(self.device.result)

    def time(self, samples: int, batch: int) -> tuple[NDArray[np.float64], float]:
        """Time it; see `PreparedCall.time`."""
        from mpi4py import MPI

        started = perf_counter()
        figures = np.empty(samples + 1)
        for i in range(samples):
            self.mpi.check(barrier(self.mpi.table))
            begun = perf_counter()
            for _ in range(batch):
                self.action()
            self.module.synchronise()
            figures[i] = (perf_counter() - begun) / batch
        figures[-1] = perf_counter() - started
        self.mpi.comm.Allreduce(MPI.IN_PLACE, figures, MPI.MAX)
        return figures[:-1], float(figures[-1])


def prepare(
    mpi: NativeMpi, module: ArrayModule, program: Program, count: Count, op: str, buffers: Buffers,
    device: DeviceBuffers,
) -> DeviceCall:  # fmt: skip
    """A schedule's program over device buffers; counts as in `mpi.prepare`."""
    schedule, itemsize = program.schedule, device.send.dtype.itemsize
    lowered = lower(program, count, itemsize)
    places = layout(schedule, program.rank, count)
    takes, gives = schedule.takes(program.rank), schedule.gives(program.rank)
    bytes_ = np.dtype(np.uint8)
    memory = {
        INPUT: device.send.view(bytes_),
        OUTPUT: device.receive.view(bytes_),
        SCRATCH: module.xp.zeros(lowered.scratch_bytes, bytes_),
    }
    first = {INPUT: int(places.taken[takes[0]]), OUTPUT: int(places.given[gives[0]]), SCRATCH: 0}

    def operand(region: int, byte: int, length: int) -> Any:
        start = byte - first[region] * itemsize
        return memory[region][start : start + length]

    steps = [tuple(map(int, step)) for step in lowered.steps]
    dtype = buffers.send.dtype
    action = _Steps(mpi, module, steps, operand, dtype, op).run
    if op == "avg":
        divisor, summed = schedule.ranks, device.receive

        def averaged() -> None:
            action()
            divide(module.xp, summed, dtype, divisor)

        return DeviceCall(mpi, module, buffers, device, averaged)
    return DeviceCall(mpi, module, buffers, device, action)


@dataclass(slots=True)
class _Steps:
    """The steps of a lowered program, run one after the other."""

    mpi: NativeMpi
    module: ArrayModule
    steps: list[tuple[int, ...]]
    operand: Callable[[int, int, int], Any]
    dtype: np.dtype[Any]
    """Of an element."""
    op: str

    def run(self) -> None:
        """Run them; kernels may still be queued at the end."""
        from mpi4py import MPI

        reduce = reduction(self.module.xp, self.dtype, self.op) if self.op else None
        carried = device_type(self.dtype)
        posted: dict[int, MPI.Request] = {}
        queued = True  # kernels of the caller: messages must see what they write, and not overtake what they read
        for op, peer, to, to_byte, source, source_byte, first, length, request in self.steps:
            if op == WAIT:
                posted.pop(request).Wait()
                continue
            if op in (SEND, RECV):
                if queued:
                    self.module.synchronise()
                    queued = False
                region, byte = (source, source_byte) if op == SEND else (to, to_byte)
                post = self.mpi.comm.Isend if op == SEND else self.mpi.comm.Irecv
                posted[request] = post([self.operand(region, byte, length), MPI.BYTE], peer, MESSAGE_TAG)
                continue
            target, other = self.operand(to, to_byte, length), self.operand(source, source_byte, length)
            if op == REDUCE and reduce is not None:
                mine = self.operand(first, to_byte, length)
                reduce(mine.view(carried), other.view(carried), target.view(carried))
            elif op == COPY:
                target[...] = other
            queued = True


def refuse_unreduced(dtype: np.dtype[Any], op: str) -> None:
    """Raise `NoDeviceBuffersError` for elements that the library does not reduce on a device."""
    if op and dtype.name in SHORT_FLOATS:
        raise NoDeviceBuffersError(f"MPI reduces no {dtype.name} on the device: leave out library, or --transport nccl")


def prepare_library(
    mpi: NativeMpi, module: ArrayModule, what: Collective, count: Count, op: str, root: int, in_place: bool,
    buffers: Buffers, device: DeviceBuffers,
) -> DeviceCall:  # fmt: skip
    """The MPI library's own collective on device buffers, through mpi4py, which passes their addresses on.

    Raises `NoDeviceBuffersError` for a type that MPI does not reduce.
    """
    from mpi4py import MPI

    comm, xp = mpi.comm, module.xp
    dtype = buffers.send.dtype
    refuse_unreduced(dtype, op)
    operation = {"": MPI.OP_NULL, "sum": MPI.SUM, "avg": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}[op]
    kind = own_type(device.send.dtype.name) if op else MPI.BYTE
    scale = 1 if op else device.send.dtype.itemsize
    at_root = root < 0 or comm.rank == root
    send, receive = [device.send, kind], [device.receive, kind]
    whole = [device.send, kind] if in_place else receive  # of reduce_scatter, which MPI leaves at the start in place
    mine: Any = MPI.IN_PLACE if in_place else send

    def broadcast() -> None:
        if at_root and not in_place:
            device.receive[...] = device.send
            module.synchronise()
        comm.Bcast(receive, root)

    def exchange_unevenly() -> None:
        matrix = np.asarray(count) * scale
        comm.Alltoallv(
            [device.send, (matrix[comm.rank].tolist(), None), kind],
            [device.receive, (matrix[:, comm.rank].tolist(), None), kind],
        )

    calls: dict[str, Callable[[], None]] = {
        "all_reduce": lambda: comm.Allreduce(mine, receive, operation),
        "reduce_scatter": lambda: comm.Reduce_scatter_block(mine, whole, operation),
        "all_gather": lambda: comm.Allgather(mine, receive),
        "broadcast": broadcast,
        "reduce": lambda: comm.Reduce(mine if at_root else send, receive if at_root else None, operation, root),
        "all_to_all": lambda: comm.Alltoall(mine, receive),
        "all_to_all_v": exchange_unevenly,
        "scatter": lambda: comm.Scatter(send if at_root else None, mine if in_place and at_root else receive, root),
        "gather": lambda: comm.Gather(mine if at_root else send, receive if at_root else None, root),
    }
    call = calls[what.name]

    def action() -> None:
        module.synchronise()
        call()
        if op == "avg" and len(device.result):
            divide(xp, device.result, dtype, comm.size)

    return DeviceCall(mpi, module, buffers, device, action)
