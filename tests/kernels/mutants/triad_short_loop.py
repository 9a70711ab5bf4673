"""Mutant: the loop ends one element early."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import triad
from clusterbench.kernels.kernel import Implementation


@njit
def short(a, b, c, k):
    for i in range(a.size - 1):
        a[i] = b[i] + k * c[i]


KERNEL = replace(
    triad.KERNEL,
    name="triad_short_loop",
    implementations={"numba": Implementation(short, tile={"n": 64})},
)
