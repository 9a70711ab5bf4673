"""a = b: the plainest stream, and what memory bandwidth means here.

Costs:      2·n·s bytes, no arithmetic: bound by memory.
How wrong:  not at all: the same bits.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     STREAM (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995).
"""

from typing import Any

from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.past_cache import combine, is_beyond_caches
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block


def reference(b: Array) -> Array:
    """b itself, in an array of its own."""
    return b.copy()


def bound(shape: Any, u: float, b: Array) -> Array:
    """0: a copy is exact."""
    return 0 * b


@njit(parallel=True, cache=True)
def on_cpu(a, b):
    for i in prange(a.size):
        a[i] = b[i]


def with_cpu(a, b):
    """`on_cpu`; where the arrays leave the caches in any case, a is written past them."""
    if is_beyond_caches(2 * a.nbytes):
        combine(a, b)
    else:
        on_cpu(a, b)


@triton.jit
def triton_kernel(a_ptr, b_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    b = tl.load(b_ptr + i, mask=inside)
    tl.store(a_ptr + i, b, mask=inside)


def with_triton(a, b):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = a.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](a, b, n, block=BLOCK)


@cuda.jit
def cuda_kernel(a, b):
    i = cuda.grid(1)
    if i < a.size:
        a[i] = b[i]


def with_cuda(a, b):
    """Launch `cuda_kernel` with one block of threads for THREADS elements."""
    blocks = (a.size + THREADS - 1) // THREADS
    cuda_kernel[blocks, THREADS, stream()](a, b)


def with_arrays(a, b, xp):
    """`copyto` of the array module xp, CuPy or NumPy."""
    xp.copyto(a, b)


KERNEL = Kernel(
    name="copy",
    what="a = b",
    bytes=Formula("2*n*s"),
    flops=Formula("0"),
    inputs={"b": ("n",)},
    outputs={"a": ("n",)},
    terms=Formula("1"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="a copy: the same bits",
    implementations={
        "numba": Implementation(with_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
