"""Mutant: operands are cut to tf32's eleven bits, as by a matrix unit that nobody asked for."""

from dataclasses import replace

import numpy as np

from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.kernel import Implementation


def narrowed(c, a, b, xp):
    cut = (rounded(array, "tf32").astype(array.dtype) for array in (a, b))
    np.matmul(*cut, out=c)


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_tf32",
    dtypes=("float32", "float64"),
    implementations={"cupy": Implementation(narrowed, tile={"m": 8, "k": 3000, "n": 8})},
)
