"""Transport `mpi`: a schedule over MPI's point-to-point messages, several in flight, no Python between two steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterbench.collectives.programs.program import SCRATCH, Program, lower
from clusterbench.collectives.programs.steps import INPUT, OUTPUT
from clusterbench.collectives.schedule import Count, layout
from clusterbench.collectives.transports.native import REQUEST_BYTES, NativeMpi
from clusterbench.collectives.transports.prepared import (
    Buffers,
    PreparedCall,
    address,
    division_step,
    functions_for,
)


def prepare(
    mpi: NativeMpi, program: Program, count: Count, dtype: np.dtype[Any], op: str, buffers: Buffers
) -> PreparedCall:
    """Make a program ready for `count` elements a rank (as nccl-tests counts them).

    `buffers.send` and `buffers.receive` have the sizes that the collective asks for, and are the same memory where the
    program was compiled for in place.
    """
    schedule = program.schedule
    lowered = lower(program, count, dtype.itemsize, mpi.longest_bytes)
    places = layout(schedule, program.rank, count)
    takes, gives = schedule.takes(program.rank), schedule.gives(program.rank)
    scratch = mpi.scratch.take(lowered.scratch_bytes)
    bases = np.zeros(3, np.int64)
    bases[INPUT] = address(buffers.send) - places.taken[takes[0]] * dtype.itemsize
    bases[OUTPUT] = address(buffers.receive) - places.given[gives[0]] * dtype.itemsize
    bases[SCRATCH] = address(scratch)
    steps = lowered.steps
    if op == "avg":
        first, end = (int(places.given[chunk]) for chunk in gives)
        if end > first:
            steps = np.concatenate([steps, division_step(OUTPUT, first * dtype.itemsize, end - first)])
    return PreparedCall(
        mpi=mpi,
        steps=steps,
        bases=bases,
        functions=functions_for(dtype, op, schedule.ranks),
        requests=np.zeros(max(1, lowered.requests * int(mpi.table[REQUEST_BYTES])), np.uint8),
        scratch=scratch,
        buffers=buffers,
    )
