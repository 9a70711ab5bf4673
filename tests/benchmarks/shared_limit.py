"""Run by every rank of a benchmark: an all_reduce of 64 MiB in registered memory, beside the limit of that memory.

The limit is what all ranks take at once for the same bytes without telling each other anything: each updates its share
of every rank's buffer in place, or copies it from every input to every output with the same stores. Prints the medians
of both in seconds, the limit's first; samples of both take turns.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from clusterbench.bench.worlds.world import World, join_world

if TYPE_CHECKING:
    from clusterbench.collectives.fusion.steps import FusedProgram
    from clusterbench.collectives.transports.shared_window import SharedWindow

PLACEMENT = sys.argv[1]
SIZE_BYTES = 1 << 26
TURNS = 12
BLOCK = 2048
"""Elements of one buffer that are updated before the same ones of the next."""


def updating(world: World, window: SharedWindow) -> Any:
    """Updates this rank's share of every rank's buffer in place; returns the seconds that the slowest rank took."""
    import ctypes
    from time import perf_counter

    import numpy as np
    from mpi4py import MPI
    from numba import njit

    one = np.float32(1)  # an integer would make it a sum of doubles

    @njit(nogil=True)  # type: ignore[untyped-decorator]  # typed in some releases of Numba and not in others
    def update(shares: Any) -> None:
        for first in range(0, len(shares[0]), BLOCK):
            for share in shares:
                block = share[first : first + BLOCK]
                for i in range(len(block)):  # of a slice, so that it is done in vectors
                    block[i] += one

    count = SIZE_BYTES // 4
    whole = [(ctypes.c_float * count).from_address(window.room(rank)) for rank in range(world.size)]
    first, end = (count * part // world.size for part in (world.rank, world.rank + 1))
    shares = tuple(np.frombuffer(buffer, np.float32)[first:end] for buffer in whole)
    update(shares)

    def once() -> float:
        world.comm.Barrier()
        started = perf_counter()
        update(shares)
        return world.comm.allreduce(perf_counter() - started, MPI.MAX)

    return once


def copying(programs: list[FusedProgram]) -> tuple[FusedProgram, ...]:
    """What the passes of an all_reduce out of place touch, place for place, and no sums."""
    from dataclasses import replace

    from clusterbench.collectives.fusion.steps import OUTPUT, Pass

    alone = []
    for program in programs:
        copies = [
            Pass((source,), (target,), step.count)
            for step in program.steps
            if isinstance(step, Pass)
            for source, target in zip(step.sources, step.targets, strict=True)
            if target[1] == OUTPUT
        ]
        alone.append(replace(program, steps=tuple(copies)))
    return tuple(alone)


def main() -> None:
    world = join_world()
    from functools import partial

    import numpy as np

    from clusterbench.bench.measuring.collective_buffers import Arena
    from clusterbench.collectives.algorithm import Call, Spec
    from clusterbench.collectives.checking.data import Problem
    from clusterbench.collectives.collective import COLLECTIVES
    from clusterbench.collectives.discovery import schedule
    from clusterbench.collectives.fusion.fuse import fuse
    from clusterbench.collectives.fusion.layout import FusedLayout
    from clusterbench.collectives.transports import shared
    from clusterbench.collectives.transports.native import native
    from clusterbench.collectives.transports.shared_window import open_window

    what, ranks = COLLECTIVES["all_reduce"], world.size
    in_place = PLACEMENT == "in_place"
    problem = Problem(what, ranks, -1, SIZE_BYTES // 4, np.dtype(np.float32), "sum", 1)
    programs = fuse(schedule(Spec("direct"), Call(what, ranks)), in_place, False)
    layout = FusedLayout(tuple(programs), problem.count, 4, False)
    window = open_window(world.comm, layout.stage_bytes(shared.STAGE_BYTES), 2 * SIZE_BYTES)
    room = window.registered().view(np.float32)
    half = SIZE_BYTES // 4
    buffers = Arena(room[:half], room[half:]).buffers(problem, world.rank, in_place)
    mpi = native(world.comm)

    def timed(call: shared.SharedCall) -> float:
        return float(call.time(1, 1)[0][0])

    ours = shared.prepare(mpi, window, layout, problem.dtype, "sum", buffers)
    if in_place:
        limit = updating(world, window)
    else:
        copies = FusedLayout(copying(programs), problem.count, 4, False)
        alone = shared.prepare(mpi, window, copies, problem.dtype, "sum", buffers)
        limit = partial(timed, alone)
    room[:] = 0
    times = [(limit(), timed(ours)) for _ in range(TURNS * 3)]
    if world.rank == 0:
        sys.stdout.write(" ".join(str(value) for value in np.median(times, axis=0)) + "\n")


main()
