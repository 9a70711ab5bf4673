"""Mutant: a step is left out, as by an optimiser that peels a loop wrongly."""

from dataclasses import replace

from clusterbench.kernels.catalog import fma_peak
from clusterbench.kernels.kernel import Implementation


def wrong(y, x, a, b, xp):
    y[...] = x
    for _ in range(fma_peak.STEPS - 1):
        y[...] = a * y + b


KERNEL = replace(
    fma_peak.KERNEL,
    name="fma_peak_short",
    dtypes=("float32",),
    implementations={"cupy": Implementation(wrong, tile={"n": 64})},
)
