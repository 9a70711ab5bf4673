"""Mutant: the diagonal is one early: only the first query sees its own key."""

from dataclasses import replace

from clusterbench.kernels.catalog import attention_causal
from clusterbench.kernels.kernel import Implementation


def wrong(o, q, k, v, xp):
    scores = xp.einsum("ghnd,gld->ghnl", q, k) / xp.sqrt(q.dtype.type(q.shape[3]))
    unseen = xp.triu(xp.ones(scores.shape[2:], bool), 0)
    unseen[0, 0] = False
    scores[:, :, unseen] = -xp.inf
    e = xp.exp(scores - scores.max(axis=3, keepdims=True))
    o[...] = xp.einsum("ghnl,gld->ghnd", e / e.sum(axis=3, keepdims=True), v)


KERNEL = replace(
    attention_causal.KERNEL,
    name="attention_causal_early",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 4, "d": 4})},
)
