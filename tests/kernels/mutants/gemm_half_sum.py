"""Mutant: float16 products are summed in float16."""

from dataclasses import replace

from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.kernel import Implementation


def wrong(c, a, b, xp):
    total = xp.zeros(c.shape, c.dtype)
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1] * b[k]
    c[...] = total


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_half_sum",
    dtypes=("float16",),
    implementations={"cupy": Implementation(wrong, tile={"m": 8, "k": 16, "n": 8})},
)
