"""Mutant: the scale is by 128, so the largest number wraps round."""

from dataclasses import replace

from clusterbench.kernels.catalog import quantise_int8
from clusterbench.kernels.kernel import Implementation


def wrong(y, scale, x, xp):
    scale[...] = xp.abs(x).max(axis=1) / x.dtype.type(128)
    y[...] = xp.rint(x / xp.where(scale > 0, scale, 1)[:, None]).astype(xp.int32).astype(xp.int8)


KERNEL = replace(
    quantise_int8.KERNEL,
    name="quantise_wraps",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
