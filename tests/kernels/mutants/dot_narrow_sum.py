"""Mutant: float64 products are summed in float32."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation


@njit
def narrow(d, x, y):
    total = np.float32(0)
    for i in range(x.size):
        total = np.float32(total + x[i] * y[i])
    d[0] = total


KERNEL = replace(
    dot.KERNEL,
    name="dot_narrow_sum",
    dtypes=("float64",),
    implementations={"numba": Implementation(narrow, tile={"n": 256})},
)
