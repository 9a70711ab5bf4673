"""Mutant: the row's maximum is not taken away, so exponentials overflow."""

from dataclasses import replace

from clusterbench.kernels.catalog import softmax
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, xp):
    e = xp.exp(x)
    y[...] = e / e.sum(axis=1, keepdims=True)


KERNEL = replace(
    softmax.KERNEL,
    name="softmax_no_shift",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
