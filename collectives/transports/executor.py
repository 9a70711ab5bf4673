"""Runs steps and times them: one compiled function holds the loop, the barrier, the clock and the call.

It releases Python's lock, so that a watchdog can wake while a rank waits for another that will not come.
The same loop times a schedule of ours and the library's own collective, so that both pay the same for being measured.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from clusterbench.collectives.programs.steps import COPY, RECV, REDUCE, SEND, WAIT
from clusterbench.collectives.transports.atomics import store_plain
from clusterbench.collectives.transports.native import (
    BYTE,
    COMM,
    F_IRECV,
    F_ISEND,
    F_WAIT,
    MESSAGE_TAG,
    REQUEST_BYTES,
    STATUS,
    barrier,
    call,
)  # fmt: skip
from clusterbench.collectives.transports.whereabouts import AT_BARRIER, OUTSIDE, begin_call, tell
from clusterbench.kernels.clock import now_ns

CALL, SCALE = 100, 101
"""Operations beside those of a program: a call of the library, and the division by the number of ranks of an average.

CALL's columns 1 and 2 are the number of arguments, from 5 to 9, and where in `functions` they lie; the function's
address is in `functions[2]`.
SCALE divides what starts at (region column 2, byte column 3) in the number of elements of column 7.
"""


@intrinsic
def copy_bytes(typingctx: Any, target: Any, source: Any, length: Any) -> Any:
    """Copy memory from address to address; the ranges do not overlap, or are the same."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils

        pointer = ir.IntType(8).as_pointer()
        declared = ir.FunctionType(pointer, [pointer, pointer, ir.IntType(64)])
        memcpy = cgutils.get_or_insert_function(builder.module, declared, "memcpy")
        builder.call(memcpy, [builder.inttoptr(args[0], pointer), builder.inttoptr(args[1], pointer), args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@njit(cache=True)
def _call_library(functions: Any, count: int, start: int) -> int:
    """Call the library's function with `count` arguments that lie in `functions` from `start` on."""
    f, g, i = functions[2], functions, start  # no slice: it would be counted like an object
    if count == 6:
        return call(f, (g[i], g[i + 1], g[i + 2], g[i + 3], g[i + 4], g[i + 5]))
    if count == 7:
        return call(f, (g[i], g[i + 1], g[i + 2], g[i + 3], g[i + 4], g[i + 5], g[i + 6]))
    if count == 5:
        return call(f, (g[i], g[i + 1], g[i + 2], g[i + 3], g[i + 4]))
    if count == 8:
        return call(f, (g[i], g[i + 1], g[i + 2], g[i + 3], g[i + 4], g[i + 5], g[i + 6], g[i + 7]))
    return call(f, (g[i], g[i + 1], g[i + 2], g[i + 3], g[i + 4], g[i + 5], g[i + 6], g[i + 7], g[i + 8]))


@njit(cache=True, nogil=True)
def execute(repeats: int, steps: Any, bases: Any, requests: int, functions: Any, mpi: Any) -> int:
    """Run steps `repeats` times. Returns the first error code of MPI, or 0.

    The repetition is in here, and not around a call of this, as passing the arrays would cost 20 ns each time.

    `bases` are the addresses of chunk 0 in the input, the output and the scratch buffer; `requests` that of the
    requests; `functions` the addresses of the reduction, of the division, and of the library's collective, the bytes of
    an element and the divisor, then the arguments of the collective.
    """
    for _ in range(repeats):
        at_step = begin_call(mpi, len(steps))
        for s in range(len(steps)):
            store_plain(at_step, s + 1)
            op = steps[s, 0]
            code = 0
            if op == CALL:
                code = _call_library(functions, steps[s, 1], steps[s, 2])
            elif op == WAIT:
                code = call(mpi[F_WAIT], (requests + steps[s, 8] * mpi[REQUEST_BYTES], mpi[STATUS]))
            elif op == SEND:
                request = requests + steps[s, 8] * mpi[REQUEST_BYTES]
                start = bases[steps[s, 4]] + steps[s, 5]
                code = call(mpi[F_ISEND], (start, steps[s, 7], mpi[BYTE], steps[s, 1], MESSAGE_TAG, mpi[COMM], request))
            elif op == RECV:
                request = requests + steps[s, 8] * mpi[REQUEST_BYTES]
                start = bases[steps[s, 2]] + steps[s, 3]
                code = call(mpi[F_IRECV], (start, steps[s, 7], mpi[BYTE], steps[s, 1], MESSAGE_TAG, mpi[COMM], request))
            elif op == REDUCE:
                target = bases[steps[s, 2]] + steps[s, 3]
                first = bases[steps[s, 6]] + steps[s, 3]
                call(functions[0], (target, first, bases[steps[s, 4]] + steps[s, 5], steps[s, 7] // functions[3]))
            elif op == COPY:
                target, source = bases[steps[s, 2]] + steps[s, 3], bases[steps[s, 4]] + steps[s, 5]
                if target != source:
                    copy_bytes(target, source, steps[s, 7])
            else:
                call(functions[1], (bases[steps[s, 2]] + steps[s, 3], functions[4], steps[s, 7]))
            if code != 0:
                return code
    tell(mpi, OUTSIDE)
    return 0


@njit(cache=True, nogil=True)
def time_samples(
    seconds: Any, batch: int, steps: Any, bases: Any, requests: int, functions: Any, mpi: Any
) -> int:  # fmt: skip
    """Fill `seconds` with samples: barrier, clock, `batch` runs of the steps, clock; seconds a run on this rank."""
    for i in range(len(seconds)):
        tell(mpi, AT_BARRIER)
        code = barrier(mpi)
        if code != 0:
            return code
        start = now_ns()
        code = execute(batch, steps, bases, requests, functions, mpi)
        if code != 0:
            return code
        seconds[i] = (now_ns() - start) * 1e-9 / batch
    return 0
