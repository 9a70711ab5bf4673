"""Arithmetic on arrays of CuPy's, or of NumPy's in their place: reductions, averages, and a bfloat16 that neither has.

Elements of bfloat16 are carried as 16 bits, computed with in float32 and rounded once, as everywhere in this suite
(`kernels/loops/half.py`). That is several passes over memory here: right, and not fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BFLOAT16 = "bfloat16"


def device_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the arrays that hold elements of `dtype`."""
    return np.dtype(np.uint16) if dtype.name == BFLOAT16 else dtype


def reduction(xp: Any, dtype: np.dtype[Any], op: str) -> Callable[[Any, Any, Any], None]:
    """A function (first, second, out) of arrays of `device_type(dtype)` that combines elements.

    Minimum and maximum as in kernels/loops/local_reduce.py: a NaN loses.
    """
    combine = {"sum": xp.add, "avg": xp.add, "prod": xp.multiply, "min": xp.fmin, "max": xp.fmax}[op]
    if dtype.name != BFLOAT16:
        return lambda first, second, out: combine(first, second, out=out)

    def combine_bfloat16(first: Any, second: Any, out: Any) -> None:
        out[...] = _narrowed(xp, combine(_widened(xp, first), _widened(xp, second)))

    return combine_bfloat16


def divide(xp: Any, summed: Any, dtype: np.dtype[Any], divisor: int) -> None:
    """Divide in place with C's meaning: correctly rounded for floats, cut off towards zero for integers."""
    if dtype.name == BFLOAT16:
        summed[...] = _narrowed(xp, _widened(xp, summed) / np.float32(divisor))
    elif dtype.kind == "f":
        xp.divide(summed, dtype.type(divisor), out=summed)
    elif divisor > np.iinfo(dtype).max:
        summed[...] = 0
    else:
        by = dtype.type(divisor)
        quotient = summed // by
        if dtype.kind == "i":  # floored so far: one more where it is negative and was not exact
            quotient += ((quotient < 0) & (quotient * by != summed)).astype(dtype)
        summed[...] = quotient


def _widened(xp: Any, bits: Any) -> Any:
    """The float32 of 16 bits: they are its upper half."""
    return (bits.astype(xp.uint32) << 16).view(xp.float32)


def _narrowed(xp: Any, values: Any) -> Any:
    """The 16 bits nearest to a float32, ties to even; a NaN stays one."""
    bits = values.view(xp.uint32)
    # Just under half a unit of the last bit kept, or half where that bit is odd; a carry moves the exponent on.
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    return xp.where(xp.isnan(values), (bits >> 16) | np.uint32(0x40), rounded).astype(xp.uint16)
