"""Mutant: float64 products are summed in float32."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.kernel import Implementation


@njit
def narrow(c, a, b):
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total = np.float32(total + a[i, k] * b[k, j])
            c[i, j] = total


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_narrow_sum",
    dtypes=("float64",),
    implementations={"numba": Implementation(narrow, tile={"m": 16, "k": 64, "n": 16})},
)
