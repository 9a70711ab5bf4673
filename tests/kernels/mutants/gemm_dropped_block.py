"""Mutant: the rest of k behind the last whole block is left out."""

from dataclasses import replace

from numba import njit

from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.kernel import Implementation

DEPTH = 16


@njit
def dropped(c, a, b):
    depth = a.shape[1] if a.shape[1] < DEPTH else a.shape[1] // DEPTH * DEPTH
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = 0
            for k in range(depth):
                c[i, j] += a[i, k] * b[k, j]


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_dropped_block",
    dtypes=("float32", "float64"),
    implementations={"numba": Implementation(dropped, tile={"m": 16, "k": DEPTH, "n": 16})},
)
