"""d = max x_i, where a NaN loses against any number: a reduction without arithmetic.

Costs:      n·s bytes, no flops (n - 1 comparisons): bound by memory.
How wrong:  not at all. A NaN is passed over, as by IEEE 754-2008's maxNum; of nothing but NaN the maximum is -∞.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     IEEE Std 754-2008, 5.3.1 (maxNum).
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block
PART = 65536  # elements of one CPU task
LANES = 32  # running maxima of a task, so that a comparison waits for none before it


def reference(x: Array) -> Array:
    """The largest number of x as an array of one element."""
    return np.fmax.reduce(x, keepdims=True, initial=-np.inf)


def bound(shape: Any, u: float, x: Array) -> Array:
    """None."""
    return np.zeros(1)


@njit(cache=True)
def part_max(x):
    best = np.full(LANES, -np.inf, x.dtype)
    whole = x.size // LANES * LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            value = x[first + lane]
            best[lane] = value if value > best[lane] else best[lane]
    for i in range(whole, x.size):
        best[0] = x[i] if x[i] > best[0] else best[0]
    return best.max()


@njit(parallel=True, cache=True)
def on_cpu(d, x):
    parts = (x.size + PART - 1) // PART
    partial = np.empty(parts, x.dtype)
    for part in prange(parts):
        partial[part] = part_max(x[part * PART : min((part + 1) * PART, x.size)])
    d[0] = partial.max()


@triton.jit
def triton_lowest(d_ptr):
    tl.store(d_ptr, float("-inf"))


@triton.jit
def triton_kernel(d_ptr, x_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i, mask=i < n, other=float("-inf"))
    x = tl.where(x == x, x, float("-inf"))
    tl.atomic_max(d_ptr, tl.max(x, axis=0))


def with_triton(d, x):
    """Launch `triton_lowest`, then `triton_kernel` with one program for BLOCK elements, which raises d to its part."""
    triton_lowest[(1,)](d)
    n = x.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](d, x, n, block=BLOCK)


@cuda.jit
def cuda_lowest(d):
    d[0] = -np.inf


@cuda.jit
def cuda_kernel(d, x):
    partial = cuda.shared.array(THREADS, dtype=x.dtype)
    i, lane = cuda.grid(1), cuda.threadIdx.x
    partial[lane] = x[i] if i < x.size and x[i] == x[i] else -np.inf
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if lane < width and partial[lane + width] > partial[lane]:
            partial[lane] = partial[lane + width]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        cuda.atomic.max(d, 0, partial[0])


def with_cuda(d, x):
    """Launch `cuda_lowest`, then `cuda_kernel` with a block of threads for THREADS elements."""
    cuda_lowest[1, 1, stream()](d)
    cuda_kernel[(x.size + THREADS - 1) // THREADS, THREADS, stream()](d, x)


def with_arrays(d, x, xp):
    """`fmax` of the array module xp, CuPy or NumPy, by way of a maximum without NaN."""
    d[0] = xp.max(xp.where(x == x, x, x.dtype.type(-np.inf)))


KERNEL = Kernel(
    name="max",
    what="d = max x",
    bytes=Formula("n*s"),
    flops=Formula("0"),
    inputs={"x": ("n",)},
    outputs={"d": (1,)},
    terms=Formula("1"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="exact: nothing is rounded",
    implementations={
        "numba": Implementation(on_cpu, tile={"n": PART}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
