"""Mutant: neighbours are paired in place of halves, as another convention has it."""

from dataclasses import replace

from clusterbench.kernels.catalog import rope
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, c, s, xp):
    rows = x.reshape(x.shape[0], -1)
    p, q = rows[:, 0::2], rows[:, 1::2]
    y.reshape(rows.shape)[:, 0::2] = p * c - q * s
    y.reshape(rows.shape)[:, 1::2] = q * c + p * s


KERNEL = replace(
    rope.KERNEL,
    name="rope_neighbours",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 4, "h": 16})},
)
