"""The roof of a cache, measured: a copy and a reader of sets that a level of the caches holds.

Every core passes over a set of its own, again and again inside one compiled loop, so that starting it costs nothing.
The vectors are written out in LLVM's own types, with as many sums as the adders need to keep up with the nearest cache,
from four places at a time, as more loads are in flight then from a cache that is far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from clusterbench.kernels.ceilings.roofline import CHAINS, PART, sum_of_lanes
from clusterbench.kernels.device import Level
from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.vectors import AHEAD_BYTES, fetch, lanes, vector_bytes

BLOCK_BYTES = CHAINS * vector_bytes()
BLOCK = CHAINS * lanes("float64")
"""Doubles that the loops over a cache take at a time."""
PLACES = 4


def working_set(level: Level, below: Level | None) -> int:
    """Doubles of the set that shows a level, for each core: a multiple of `BLOCK`, or 0 where no set shows it.

    It has to be at least twice the level below, and to leave half of its own to others: the geometric mean of the two
    sizes within these limits, as a large cache is rarely one's own.
    """
    most = level.share_bytes // 2
    least = 2 * below.share_bytes if below else 0
    if most < max(least, 8 * BLOCK):
        return 0
    middle = int((level.share_bytes * below.share_bytes) ** 0.5) if below else most
    return min(most, max(least, middle)) // (8 * BLOCK) * BLOCK


@intrinsic
def _sum_again(typingctx: Any, address: Any, blocks: Any, passes: Any) -> Any:
    """`passes` times the sum of the doubles of `blocks` blocks at an address, each of which is loaded every time."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_sum(builder, args, ir.DoubleType(), "float64", 0)

    return types.float64(types.int64, types.int64, types.int64), codegen


@intrinsic
def _sum_ahead(typingctx: Any, address: Any, blocks: Any, passes: Any, zero: Any) -> Any:
    """`_sum_again` of what no cache holds, in the type of `zero`: what comes next is fetched ahead."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _emit_sum(builder, args, args[3].type, str(as_dtype(signature.args[3])), AHEAD_BYTES)

    return zero(types.int64, types.int64, types.int64, zero), codegen


def _emit_sum(builder: Any, args: Any, element: Any, dtype: str, ahead_bytes: int) -> Any:
    width, word = lanes(dtype), ir.IntType(64)
    vector = ir.VectorType(element, width)
    nothing = ir.Constant(vector, [0.0] * width)
    cells = [cgutils.alloca_once_value(builder, nothing) for _ in range(CHAINS)]
    with _passes_over(builder, vector, args) as place:
        for i, cell in enumerate(cells):
            if ahead_bytes:
                ahead = builder.add(args[0], ir.Constant(word, ahead_bytes))
                fetch(builder, builder.ptrtoint(place(ahead, i), word))
            loaded = builder.load(place(args[0], i), align=vector_bytes() // width, typ=vector)
            builder.store(builder.fadd(builder.load(cell), loaded), cell)
    return sum_of_lanes(builder, [builder.load(cell) for cell in cells], width, dtype)


@intrinsic
def _copy_again(typingctx: Any, source: Any, blocks: Any, passes: Any, target: Any) -> Any:
    """`passes` times a copy of the doubles of `blocks` blocks from one address to another."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.DoubleType(), lanes("float64"))
        with _passes_over(builder, vector, args) as place:
            loaded = [builder.load(place(args[0], i), align=8, typ=vector) for i in range(CHAINS)]
            for i, value in enumerate(loaded):
                builder.store(value, place(args[3], i), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), codegen


@contextmanager
def _passes_over(builder: Any, vector: Any, args: Any) -> Iterator[Callable[[Any, int], Any]]:
    """The loops over passes and blocks; gives the place of the i-th vector of a block behind an address: a quarter of
    its vectors in each quarter of the set.

    Between two passes the compiler is told that memory may have changed, or it would keep the first pass alone.
    """
    word, share = ir.IntType(64), CHAINS // PLACES
    quarter = builder.mul(args[1], ir.Constant(word, share * vector_bytes()))
    with cgutils.for_range(builder, args[2]):
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)
        with cgutils.for_range(builder, args[1]) as loop:
            first = builder.mul(loop.index, ir.Constant(word, share * vector_bytes()))

            def place(address: Any, i: int) -> Any:
                far = builder.mul(quarter, ir.Constant(word, i // share))
                offset = builder.add(builder.add(first, far), ir.Constant(word, i % share * vector_bytes()))
                return builder.inttoptr(builder.add(address, offset), vector.as_pointer())

            yield place


@njit(parallel=True, cache=True)
def read_again(sums: Array, x: Array, blocks: int, passes: int) -> None:
    """sums[t] = passes times the sum of the t-th `blocks` blocks of doubles: 8·BLOCK·blocks·passes·sums.size bytes."""
    address = np.int64(x.ctypes.data)
    for thread in prange(sums.size):
        sums[thread] = _sum_again(address + 8 * BLOCK * blocks * thread, blocks, passes)


@njit(cache=True)
def read_alone(sums: Array, x: Array, blocks: int, passes: int) -> None:
    """`read_again` by the calling thread, which waits for no other."""
    sums[0] = _sum_again(np.int64(x.ctypes.data), blocks, passes)


@njit(cache=True)
def copy_alone(a: Array, b: Array, blocks: int, passes: int) -> None:
    """`copy_again` by the calling thread, which waits for no other."""
    _copy_again(np.int64(b.ctypes.data), blocks, passes, np.int64(a.ctypes.data))


@njit(cache=True)
def sum_ahead(x: Array) -> Any:
    """The sum of a contiguous array of floats in any order, fetched ahead."""
    size = np.int64(x.itemsize)
    blocks = x.size * size // BLOCK_BYTES
    total = _sum_ahead(np.int64(x.ctypes.data), blocks, 1, x.dtype.type(0))
    for i in range(blocks * (BLOCK_BYTES // size), x.size):
        total += x[i]
    return total


@njit(parallel=True, cache=True)
def read_ahead(partial: Array, x: Array) -> None:
    """What `roofline.read` does, fetched ahead: partial[p] = sum of the p-th part of x."""
    for part in prange(partial.size):
        partial[part] = sum_ahead(x[part * PART : min((part + 1) * PART, x.size)])


@njit(parallel=True, cache=True)
def copy_again(a: Array, b: Array, blocks: int, passes: int, threads: int) -> None:
    """a = b of `blocks` blocks of doubles for each thread, so many times: 2·8·BLOCK·blocks·passes·threads bytes."""
    target, source = np.int64(a.ctypes.data), np.int64(b.ctypes.data)
    for thread in prange(threads):
        offset = 8 * BLOCK * blocks * thread
        _copy_again(source + offset, blocks, passes, target + offset)
