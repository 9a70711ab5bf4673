"""d = Σ x_i·y_i: a stream that only reads, and a reduction over everything.

Costs:      2·n·s bytes, 2·n flops: bound by memory.
How wrong:  at most γ_n·Σ|x_i·y_i| with γ_n = n·u/(1 - n·u), for every order of summation, fused or not.
            The bound of a long sum is loose: exact data find a lost element, the RMS error a narrow sum.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     BabelStream (T. Deakin et al., "Evaluating attainable memory bandwidth of parallel programming models via
            BabelStream", IJCSE 2018); bound: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array, inner_product
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block
PART = 65536  # elements of one CPU task; fixed, so that the result does not depend on the number of threads


def reference(x: Array, y: Array) -> Array:
    """Σ x·y as an array of one element."""
    return np.add.reduce(x * y, keepdims=True)


def bound(shape: Any, u: float, x: Array, y: Array) -> Array:
    """γ_n·Σ|x·y|."""
    return inner_product(shape["n"], np.add.reduce(np.abs(x * y), keepdims=True), u)


def spread(shape: Any, x: Array, y: Array) -> Array:
    """√Σ(x·y)²: of the partial sums of zero-mean terms."""
    return np.sqrt(np.add.reduce(np.square(x * y), keepdims=True))


# Leave to reassociate and to contract, which vector code needs: the bound holds for every order, fused or not.
@njit(cache=True, fastmath={"reassoc", "contract"})
def part_dot(x, y):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@njit(parallel=True, cache=True)
def on_cpu(d, x, y):
    parts = (x.size + PART - 1) // PART
    partial = np.empty(parts, x.dtype)
    for part in prange(parts):
        low, high = part * PART, min((part + 1) * PART, x.size)
        partial[part] = part_dot(x[low:high], y[low:high])
    d[0] = partial.sum()


@triton.jit
def triton_zero(d_ptr):
    tl.store(d_ptr, 0.0)


@triton.jit
def triton_kernel(d_ptr, x_ptr, y_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside, other=0.0)
    y = tl.load(y_ptr + i, mask=inside, other=0.0)
    tl.atomic_add(d_ptr, tl.sum(x * y, axis=0))


def with_triton(d, x, y):
    """Launch `triton_zero`, then `triton_kernel` with one program for BLOCK elements, which adds its part to d."""
    triton_zero[(1,)](d)
    n = x.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](d, x, y, n, block=BLOCK)


@cuda.jit
def cuda_zero(d):
    d[0] = 0


@cuda.jit
def cuda_kernel(d, x, y):
    partial = cuda.shared.array(THREADS, dtype=x.dtype)
    i, lane = cuda.grid(1), cuda.threadIdx.x
    partial[lane] = x[i] * y[i] if i < x.size else 0
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if lane < width:
            partial[lane] += partial[lane + width]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        cuda.atomic.add(d, 0, partial[0])


def with_cuda(d, x, y):
    """Launch `cuda_zero`, then `cuda_kernel` with a block of threads for THREADS elements, which adds its part to d."""
    cuda_zero[1, 1, stream()](d)
    blocks = (x.size + THREADS - 1) // THREADS
    cuda_kernel[blocks, THREADS, stream()](d, x, y)


def with_arrays(d, x, y, xp):
    """`dot` of the array module xp, CuPy or NumPy."""
    d[0] = xp.dot(x, y)


KERNEL = Kernel(
    name="dot",
    what="d = Σ x·y",
    bytes=Formula("2*n*s"),
    flops=Formula("2*n"),
    inputs={"x": ("n",), "y": ("n",)},
    outputs={"d": (1,)},
    terms=Formula("n"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="γ_n·Σ|x·y|, any order, fused or not (Higham, section 3.1)",
    spread=spread,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": PART}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
