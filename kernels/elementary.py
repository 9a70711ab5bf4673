"""How wrong elementary functions may be, in units of u: the largest figure that any back end's maker publishes.

float32 on a GPU (PTX ISA 9.1, section 9.7.3, at each instruction): `ex2.approx.f32` is at most 2 ulp from the
correctly rounded result, `div.full.f32` has at most 2 ulp, `rsqrt.approx.f32` a relative 2^-22.9. NumPy's float32
`exp` is at most 2.52 ulp off (numpy/numpy#13134). An ulp is at most 2·u of the value, and 2 ulp from the rounded
result are 2.5 from the exact one, so that 2.52 ulp are less than 6·u. Double precision is no worse than that.

Narrower types are computed with in float32, so that u is float32's where a function is evaluated (`computed`).
"""

from __future__ import annotations

import numpy as np

from clusterbench.kernels.bounds import Array, gamma, unit_roundoff

EXP, DIVISION, INVERSE_ROOT = 6, 5, 5
FLOAT32_U = unit_roundoff("float32")
LARGEST_SHARE = 0.5
"""A relative error from which on nothing is said: such a value is 0, as only vast exponents come so far."""


def computed(u: float) -> float:
    """The unit roundoff of what a type of unit roundoff u is computed in: float32 for all that is narrower."""
    return min(float(u), FLOAT32_U)


def least_normal(u: float) -> float:
    """Twice the least normal number of the type that is computed in: what flushing to zero may take from a result."""
    return 2.0**-125 if computed(u) == FLOAT32_U else 2.0**-1021


def matrix_unit(terms: int, absolute: Array, u: float) -> Array:
    """The error of an inner product on a matrix unit that sums in float32; `absolute` is Σ|a_i·b_i|.

    Products of narrower numbers are exact, but the addends of a block of b are aligned and cut off, not rounded: at
    most n·(1 + 1/b)·2^-23, with b at least 4 (M. Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ
    Computer Science 7:e330, 2021; P. Blanchard et al., "Mixed precision block fused multiply-add", SIAM J. Sci. Comput.
    42(3), 2020). It covers any order of rounded sums, too.
    """
    return gamma(-(-5 * terms // 2), computed(u)) * absolute


def exponential(x: Array, u: float) -> Array:
    """The relative error of e^x as 2^(x·log2 e): x is rounded once more, as is the constant, and each moves the result
    by |x|·u.
    """
    return (EXP + 2 * np.abs(x)) * u


def compounded(first_order: Array) -> Array:
    """The relative error of a product or quotient whose factors' relative errors sum to r < 1: at most r / (1 - r)."""
    share = np.minimum(first_order, LARGEST_SHARE)
    return share / (1 - share)


def stored(error: Array, result: Array, u: float) -> Array:
    """The error of a result once it is rounded to the type of unit roundoff u, `error` off as it is."""
    return error + u * (np.abs(result) + error)


def logistic(z: Array) -> Array:
    """σ(z) = 1 / (1 + e^-z) without overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def logistic_error(z: Array, roundings: float, u: float) -> Array:
    """The relative error of σ(z) where z itself is off by so many roundings: d ln σ = (1 - σ(z))·dz, an addition and a
    division.
    """
    return logistic(-z) * (exponential(z, u) + roundings * np.abs(z) * u) + (1 + DIVISION) * u
