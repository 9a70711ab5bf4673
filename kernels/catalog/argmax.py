"""i_r = argmax_j x_rj: where each row is largest, the first such place; a sampler's last step.

Costs:      (m·n·s + 4·m) bytes, no flops (m·(n - 1) comparisons): bound by memory.
How wrong:  not at all. Of equal values the first counts; a NaN loses against any number, and a row of NaN alone has 0.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     IEEE Std 754-2008, 5.3.1 (maxNum), for NaN; NumPy's `argmax` for equal values.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 256  # columns that one Triton program takes at once
THREADS = 64  # threads of the CUDA block of a row
LANES = 16  # running maxima of a row on the CPU
COLUMNS = 4096  # of the problem that is timed


def reference(x: Array) -> Array:
    """The index of the first largest number of each row."""
    return np.argmax(np.where(x == x, x, -np.inf), axis=1).astype(np.int32)


def bound(shape: Any, u: float, x: Array) -> Array:
    """None."""
    return np.zeros(shape["m"])


@njit(cache=True)
def row_argmax(x):
    # The largest value of each lane and where it was first met; the lanes are compared at the end.
    best, where = np.full(LANES, -np.inf, x.dtype), np.zeros(LANES, np.int32)
    whole = x.size // LANES * LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            larger = x[first + lane] > best[lane]
            best[lane] = x[first + lane] if larger else best[lane]
            where[lane] = first + lane if larger else where[lane]
    value, index = x.dtype.type(-np.inf), 0
    for lane in range(LANES):
        if best[lane] > value or (best[lane] == value and best[lane] > -np.inf and where[lane] < index):
            value, index = best[lane], where[lane]
    for j in range(whole, x.size):
        if x[j] > value:
            value, index = x[j], j
    if value == -np.inf:  # where no number is larger than -∞, the first place counts
        return 0
    return index


@njit(parallel=True, cache=True)
def on_cpu(i, x):
    for row in prange(x.shape[0]):
        i[row] = row_argmax(x[row])


@triton.jit
def triton_kernel(i_ptr, x_ptr, n, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    lowest = float("-inf")
    lanes = tl.arange(0, block)
    best = tl.full((block,), lowest, x_ptr.dtype.element_ty)
    where = tl.zeros((block,), tl.int32)
    for first in range(0, n, block):
        j = first + lanes
        x = tl.load(x_ptr + row * n + j, mask=j < n, other=lowest)
        larger = x > best
        best = tl.where(larger, x, best)
        where = tl.where(larger, j, where)
    value = tl.max(best, axis=0)
    index = tl.min(tl.where(best == value, where, n), axis=0)
    tl.store(i_ptr + row, tl.where(value == lowest, 0, index))


def with_triton(i, x):
    """Launch `triton_kernel` with one program a row."""
    m, n = x.shape
    triton_kernel[(m,)](i, x, n, block=BLOCK)


@cuda.jit
def cuda_kernel(i, x):
    best = cuda.shared.array(THREADS, dtype=x.dtype)
    where = cuda.shared.array(THREADS, dtype=np.int32)
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    best[lane], where[lane] = -np.inf, 0
    for j in range(lane, x.shape[1], THREADS):
        if x[row, j] > best[lane]:
            best[lane], where[lane] = x[row, j], j
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if lane < width:
            other = lane + width
            if best[other] > best[lane] or (best[other] == best[lane] and where[other] < where[lane]):
                best[lane], where[lane] = best[other], where[other]
        cuda.syncthreads()
        width //= 2
    if lane == 0:
        i[row] = 0 if best[0] == -np.inf else where[0]


def with_cuda(i, x):
    """Launch `cuda_kernel` with a block of THREADS threads a row."""
    cuda_kernel[x.shape[0], THREADS, stream()](i, x)


def with_arrays(i, x, xp):
    """`argmax` of the array module xp, CuPy or NumPy, of numbers alone."""
    i[...] = xp.argmax(xp.where(x == x, x, x.dtype.type(-np.inf)), axis=1)


KERNEL = Kernel(
    name="argmax",
    what="i_r = argmax_j x_rj",
    bytes=Formula("m*n*s + 4*m"),
    flops=Formula("0"),
    inputs={"x": ("m", "n")},
    outputs={"i": ("m",)},
    types={"i": "int32"},
    terms=Formula("1"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="exact: nothing is rounded",
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 4, "n": LANES}),
        "triton": Implementation(with_triton, tile={"m": 2, "n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"m": 2, "n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"m": 4, "n": 64}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
