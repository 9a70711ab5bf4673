"""y_rj = Σ_{i≤j} x_ri: running sums along rows, where every element waits for the one before it.

Costs:      2·m·n·s bytes, m·(n - 1) flops: bound by memory where the additions of a row are done side by side.
How wrong:  at most γ_j·Σ_{i≤j}|x_ri| at place j, counted from 0, for every order of summation.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     W. D. Hillis, G. L. Steele, "Data parallel algorithms", CACM 29(12), 1986; bound: Higham, section 4.2.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 256  # columns that one Triton program takes at once
THREADS = 64  # threads of the CUDA block of a row, and columns that it takes at once
COLUMNS = 4096  # of the problem that is timed


def reference(x: Array) -> Array:
    """The sums of the first 1, 2, ... elements of each row."""
    return np.cumsum(x, axis=1)


def bound(shape: Any, u: float, x: Array) -> Array:
    """γ_j·Σ_{i≤j}|x_ri|: j additions lie behind place j."""
    return np.array([gamma(j, u) for j in range(shape["n"])]) * np.cumsum(np.abs(x), axis=1)


def spread(shape: Any, x: Array) -> Array:
    """√Σ_{i≤j}x_ri²: of the partial sums of zero-mean terms."""
    return np.sqrt(np.cumsum(np.square(x), axis=1))


@njit(parallel=True, cache=True)
def on_cpu(y, x):
    for row in prange(x.shape[0]):
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += x[row, j]
            y[row, j] = total


@triton.jit
def plus(a, b):
    return a + b


@triton.jit
def triton_kernel(y_ptr, x_ptr, n, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    carry = tl.zeros((), x_ptr.dtype.element_ty)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)
        x = tl.load(x_ptr + row * n + j, mask=j < n, other=0.0)
        tl.store(y_ptr + row * n + j, carry + tl.associative_scan(x, 0, plus), mask=j < n)
        carry += tl.sum(x, axis=0)


def with_triton(y, x):
    """Launch `triton_kernel` with one program a row."""
    m, n = x.shape
    triton_kernel[(m,)](y, x, n, block=BLOCK)


@cuda.jit
def cuda_kernel(y, x):
    sums = cuda.shared.array(THREADS, dtype=x.dtype)
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    # A plain 0 beside a float32 would make fp64 of both.
    carry, nothing = x.dtype.type(0), x.dtype.type(0)
    for first in range(0, x.shape[1], THREADS):
        j = first + lane
        sums[lane] = x[row, j] if j < x.shape[1] else nothing
        cuda.syncthreads()
        reach = 1
        while reach < THREADS:
            before = sums[lane - reach] if lane >= reach else nothing
            cuda.syncthreads()
            sums[lane] += before
            cuda.syncthreads()
            reach *= 2
        if j < x.shape[1]:
            y[row, j] = carry + sums[lane]
        carry += sums[THREADS - 1]
        cuda.syncthreads()


def with_cuda(y, x):
    """Launch `cuda_kernel` with a block of THREADS threads a row."""
    cuda_kernel[x.shape[0], THREADS, stream()](y, x)


def with_arrays(y, x, xp):
    """`cumsum` of the array module xp, CuPy or NumPy."""
    xp.cumsum(x, axis=1, out=y)


KERNEL = Kernel(
    name="scan",
    what="y_rj = Σ_{i≤j} x_ri",
    bytes=Formula("2*m*n*s"),
    flops=Formula("m*(n - 1)"),
    inputs={"x": ("m", "n")},
    outputs={"y": ("m", "n")},
    terms=Formula("n"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="γ_j·Σ_{i≤j}|x|, any order (Higham, section 4.2)",
    spread=spread,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 4, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": 2, "n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"m": 2, "n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"m": 4, "n": 64}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
