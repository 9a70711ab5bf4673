"""The roof of this machine, measured: what memory gives to a copy and to a reader, and what the multiply-adders give.

copy    2·bytes moved once by all cores, arrays beyond the last-level cache (STREAM's copy), in short parts and in one
        part a core: the better of the two, as processors and C libraries differ in when they write past the cache.
read    bytes summed by all cores, arrays beyond the last-level cache.
fma     chains of multiply-adds in registers on every core, enough of them in flight to fill the units. The vectors are
        written out in LLVM's own types, so that no optimiser decides whether they are used. x <- a·x + b with a = -1
        returns to its start after two steps, exactly, which is checked.

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

CHAINS = 12
"""Independent chains a core: two units of latency four or five need ten, and with a and b they fit 16 registers."""
PART = 65536
"""Elements that one task of a memory loop takes."""


def vector_bytes() -> int:
    """The width of this CPU's vector registers, from LLVM's list of its features: 16, 32 or 64 bytes."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


def has_fused() -> bool:
    """Whether a multiply-add is one instruction here (x86 with FMA3, any 64-bit ARM)."""
    features = binding.get_host_cpu_features()
    return bool(features.get("fma") or features.get("neon") or "aarch64" in binding.get_process_triple())


def lanes(dtype: Any) -> int:
    """Elements of a vector register."""
    return vector_bytes() // int(np.dtype(dtype).itemsize)


@intrinsic
def _chain(typingctx: Any, a: Any, b: Any, start: Any, steps: Any) -> Any:
    """Run CHAINS vectors of x <- a·x + b from `start` for `steps` steps; returns the sum of all lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = args[0].type
        width = lanes(as_dtype(signature.args[0]))
        vector = ir.VectorType(element, width)
        name = f"llvm.fmuladd.v{width}f{signature.args[0].bitwidth}"
        fmuladd = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)

        def splat(value: Any) -> Any:
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            return builder.shuffle_vector(first, first, mask)

        factor, summand, begin = (splat(value) for value in args[:3])
        # Each chain starts a lane apart from the others by value, or LLVM would keep one and drop the rest.
        cells = []
        for chain in range(CHAINS):
            offset = ir.Constant(vector, [float(chain)] * width)
            cells.append(cgutils.alloca_once_value(builder, builder.fadd(begin, offset)))
        with cgutils.for_range(builder, args[3]):
            for cell in cells:
                builder.store(builder.call(fmuladd, [factor, builder.load(cell), summand]), cell)
        total = ir.Constant(element, 0.0)
        for cell in cells:
            final = builder.load(cell)
            for lane in range(width):
                total = builder.fadd(total, builder.extract_element(final, ir.Constant(ir.IntType(32), lane)))
        return total

    return a(a, a, a, types.int64), codegen


@njit(parallel=True, cache=True)
def fma(out: Array, a: Any, b: Any, start: Any, steps: int) -> None:
    """One chain loop for each element of `out`, in parallel: flops = 2·steps·CHAINS·lanes·out.size."""
    for thread in prange(out.size):
        out[thread] = _chain(a, b, start, steps)


def fma_flops(threads: int, steps: int, dtype: Any) -> int:
    """Flops of one call of `fma`."""
    return 2 * steps * CHAINS * lanes(dtype) * threads


def fma_expected(start: float, dtype: Any) -> float:
    """Each element of `out` after an even number of steps with a = -1: the chains are back at their start."""
    return lanes(dtype) * sum(start + chain for chain in range(CHAINS))


@njit(parallel=True, cache=True)
def copy(a: Array, b: Array, part_size: int) -> None:
    """a = b in parts of so many elements: 2·size bytes. Long parts let the C library write past the cache."""
    for part in prange((a.size + part_size - 1) // part_size):
        low, high = part * part_size, min((part + 1) * part_size, a.size)
        a[low:high] = b[low:high]


# Leave to reassociate: the sum of small integers is exact in any order.
@njit(cache=True, fastmath={"reassoc"})
def _sum(x: Array) -> Any:
    total = x.dtype.type(0)
    for i in range(x.size):
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
