"""Run by every rank of a test: collectives on "device" buffers that are NumPy arrays, checked like any others.

Prints one line a call on rank 0: collective, algorithm, type, operation, placement, wrong elements over all ranks.
"""

from __future__ import annotations

from clusterbench.bench.worlds.world import join_world

COMM = join_world().comm

import numpy as np  # noqa: E402 - ranks join before anything that may import MPI or numba

from clusterbench.bench.measuring.collective_buffers import Arena, sizes, take_arena  # noqa: E402
from clusterbench.collectives import discovery, traffic  # noqa: E402
from clusterbench.collectives.algorithm import Call, Spec  # noqa: E402
from clusterbench.collectives.checking import data  # noqa: E402
from clusterbench.collectives.collective import COLLECTIVES, Collective  # noqa: E402
from clusterbench.collectives.programs.program import compile_program  # noqa: E402
from clusterbench.collectives.transports import device, library  # noqa: E402
from clusterbench.collectives.transports.device_values import device_type  # noqa: E402
from clusterbench.collectives.transports.gpu import ArrayModule  # noqa: E402
from clusterbench.collectives.transports.native import NativeMpi, native  # noqa: E402
from clusterbench.kernels.element_types import SHORT_FLOATS, element_type  # noqa: E402

MODULE = ArrayModule(np, lambda: None, np.asarray, "NumPy", "none")
CASES = (
    ("float32", "sum"), ("float16", "max"), ("int32", "avg"), ("uint8", "prod"), ("float64", "avg"),
    ("bfloat16", "sum"), ("bfloat16", "avg"), ("bfloat16", "min"),
)  # fmt: skip


def problem_of(what: Collective, dtype: str, op: str) -> data.Problem:
    weights = traffic.skewed(COMM.size, 1.0, 5)
    count = traffic.counts(weights, 37) if what.uneven else 37
    root = COMM.size - 1 if what.is_rooted else -1
    return data.Problem(what, COMM.size, root, count, element_type(dtype), op if what.reduces else "", 11)


def check(mpi: NativeMpi, problem: data.Problem, algorithm: str, in_place: bool) -> None:
    what, rank = problem.collective, COMM.rank
    placements = ["in_place" if in_place else "out_of_place"]
    first = algorithm == "library" and in_place and library.puts_result_first(what)
    buffers = take_arena([problem], placements, rank).buffers(problem, rank, in_place, first)
    large, small = sizes([problem], placements, rank)
    kind = device_type(problem.dtype)
    cut = Arena(np.zeros(large, kind), np.zeros(small, kind)).buffers(problem, rank, in_place, first)
    there = device.DeviceBuffers(cut.send, cut.receive, cut.result)
    if algorithm == "library":
        call = device.prepare_library(
            mpi, MODULE, what, problem.count, problem.op, problem.root, in_place, buffers, there
        )
    else:
        schedule = discovery.schedule(Spec(algorithm), Call(what, COMM.size, problem.root))
        program = compile_program(schedule, rank, in_place)
        call = device.prepare(mpi, MODULE, program, problem.count, problem.op, buffers, there)
    data.poison(buffers.result)
    data.fill(problem, buffers.send, rank)
    call.load()
    call.run()
    call.fetch()
    wrong = COMM.allreduce(data.check(problem, buffers.result, rank).count)
    seconds = call.time(2, 2)[0]
    if COMM.rank == 0:
        timed = bool((seconds > 0).all())
        print(  # noqa: T201 - what the test reads
            what.name, algorithm, problem.dtype.name, problem.op or "none", placements[0], wrong, timed
        )


def main() -> None:
    mpi = native(COMM)
    for what in COLLECTIVES.values():
        for dtype, op in CASES if what.reduces else CASES[:2]:
            problem = problem_of(what, dtype, op)
            names = [*discovery.suitable(what, COMM.size)]
            if not (what.reduces and dtype in SHORT_FLOATS):
                names.append("library")
            for algorithm in names:
                for in_place in (False, True) if library.works_in_place(what) else (False,):
                    check(mpi, problem, algorithm, in_place)


main()
