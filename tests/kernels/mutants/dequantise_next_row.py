"""Mutant: each row takes the scale of the next."""

from dataclasses import replace

from clusterbench.kernels.catalog import dequantise_int8
from clusterbench.kernels.kernel import Implementation


def wrong(y, q, scale, xp):
    y[...] = xp.roll(scale, -1)[:, None] * q


KERNEL = replace(
    dequantise_int8.KERNEL,
    name="dequantise_next_row",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
