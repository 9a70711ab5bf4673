"""Mutant: the rest of a row behind its last whole block is not in the mean square."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import rmsnorm
from clusterbench.kernels.kernel import Implementation

BLOCK = 16


@njit
def dropped(y, x, w):
    n = x.shape[1]
    for i in range(x.shape[0]):
        squares = x.dtype.type(0)
        for j in range(n if n < BLOCK else n // BLOCK * BLOCK):
            squares += x[i, j] * x[i, j]
        factor = 1 / np.sqrt(squares / n + rmsnorm.EPSILON)
        for j in range(n):
            y[i, j] = w[j] * (x[i, j] * factor)


KERNEL = replace(
    rmsnorm.KERNEL,
    name="rmsnorm_dropped_block",
    dtypes=("float32",),
    implementations={"numba": Implementation(dropped, tile={"m": 2, "n": BLOCK})},
)
