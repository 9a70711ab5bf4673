"""a = k·b: a stream with one multiplication an element.

Costs:      2·n·s bytes, n flops: bound by memory.
How wrong:  one rounding an element, so at most u·|k·b|.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     STREAM (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995).
"""

from typing import Any

from numba import njit, prange

from clusterbench.kernels.bounds import Array, one_rounding
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.past_cache import combine, is_beyond_caches
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block


def reference(b: Array, k: Array) -> Array:
    """k·b."""
    return k * b


def bound(shape: Any, u: float, b: Array, k: Array) -> Array:
    """u·|k·b| an element: one rounding."""
    return one_rounding(k * b, u)


@njit(parallel=True, cache=True)
def on_cpu(a, b, k):
    for i in prange(a.size):
        a[i] = k * b[i]


def with_cpu(a, b, k):
    """`on_cpu`; where the arrays leave the caches in any case, a is written past them."""
    if is_beyond_caches(2 * a.nbytes):
        combine(a, b, first=k)
    else:
        on_cpu(a, b, k)


@triton.jit
def triton_kernel(a_ptr, b_ptr, k, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    b = tl.load(b_ptr + i, mask=inside)
    tl.store(a_ptr + i, k * b, mask=inside)


def with_triton(a, b, k):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = a.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](a, b, k, n, block=BLOCK)


@cuda.jit
def cuda_kernel(a, b, k):
    i = cuda.grid(1)
    if i < a.size:
        a[i] = k * b[i]


def with_cuda(a, b, k):
    """Launch `cuda_kernel` with one block of threads for THREADS elements."""
    blocks = (a.size + THREADS - 1) // THREADS
    cuda_kernel[blocks, THREADS, stream()](a, b, k)


def with_arrays(a, b, k, xp):
    """`multiply` of the array module xp, CuPy or NumPy."""
    xp.multiply(b, k, out=a)


KERNEL = Kernel(
    name="scale",
    what="a = k·b",
    bytes=Formula("2*n*s"),
    flops=Formula("n"),
    inputs={"b": ("n",)},
    outputs={"a": ("n",)},
    scalars={"k": 3},
    terms=Formula("3"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="one correctly rounded operation: u·|k·b| (Higham, section 2.2)",
    implementations={
        "numba": Implementation(with_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
