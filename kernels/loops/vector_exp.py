"""e^x for compiled code, as a chain of multiply-adds that LLVM turns into vector code; x is meant to be at most 0.

Computes: n = round(x·log2 e), r = x - n·ln 2, e^r by a polynomial, times 2^n, put together from its bits (after
W. J. Cody, W. Waite, "Software Manual for the Elementary Functions", 1980). The polynomial is the Taylor series less
its last terms by Chebyshev's economisation on |r| <= ln 2 / 2. -inf gives 0 and a NaN stays one. What would be below
the least normal number is 0.
How wrong: less than (2 + |x|)·u (measured), as ln 2 has no second part here; `elementary.exponential` allows more.
Must cost: 8 multiply-adds and 6 other instructions in float32, 13 and 6 in float64.

Numba calls the C library's exp one element at a time, hence LLVM's instructions written here. Each carries a flag of
its own, so that no caller's `fastmath` reassociates what rounds n.
"""

from __future__ import annotations

from decimal import Context, Decimal
from math import factorial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.polynomial.chebyshev import cheb2poly

LN2 = Context(prec=60).ln(Decimal(2))
DEGREE = {32: 6, 64: 11}
"""Whose error is below a tenth of u."""
FRACTION, BIAS = {32: 23, 64: 52}, {32: 127, 64: 1023}
LEAST = {32: -87.0, 64: -708.0}
"""Where results stop being normal numbers, rounded up to a whole number."""


def polynomial(degree: int) -> list[float]:
    """The coefficients of e^r on |r| <= ln 2 / 2, from r^0 on (Chebyshev's economisation of a longer Taylor series)."""
    found = [1 / Decimal(factorial(k)) for k in range(degree + 6)]
    half = LN2 / 2
    while len(found) > degree + 1:
        top = len(found) - 1
        # r^top, less a multiple of the Chebyshev polynomial that has it, is of a lower degree and hardly differs.
        chebyshev = [Decimal(int(c)) for c in cheb2poly([0] * top + [1])]
        share = found[top] * half**top / chebyshev[top]
        found = [found[k] - share * chebyshev[k] / half**k for k in range(top)]
    return [float(c) for c in found]


def emit_exp(builder: Any, x: Any) -> Any:
    """Emit e^x for a float of 32 or 64 bits, or for a vector of them."""
    real = x.type
    count = real.count if isinstance(real, ir.VectorType) else 0
    width = 32 if ir.FloatType() in (real, getattr(real, "element", None)) else 64
    word = ir.VectorType(ir.IntType(width), count) if count else ir.IntType(width)
    name = f"llvm.fmuladd.v{count}f{width}" if count else f"llvm.fmuladd.f{width}"
    fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), name)

    def number(value: float) -> Any:
        return ir.Constant(real, [value] * count if count else value)

    # Adding 1.5·2^(fraction bits) leaves the nearest whole number in the last bits; the bias makes it an exponent.
    magic = number(1.5 * 2.0 ** FRACTION[width] + BIAS[width])
    shifted = builder.call(fused, [x, number(float(1 / LN2)), magic])
    whole = builder.fsub(shifted, magic, flags=["contract"])
    rest = builder.call(fused, [whole, number(-float(LN2)), x])
    result, *others = (number(c) for c in reversed(polynomial(DEGREE[width])))
    for coefficient in others:
        result = builder.call(fused, [result, rest, coefficient])
    places = ir.Constant(word, [FRACTION[width]] * count if count else FRACTION[width])
    power = builder.bitcast(builder.shl(builder.bitcast(shifted, word), places), real)
    scaled = builder.fmul(result, power, flags=["contract"])
    below = builder.fcmp_ordered("<", x, number(LEAST[width]), flags=["contract"])
    return builder.select(below, number(0.0), scaled)


@intrinsic
def exp(typingctx: Any, x: Any) -> Any:
    """In compiled code: e^x of a float32 or float64 that is at most 88, in that type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit_exp(builder, args[0])

    return (x(x), codegen) if isinstance(x, types.Float) else None
