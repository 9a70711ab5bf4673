"""Mutant: it adds to what its output held before."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation


@njit
def adding(d, x, y):
    for i in range(x.size):
        d[0] += x[i] * y[i]


KERNEL = replace(
    dot.KERNEL,
    name="dot_not_zeroed",
    implementations={"numba": Implementation(adding, tile={"n": 256})},
)
