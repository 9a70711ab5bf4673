"""B = Aᵀ: every element moves, and either the reads or the writes jump unless both go by tiles.

Costs:      2·m·n·s bytes, no flops: bound by memory.
How wrong:  not at all: elements are copied bit for bit.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     G. Ruetsch, P. Micikevicius, "Optimizing matrix transpose in CUDA", NVIDIA, 2009.
"""

from math import isqrt
from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

EDGE = 32  # of a CPU task's tile: its lines of A and of B stay in the first cache
BLOCK = 32  # edge of a Triton program's tile
TILE = 16  # edge of a CUDA block's tile
PITCH = TILE + 1  # one column more than is used, so that the threads that read a column find it in different banks


def reference(a: Array) -> Array:
    """Aᵀ."""
    return np.ascontiguousarray(a.T)


def bound(shape: Any, u: float, a: Array) -> Array:
    """None."""
    return np.zeros((shape["n"], shape["m"]))


@njit(parallel=True, cache=True)
def on_cpu(b, a):
    m, n = a.shape
    across = (n + EDGE - 1) // EDGE
    for task in prange((m + EDGE - 1) // EDGE * across):
        i0, j0 = task // across * EDGE, task % across * EDGE
        for j in range(j0, min(j0 + EDGE, n)):
            for i in range(i0, min(i0 + EDGE, m)):
                b[j, i] = a[i, j]


@triton.jit
def triton_kernel(b_ptr, a_ptr, m, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    j = tl.program_id(1).to(tl.int64) * block + tl.arange(0, block)
    inside = (i < m)[:, None] & (j < n)[None, :]
    a = tl.load(a_ptr + i[:, None] * n + j[None, :], mask=inside)
    tl.store(b_ptr + j[:, None] * m + i[None, :], tl.trans(a), mask=tl.trans(inside))


def with_triton(b, a):
    """Launch `triton_kernel` with one program for each BLOCK by BLOCK tile of A."""
    m, n = a.shape
    triton_kernel[(triton.cdiv(m, BLOCK), triton.cdiv(n, BLOCK))](b, a, m, n, block=BLOCK)


@cuda.jit
def cuda_kernel(b, a):
    tile = cuda.shared.array((TILE, PITCH), dtype=a.dtype)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    i, j = cuda.blockIdx.y * TILE + y, cuda.blockIdx.x * TILE + x
    if i < a.shape[0] and j < a.shape[1]:
        tile[y, x] = a[i, j]
    cuda.syncthreads()
    i, j = cuda.blockIdx.y * TILE + x, cuda.blockIdx.x * TILE + y
    if i < a.shape[0] and j < a.shape[1]:
        b[j, i] = tile[x, y]


def with_cuda(b, a):
    """Launch `cuda_kernel` with one block of threads for each TILE by TILE tile of A."""
    m, n = a.shape
    cuda_kernel[((n + TILE - 1) // TILE, (m + TILE - 1) // TILE), (TILE, TILE), stream()](b, a)


def with_arrays(b, a, xp):
    """`copyto` of the array module xp, CuPy or NumPy."""
    xp.copyto(b, a.T)


KERNEL = Kernel(
    name="transpose",
    what="B = Aᵀ",
    bytes=Formula("2*m*n*s"),
    flops=Formula("0"),
    inputs={"a": ("m", "n")},
    outputs={"b": ("n", "m")},
    terms=Formula("1"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="exact: elements are copied",
    implementations={
        "numba": Implementation(on_cpu, tile={"m": EDGE, "n": EDGE}),
        "triton": Implementation(with_triton, tile={"m": BLOCK, "n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"m": TILE, "n": TILE}),
        "cupy": Implementation(with_arrays, tile={"m": 16, "n": 16}),
    },
    shape_of=lambda elements: dict.fromkeys(("m", "n"), isqrt(elements)),
)
