"""Mutant: the last, unfinished part is left out."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation

PART = 256


@njit
def dropped(d, x, y):
    total = x.dtype.type(0)
    for i in range(x.size if x.size < PART else x.size // PART * PART):
        total += x[i] * y[i]
    d[0] = total


KERNEL = replace(
    dot.KERNEL,
    name="dot_dropped_part",
    implementations={"numba": Implementation(dropped, tile={"n": PART})},
)
