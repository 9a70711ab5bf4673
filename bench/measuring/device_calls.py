"""Calls on GPU buffers for a request: the device of this rank, its memory, and who runs what on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clusterbench.bench import exit_codes
from clusterbench.bench.measuring.collective_buffers import Arena, sizes
from clusterbench.bench.worlds.world import AgreedError, World
from clusterbench.collectives.checking.data import Problem
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.programs.program import Program
from clusterbench.collectives.transports import device, nccl
from clusterbench.collectives.transports.device import DeviceBuffers, DeviceCall
from clusterbench.collectives.transports.device_values import device_type
from clusterbench.collectives.transports.gpu import ArrayModule, NoDeviceBuffersError, cupy_module, refuse_unaware
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.collectives.transports.prepared import Buffers

NCCL = "nccl"


class DeviceCalls:
    """The GPU of one rank. All ranks make theirs alike."""

    def __init__(
        self,
        world: World,
        native: NativeMpi,
        transport: str,
        problems: Sequence[Problem],
        placements: Sequence[str],
        uses_library: bool,
    ) -> None:
        """Choose the device and take its memory; `uses_library` tells whether the library's own collective is to run.

        Raises `AgreedError` on every rank where one of them has no device, too little memory on it, a library that
        may not be given its addresses, or for NCCL a device that is another rank's too.
        """
        self._native = native
        self._transport = transport
        local_rank = world.places[world.rank].local_rank
        dtype = device_type(problems[0].dtype)
        if uses_library and transport != NCCL:
            _all_can(world, lambda: device.refuse_unreduced(problems[0].dtype, problems[0].op))
        self.module: ArrayModule = _all_can(world, lambda: cupy_module(local_rank))
        world.page.join(world.rank, world.size, f"{self.module.device}, {self.module.bus}")
        self.shared = shared_by([(place.host, bus) for place, bus in
                                 zip(world.places, world.comm.allgather(self.module.bus), strict=True)])  # fmt: skip
        """Words for what ranks share a GPU; empty where each has its own."""
        if self.shared and transport == NCCL:
            raise AgreedError(f"{self.shared}; NCCL wants one each: start fewer ranks a host", exit_codes.USAGE)
        if transport != NCCL:
            _all_can(world, lambda: refuse_unaware(native))
        self._comm: Any = _all_can(world, lambda: nccl.communicator(native)) if transport == NCCL else None
        large, small = sizes(problems, placements, world.rank)
        needed = (large + small) * dtype.itemsize
        _all_can(world, lambda: _refuse_too_large(self.module, needed))
        xp = self.module.xp
        self._arena = Arena(xp.zeros(large, dtype), xp.zeros(small, dtype))

    def marking(self, dtype: np.dtype[Any], op: str) -> str:
        """What a row of the library's own collective says of how it reduces, as `library.marking`."""
        whose = "NCCL's own rounds otherwise" if self._transport == NCCL else "MPI has no average"
        return f"avg by sum and a timed division: {whose}" if op == "avg" else ""

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


def shared_by(gpus: Sequence[tuple[str, str]]) -> str:
    """Which ranks use the same GPU, in words; empty where none do. `gpus` has the host and bus of each rank's."""
    for gpu in dict.fromkeys(gpus):
        ranks = [str(rank) for rank, other in enumerate(gpus) if other == gpu]
        if len(ranks) > 1:
            return f"ranks {', '.join(ranks)} share one GPU ({gpu[1]} on {gpu[0]})"
    return ""


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
