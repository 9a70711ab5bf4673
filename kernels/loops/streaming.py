"""Loops over lines of cache that compute while memory streams, with stores that go past the cache.

A store to memory that is not in cache reads first the line that it writes: a kernel that reads x and writes y moves
three times its size, not two. Here whole lines are written that are not read first (non-temporal stores: movnt on x86,
stnp on ARM), as the C library's copy of much memory does. And one loop does what several rows need: it writes a row,
computes the next and reads the one after, so that arithmetic waits for no memory. LLVM's own vectors, a line each, are
written out; the ends of a row, where y does not begin or end on a line, are done one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from clusterbench.kernels.loops.vector_exp import emit_exp, exp
from clusterbench.kernels.loops.vectors import LINE_BYTES, PAGE_BYTES, fetch, splat, store_past_cache

APART_BYTES = 1280
"""Of the places in a page that were tried, of 0 to 3840 bytes, the one that was good wherever x and y began."""
AHEAD = {2: 64, 1: 12}
"""By the cache that it is brought to, the lines by which memory is asked for earlier than it is read, where arithmetic
leaves too few loads in flight."""


class _Lines:
    """One-dimensional contiguous arrays as lines of the first, from an element of it that begins one."""

    def __init__(self, context: Any, builder: Any, kinds: Any, values: Any, first: Any) -> None:
        self.builder, self.first = builder, first
        self.size = kinds[0].dtype.bitwidth // 8
        self.element = context.get_value_type(kinds[0].dtype)
        self.line = ir.VectorType(self.element, LINE_BYTES // self.size)
        self.data = [
            context.make_array(kind)(context, builder, value).data for kind, value in zip(kinds, values, strict=True)
        ]

    def _place(self, array: int, index: Any) -> Any:
        word = ir.IntType(64)
        offset = self.builder.mul(index, ir.Constant(word, LINE_BYTES // self.size))
        place = self.builder.gep(self.data[array], [self.builder.add(self.first, offset)], source_etype=self.element)
        return self.builder.bitcast(place, self.line.as_pointer())

    def load(self, array: int, index: Any) -> Any:
        """That line of an array, which may lie anyhow."""
        return self.builder.load(self._place(array, index), align=self.size, typ=self.line)

    def store(self, value: Any, array: int, index: Any) -> None:
        """Write that line to cache."""
        self.builder.store(value, self._place(array, index), align=self.size)

    def stream(self, value: Any, index: Any) -> None:
        """Write that line of the first array, past the cache."""
        store_past_cache(self.builder, value, self._place(0, index))

    def ask_for(self, array: int, index: Any) -> None:
        """Fetch what comes some lines later; there need be nothing."""
        for level, ahead in AHEAD.items():
            later = self._place(array, self.builder.add(index, ir.Constant(ir.IntType(64), ahead)))
            fetch(self.builder, self.builder.ptrtoint(later, ir.IntType(64)), level)

    def splat(self, value: Any) -> Any:
        """A line of one number."""
        return splat(self.builder, value, self.line)

    def cell(self, value: Any) -> Any:
        """A line that a loop changes, and its start."""
        return cgutils.alloca_once_value(self.builder, value)

    def folded(self, cell: Any, take: Callable[[Any, Any], Any]) -> Any:
        """All numbers of a cell as one, by `take` of two: halves with halves, as the next row waits for it."""
        line, index = self.builder.load(cell), ir.IntType(32)
        while line.type.count > 1:
            half = line.type.count // 2
            low, high = (
                self.builder.shuffle_vector(
                    line, line, ir.Constant(ir.VectorType(index, half), list(range(first, first + half)))
                )
                for first in (0, half)
            )
            line = take(low, high)
        return self.builder.extract_element(line, ir.Constant(index, 0))

    def greater(self, so_far: Any, value: Any) -> Any:
        """The greater of two; a NaN loses."""
        more = self.builder.fcmp_ordered(">", value, so_far)
        return self.builder.select(more, value, so_far)


def _fused(builder: Any, *operands: Any) -> Any:
    """a·b + c of lines, in one rounding where the processor does so."""
    line = operands[0].type
    width = 32 if line.element == ir.FloatType() else 64
    declared = ir.FunctionType(line, [line] * 3)
    return builder.call(
        cgutils.get_or_insert_function(builder.module, declared, f"llvm.fmuladd.v{line.count}f{width}"), operands
    )


@intrinsic
def _first_on_a_line(typingctx: Any, y: Any) -> Any:
    """The first element of an array that begins a line; the array is aligned to its elements."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, size = ir.IntType(64), signature.args[0].dtype.bitwidth // 8
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        beyond = builder.and_(builder.neg(builder.ptrtoint(data, word)), ir.Constant(word, LINE_BYTES - 1))
        return builder.udiv(beyond, ir.Constant(word, size))

    return types.int64(y), codegen


@intrinsic
def _per_line(typingctx: Any, y: Any) -> Any:
    """Elements of an array in a line, known as it is compiled: the division by an array's own size takes a while."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), LINE_BYTES * 8 // signature.args[0].dtype.bitwidth)

    return types.int64(y), codegen


@njit(cache=True)
def whole_lines(y: Any) -> Any:
    """Where the whole lines of an array begin, how many there are, and where they end."""
    first = min(_first_on_a_line(y), y.size)
    lines = (y.size - first) // _per_line(y)
    return first, lines, first + lines * _per_line(y)


def scratch(tasks: int, size: int, dtype: Any) -> Any:
    """For each task of a compiled loop a row of its own, with room to lie as another does (`beside`).

    Made outside: arrays that compiled code makes itself are counted when they are passed on, by an instruction that
    waits until all stores past the cache are done, and those that a parallel loop is given are not.
    """
    return np.empty((tasks, size + PAGE_BYTES // np.dtype(dtype).itemsize), dtype)


@intrinsic
def _apart(typingctx: Any, room: Any, y: Any) -> Any:
    """The first element of an array that lies APART_BYTES after y in a page."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, size = ir.IntType(64), signature.args[0].dtype.bitwidth // 8
        mine, other = (
            builder.ptrtoint(context.make_array(kind)(context, builder, value).data, word)
            for kind, value in zip(signature.args, args, strict=True)
        )
        distance = builder.sub(builder.add(other, ir.Constant(word, APART_BYTES)), mine)
        return builder.udiv(builder.and_(distance, ir.Constant(word, PAGE_BYTES - 1)), ir.Constant(word, size))

    return types.int64(room, y), codegen


@njit(cache=True)
def beside(room: Any, y: Any) -> Any:
    """The part of a row of `scratch` that is of the size of y: it lies to lines as y does, and elsewhere in a page.

    A load waits for a store before it to a place with the same last twelve bits of its address.
    """
    skipped = _apart(room, y)
    return room[skipped : skipped + y.size]


@intrinsic
def fence(typingctx: Any) -> Any:
    """In compiled code, at the end of a task: what went past the cache is there before what follows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _copy_lines(typingctx: Any, y: Any, x: Any, first: Any, lines: Any) -> Any:
    """y = x."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _Lines(context, builder, signature.args[:2], args[:2], args[2])
        with cgutils.for_range(builder, args[3]) as loop:
            rows.stream(rows.load(1, loop.index), loop.index)
        return context.get_dummy_value()

    return types.void(y, x, types.int64, types.int64), codegen


@njit(cache=True)
def stream(y: Any, x: Any) -> None:
    """y = x of one size and type."""
    first, lines, end = whole_lines(y)
    for i in range(first):
        y[i] = x[i]
    _copy_lines(y, x, first, lines)
    for i in range(end, y.size):
        y[i] = x[i]


@intrinsic
def _weigh_lines(typingctx: Any, y: Any, x: Any, w: Any, following: Any, first: Any, lines: Any, factor: Any) -> Any:
    """y = w·(x·factor), and the sum of the squares of `following`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _Lines(context, builder, signature.args[:4], args[:4], args[4])
        scale = rows.splat(args[6])
        squares = rows.cell(ir.Constant(rows.line, None))
        with cgutils.for_range(builder, args[5]) as loop:
            rows.ask_for(3, loop.index)
            product = builder.fmul(rows.load(1, loop.index), scale)
            rows.stream(builder.fmul(rows.load(2, loop.index), product), loop.index)
            value = rows.load(3, loop.index)
            builder.store(_fused(builder, value, value, builder.load(squares)), squares)
        return rows.folded(squares, builder.fadd)

    return factor(y, x, w, following, types.int64, types.int64, factor), codegen


@njit(cache=True)
def weigh(y: Any, x: Any, w: Any, factor: Any, following: Any) -> Any:
    """y = w·(x·factor) past the cache; returns the sum of the squares of `following`, the row to come."""
    first, lines, end = whole_lines(y)
    squares = _weigh_lines(y, x, w, following, first, lines, factor)
    for i in range(y.size - (end - first)):
        j = i if i < first else i + end - first
        y[j] = w[j] * (x[j] * factor)
        squares += following[j] * following[j]
    return squares


@intrinsic
def _soften_lines(
    typingctx: Any, y: Any, e: Any, x: Any, following: Any, first: Any, lines: Any, share: Any, top: Any
) -> Any:
    """y = e·share, then e = e^(x - top); returns the sum of e and the largest of `following`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _Lines(context, builder, signature.args[:4], args[:4], args[4])
        factor, shift = rows.splat(args[6]), rows.splat(args[7])
        total = rows.cell(ir.Constant(rows.line, None))
        best = rows.cell(rows.splat(ir.Constant(rows.element, float("-inf"))))
        with cgutils.for_range(builder, args[5]) as loop:
            rows.ask_for(3, loop.index)
            held, value, later = (rows.load(array, loop.index) for array in (1, 2, 3))
            result = emit_exp(builder, builder.fsub(value, shift))
            builder.store(builder.fadd(builder.load(total), result), total)
            builder.store(rows.greater(builder.load(best), later), best)
            rows.stream(builder.fmul(held, factor), loop.index)
            rows.store(result, 1, loop.index)
        found = rows.folded(total, builder.fadd), rows.folded(best, rows.greater)
        return context.make_tuple(builder, signature.return_type, found)

    pair = types.UniTuple(share, 2)
    return pair(y, e, x, following, types.int64, types.int64, share, share), codegen


@njit(cache=True)
def soften(y: Any, e: Any, share: Any, x: Any, top: Any, following: Any) -> Any:
    """Three rows at once: y = e·share past the cache, then e = e^(x - top), and the largest of `following`.

    Returns the sum of e, and the largest number of `following`.
    """
    first, lines, end = whole_lines(y)
    total, best = _soften_lines(y, e, x, following, first, lines, share, top)
    for i in range(y.size - (end - first)):
        j = i if i < first else i + end - first
        y[j] = e[j] * share
        e[j] = exp(x[j] - top)
        total += e[j]
        best = following[j] if following[j] > best else best
    return total, best


@intrinsic
def _gate_lines(typingctx: Any, y: Any, g: Any, v: Any, first: Any, lines: Any) -> Any:
    """y = g·σ(g)·v."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = _Lines(context, builder, signature.args[:3], args[:3], args[3])
        one, zero = (ir.Constant(rows.line, [value] * rows.line.count) for value in (1.0, 0.0))
        with cgutils.for_range(builder, args[4]) as loop:
            rows.ask_for(1, loop.index)
            rows.ask_for(2, loop.index)
            g_line = rows.load(1, loop.index)
            positive = builder.fcmp_ordered(">=", g_line, zero)
            small = emit_exp(builder, builder.select(positive, builder.fneg(g_line), g_line))
            share = builder.fdiv(builder.select(positive, one, small), builder.fadd(one, small))
            rows.stream(builder.fmul(builder.fmul(g_line, share), rows.load(2, loop.index)), loop.index)
        return context.get_dummy_value()

    return types.void(y, g, v, types.int64, types.int64), codegen


@njit(cache=True)
def gate_lines(y: Any, g: Any, v: Any, first: int, lines: int) -> None:
    """y = g·σ(g)·v past the cache, for so many lines from element `first`, which begins one."""
    _gate_lines(y, g, v, first, lines)
