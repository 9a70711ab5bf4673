"""float16 and bfloat16 in compiled code: carried as 16 bits, computed with in float32, rounded once.

Computes: the float32 of a 16-bit value, exactly, and the nearest 16-bit value of a float32, ties to even (IEEE Std
754-2019, 4.3.1), with subnormals, infinities and overflow as the standard has them; a NaN stays a NaN and keeps its
upper bits. float16 is IEEE's binary16 (1 sign, 5 exponent, 10 fraction bits); bfloat16 is the upper half of a float32
(1, 8, 7).
Must cost: float16 one instruction where the processor converts in hardware (x86 with F16C, ARM64) and 10 to 20 without
a branch elsewhere, bfloat16 up to 7: LLVM turns loops over either into vector code.
How wrong: not at all; every one of the 65,536 values, and rounding on both sides of every tie, is compared with NumPy
and ml_dtypes.
Without a GPU: this is the CPU's version; GPUs have both types in hardware.

Numba has no 16-bit floats on processors, LLVM's own conversion calls a run-time library where the processor lacks one,
and Numba computes with integers of 32 bits in 64, which halves the width of vector code: so it is LLVM's instructions
that are written here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic


class ShortFloat(types.Type):  # type: ignore[misc]  # Numba has no types
    """A 16-bit float as a type of Numba's: what a pointer in a compiled function's signature points to.

    The name is all of its identity, so that Numba's cache tells functions for float16 from those for bfloat16.
    """


@register_default(ShortFloat)
class _ShortFloatModel(models.PrimitiveModel):  # type: ignore[misc]  # Numba has no types
    def __init__(self, manager: Any, carried: ShortFloat) -> None:
        super().__init__(manager, carried, _I16)


_I16, _I32, _F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()

FLOAT16, BFLOAT16 = ShortFloat("float16"), ShortFloat("bfloat16")
SHORT_FLOAT_TYPES = {carried.name: carried for carried in (FLOAT16, BFLOAT16)}
"""Numba's type of a 16-bit float by its name."""


def _word(value: int) -> Any:
    return ir.Constant(_I32, value)


def converts_float16(context: Any) -> bool:
    """Whether the processor that Numba compiles for converts float16 in hardware."""
    triple, _, features = context.codegen().magic_tuple()
    return "+f16c" in features.split(",") or triple.startswith(("aarch64", "arm64"))


def emit_widened(builder: Any, kind: ShortFloat, short: Any, in_hardware: bool) -> Any:
    """Emit the conversion of 16 bits to the float32 that they stand for."""
    if kind == FLOAT16 and in_hardware:
        return builder.fpext(builder.bitcast(short, ir.HalfType()), _F32)
    bits = builder.zext(short, _I32)
    if kind == BFLOAT16:
        return builder.bitcast(builder.shl(bits, _word(16)), _F32)
    sign = builder.shl(builder.and_(bits, _word(0x8000)), _word(16))
    magnitude = builder.and_(bits, _word(0x7FFF))
    # 112 is the difference of the exponents' biases, 127 − 15. Infinities and NaN need it twice: 31 becomes 255.
    special = builder.icmp_unsigned(">=", magnitude, _word(0x7C00))
    shift = builder.select(special, _word(2 * 112 << 23), _word(112 << 23))
    normal = builder.add(builder.shl(magnitude, _word(13)), shift)
    # A subnormal is its fraction times 2^−24, and normal as a float32: so flushing of subnormals does no harm.
    small = builder.fmul(builder.sitofp(magnitude, _F32), ir.Constant(_F32, 2.0**-24))
    subnormal = builder.icmp_unsigned("<", magnitude, _word(0x0400))
    wide = builder.select(subnormal, builder.bitcast(small, _I32), normal)
    return builder.bitcast(builder.or_(wide, sign), _F32)


def emit_narrowed(builder: Any, kind: ShortFloat, value: Any, in_hardware: bool) -> Any:
    """Emit the rounding of a float32 to the bits of the nearest 16-bit value."""
    if kind == FLOAT16 and in_hardware:
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), _I16)
    bits = builder.bitcast(value, _I32)
    magnitude = builder.and_(bits, _word(0x7FFFFFFF))
    is_nan = builder.icmp_unsigned(">", magnitude, _word(0x7F800000))
    dropped = 16 if kind == BFLOAT16 else 13
    # Add just under half a unit of the last bit kept, or half where that bit is odd; a carry moves the exponent on.
    odd = builder.and_(builder.lshr(bits, _word(dropped)), _word(1))
    upwards = builder.add(odd, _word((1 << dropped - 1) - 1))
    if kind == BFLOAT16:
        rounded = builder.lshr(builder.add(bits, upwards), _word(16))
        quiet = builder.or_(builder.lshr(bits, _word(16)), _word(0x0040))
        return builder.trunc(builder.select(is_nan, quiet, rounded), _I16)
    rebiased = builder.sub(builder.add(magnitude, upwards), _word(112 << 23))
    normal = builder.lshr(rebiased, _word(13))
    # The last bit of a float32 from 0.5 to 1 is 2^−24, the least subnormal of float16: adding 0.5 rounds to it.
    raised = builder.fadd(builder.bitcast(magnitude, _F32), ir.Constant(_F32, 0.5))
    small = builder.sub(builder.bitcast(raised, _I32), _word(0x3F000000))
    short = builder.select(builder.icmp_unsigned("<", magnitude, _word(0x38800000)), small, normal)  # 2^−14
    # From 65520 on, half-way between the largest float16 and the next power of two, the nearest is infinity.
    short = builder.select(builder.icmp_unsigned(">=", magnitude, _word(0x477FF000)), _word(0x7C00), short)
    fraction = builder.and_(builder.lshr(magnitude, _word(13)), _word(0x03FF))
    short = builder.select(is_nan, builder.or_(fraction, _word(0x7E00)), short)
    sign = builder.and_(builder.lshr(bits, _word(16)), _word(0x8000))
    return builder.trunc(builder.or_(short, sign), _I16)


def _widening(kind: ShortFloat) -> Any:
    @intrinsic
    def widened(typingctx: Any, short: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit_widened(builder, kind, args[0], converts_float16(context))

        return types.float32(types.uint16), codegen

    return widened


def _narrowing(kind: ShortFloat) -> Any:
    @intrinsic
    def narrowed(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit_narrowed(builder, kind, args[0], converts_float16(context))

        return types.uint16(types.float32), codegen

    return narrowed


from_float16, from_bfloat16 = _widening(FLOAT16), _widening(BFLOAT16)
"""In compiled code: the float32 of 16 bits (uint16)."""
to_float16, to_bfloat16 = _narrowing(FLOAT16), _narrowing(BFLOAT16)
"""In compiled code: the bits (uint16) of the 16-bit value nearest to a float32."""
