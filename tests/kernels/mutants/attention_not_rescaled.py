"""Mutant: a new maximum rescales the running sum, and not the running result."""

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.kernels.catalog import attention
from clusterbench.kernels.kernel import Implementation

TILE = 4


@njit
def attend(o, q, k, v):
    top, total = -np.inf, 0.0
    o[:] = 0
    for j in range(k.shape[0]):
        score = 0.0
        for i in range(q.size):
            score += q[i] * k[j, i]
        score /= np.sqrt(q.size)
        top_now = max(top, score)
        total = total * np.exp(top - top_now) + np.exp(score - top_now)
        for i in range(o.size):
            o[i] += np.exp(score - top_now) * v[j, i]
        top = top_now
    o[:] /= total


def wrong(o, q, k, v):
    for g, h, i in np.ndindex(q.shape[:3]):
        attend(o[g, h, i], q[g, h, i], k[g], v[g])


KERNEL = replace(
    attention.KERNEL,
    name="attention_not_rescaled",
    dtypes=("float64",),
    data=("exact", "rounding"),
    implementations={"numba": Implementation(wrong, tile={"n": 4, "l": TILE, "d": 4})},
)
