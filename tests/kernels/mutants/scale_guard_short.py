"""Mutant: the guard leaves the last element out."""

from dataclasses import replace

from clusterbench.kernels.catalog import scale
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import cuda

THREADS = 32


@cuda.jit
def kernel(a, b, k):
    i = cuda.grid(1)
    if i < a.size - 1:
        a[i] = k * b[i]


def launch(a, b, k):
    kernel[(a.size + THREADS - 1) // THREADS, THREADS](a, b, k)


KERNEL = replace(
    scale.KERNEL,
    name="scale_guard_short",
    implementations={"numba-cuda": Implementation(launch, tile={"n": THREADS})},
)
