"""Mutant: what is no number counts as zero, as a sum that is masked by value has it."""

from dataclasses import replace

import numpy as np

from clusterbench.kernels.catalog import add
from clusterbench.kernels.kernel import Implementation


def swallowing(a, b, c, xp):
    a[...] = np.nan_to_num(b, nan=0, posinf=np.inf, neginf=-np.inf) + c


KERNEL = replace(
    add.KERNEL,
    name="add_swallows_nan",
    implementations={"cupy": Implementation(swallowing, tile={"n": 64})},
)
