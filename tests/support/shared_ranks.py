"""Run by every rank of a test: collectives over shared memory, as the first argument says.

`contract` calls every algorithm on all kinds of buffers; `types` some with all types and operations; `stress` many
times with random delays; `waits` without one wait each, while the other rank is late; `turns` while a reader of a stage
is late. Prints one line a call on rank 0; `wrong` is over all ranks.
"""

from __future__ import annotations

import mpi4py

mpi4py.rc.threads = False

import sys  # noqa: E402 - mpi4py's settings come before everything that may import it
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import replace  # noqa: E402
from functools import cache  # noqa: E402
from time import sleep  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from mpi4py import MPI  # noqa: E402
from numba import njit  # noqa: E402

from clusterbench.bench.measuring.collective_buffers import Arena, sizes, take_arena  # noqa: E402
from clusterbench.collectives import discovery, traffic  # noqa: E402
from clusterbench.collectives.algorithm import Call, Spec  # noqa: E402
from clusterbench.collectives.checking import data  # noqa: E402
from clusterbench.collectives.collective import COLLECTIVES, Collective  # noqa: E402
from clusterbench.collectives.fusion.fuse import fuse  # noqa: E402
from clusterbench.collectives.fusion.layout import FusedLayout  # noqa: E402
from clusterbench.collectives.programs.program import compile_program  # noqa: E402
from clusterbench.collectives.schedule import Schedule  # noqa: E402
from clusterbench.collectives.transports import mpi as messages  # noqa: E402
from clusterbench.collectives.transports import shared, shared_executor  # noqa: E402
from clusterbench.collectives.transports.atomics import relax, yield_core  # noqa: E402
from clusterbench.collectives.transports.native import native  # noqa: E402
from clusterbench.collectives.transports.prepared import Buffers  # noqa: E402
from clusterbench.collectives.transports.shared_window import SharedWindow, open_window  # noqa: E402
from clusterbench.kernels.element_types import DTYPES, element_type, is_float  # noqa: E402

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.rank, COMM.size
PATIENCE = 20
"""Few looks before the core is given away: there may be more ranks than cores."""
LATE_S = 0.03
SMALL_BYTES = 32 << 10
"""Half a stage through which larger vectors go in pieces."""
COUNTS = (1, 3, 20_011)


@cache
def schedule_of(what: Collective, algorithm: str, root: int) -> Schedule:
    return discovery.schedule(Spec(algorithm), Call(what, RANKS, root))


@cache
def programs_of(what: Collective, algorithm: str, root: int, in_place: bool, staged: bool) -> Any:
    return tuple(fuse(schedule_of(what, algorithm, root), in_place, staged))


def problem_of(what: Collective, count: int, dtype: str, op: str, root: int | None = None) -> data.Problem:
    counts = traffic.counts(traffic.skewed(RANKS, 1.0, 5), count) if what.uneven else count
    last = RANKS - 1 if root is None else root
    return data.Problem(
        what, RANKS, last if what.is_rooted else -1, counts, element_type(dtype), op if what.reduces else "", 11
    )


def ways(what: Collective) -> Iterator[tuple[bool, bool]]:
    """In place or not, staged or not."""
    yield from ((i, s) for i in ((False,) if what.uneven else (False, True)) for s in (False, True))


def buffers_of(window: SharedWindow, problem: data.Problem, in_place: bool, staged: bool) -> Buffers:
    if staged:
        return take_arena([problem], ["in_place" if in_place else "out_of_place"], RANK).buffers(
            problem, RANK, in_place
        )
    large, small = (n * problem.dtype.itemsize for n in sizes([problem], ["out_of_place"], RANK))
    room, second = window.registered(), -(-large // 64) * 64
    arena = Arena(room[:large].view(problem.dtype), room[second : second + small].view(problem.dtype))
    return arena.buffers(problem, RANK, in_place)


def prepared(
    window: SharedWindow, problem: data.Problem, algorithm: str, in_place: bool, staged: bool
) -> shared.SharedCall:  # fmt: skip
    programs = programs_of(problem.collective, algorithm, problem.root, in_place, staged)
    layout = FusedLayout(programs, problem.count, problem.dtype.itemsize, staged)
    buffers = buffers_of(window, problem, in_place, staged)
    return shared.prepare(NATIVE, window, layout, problem.dtype, problem.op, buffers, PATIENCE)


def wrong_after(call: shared.SharedCall, problem: data.Problem, late: int = -1) -> int:
    data.poison(call.buffers.result)
    data.fill(problem, call.buffers.send, RANK)
    COMM.Barrier()
    if late == RANK:
        sleep(LATE_S)
    call.run()
    return int(COMM.allreduce(data.check(problem, call.buffers.result, RANK).count))


def differs_from_messages(call: shared.SharedCall, problem: data.Problem, algorithm: str, in_place: bool) -> bool:
    """Whether any bit of a result of rounding data is other than over messages."""
    program = compile_program(schedule_of(problem.collective, algorithm, problem.root), RANK, in_place)
    placements = ["in_place" if in_place else "out_of_place"]
    own = take_arena([problem], placements, RANK).buffers(problem, RANK, in_place)
    other = messages.prepare(NATIVE, program, problem.count, problem.dtype, problem.op, own)
    for one in (call, other):
        data.fill_rounding(problem, one.buffers.send, RANK)
        COMM.Barrier()
        one.run()
    return bool(COMM.allreduce(call.buffers.result.tobytes() != own.result.tobytes(), MPI.LOR))


def tell(*words: object) -> None:
    if RANK == 0:
        print(*words, flush=True)  # noqa: T201 - what the test reads


def check(problem: data.Problem, algorithm: str, in_place: bool, staged: bool, repeats: int) -> None:
    call = prepared(NARROW if staged else WINDOW, problem, algorithm, in_place, staged)
    wrong = sum(wrong_after(call, problem) for _ in range(repeats))
    rounds = is_float(problem.dtype) and problem.op in ("sum", "avg")
    differs = rounds and differs_from_messages(call, problem, algorithm, in_place)
    tell(
        problem.collective.name, algorithm, int(in_place), int(staged), int(np.sum(problem.count)),
        problem.dtype.name, problem.op or "none", call.pieces, wrong, int(differs),
    )  # fmt: skip


def contract() -> None:
    for what in COLLECTIVES.values():
        for algorithm in discovery.suitable(what, RANKS):
            for in_place, staged in ways(what):
                for count in COUNTS:
                    check(problem_of(what, count, "float32", "sum"), algorithm, in_place, staged, 2)


def types() -> None:
    what = COLLECTIVES["all_reduce"]
    for dtype in DTYPES:
        for op in ("sum", "prod", "min", "max", "avg"):
            for algorithm, in_place, staged in (("direct", False, False), ("ring", True, True)):
                check(problem_of(what, 20_003, dtype, op), algorithm, in_place, staged, 1)


@njit(nogil=True)
def _stress(
    calls: int, rank: int, send: Any, receive: Any, steps: Any, after: Any, operands: Any, pieces: int,
    piece_bytes: int, numbers: int, state: Any, flag: int, patience: int, functions: Any, spare: int,
    requests: int, mpi: Any,
) -> int:  # fmt: skip
    """All-reduces of other numbers each time, after a random delay. Returns how many elements were wrong."""
    wrong, random = 0, 12345 + 678 * rank
    for i in range(calls):
        random = (random * 1103515245 + 12345) & 0x7FFFFFFF
        if random >> 26 == 0:
            for _ in range(random >> 16 & 0x3FF):
                relax()
        elif random >> 16 == 7:
            yield_core()
        for k in range(len(send)):
            send[k] = i * (rank + 1) + k
        shared_executor.execute(
            1, steps, after, operands, pieces, piece_bytes, numbers, state, flag, patience, functions, spare,
            requests, mpi,
        )  # fmt: skip
        for k in range(len(receive)):
            wrong += receive[k] != 3 * i + 2 * k
    return wrong


def stress() -> None:
    for staged in (False, True):
        for algorithm in ("direct", "recursive-doubling"):
            problem = problem_of(COLLECTIVES["all_reduce"], 3, "int64", "sum")
            call = prepared(WINDOW, problem, algorithm, False, staged)
            COMM.Barrier()
            wrong = _stress(int(sys.argv[2]), RANK, call.buffers.send, call.buffers.receive, *call._arguments())
            tell(algorithm, int(staged), COMM.allreduce(wrong))


def run_apart(call: shared.SharedCall, step: int, between: Callable[[], None]) -> None:
    """Run it with a pause before a step."""
    before = call.window.state.copy()
    replace(call, steps=call.steps[:step]).run()
    call.window.state[: shared_executor.LAST] = before[: shared_executor.LAST]
    between()
    replace(call, steps=call.steps[step:]).run()


def wrong_without(call: shared.SharedCall, problem: data.Problem, wait: int) -> int:
    """Elements that are wrong where rank 0 does not wait for what rank 1 is late with."""
    send, result = call.buffers.send, call.buffers.result
    data.poison(result)
    data.poison(send)
    if RANK == 0:
        data.fill(problem, send, RANK)
    COMM.Barrier()
    number = COMM.bcast(int(call.steps[wait, 2]) if RANK == 0 else 0)
    if RANK == 0:
        replace(call, steps=np.delete(call.steps, wait, axis=0)).run()
        found = result.copy()
    else:
        covered = np.flatnonzero((call.steps[:, 0] == shared_executor.FINISH) & (call.steps[:, 2] < number))
        # What the flag says is done comes behind the flag before; what the rank brings, before all.
        late = int(covered[-1]) + 1 if len(covered) else 1

        def bring() -> None:
            sleep(LATE_S)
            data.fill(problem, send, RANK)

        if len(covered):
            data.fill(problem, send, RANK)
        run_apart(call, late, bring)
        found = result.copy()
    if RANK == 0:  # now all is the rank's own again, to do with as it likes
        data.poison(send)
        data.poison(result)
    return int(COMM.allreduce(data.check(problem, found, RANK).count))


def waits() -> None:
    for algorithm in ("direct", "recursive-doubling"):
        for in_place, staged in ((False, False), (True, False), (False, True)):
            problem = problem_of(COLLECTIVES["all_reduce"], 5, "float32", "sum")
            call = prepared(WINDOW, problem, algorithm, in_place, staged)
            right = wrong_after(call, problem, late=1)
            removable = COMM.bcast([i for i, step in enumerate(call.steps) if step[0] == shared_executor.AWAIT])
            for wait in removable:
                # Other data each time: what an earlier call left must not be taken for right.
                wrong = max(wrong_without(call, replace(problem, seed=100 * wait + i), wait) for i in range(3))
                tell(algorithm, int(in_place), int(staged), wait, right, wrong)


def turns() -> None:
    """Broadcasts whose root does not wait for a reader that is late, but for its stage."""
    what = COLLECTIVES["broadcast"]
    problem = problem_of(what, 100, "float32", "", root=0)
    call = prepared(WINDOW, problem, "binomial", False, True)
    kept = call.steps[:, 0] != shared_executor.AWAIT_BEFORE
    for name, one in (("whole", call), ("without", replace(call, steps=call.steps[kept]))):
        wrong_after(call, problem)  # all have met
        wrong = 0
        COMM.Barrier()
        if RANK == RANKS - 1:
            sleep(LATE_S)
        for i in range(3):
            call.buffers.send.fill(i)
            one.run()
            wrong += int((call.buffers.result != i).sum()) if RANK else 0
        tell(name, COMM.allreduce(wrong))


def programs() -> None:
    """A broadcast with a late reader, and two calls of another program in which its root does not hear from that."""
    first = problem_of(COLLECTIVES["broadcast"], 100, "float32", "", 0)
    other = problem_of(COLLECTIVES["reduce"], 100, "float32", "sum", 1)
    broadcast, reduction = (prepared(WINDOW, one, "direct", False, True) for one in (first, other))
    for name, skipped in (("whole", 0), ("without", 1)):  # the first step is the meeting
        wrong_after(broadcast, first)
        data.poison(broadcast.buffers.result)
        COMM.Barrier()
        if RANK == RANKS - 1:
            sleep(LATE_S)
        for one in (broadcast, reduction, reduction):
            replace(one, steps=one.steps[skipped:]).run()
        tell(name, COMM.allreduce(data.check(first, broadcast.buffers.result, RANK).count))


NATIVE = native(COMM)
WINDOW, NARROW = open_window(COMM, 1 << 20, 4 << 20), open_window(COMM, SMALL_BYTES, 0)
PARTS = (contract, types, stress, waits, turns, programs)
next(part for part in PARTS if part.__name__ == sys.argv[1])()
WINDOW.close()
NARROW.close()
