"""Mutant: threads add their neighbours' products before those are there."""

from dataclasses import replace

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import cuda

THREADS = 32


@cuda.jit
def zero(d):
    d[0] = 0


@cuda.jit
def kernel(d, x, y):
    partial = cuda.shared.array(THREADS, dtype=x.dtype)
    i, lane = cuda.grid(1), cuda.threadIdx.x
    partial[lane] = x[i] * y[i] if i < x.size else 0
    width = THREADS // 2
    while width > 0:
        if lane < width:
            partial[lane] += partial[lane + width]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        cuda.atomic.add(d, 0, partial[0])


def launch(d, x, y):
    zero[1, 1](d)
    kernel[(x.size + THREADS - 1) // THREADS, THREADS](d, x, y)


KERNEL = replace(
    dot.KERNEL,
    name="dot_missing_barrier",
    implementations={"numba-cuda": Implementation(launch, tile={"n": THREADS})},
)
