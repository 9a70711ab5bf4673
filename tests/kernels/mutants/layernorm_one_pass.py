"""Mutant: the variance is the mean square less the squared mean, which cancels where the mean is large."""

from dataclasses import replace

from clusterbench.kernels.catalog import layernorm
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, w, b, xp):
    mean = x.mean(axis=1, keepdims=True)
    variance = xp.square(x).mean(axis=1, keepdims=True) - xp.square(mean)
    y[...] = w * ((x - mean) / xp.sqrt(xp.maximum(variance, 0) + x.dtype.type(layernorm.EPSILON))) + b


KERNEL = replace(
    layernorm.KERNEL,
    name="layernorm_one_pass",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
