"""Sums of arrays written past the caches, for arrays that no cache holds.

A store to a line that is in no cache first reads the line, which costs as much as a third array read. A non-temporal
store does not (Intel 64 and IA-32 Architectures Optimization Reference Manual, "Non-temporal Store Instructions"), and
the C library's copy of long arrays is written by them, so a loop has to, too, to keep up with a copy. In a cache they
are slow, as they go to memory. LLVM's vectoriser makes none, so the vectors are written out here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from clusterbench.kernels import device
from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.vectors import AHEAD_BYTES, LINE_BYTES, fetch, splat, store_past_cache

LINES = 8
"""That are summed at a time, so that each row is read some way before the next one is."""
BLOCK_BYTES = LINES * LINE_BYTES


def is_beyond_caches(size_bytes: int) -> bool:
    """Whether arrays of so many bytes together leave the last-level cache."""
    return size_bytes > device.cpu().cache_bytes


@intrinsic
def _sum_rows(
    typingctx: Any, target: Any, source: Any, step: Any, rows: Any, blocks: Any, first: Any, other: Any
) -> Any:
    """target = first·(row 0) + other·(row 1 + row 2 ...), of so many blocks at addresses, rows `step` bytes apart.

    The factors tell the type; the target's address is that of a line.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = as_dtype(signature.args[5])
        lanes = LINE_BYTES // kind.itemsize
        word, vector = ir.IntType(64), ir.VectorType(args[5].type, lanes)
        add, multiply = (builder.fadd, builder.fmul) if kind.kind == "f" else (builder.add, builder.mul)
        cells = [cgutils.alloca_once(builder, vector) for _ in range(LINES)]
        factors = [splat(builder, factor, vector) for factor in args[5:7]]

        def place(base: Any, offset: Any, i: int) -> Any:
            address = builder.add(builder.add(base, offset), ir.Constant(word, i * LINE_BYTES))
            return builder.inttoptr(address, vector.as_pointer())

        def fetch_ahead(base: Any, offset: Any) -> None:
            for i in range(LINES):
                address = builder.add(builder.add(base, offset), ir.Constant(word, AHEAD_BYTES + i * LINE_BYTES))
                fetch(builder, address)

        with cgutils.for_range(builder, args[4]) as block:
            begin = builder.mul(block.index, ir.Constant(word, BLOCK_BYTES))
            fetch_ahead(args[1], begin)
            for i, cell in enumerate(cells):
                loaded = builder.load(place(args[1], begin, i), align=kind.itemsize, typ=vector)
                builder.store(multiply(factors[0], loaded), cell)
            with cgutils.for_range(builder, builder.sub(args[3], ir.Constant(word, 1))) as row:
                number = builder.add(row.index, ir.Constant(word, 1))
                base = builder.add(args[1], builder.mul(number, args[2]))
                fetch_ahead(base, begin)
                for i, cell in enumerate(cells):
                    loaded = builder.load(place(base, begin, i), align=kind.itemsize, typ=vector)
                    builder.store(add(builder.load(cell), multiply(factors[1], loaded)), cell)
            for i, cell in enumerate(cells):
                store_past_cache(builder, builder.load(cell), place(args[0], begin, i))
        builder.fence("seq_cst")  # such stores are seen in any order otherwise
        return context.get_dummy_value()

    word = types.int64
    return types.void(word, word, word, word, word, first, first), codegen


@njit(cache=True)
def _head(address: Any, itemsize: Any, n: Any) -> Any:
    """Elements before the first line."""
    return min(n, (-address % LINE_BYTES) // itemsize)


@njit(cache=True)
def _sum_of_column(x: Array, i: int) -> Any:
    total = x[0, i]
    for row in range(1, x.shape[0]):
        total += x[row, i]
    return total


def sum_rows(y: Array, x: Array) -> None:
    """y = the sum of the rows of x, in their order, both contiguous; each core writes a part of y past the caches."""
    _sum_by_threads(y, x, get_num_threads())


@njit(parallel=True, cache=True)
def _sum_by_threads(y: Array, x: Array, threads: int) -> None:
    rows, n = x.shape
    target, source = np.int64(y.ctypes.data), np.int64(x.ctypes.data)
    size, one = np.int64(y.itemsize), y.dtype.type(1)
    head = _head(target, size, n)
    whole = (n - head) * size // BLOCK_BYTES
    for thread in prange(threads):
        low, high = whole * thread // threads, whole * (thread + 1) // threads
        offset = head * size + low * BLOCK_BYTES
        _sum_rows(target + offset, source + offset, n * size, np.int64(rows), high - low, one, one)
    for i in range(head):
        y[i] = _sum_of_column(x, i)
    for i in range(head + whole * (BLOCK_BYTES // size), n):
        y[i] = _sum_of_column(x, i)


def combine(y: Array, b: Array, c: Array | None = None, first: Any = 1, other: Any = 1) -> None:
    """y = first·b, or first·b + other·c, of contiguous arrays of one dimension, y written past the caches."""
    kind = y.dtype.type
    _combine_by_threads(y, b, b if c is None else c, 1 if c is None else 2, kind(first), kind(other), get_num_threads())


@njit(parallel=True, cache=True)
def _combine_by_threads(y: Array, b: Array, c: Array, rows: int, first: Any, other: Any, threads: int) -> None:
    n, size = y.size, np.int64(y.itemsize)
    target, source = np.int64(y.ctypes.data), np.int64(b.ctypes.data)
    step = np.int64(c.ctypes.data) - source
    head = _head(target, size, n)
    whole = (n - head) * size // BLOCK_BYTES
    for thread in prange(threads):
        low, high = whole * thread // threads, whole * (thread + 1) // threads
        offset = head * size + low * BLOCK_BYTES
        _sum_rows(target + offset, source + offset, step, np.int64(rows), high - low, first, other)
    for part in range(2):
        low, high = (0, head) if part == 0 else (head + whole * (BLOCK_BYTES // size), n)
        for i in range(low, high):
            y[i] = first * b[i] + other * c[i] if rows == 2 else first * b[i]
