"""Mutant: the gate and what it lets through are exchanged."""

from dataclasses import replace

from clusterbench.kernels.catalog import swiglu
from clusterbench.kernels.kernel import Implementation


def wrong(y, g, v, xp):
    y[...] = v / (1 + xp.exp(-v)) * g


KERNEL = replace(
    swiglu.KERNEL,
    name="swiglu_swapped",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 64})},
)
