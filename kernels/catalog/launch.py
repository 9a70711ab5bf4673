"""c = Σ_i x_i by n kernels, each of which adds one element: what it takes to start work and to hear that it is done.

Costs:      n·s bytes, which are nothing, and n launches, one after the other: bound by the latency of a launch. On the
            CPU a launch wakes all threads and waits for them; on a GPU it is queued, and the last one waited for.
How wrong:  not at all: a launch that is lost or done twice shows in the sum.
No GPU:     `numba` is the CPU's own version; Triton's interpreter and NumPy run the other sources.
Source:     SuperBench's kernel-launch (microsoft/superbenchmark), for the figure; the sum counts the launches.
"""

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.lazy import tl, triton

LAUNCHES = 1000  # of the problem that is timed, at most: more tell no more


def reference(x: Array) -> Array:
    """The sum of x as an array of one element."""
    return np.add.reduce(x, dtype=x.dtype, keepdims=True)


def bound(shape: Any, u: float, x: Array) -> Array:
    """None."""
    return np.zeros(1)


@njit(parallel=True, cache=True)
def add_one(c, x, i, threads):
    for thread in prange(threads):
        if thread == 0:
            c[0] += x[i]


def on_cpu(c, x):
    """A launch of all threads for each element."""
    c[0] = 0
    threads = get_num_threads()
    for i in range(x.size):
        add_one(c, x, i, threads)


@triton.jit
def triton_zero(c_ptr):
    tl.store(c_ptr, 0)


@triton.jit
def triton_kernel(c_ptr, x_ptr, i):
    tl.store(c_ptr, tl.load(c_ptr) + tl.load(x_ptr + i))


def with_triton(c, x):
    """Launch `triton_zero`, then `triton_kernel` with one program for each element."""
    triton_zero[(1,)](c)
    for i in range(x.shape[0]):
        triton_kernel[(1,)](c, x, i)


def with_arrays(c, x, xp):
    """`add` of the array module xp, CuPy or NumPy, for each element."""
    c[...] = 0
    for i in range(x.size):
        xp.add(c, x[i : i + 1], out=c)


KERNEL = Kernel(
    name="launch",
    what="c = Σ x, a launch for each",
    bytes=Formula("n*s"),
    flops=Formula("0"),
    inputs={"x": ("n",)},
    outputs={"c": (1,)},
    terms=Formula("n"),
    dtypes=("int32",),
    reference=reference,
    bound=bound,
    bound_source="exact: integers",
    data=("exact",),
    steps=Formula("n"),
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 16}),
        "triton": Implementation(with_triton, tile={"n": 16}),
        "cupy": Implementation(with_arrays, tile={"n": 16}),
    },
    shape_of=lambda elements: {"n": min(elements, LAUNCHES)},
    elements=LAUNCHES,
)
