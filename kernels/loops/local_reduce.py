"""The local reduction inside a collective: dst[i] = a[i] op b[i], the inner loop of an all-reduce, as a C function.

Must cost: 3·N·itemsize bytes and N operations, so it runs at memory bandwidth once the buffers leave the cache.
How wrong: not at all. One operation an element, correctly rounded for floats and wrapping for integers, so the
result equals NumPy's bit for bit (minimum and maximum are C's and NumPy's fmin and fmax: a NaN loses). The 16-bit
floats are computed with in float32 and rounded once (`kernels/loops/half.py`).
Without a GPU: this *is* the CPU's version; LLVM vectorises it for the host.

The functions are called from compiled code through their address, so that no Python runs between two steps of a
collective. Only what is asked for is compiled, and compiled code is kept between starts. The element type is part of
the signature, which is Numba's key of the cache; a type captured in a closure would not be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import cfunc, float64, int64, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype
from numpy.typing import DTypeLike

from clusterbench.kernels.element_types import DTYPES, element_type
from clusterbench.kernels.loops.half import (
    FLOAT16,
    SHORT_FLOAT_TYPES,
    ShortFloat,
    converts_float16,
    emit_narrowed,
    emit_widened,
)

OPS = ("sum", "prod", "min", "max")


class LocalReduceError(ValueError):
    """A type or an operation for which there is no local reduction."""

    exit_code: ClassVar[int] = 2


def _element(builder: Any, context: Any, pointer_type: Any, pointer: Any, index: Any) -> Any:
    """The address of an element. Typed through the pointee, so that it holds with opaque pointers too."""
    element = context.get_value_type(pointer_type.dtype)
    return builder.gep(pointer, [index], source_etype=element), element


def _computed(element: Any) -> Any:
    """The type that is computed with: the element's own, and float32 for a 16-bit float."""
    return types.float32 if isinstance(element, ShortFloat) else element


@intrinsic
def _load(typingctx: Any, pointer: Any, index: Any) -> Any:
    """pointer[index]; the pointer may have any alignment, as a chunk of a user's buffer may."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, element = _element(builder, context, signature.args[0], args[0], args[1])
        loaded = builder.load(address, align=1, typ=element)
        kind = signature.args[0].dtype
        if isinstance(kind, ShortFloat):
            return emit_widened(builder, kind, loaded, converts_float16(context))
        return loaded

    return _computed(pointer.dtype)(pointer, types.int64), codegen


@intrinsic
def _store(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """pointer[index] = value, converted to the element's type (integers wrap, 16-bit floats are rounded)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, _ = _element(builder, context, signature.args[0], args[0], args[1])
        stored, kind = args[2], signature.args[0].dtype
        if isinstance(kind, ShortFloat):
            stored = emit_narrowed(builder, kind, stored, converts_float16(context))
        builder.store(stored, address, align=1)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, _computed(pointer.dtype)), codegen


@intrinsic
def _same(typingctx: Any, one: Any, other: Any) -> Any:
    """Whether two pointers are equal."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        return builder.icmp_unsigned("==", *(builder.ptrtoint(pointer, word) for pointer in args))

    return types.boolean(one, other), codegen


def _extremum(builder: Any, kind: Any, which: str, operands: Any) -> Any:
    """LLVM's own minimum or maximum.

    A comparison with a selection would be turned into a masked store where dst is an operand, and masked stores run
    at a third of memory bandwidth on current AMD processors. (AVX2 has no minimum of 64-bit integers; in place those
    still end in masked stores.)
    """
    llvm = operands[0].type
    family = f"{which}num" if isinstance(kind, types.Float) else f"{'s' if kind.signed else 'u'}{which}"
    # Named by hand because llvmlite's declare_intrinsic knows no names for these.
    suffix = f"f{kind.bitwidth}" if isinstance(kind, types.Float) else f"i{kind.bitwidth}"
    declared = ir.FunctionType(llvm, [llvm, llvm])
    function = cgutils.get_or_insert_function(builder.module, declared, f"llvm.{family}.{suffix}")
    return builder.call(function, operands)


def _short_extremum(builder: Any, which: str, operands: Any) -> Any:
    """The minimum or maximum of two widened float16, by integers that are ordered as the floats are.

    LLVM would take its own of the 16 bits, as that is the same, and would do so one element at a time.
    """
    word = ir.IntType(32)
    bits = [builder.bitcast(value, word) for value in operands]
    largest = ir.Constant(word, 0x7FFFFFFF)
    signs = [builder.ashr(value, ir.Constant(word, 31)) for value in bits]
    keys = [builder.xor(value, builder.and_(sign, largest)) for value, sign in zip(bits, signs, strict=True)]
    first = builder.icmp_signed("<" if which == "min" else ">", *keys)
    infinity = ir.Constant(word, 0x7F800000)
    lost = [builder.icmp_unsigned(">", builder.and_(value, largest), infinity) for value in bits]
    takes_first = builder.or_(lost[1], builder.and_(first, builder.not_(lost[0])))
    return builder.bitcast(builder.select(takes_first, *bits), ir.FloatType())


def _extremum_codegen(which: str) -> Callable[[Any, Any, Any, Any], Any]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if signature.args[0].dtype == FLOAT16:
            return _short_extremum(builder, which, args[1:])
        return _extremum(builder, signature.args[1], which, args[1:])

    return codegen


@intrinsic
def _smaller(typingctx: Any, pointer: Any, one: Any, other: Any) -> Any:
    """The smaller of two values of what the pointer points to; a NaN loses."""
    return one(pointer, one, one), _extremum_codegen("min")


@intrinsic
def _larger(typingctx: Any, pointer: Any, one: Any, other: Any) -> Any:
    """The larger of two values of what the pointer points to; a NaN loses."""
    return one(pointer, one, one), _extremum_codegen("max")


@intrinsic
def _quotient(typingctx: Any, value: Any, divisor: Any) -> Any:
    """value / divisor in the value's type with C's meaning: integers are cut off towards zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        if isinstance(kind, types.Float):
            return builder.fdiv(*args)
        return builder.sdiv(*args) if kind.signed else builder.udiv(*args)

    return value(value, value), codegen


# In place there are two pointers and not three. LLVM guards the vector loop by a test that the operands do not overlap;
# without a loop of its own the most frequent case of a collective would fall to the scalar one.


def _sum(dst: Any, a: Any, b: Any, count: Any) -> None:
    if _same(dst, a):
        for i in range(count):
            _store(dst, i, _load(dst, i) + _load(b, i))
    else:
        for i in range(count):
            _store(dst, i, _load(a, i) + _load(b, i))


def _prod(dst: Any, a: Any, b: Any, count: Any) -> None:
    if _same(dst, a):
        for i in range(count):
            _store(dst, i, _load(dst, i) * _load(b, i))
    else:
        for i in range(count):
            _store(dst, i, _load(a, i) * _load(b, i))


def _min(dst: Any, a: Any, b: Any, count: Any) -> None:
    if _same(dst, a):
        for i in range(count):
            _store(dst, i, _smaller(dst, _load(dst, i), _load(b, i)))
    else:
        for i in range(count):
            _store(dst, i, _smaller(dst, _load(a, i), _load(b, i)))


def _max(dst: Any, a: Any, b: Any, count: Any) -> None:
    if _same(dst, a):
        for i in range(count):
            _store(dst, i, _larger(dst, _load(dst, i), _load(b, i)))
    else:
        for i in range(count):
            _store(dst, i, _larger(dst, _load(a, i), _load(b, i)))


def _divide(dst: Any, divisor: Any, count: Any) -> None:
    for i in range(count):
        _store(dst, i, _quotient(_load(dst, i), divisor))


def _divide_narrow(dst: Any, divisor: Any, count: Any) -> None:
    # Processors divide vectors of floats, not of integers. For operands of at most 32 bits the quotient in float64, cut
    # off, is exact: it differs from an integer by at least 1/divisor, and its rounding by at most 2^-21/divisor.
    by = float64(divisor)
    for i in range(count):
        _store(dst, i, int64(float64(_load(dst, i)) / by))


_REDUCTIONS: dict[str, Callable[[Any, Any, Any, Any], None]] = {"sum": _sum, "prod": _prod, "min": _min, "max": _max}

# The same as MPI's MPI_User_function has it (MPI 4.1, 6.9.5): both vectors, the second of which takes the result, the
# address of their length, and that of the type, which is known here.

_inner_sum, _inner_prod, _inner_min, _inner_max = njit(_sum), njit(_prod), njit(_min), njit(_max)


def _user_sum(source: Any, target: Any, length: Any, kind: Any) -> None:
    _inner_sum(target, target, source, int64(_load(length, 0)))


def _user_prod(source: Any, target: Any, length: Any, kind: Any) -> None:
    _inner_prod(target, target, source, int64(_load(length, 0)))


def _user_min(source: Any, target: Any, length: Any, kind: Any) -> None:
    _inner_min(target, target, source, int64(_load(length, 0)))


def _user_max(source: Any, target: Any, length: Any, kind: Any) -> None:
    _inner_max(target, target, source, int64(_load(length, 0)))


_USER_OPERATIONS: dict[str, Callable[[Any, Any, Any, Any], None]] = {
    "sum": _user_sum, "prod": _user_prod, "min": _user_min, "max": _user_max,
}  # fmt: skip


def _element_type(dtype: DTypeLike) -> Any:
    name = (element_type(dtype) if isinstance(dtype, str) else np.dtype(dtype)).name
    if name not in DTYPES:
        raise LocalReduceError(f"no local reduction for type {name!r}; expected one of {', '.join(DTYPES)}")
    return SHORT_FLOAT_TYPES[name] if name in SHORT_FLOAT_TYPES else from_dtype(np.dtype(name))


@cache
def _compiled_reduction(element: Any, op: str) -> Any:
    pointer = types.CPointer(element)
    return cfunc(types.void(pointer, pointer, pointer, types.int64), cache=True)(_REDUCTIONS[op])


@cache
def _compiled_user_operation(element: Any, op: str, length: Any) -> Any:
    pointer = types.CPointer(element)
    return cfunc(types.void(pointer, pointer, types.CPointer(length), types.voidptr), cache=True)(_USER_OPERATIONS[op])


@cache
def _compiled_scale(element: Any) -> Any:
    narrow = isinstance(element, types.Integer) and element.bitwidth <= 32
    function = _divide_narrow if narrow else _divide
    return cfunc(types.void(types.CPointer(element), types.int64, types.int64), cache=True)(function)


def reduction_address(dtype: DTypeLike, op: str) -> int:
    """Address of `void f(char *dst, const char *a, const char *b, int64_t count)`: dst[i] = a[i] op b[i].

    Pointers may have any alignment. `dst` may be `a` (fast) or `b`; otherwise it must not overlap them. The function
    lives as long as the process. The first call on a machine compiles; later ones read the compiled code from a cache.

    Raises `LocalReduceError` for a type outside `DTYPES` or an operation outside `OPS`.
    """
    _refuse_unknown(op)
    return int(_compiled_reduction(_element_type(dtype), op).address)


def user_operation_address(dtype: DTypeLike, op: str, large: bool = False) -> int:
    """Address of an `MPI_User_function`, or where `large` of an `MPI_User_function_c`, whose length has 64 bits.

    It does what `reduction_address` does in place, with the same rounding, and gives the same for either order of its
    operands, but for the bits of a NaN. Raises `LocalReduceError` as that does.
    """
    _refuse_unknown(op)
    length = types.int64 if large else types.int32
    return int(_compiled_user_operation(_element_type(dtype), op, length).address)


def _refuse_unknown(op: str) -> None:
    if op not in _REDUCTIONS:
        raise LocalReduceError(f"no local reduction {op!r}; expected one of {', '.join(OPS)}")


def scale_address(dtype: DTypeLike) -> int:
    """Address of `void f(char *dst, int64_t p, int64_t count)`: dst[i] = dst[i] / p, the second half of an average.

    Division has C's meaning: correctly rounded for floats, cut off towards zero for integers; p is at least 1. 16-bit
    floats are divided in float32 and rounded once.

    Raises `LocalReduceError` for a type outside `DTYPES`.
    """
    return int(_compiled_scale(_element_type(dtype)).address)
