"""d = Σ x_i: half the traffic of a dot, so it shows whether adding keeps up with reading.

Costs:      n·s bytes, n - 1 flops: bound by memory.
How wrong:  at most γ_{n-1}·Σ|x_i| with γ_m = m·u/(1 - m·u), for every order of summation.
            The bound of a long sum is loose: exact data find a lost element, the RMS error a narrow sum.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     Higham, "Accuracy and Stability of Numerical Algorithms", section 4.2.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.ceilings.cache_loops import sum_ahead
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block
PART = 65536  # elements of one CPU task; fixed, so that the result does not depend on the number of threads


def reference(x: Array) -> Array:
    """Σ x as an array of one element."""
    return np.add.reduce(x, keepdims=True)


def bound(shape: Any, u: float, x: Array) -> Array:
    """γ_{n-1}·Σ|x|."""
    return gamma(shape["n"] - 1, u) * np.add.reduce(np.abs(x), keepdims=True)


def spread(shape: Any, x: Array) -> Array:
    """√Σx²: of the partial sums of zero-mean terms."""
    return np.sqrt(np.add.reduce(np.square(x), keepdims=True))


@njit(parallel=True, cache=True)
def on_cpu(d, x):
    parts = (x.size + PART - 1) // PART
    partial = np.empty(parts, x.dtype)
    for part in prange(parts):
        partial[part] = sum_ahead(x[part * PART : min((part + 1) * PART, x.size)])
    d[0] = partial.sum()


@triton.jit
def triton_zero(d_ptr):
    tl.store(d_ptr, 0.0)


@triton.jit
def triton_kernel(d_ptr, x_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    tl.atomic_add(d_ptr, tl.sum(x, axis=0))


def with_triton(d, x):
    """Launch `triton_zero`, then `triton_kernel` with one program for BLOCK elements, which adds its part to d."""
    triton_zero[(1,)](d)
    n = x.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](d, x, n, block=BLOCK)


@cuda.jit
def cuda_zero(d):
    d[0] = 0


@cuda.jit
def cuda_kernel(d, x):
    partial = cuda.shared.array(THREADS, dtype=x.dtype)
    i, lane = cuda.grid(1), cuda.threadIdx.x
    partial[lane] = x[i] if i < x.size else 0
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if lane < width:
            partial[lane] += partial[lane + width]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        cuda.atomic.add(d, 0, partial[0])


def with_cuda(d, x):
    """Launch `cuda_zero`, then `cuda_kernel` with a block of threads for THREADS elements, which adds its part to d."""
    cuda_zero[1, 1, stream()](d)
    cuda_kernel[(x.size + THREADS - 1) // THREADS, THREADS, stream()](d, x)


def with_arrays(d, x, xp):
    """`sum` of the array module xp, CuPy or NumPy."""
    d[0] = xp.sum(x)


KERNEL = Kernel(
    name="sum",
    what="d = Σ x",
    bytes=Formula("n*s"),
    flops=Formula("n - 1"),
    inputs={"x": ("n",)},
    outputs={"d": (1,)},
    terms=Formula("n"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="γ_{n-1}·Σ|x|, any order (Higham, section 4.2)",
    spread=spread,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": PART}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
