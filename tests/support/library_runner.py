"""A world of ranks in which the MPI library's own collectives run on exact data; prints what differs, and the markings.

Usage: mpiexec -n P python library_runner.py TYPE,TYPE... [large] [own]: `large` takes the functions with counts of 64
bits from 3 elements on, `own` forgets the library's extension types.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mpi4py
import numpy as np

mpi4py.rc.threads = False

from mpi4py import MPI  # noqa: E402  the thread level is chosen before MPI starts

from clusterbench.collectives.checking import data  # noqa: E402
from clusterbench.collectives.collective import COLLECTIVES, Collective  # noqa: E402
from clusterbench.collectives.transports import library, library_types  # noqa: E402
from clusterbench.collectives.transports.native import native  # noqa: E402
from clusterbench.collectives.transports.prepared import Buffers  # noqa: E402
from clusterbench.kernels.element_types import element_type, is_float  # noqa: E402

COUNTS = (1, 3, 1025)
OPS = ("sum", "prod", "min", "max", "avg")


def buffers(problem: data.Problem, rank: int, in_place: bool) -> Buffers:
    """The buffers of a rank as `library.prepare` wants them."""
    what, count = problem.collective, problem.count
    sends, receives = problem.brings(rank), problem.holds(rank)
    larger = np.zeros(max(sends, receives), problem.dtype)
    if not in_place or 0 in (sends, receives):
        send, receive = np.zeros(sends, problem.dtype), np.zeros(receives, problem.dtype)
    elif sends == receives:
        send = receive = larger
    else:
        own = rank * int(count)
        part = larger[own : own + int(count)]
        send, receive = (larger, part) if sends > receives else (part, larger)
    moved = in_place and library.puts_result_first(what)
    return Buffers(send, receive, send[: int(count)] if moved else receive)


def counts_of(what: Collective, ranks: int) -> list[Any]:
    """Counts to try; for uneven parts a matrix with zeros and a rank that sends nothing."""
    if not what.uneven:
        return list(COUNTS)
    matrix = np.arange(ranks * ranks, dtype=np.int64).reshape(ranks, ranks) * 7 % 11
    matrix[0] = 0
    return [matrix, matrix.T * 100]


def problems(what: Collective, ranks: int, names: list[str]) -> list[data.Problem]:
    """Everything to try of one collective."""
    ops = OPS if what.reduces else ("",)
    roots = {0, ranks - 1} if what.is_rooted else {-1}
    return [
        data.Problem(what, ranks, root, count, element_type(name), op, 5)
        for name in names for op in ops for root in sorted(roots) for count in counts_of(what, ranks)
    ]  # fmt: skip


def main() -> None:
    """Try all of it, and print one JSON document on rank 0."""
    mpi = native(MPI.COMM_WORLD)
    rank, ranks = mpi.comm.rank, mpi.comm.size
    names = sys.argv[1].split(",")
    if "large" in sys.argv:
        library.LARGEST_INT = 2
    if "own" in sys.argv:
        library_types._extensions = lambda type_name: iter(())
    faults, tried, worst = [], 0, 0.0
    for problem in [p for what in COLLECTIVES.values() for p in problems(what, ranks, names)]:
        what = problem.collective
        for in_place in (False, True) if library.works_in_place(what) else (False,):
            own = buffers(problem, rank, in_place)
            call = library.prepare(mpi, what, problem.count, problem.dtype, problem.op, own, in_place, problem.root)
            for repetition in range(2):  # out of place twice on the same input
                if in_place or repetition == 0:
                    data.poison(own.result)
                    data.fill(problem, own.send, rank)
                call.run()
                wrong = data.check(problem, own.result, rank)
                tried += 1
                if wrong.count:
                    place = "in place" if in_place else "out of place"
                    faults.append(f"{what.name} {problem.dtype.name} {problem.op} {place} root {problem.root} count "
                                  f"{problem.count} rank {rank}: {wrong.text()}")  # fmt: skip
            if problem.op in ("sum", "avg") and is_float(problem.dtype):
                data.fill_rounding(problem, own.send, rank)
                call.run()
                worst = max(worst, data.check_rounding(problem, own.result, rank).error_over_bound or 0.0)
    markings = {f"{name} {op}": library.marking(element_type(name), op) for name in names for op in ("", *OPS)}
    everything = mpi.comm.gather((faults, worst))
    if everything is not None:
        faults = [fault for found, _ in everything for fault in found]
        document = {"tried": tried, "faults": faults, "worst": max(w for _, w in everything), "markings": markings}
        sys.stdout.write(json.dumps({**document, "vendor": MPI.get_vendor()[0]}) + "\n")


main()
