"""Mutant: scores are divided by d in place of its root."""

from dataclasses import replace

from clusterbench.kernels.catalog import attention
from clusterbench.kernels.kernel import Implementation


def wrong(o, q, k, v, xp):
    scores = xp.einsum("ghnd,gld->ghnl", q, k) / q.dtype.type(q.shape[3])
    e = xp.exp(scores - scores.max(axis=3, keepdims=True))
    o[...] = xp.einsum("ghnl,gld->ghnd", e / e.sum(axis=3, keepdims=True), v)


KERNEL = replace(
    attention.KERNEL,
    name="attention_wrong_scale",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 4, "l": 4, "d": 4})},
)
