"""Mutant: another function that looks alike: x·σ(1.702·x)."""

from dataclasses import replace

from clusterbench.kernels.catalog import gelu
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, xp):
    y[...] = x / (1 + xp.exp(-x.dtype.type(1.702) * x))


KERNEL = replace(
    gelu.KERNEL,
    name="gelu_quick",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 64})},
)
