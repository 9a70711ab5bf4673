"""Mutant: it also writes to its input."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import copy
from clusterbench.kernels.kernel import Implementation


@njit
def spoiling(a, b):
    for i in range(a.size):
        a[i] = b[i]
        b[i] = 0


KERNEL = replace(
    copy.KERNEL,
    name="copy_input_spoiled",
    implementations={"numba": Implementation(spoiling, tile={"n": 64})},
)
