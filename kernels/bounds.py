"""Rounding errors that a correct kernel cannot exceed, from the standard model of floating point.

fl(x op y) = (x op y)(1 + d), |d| <= u, without underflow (N. J. Higham, "Accuracy and Stability of Numerical
Algorithms", 2nd ed., SIAM 2002, sections 2.2 and 3.1). Every bound is absolute and by element, holds for every order of
summation and with or without fused multiply-adds, and is judged as error / bound <= 1, never by a chosen tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clusterbench.kernels.element_types import TF32, element_type, finfo, is_float

Array = NDArray[Any]


def unit_roundoff(dtype: DTypeLike) -> float:
    """u = half the distance from 1 to the next larger number: 2^-24 for float32, 2^-11 for tf32; 0 for integers."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name == TF32:
        return 2.0**-11
    return float(finfo(name).eps) / 2 if is_float(element_type(name)) else 0.0


def significand_bits(dtype: DTypeLike) -> int:
    """p such that every integer up to 2^p in magnitude is representable: 24 for float32, 31 for int32."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    kind = element_type(name)
    if not is_float(kind):
        return 8 * kind.itemsize - (kind.kind == "i")
    return 11 if name == TF32 else int(finfo(name).nmant) + 1


def smallest_subnormal(dtype: DTypeLike) -> float:
    """The least positive number: twice what one rounding may be off by where it underflows; 0 for integers."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    return float(finfo(name).smallest_subnormal) if is_float(element_type(name)) else 0.0


def gamma(roundings: int, u: float) -> float:
    """γ_m = m·u / (1 - m·u): the bound of a product of m factors (1 + d_i) (Higham, lemma 3.1).

    Raises ValueError where m·u >= 1, where the model says nothing.
    """
    if roundings < 0:
        raise ValueError(f"{roundings} roundings; expected none or more")
    product = roundings * u
    if product >= 1:
        raise ValueError(f"{roundings} roundings of {u:.3g} each: m·u must be below 1 for a bound to exist")
    return product / (1 - product)


def one_rounding(exact: Array, u: float) -> Array:
    """|fl(x op y) - x op y| <= u·|x op y|: one correctly rounded operation."""
    return u * np.abs(exact)


def multiply_add(product: Array, result: Array, u: float) -> Array:
    """Bound of fl(b + fl(k·c)) and of fma(k, c, b), with product = k·c and result = b + k·c.

    The product is off by at most u·|product|, which the addition carries on with a factor of (1 + u); the addition adds
    u·|result|. A fused operation has the second term only.
    """
    return u * np.abs(product) * (1 + u) + u * np.abs(result)


def inner_product(terms: int, absolute: Array, u: float) -> Array:
    """Bound γ_n·Σ|a_i·b_i| of an inner product of n terms in any order (Higham, section 3.1, eq. 3.4).

    `absolute` is Σ|a_i·b_i|.
    """
    return gamma(terms, u) * absolute
