"""Mutant: k multiplies the other operand."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import triad
from clusterbench.kernels.kernel import Implementation


@njit
def swapped(a, b, c, k):
    for i in range(a.size):
        a[i] = k * b[i] + c[i]


KERNEL = replace(
    triad.KERNEL,
    name="triad_swapped_operands",
    implementations={"numba": Implementation(swapped, tile={"n": 64})},
)
