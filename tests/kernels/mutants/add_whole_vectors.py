"""Mutant: only whole vectors of eight are done; the tail is never written."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import add
from clusterbench.kernels.kernel import Implementation


@njit
def whole(a, b, c):
    for i in range(a.size // 8 * 8):
        a[i] = b[i] + c[i]


KERNEL = replace(
    add.KERNEL,
    name="add_whole_vectors",
    implementations={"numba": Implementation(whole, tile={"n": 64})},
)
