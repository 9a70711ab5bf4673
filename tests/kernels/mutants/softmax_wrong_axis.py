"""Mutant: columns are normalised in place of rows."""

from dataclasses import replace

from clusterbench.kernels.catalog import softmax
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, xp):
    e = xp.exp(x - x.max(axis=0))
    y[...] = e / e.sum(axis=0)


KERNEL = replace(
    softmax.KERNEL,
    name="softmax_wrong_axis",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"m": 4, "n": 64})},
)
