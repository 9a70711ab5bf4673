"""Mutant: epsilon is left out, which only rows of tiny numbers show."""

from dataclasses import replace

from clusterbench.kernels.catalog import rmsnorm
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, w, xp):
    y[...] = w * (x / xp.sqrt(xp.square(x).mean(axis=1, keepdims=True)))


KERNEL = replace(
    rmsnorm.KERNEL,
    name="rmsnorm_no_epsilon",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
