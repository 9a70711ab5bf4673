"""The roof of this machine, measured: what memory gives to a copy and to a reader, and what the multiply-adders give.

copy    2·bytes moved once by all cores, arrays beyond the last-level cache (STREAM's copy): the best of `COPIES`, as a
        store through the cache reads what it overwrites, and compilers and C libraries differ in when they avoid that.
read    bytes summed by all cores, arrays beyond the last-level cache: the better of two ways, of which one fetches
        ahead.
fma     chains of multiply-adds in registers on every core, enough of them in flight to fill the units. The vectors are
        written out in LLVM's own types, so that no optimiser decides whether they are used. x <- a·x + b with a = -1
        returns to its start after two steps, exactly, which is checked. float16 where the CPU computes in it.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52(4), 2009.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.streaming import fence, stream
from clusterbench.kernels.loops.vectors import lanes, splat

CHAINS = 12
"""Independent chains a core: two units of latency four or five need ten, and with a and b they fit 16 registers."""
PART = 65536
"""Elements that one task of a memory loop takes."""


def has_fused() -> bool:
    """Whether a multiply-add is one instruction here (x86 with FMA3, any 64-bit ARM)."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma") or features.get("neon") or "aarch64" in binding.get_process_triple())


def has_half() -> bool:
    """Whether this CPU computes in float16 (x86 with AVX512-FP16, Arm with FP16 vectors)."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512fp16") or features.get("fullfp16"))


def fma_types() -> tuple[str, ...]:
    """The types that this CPU's multiply-adders take; integers and other floats have no such ceiling here."""
    return ("float16", "float32", "float64") if has_half() else ("float32", "float64")


@intrinsic
def _chain(typingctx: Any, a: Any, b: Any, start: Any, steps: Any) -> Any:
    """Run CHAINS vectors of x <- a·x + b from `start` for `steps` steps; returns the sum of all lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_chains(builder, args[0].type, str(as_dtype(signature.args[0])), args)

    return a(a, a, a, types.int64), codegen


@intrinsic
def _half_chain(typingctx: Any, a: Any, b: Any, start: Any, steps: Any) -> Any:
    """`_chain` in float16, which Numba does not know: the values come and the sum goes as float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = ir.HalfType()
        return _emit_chains(builder, half, "float16", [*(builder.fptrunc(value, half) for value in args[:3]), args[3]])

    return types.float32(types.float32, types.float32, types.float32, types.int64), codegen


def _emit_chains(builder: Any, element: Any, dtype: str, args: Any) -> Any:
    """The loop of all chains, and the sum of all their lanes, of float16 in float32."""
    width = lanes(dtype)
    vector = ir.VectorType(element, width)
    name = f"llvm.fmuladd.v{width}f{8 * np.dtype(dtype).itemsize}"
    fmuladd = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    factor, summand, begin = (splat(builder, value, ir.VectorType(value.type, width)) for value in args[:3])
    # Each chain starts a lane apart from the others by value, or LLVM would keep one and drop the rest.
    cells = []
    for chain in range(CHAINS):
        offset = ir.Constant(vector, [float(chain)] * width)
        cells.append(cgutils.alloca_once_value(builder, builder.fadd(begin, offset)))
    with cgutils.for_range(builder, args[3]):
        for cell in cells:
            builder.store(builder.call(fmuladd, [factor, builder.load(cell), summand]), cell)
    return sum_of_lanes(builder, [builder.load(cell) for cell in cells], width, dtype)


def sum_of_lanes(builder: Any, vectors: Any, width: int, dtype: str) -> Any:
    """The sum of all lanes of some vectors, of float16 in float32."""
    wide = ir.DoubleType() if dtype == "float64" else ir.FloatType()
    total = ir.Constant(wide, 0.0)
    for vector in vectors:
        for lane in range(width):
            value = builder.extract_element(vector, ir.Constant(ir.IntType(32), lane))
            total = builder.fadd(total, builder.fpext(value, wide) if dtype == "float16" else value)
    return total


@njit(parallel=True, cache=True)
def fma(out: Array, a: Any, b: Any, start: Any, steps: int) -> None:
    """One chain loop for each element of `out`, in parallel: flops = 2·steps·CHAINS·lanes·out.size."""
    for thread in prange(out.size):
        out[thread] = _chain(a, b, start, steps)


@njit(parallel=True, cache=True)
def fma_half(out: Array, a: Any, b: Any, start: Any, steps: int) -> None:
    """`fma` in float16; `out` and the scalars are float32."""
    for thread in prange(out.size):
        out[thread] = _half_chain(a, b, start, steps)


def fma_flops(threads: int, steps: int, dtype: Any) -> int:
    """Flops of one call of `fma`."""
    return 2 * steps * CHAINS * lanes(dtype) * threads


def fma_expected(start: float, dtype: Any) -> float:
    """Each element of `out` after an even number of steps with a = -1: the chains are back at their start."""
    return lanes(dtype) * sum(start + chain for chain in range(CHAINS))


@njit(parallel=True, cache=True)
def copy_in_parts(a: Array, b: Array) -> None:
    """a = b in short parts, through the cache: 2·size bytes."""
    for part in prange((a.size + PART - 1) // PART):
        low, high = part * PART, min((part + 1) * PART, a.size)
        a[low:high] = b[low:high]


@njit(parallel=True, cache=True)
def copy_plainly(a: Array, b: Array) -> None:
    """a = b as a plain loop, which LLVM may make a call of the C library's copy: 2·size bytes."""
    for i in prange(a.size):
        a[i] = b[i]


@njit(parallel=True, cache=True)
def copy_past_cache(a: Array, b: Array) -> None:
    """a = b by stores that do not read what they overwrite: 2·size bytes."""
    for part in prange((a.size + PART - 1) // PART):
        low, high = part * PART, min((part + 1) * PART, a.size)
        stream(a[low:high], b[low:high])
        fence()


COPIES = (copy_in_parts, copy_plainly, copy_past_cache)
"""The ways to copy, of which the fastest is the ceiling."""


# Four places at a time, as a core has more loads in flight over several pages than in a row. Leave to reassociate: the
# sum of small integers is exact in any order.
@njit(cache=True, fastmath={"reassoc"})
def _sum(x: Array) -> Any:
    total, quarter = x.dtype.type(0), x.size // 4
    for i in range(quarter):
        total += (x[i] + x[quarter + i]) + (x[2 * quarter + i] + x[3 * quarter + i])
    for i in range(4 * quarter, x.size):
        total += x[i]
    return total


@njit(parallel=True, cache=True)
def read(partial: Array, x: Array) -> None:
    """partial[p] = sum of the p-th part of x: size bytes."""
    for part in prange(partial.size):
        partial[part] = _sum(x[part * PART : min((part + 1) * PART, x.size)])


@njit(parallel=True, cache=True)
def fill(a: Array, value: Any) -> None:
    """a = value by all cores: places memory near the core that works on it."""
    for part in prange((a.size + PART - 1) // PART):
        a[part * PART : min((part + 1) * PART, a.size)] = value
