"""Mutant: quotients are cut off in place of rounded."""

from dataclasses import replace

from clusterbench.kernels.catalog import quantise_int8
from clusterbench.kernels.kernel import Implementation


def wrong(y, scale, x, xp):
    scale[...] = xp.abs(x).max(axis=1) / x.dtype.type(127)
    y[...] = xp.trunc(x / xp.where(scale > 0, scale, 1)[:, None])


KERNEL = replace(
    quantise_int8.KERNEL,
    name="quantise_truncates",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
