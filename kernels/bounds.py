"""Rounding errors that a correct kernel cannot exceed, from the standard model of floating point.

fl(x op y) = (x op y)(1 + d), |d| <= u, without underflow (N. J. Higham, "Accuracy and Stability of Numerical
Algorithms", 2nd ed., SIAM 2002, sections 2.2 and 3.1). Every bound is absolute and by element, holds for every order of
summation and with or without fused multiply-adds, and is judged as error / bound <= 1, never by a chosen tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def unit_roundoff(dtype: DTypeLike) -> float:
    """u = half the distance from 1 to the next larger number: 2^-24 for float32, 2^-53 for float64."""
    return float(np.finfo(np.dtype(dtype)).eps) / 2


def significand_bits(dtype: DTypeLike) -> int:
    """p such that every integer up to 2^p in magnitude is representable: 24 for float32, 53 for float64."""
    return int(np.finfo(np.dtype(dtype)).nmant) + 1


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
