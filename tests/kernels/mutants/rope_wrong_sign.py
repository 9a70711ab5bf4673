"""Mutant: it turns backwards."""

from dataclasses import replace

from clusterbench.kernels.catalog import rope
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, c, s, xp):
    p, q = x[:, 0], x[:, 1]
    y[...] = xp.stack([p * c + q * s, q * c - p * s], axis=1)


KERNEL = replace(
    rope.KERNEL,
    name="rope_wrong_sign",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 4, "h": 16})},
)
