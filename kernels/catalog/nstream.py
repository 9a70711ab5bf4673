"""a += b + k·c: the stream that reads three arrays and updates one of them in place.

Costs:      4·n·s bytes, 3·n flops: bound by memory.
How wrong:  at most u·|k·c|·(1 + u)² + u·max(|b + k·c|, |a + b|)·(1 + u) + u·|a + b + k·c| an element, whichever of the
            two additions comes first, fused or not.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     Parallel Research Kernels (R. F. Van der Wijngaart, T. G. Mattson, "The Parallel Research Kernels", HPEC
            2014); part of BabelStream.
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


def reference(start: Array, b: Array, c: Array, k: Array) -> Array:
    """start + (b + k·c)."""
    return start + (b + np.multiply(k, c))


def bound(shape: Any, u: float, start: Array, b: Array, c: Array, k: Array) -> Array:
    """One rounding for the product and one for each addition, carried through the rest."""
    product, inner = np.abs(k * c), np.maximum(np.abs(b + k * c), np.abs(start + b))
    return u * (product * (1 + u) ** 2 + inner * (1 + u) + np.abs(start + b + k * c))


@njit(parallel=True, cache=True)
def on_cpu(a, b, c, k):
    for i in prange(a.size):
        a[i] += b[i] + k * c[i]


@triton.jit
def triton_kernel(a_ptr, b_ptr, c_ptr, k, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    a = tl.load(a_ptr + i, mask=inside)
    b = tl.load(b_ptr + i, mask=inside)
    c = tl.load(c_ptr + i, mask=inside)
    tl.store(a_ptr + i, a + (b + k * c), mask=inside)


def with_triton(a, b, c, k):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = a.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](a, b, c, k, n, block=BLOCK)


@cuda.jit
def cuda_kernel(a, b, c, k):
    i = cuda.grid(1)
    if i < a.size:
        a[i] += b[i] + k * c[i]


def with_cuda(a, b, c, k):
    """Launch `cuda_kernel` with one block of threads for THREADS elements."""
    cuda_kernel[(a.size + THREADS - 1) // THREADS, THREADS, stream()](a, b, c, k)


def with_arrays(a, b, c, k, xp):
    """Two updates by the array module xp, CuPy or NumPy."""
    a += b
    a += k * c


KERNEL = Kernel(
    name="nstream",
    what="a += b + k·c",
    bytes=Formula("4*n*s"),
    flops=Formula("3*n"),
    inputs={"start": ("n",), "b": ("n",), "c": ("n",)},
    outputs={"a": ("n",)},
    updates={"a": "start"},
    scalars={"k": 3},
    terms=Formula("5"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="one rounding an operation, in either order of the additions (Higham, section 2.2)",
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
