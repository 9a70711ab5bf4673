"""Calls on GPU buffers for a request: the device of this rank, its memory, and who runs what on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clusterbench.bench import exit_codes
from clusterbench.bench.collective_buffers import Arena, sizes
from clusterbench.bench.world import AgreedError, World
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.data import Problem
from clusterbench.collectives.program import Program
from clusterbench.collectives.transports import device, nccl
from clusterbench.collectives.transports.device import DeviceBuffers, DeviceCall
from clusterbench.collectives.transports.gpu import ArrayModule, NoDeviceBuffersError, cupy_module, refuse_unaware
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.collectives.transports.prepared import Buffers

NCCL = "nccl"


class DeviceCalls:
    """The GPU of one rank. All ranks make theirs alike."""

    def __init__(
        self, world: World, native: NativeMpi, transport: str, problems: Sequence[Problem], placements: Sequence[str]
    ) -> None:
        """Choose the device and take its memory.

        Raises `AgreedError` on every rank where one of them has no device, too little memory on it, or a library that
        may not be given its addresses.
        """
        self._native = native
        self._transport = transport
        local_rank = world.places[world.rank].local_rank
        reduced_here = problems[0].op if transport != NCCL else ""
        dtype = _all_can(world, lambda: device.device_type(problems[0].dtype, reduced_here))
        self.module: ArrayModule = _all_can(world, lambda: cupy_module(local_rank))
        if transport != NCCL:
            _all_can(world, lambda: refuse_unaware(native))
        self._comm: Any = _all_can(world, lambda: nccl.communicator(native)) if transport == NCCL else None
        large, small = sizes(problems, placements, world.rank)
        needed = (large + small) * dtype.itemsize
        _all_can(world, lambda: _refuse_too_large(self.module, needed))
        xp = self.module.xp
        self._arena = Arena(xp.zeros(large, dtype), xp.zeros(small, dtype))

    def prepare(
        self, problem: Problem, rank: int, program: Program | None, in_place: bool, result_first: bool, buffers: Buffers
    ) -> DeviceCall:
        """A call over `program`, or over the library's own collective where there is none."""
        cut = self._arena.buffers(problem, rank, in_place, result_first)
        on_device = DeviceBuffers(cut.send, cut.receive, cut.result)
        what: Collective = problem.collective
        if program is not None:
            return device.prepare(self._native, self.module, program, problem.count, problem.op, buffers, on_device)
        if self._transport == NCCL:
            return nccl.prepare(
                self._native, self._comm, self.module, what, problem.count, problem.dtype, problem.op, problem.root,
                buffers, on_device,
            )  # fmt: skip
        return device.prepare_library(
            self._native, self.module, what, problem.count, problem.op, problem.root, in_place, buffers, on_device
        )


def _all_can(world: World, action: Any) -> Any:
    """What `action` returns; where it is refused on any rank, all refuse, naming that one."""
    result, refusal = None, ""
    try:
        result = action()
    except NoDeviceBuffersError as error:
        refusal = str(error)
    refusals = world.comm.allgather(refusal)
    for rank, text in enumerate(refusals):
        if text:
            raise AgreedError(f"rank {rank}: {text}", exit_codes.USAGE)
    return result


def _refuse_too_large(module: ArrayModule, needed: int) -> None:
    free = module.xp.cuda.runtime.memGetInfo()[0]
    if needed > free:
        raise NoDeviceBuffersError(
            f"-e needs {needed / 2**30:.1f} GiB on {module.device}, which has {free / 2**30:.1f} GiB free; "
            "choose a smaller -e"
        )
