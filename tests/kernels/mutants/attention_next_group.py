"""Mutant: the second head of a group takes the keys of the next group."""

from dataclasses import replace

from clusterbench.kernels.catalog import attention
from clusterbench.kernels.kernel import Implementation


def wrong(o, q, k, v, xp):
    other = xp.stack([k, xp.roll(k, -1, axis=0)], axis=1)
    scores = xp.einsum("ghnd,ghld->ghnl", q, other) / xp.sqrt(q.dtype.type(q.shape[3]))
    e = xp.exp(scores - scores.max(axis=3, keepdims=True))
    o[...] = xp.einsum("ghnl,gld->ghnd", e / e.sum(axis=3, keepdims=True), v)


KERNEL = replace(
    attention.KERNEL,
    name="attention_next_group",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 4, "l": 4, "d": 4})},
)
