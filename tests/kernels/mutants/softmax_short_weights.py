"""Mutant: the exponentials are rounded to bfloat16 before they are summed and divided."""

from dataclasses import replace

from clusterbench.kernels.catalog import softmax
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, xp):
    e = rounded(xp.exp(x - x.max(axis=1, keepdims=True)), "bfloat16").astype(x.dtype)
    y[...] = e / e.sum(axis=1, keepdims=True)


KERNEL = replace(
    softmax.KERNEL,
    name="softmax_short_weights",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
