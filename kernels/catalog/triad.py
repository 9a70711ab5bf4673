"""a = b + k·c: the stream that names a machine's memory bandwidth.

Costs:      3·n·s bytes, 2·n flops: bound by memory.
How wrong:  at most u·|k·c|·(1 + u) + u·|b + k·c| an element, fused or not.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     STREAM (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995).
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array, multiply_add
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.past_cache import combine, is_beyond_caches
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block


def reference(b: Array, c: Array, k: Array) -> Array:
    """b + k·c."""
    return b + np.multiply(k, c)


def bound(shape: Any, u: float, b: Array, c: Array, k: Array) -> Array:
    """u·|k·c|·(1 + u) + u·|b + k·c| an element."""
    return multiply_add(k * c, b + k * c, u)


@njit(parallel=True, cache=True)
def on_cpu(a, b, c, k):
    for i in prange(a.size):
        a[i] = b[i] + k * c[i]


def with_cpu(a, b, c, k):
    """`on_cpu`; where the arrays leave the caches in any case, a is written past them."""
    if is_beyond_caches(3 * a.nbytes):
        combine(a, b, c, other=k)
    else:
        on_cpu(a, b, c, k)


@triton.jit
def triton_kernel(a_ptr, b_ptr, c_ptr, k, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    b = tl.load(b_ptr + i, mask=inside)
    c = tl.load(c_ptr + i, mask=inside)
    tl.store(a_ptr + i, b + k * c, mask=inside)


def with_triton(a, b, c, k):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = a.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](a, b, c, k, n, block=BLOCK)


@cuda.jit
def cuda_kernel(a, b, c, k):
    i = cuda.grid(1)
    if i < a.size:
        a[i] = b[i] + k * c[i]


def with_cuda(a, b, c, k):
    """Launch `cuda_kernel` with one block of threads for THREADS elements."""
    blocks = (a.size + THREADS - 1) // THREADS
    cuda_kernel[blocks, THREADS, stream()](a, b, c, k)


def with_arrays(a, b, c, k, xp):
    """`multiply` and `add` of the array module xp, CuPy or NumPy."""
    xp.multiply(c, k, out=a)
    xp.add(a, b, out=a)


KERNEL = Kernel(
    name="triad",
    what="a = b + k·c",
    bytes=Formula("3*n*s"),
    flops=Formula("2*n"),
    inputs={"b": ("n",), "c": ("n",)},
    outputs={"a": ("n",)},
    scalars={"k": 3},
    terms=Formula("4"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="u·|k·c|·(1 + u) + u·|b + k·c|, fused or not (Higham, section 2.2)",
    implementations={
        "numba": Implementation(with_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
