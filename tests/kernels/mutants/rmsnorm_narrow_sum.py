"""Mutant: the squares of float16 are summed in float16."""

from dataclasses import replace

from clusterbench.kernels.catalog import rmsnorm
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, w, xp):
    mean = xp.cumsum(xp.square(x), axis=1, dtype=x.dtype)[:, -1:] / x.dtype.type(x.shape[1])
    y[...] = w * (x / xp.sqrt(mean + x.dtype.type(rmsnorm.EPSILON)))


KERNEL = replace(
    rmsnorm.KERNEL,
    name="rmsnorm_narrow_sum",
    dtypes=("float16",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
