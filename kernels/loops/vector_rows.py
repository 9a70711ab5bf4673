"""Passes over a row in cache that LLVM would not turn into vector code of the processor's full width by itself.

`largest` is a maximum, whose order LLVM keeps; `exponentials` e^(x - shift) with their sum, for which it takes vectors
of half the width where a processor offers 64 bytes. Both are written out in LLVM's own vectors, and what is left
over at a row's end is done one by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from clusterbench.kernels.loops.vector_exp import emit_exp, exp
from clusterbench.kernels.loops.vectors import lanes, splat

CHAINS = 4
"""Vectors in flight, so that none waits for the one before."""


def _vector(context: Any, kind: Any) -> Any:
    return ir.VectorType(context.get_value_type(kind.dtype), lanes(as_dtype(kind.dtype)))


class _Row:
    """A one-dimensional contiguous array as vectors."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.builder = builder
        self.vector = _vector(context, kind)
        self.size = kind.dtype.bitwidth // 8
        self.data = context.make_array(kind)(context, builder, value).data

    def place(self, block: Any, chain: int) -> Any:
        """The address of vector `chain` of a block of CHAINS vectors."""
        word = ir.IntType(64)
        width = self.vector.count
        first = self.builder.mul(block, ir.Constant(word, CHAINS * width))
        offset = self.builder.add(first, ir.Constant(word, chain * width))
        return self.builder.gep(self.data, [offset], source_etype=self.vector.element)

    def load(self, block: Any, chain: int) -> Any:
        """That vector."""
        place = self.builder.bitcast(self.place(block, chain), self.vector.as_pointer())
        return self.builder.load(place, align=self.size, typ=self.vector)

    def store(self, value: Any, block: Any, chain: int) -> None:
        """Write that vector."""
        place = self.builder.bitcast(self.place(block, chain), self.vector.as_pointer())
        self.builder.store(value, place, align=self.size)


def _each_lane(builder: Any, vector: Any) -> list[Any]:
    return [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(vector.type.count)]


@intrinsic
def _largest_of_blocks(typingctx: Any, x: Any, blocks: Any, start: Any) -> Any:
    """The largest of `start` and so many blocks of CHAINS vectors; a NaN loses."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = _Row(context, builder, signature.args[0], args[0])
        begin = splat(builder, args[2], row.vector)
        best = [cgutils.alloca_once_value(builder, begin) for _ in range(CHAINS)]
        with cgutils.for_range(builder, args[1]) as loop:
            for chain in range(CHAINS):
                value, so_far = row.load(loop.index, chain), builder.load(best[chain])
                greater = builder.fcmp_ordered(">", value, so_far)
                builder.store(builder.select(greater, value, so_far), best[chain])
        found = args[2]
        for cell in best:
            for value in _each_lane(builder, builder.load(cell)):
                found = builder.select(builder.fcmp_ordered(">", value, found), value, found)
        return found

    return start(x, types.int64, start), codegen


@intrinsic
def _exponentials_of_blocks(typingctx: Any, y: Any, x: Any, blocks: Any, shift: Any) -> Any:
    """y = e^(x - shift) for so many blocks of CHAINS vectors, and their sum."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (_Row(context, builder, signature.args[i], args[i]) for i in range(2))
        vector = source.vector
        less = splat(builder, args[3], vector)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(CHAINS)]
        with cgutils.for_range(builder, args[2]) as loop:
            for chain in range(CHAINS):
                result = emit_exp(builder, builder.fsub(source.load(loop.index, chain), less))
                target.store(result, loop.index, chain)
                builder.store(builder.fadd(builder.load(sums[chain]), result), sums[chain])
        total = ir.Constant(vector.element, 0.0)
        for cell in sums:
            for value in _each_lane(builder, builder.load(cell)):
                total = builder.fadd(total, value)
        return total

    return shift(y, x, types.int64, shift), codegen


@njit(cache=True)
def largest(x: Any, block: int) -> Any:
    """The largest number of a row; of nothing but NaN -∞. `block` is `block_of(x.dtype)`."""
    blocks = x.size // block
    best = _largest_of_blocks(x, blocks, x.dtype.type(-float("inf")))
    for i in range(blocks * block, x.size):
        best = x[i] if x[i] > best else best
    return best


@njit(cache=True)
def exponentials(y: Any, x: Any, shift: Any, block: int) -> Any:
    """y = e^(x - shift) of a row, and the sum of it."""
    blocks = x.size // block
    total = _exponentials_of_blocks(y, x, blocks, shift)
    for i in range(blocks * block, x.size):
        y[i] = exp(x[i] - shift)
        total += y[i]
    return total


def block_of(dtype: Any) -> int:
    """Elements that a pass takes at once."""
    return CHAINS * lanes(dtype)
