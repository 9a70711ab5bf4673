"""What the kernels share that turn rows into small integers or 8-bit floats with one scale a row, and back.

scale = max|x| / largest and y = round(x / scale), to nearest, ties to even: nothing is beyond the largest. A row of
zeros has the scale 0 and stays zeros.
"""

from __future__ import annotations

import numpy as np

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array

QUOTIENTS = 2 * elementary.DIVISION
"""Roundings of x / scale: the scale is a quotient, too."""
LOST_BELOW = 2.0**-100
"""A row whose largest element is below has a scale that is hardly a normal number, of which nothing is said."""


def scales(x: Array, largest: float) -> Array:
    """max|x| / largest of each row."""
    return np.abs(x).max(axis=1) / x.dtype.type(largest)


def quotients(x: Array, scale: Array) -> Array:
    """x / scale, and 0 where the scale is 0."""
    return np.divide(x, scale[:, None], out=np.zeros_like(x), where=scale[:, None] > 0)


def one_step_at_ties(quotient: Array, spacing: Array, u: float) -> Array:
    """The bound of a rounding to multiples of `spacing`: none, but one step where the quotient's own error could have
    carried it over a tie.
    """
    steps = np.abs(quotient) / spacing
    from_tie = np.abs(steps - np.floor(steps) - 0.5)
    return np.where(from_tie <= QUOTIENTS * elementary.computed(u) * np.maximum(steps, 1), spacing, 0)


def scale_bound(scale: Array, u: float) -> Array:
    """One quotient's error."""
    return elementary.DIVISION * elementary.computed(u) * scale
