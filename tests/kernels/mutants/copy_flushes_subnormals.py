"""Mutant: what is too small for a normal number becomes zero."""

from dataclasses import replace

import numpy as np

from clusterbench.kernels.catalog import copy
from clusterbench.kernels.kernel import Implementation


def flushed(a, b, xp):
    a[...] = np.where(np.abs(b) < np.finfo(b.dtype).tiny, 0, b)


KERNEL = replace(
    copy.KERNEL,
    name="copy_flushes_subnormals",
    implementations={"cupy": Implementation(flushed, tile={"n": 64})},
)
