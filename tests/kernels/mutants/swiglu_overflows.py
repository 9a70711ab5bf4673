"""Mutant: the logistic function as e^g / (1 + e^g), which is no number where e^g overflows."""

from dataclasses import replace

from clusterbench.kernels.catalog import swiglu
from clusterbench.kernels.kernel import Implementation


def wrong(y, g, v, xp):
    y[...] = g * (xp.exp(g) / (1 + xp.exp(g))) * v


KERNEL = replace(
    swiglu.KERNEL,
    name="swiglu_overflows",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 64})},
)
