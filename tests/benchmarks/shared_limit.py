"""Run by every rank of a benchmark: an all_reduce of 64 MiB in registered memory, beside the limit of that memory.

The limit is what all ranks take at once for the same bytes without telling each other anything: each reads and writes
its share of every rank's buffer in place, or copies it from every input to every output. Prints the medians of both in
seconds, the limit's first; samples of both take turns.
"""

from __future__ import annotations

import sys

from clusterbench.bench.world import join_world

PLACEMENT = sys.argv[1]
SIZE_BYTES = 1 << 26
TURNS = 12


def main() -> None:
    world = join_world()
    from dataclasses import replace

    import numpy as np

    from clusterbench.bench.collective_buffers import Arena
    from clusterbench.collectives.algorithm import Call, Spec
    from clusterbench.collectives.collective import COLLECTIVES
    from clusterbench.collectives.data import Problem
    from clusterbench.collectives.discovery import schedule
    from clusterbench.collectives.fusion import fuse
    from clusterbench.collectives.fusion_layout import FusedLayout
    from clusterbench.collectives.fusion_steps import OUTPUT, Pass
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
    call = shared.prepare(mpi, window, layout, problem.dtype, "sum", buffers)
    alone = []
    for program in programs:
        passes = [step for step in program.steps if isinstance(step, Pass)]
        # What the passes of the all-reduce touch, place for place: an update reads what it writes, a copy another.
        copies = [
            Pass((target,) * 2 if in_place else (source,), (target,), step.count)
            for step in passes
            for source, target in zip(step.sources, step.targets, strict=True)
            if target[1] == OUTPUT
        ]
        alone.append(replace(program, steps=tuple(copies)))
    limit = shared.prepare(
        mpi, window, FusedLayout(tuple(alone), problem.count, 4, False), problem.dtype, "max", buffers
    )
    times: list[tuple[float, float]] = []
    for _ in range(TURNS):
        times.append(tuple(float(np.median(one.time(3, 1)[0])) for one in (limit, call)))  # type: ignore[arg-type]
    if world.rank == 0:
        sys.stdout.write(" ".join(str(value) for value in np.median(times, axis=0)) + "\n")


main()
