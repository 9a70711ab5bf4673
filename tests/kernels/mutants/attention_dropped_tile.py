"""Mutant: the keys behind the last whole tile are left out."""

from dataclasses import replace

import numpy as np

from clusterbench.kernels.catalog import attention
from clusterbench.kernels.kernel import Implementation

TILE = 4


def wrong(o, q, k, v):
    keys = k.shape[1] if k.shape[1] < TILE else k.shape[1] // TILE * TILE
    attention.with_numba(o, q, np.ascontiguousarray(k[:, :keys]), np.ascontiguousarray(v[:, :keys]))


KERNEL = replace(
    attention.KERNEL,
    name="attention_dropped_tile",
    dtypes=("float32",),
    implementations={"numba": Implementation(wrong, tile={"n": 4, "l": TILE, "d": 4})},
)
