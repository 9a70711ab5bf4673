"""Mutant: the squares are divided by one less than their number."""

from dataclasses import replace

from clusterbench.kernels.catalog import layernorm
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, w, b, xp):
    mean = x.mean(axis=1, keepdims=True)
    variance = xp.square(x - mean).sum(axis=1, keepdims=True) / x.dtype.type(max(1, x.shape[1] - 1))
    y[...] = w * ((x - mean) / xp.sqrt(variance + x.dtype.type(layernorm.EPSILON))) + b


KERNEL = replace(
    layernorm.KERNEL,
    name="layernorm_sample_variance",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
