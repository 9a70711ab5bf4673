"""Mutant: parts overlap by one element, which is counted twice."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation

PART = 256


@njit
def double(d, x, y):
    total = x.dtype.type(0)
    for low in range(0, x.size, PART):
        for i in range(low, min(low + PART + 1, x.size)):
            total += x[i] * y[i]
    d[0] = total


KERNEL = replace(
    dot.KERNEL,
    name="dot_double_count",
    implementations={"numba": Implementation(double, tile={"n": PART})},
)
