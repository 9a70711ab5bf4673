"""Mutant: the multiplication is done in float32."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import scale
from clusterbench.kernels.kernel import Implementation


@njit
def narrow(a, b, k):
    for i in range(a.size):
        a[i] = np.float32(k) * np.float32(b[i])


KERNEL = replace(
    scale.KERNEL,
    name="scale_narrow",
    dtypes=("float64",),
    implementations={"numba": Implementation(narrow, tile={"n": 64})},
)
