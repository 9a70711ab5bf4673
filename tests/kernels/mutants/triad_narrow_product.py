"""Mutant: the product is rounded to float32 before it is added."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import triad
from clusterbench.kernels.kernel import Implementation


@njit
def narrow(a, b, c, k):
    for i in range(a.size):
        a[i] = b[i] + np.float64(np.float32(k * c[i]))


KERNEL = replace(
    triad.KERNEL,
    name="triad_narrow_product",
    dtypes=("float64",),
    implementations={"numba": Implementation(narrow, tile={"n": 64})},
)
