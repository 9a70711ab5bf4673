"""y = Σ_p x_p over P buffers: the inner loop of an all-reduce, when all that arrives is added at once.

Costs:      (p + 1)·n·s bytes, (p - 1)·n flops: bound by memory.
How wrong:  at most γ_{p-1}·Σ_p|x_p| an element, for every order of the buffers.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources.
Source:     R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA
            19(1), 2005; bound: Higham, "Accuracy and Stability of Numerical Algorithms", section 4.2.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.past_cache import is_beyond_caches, sum_rows
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

BLOCK = 1024  # elements of one Triton program
THREADS = 128  # elements of one CUDA block
PART = 4096  # elements of one CPU task's piece: what it adds to stays in the first cache
BUFFERS = 4  # of the problem that is timed


def reference(x: Array) -> Array:
    """The sum over the first axis."""
    return np.add.reduce(x, axis=0)


def bound(shape: Any, u: float, x: Array) -> Array:
    """γ_{p-1}·Σ_p|x_p|."""
    return gamma(shape["p"] - 1, u) * np.add.reduce(np.abs(x), axis=0)


def spread(shape: Any, x: Array) -> Array:
    """√Σ_p x_p²: of the partial sums of zero-mean terms."""
    return np.sqrt(np.add.reduce(np.square(x), axis=0))


@njit(cache=True)
def four(y, a, b, c, d):
    for i in range(y.size):
        y[i] = (a[i] + b[i]) + (c[i] + d[i])


@njit(cache=True)
def two(y, a, b):
    for i in range(y.size):
        y[i] = a[i] + b[i]


@njit(parallel=True, cache=True)
def on_cpu(y, x):
    buffers, n = x.shape
    for task in prange((n + PART - 1) // PART):
        low, high = task * PART, min((task + 1) * PART, n)
        out = y[low:high]
        if buffers == 1:
            out[:] = x[0, low:high]
            done = 1
        elif buffers < 4:
            two(out, x[0, low:high], x[1, low:high])
            done = 2
        else:
            four(out, x[0, low:high], x[1, low:high], x[2, low:high], x[3, low:high])
            done = 4
        while done + 3 <= buffers:
            four(out, out, x[done, low:high], x[done + 1, low:high], x[done + 2, low:high])
            done += 3
        while done < buffers:
            two(out, out, x[done, low:high])
            done += 1


def with_cpu(y, x):
    """`on_cpu`; where the arrays leave the caches in any case, y is written past them."""
    if is_beyond_caches(x.nbytes + y.nbytes):
        sum_rows(y, x)
    else:
        on_cpu(y, x)


@triton.jit
def triton_kernel(y_ptr, x_ptr, p, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = i < n
    place = x_ptr + i
    total = tl.load(place, mask=inside, other=0.0)
    for _ in range(1, p):
        place += n
        total += tl.load(place, mask=inside, other=0.0)
    tl.store(y_ptr + i, total, mask=inside)


def with_triton(y, x):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    p, n = x.shape
    triton_kernel[(triton.cdiv(n, BLOCK),)](y, x, p, n, block=BLOCK)


@cuda.jit
def cuda_kernel(y, x):
    i = cuda.grid(1)
    if i < y.size:
        total = x[0, i]
        for buffer in range(1, x.shape[0]):
            total += x[buffer, i]
        y[i] = total


def with_cuda(y, x):
    """Launch `cuda_kernel` with one block of threads for THREADS elements."""
    cuda_kernel[(y.size + THREADS - 1) // THREADS, THREADS, stream()](y, x)


def with_arrays(y, x, xp):
    """`sum` over the first axis by the array module xp, CuPy or NumPy."""
    xp.sum(x, axis=0, out=y)


KERNEL = Kernel(
    name="reduce_buffers",
    what="y = Σ_p x_p",
    bytes=Formula("(p + 1)*n*s"),
    flops=Formula("(p - 1)*n"),
    inputs={"x": ("p", "n")},
    outputs={"y": ("n",)},
    terms=Formula("p"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="γ_{p-1}·Σ|x_p|, any order (Higham, section 4.2)",
    spread=spread,
    implementations={
        "numba": Implementation(with_cpu, tile={"p": 4, "n": PART}),
        "triton": Implementation(with_triton, tile={"p": 4, "n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"p": 4, "n": THREADS}),
        "cupy": Implementation(with_arrays, tile={"p": 4, "n": 64}),
    },
    shape_of=lambda elements: {"p": BUFFERS, "n": max(1, elements // BUFFERS)},
)
