"""Mutant: the fraction of an 8-bit float is cut off in place of rounded."""

from dataclasses import replace

from clusterbench.kernels.catalog import quantise_fp8
from clusterbench.kernels.kernel import Implementation


def wrong(y, scale, x, xp):
    scale[...] = xp.abs(x).max(axis=1) / x.dtype.type(448)
    quotient = x / xp.where(scale > 0, scale, 1)[:, None]
    step = xp.exp2(xp.maximum(xp.frexp(quotient)[1] - 1, -6) - 3)
    y[...] = (xp.trunc(quotient / step) * step).astype(y.dtype)


KERNEL = replace(
    quantise_fp8.KERNEL,
    name="quantise_fp8_cut",
    dtypes=("float8_e4m3fn",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
