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
from clusterbench.kernels.roofline import LINE_BYTES

LINES = 8
"""That are summed at a time, so that each row is read some way before the next one is."""
BLOCK_BYTES = LINES * LINE_BYTES


def is_beyond_caches(size_bytes: int) -> bool:
    """Whether arrays of so many bytes together leave the last-level cache."""
    return size_bytes > device.cpu().cache_bytes


@intrinsic
def _sum_rows(typingctx: Any, target: Any, source: Any, step: Any, rows: Any, blocks: Any, zero: Any) -> Any:
    """target = the sum over rows of source, `step` bytes apart, of so many blocks; `zero` tells the type by its own.

    All addresses; the target's is that of a line.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = as_dtype(signature.args[5])
        word, vector = ir.IntType(64), ir.VectorType(args[5].type, LINE_BYTES // kind.itemsize)
        add = builder.fadd if kind.kind == "f" else builder.add
        cells = [cgutils.alloca_once(builder, vector) for _ in range(LINES)]
        one = builder.module.add_metadata([ir.IntType(32)(1)])

        def place(base: Any, offset: Any, i: int) -> Any:
            address = builder.add(builder.add(base, offset), ir.Constant(word, i * LINE_BYTES))
            return builder.inttoptr(address, vector.as_pointer())

        with cgutils.for_range(builder, args[4]) as block:
            first = builder.mul(block.index, ir.Constant(word, BLOCK_BYTES))
            for i, cell in enumerate(cells):
                builder.store(builder.load(place(args[1], first, i), align=kind.itemsize, typ=vector), cell)
            with cgutils.for_range(builder, builder.sub(args[3], ir.Constant(word, 1))) as row:
                number = builder.add(row.index, ir.Constant(word, 1))
                base = builder.add(args[1], builder.mul(number, args[2]))
                for i, cell in enumerate(cells):
                    loaded = builder.load(place(base, first, i), align=kind.itemsize, typ=vector)
                    builder.store(add(builder.load(cell), loaded), cell)
            for i, cell in enumerate(cells):
                stored = builder.store(builder.load(cell), place(args[0], first, i), align=LINE_BYTES)
                stored.set_metadata("nontemporal", one)
        builder.fence("seq_cst")  # such stores are seen in any order otherwise
        return context.get_dummy_value()

    word = types.int64
    return types.void(word, word, word, word, word, zero), codegen


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
    size = np.int64(y.itemsize)
    head = min(n, (-target % BLOCK_BYTES) // size)
    whole = (n - head) * size // BLOCK_BYTES
    zero = y.dtype.type(0)
    for thread in prange(threads):
        low, high = whole * thread // threads, whole * (thread + 1) // threads
        offset = head * size + low * BLOCK_BYTES
        _sum_rows(target + offset, source + offset, n * size, np.int64(rows), high - low, zero)
    for i in range(head):
        y[i] = _sum_of_column(x, i)
    for i in range(head + whole * (BLOCK_BYTES // size), n):
        y[i] = _sum_of_column(x, i)
