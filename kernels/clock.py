"""The clock of every measurement: CLOCK_MONOTONIC, read by compiled code through the C library, in nanoseconds."""

from __future__ import annotations

from time import CLOCK_MONOTONIC
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def now_ns(typingctx: Any) -> Any:
    """Nanoseconds since an arbitrary start, as int64; about 20 ns a call (clock_gettime of the vDSO)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32, i64 = ir.IntType(32), ir.IntType(64)
        timespec = ir.LiteralStructType([i64, i64])  # time_t and long on every 64-bit Linux
        room = cgutils.alloca_once(builder, timespec)
        declared = ir.FunctionType(i32, [i32, timespec.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, declared, "clock_gettime")
        builder.call(function, [ir.Constant(i32, CLOCK_MONOTONIC), room])
        reading = builder.load(room)
        seconds, nanoseconds = (builder.extract_value(reading, field) for field in range(2))
        return builder.add(builder.mul(seconds, ir.Constant(i64, 1_000_000_000)), nanoseconds)

    return types.int64(), codegen


@njit(cache=True)
def _smallest_step_ns(readings: int) -> int:
    smallest = 1 << 62
    for _ in range(readings):
        before = now_ns()
        after = now_ns()
        smallest = min(smallest, after - before)
    return smallest


def smallest_step_s(readings: int = 10_000) -> float:
    """The cost of one reading: the smallest difference of two neighbouring readings, in seconds, at least 1 ns."""
    return max(int(_smallest_step_ns(np.int64(readings))), 1) * 1e-9
