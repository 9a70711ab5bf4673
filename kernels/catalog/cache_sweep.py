"""c = Σ_p ⊕_i (x_i + q_p): passes over a working set, at the bandwidth of whichever cache holds it.

Costs:      p·n·s bytes, no floating-point operations (2·p·n of integers): bound by the level that holds n·s bytes.
How wrong:  not at all: integers wrap, and their exclusive or does not depend on the order.
No GPU:     `numba` is the CPU's own version; Triton's interpreter and NumPy run the other sources.
Source:     RRZE-HPC gpu-benches (gpu-l2-cache), for the sweep; the checksum keeps every load alive and sees each pass.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 1024  # elements that a Triton program takes at once
ELEMENTS = 1 << 16  # of the working set that is timed: 256 KiB, which a second-level cache holds
PASSES = 64  # of the problem that is timed
TASKS = 16  # parts of the working set, each of which one core passes over as often as asked


def reference(x: Array, q: Array) -> Array:
    """The sum over q of the exclusive or of x + q, as an array of one element."""
    with np.errstate(over="ignore"):
        return np.add.reduce([np.bitwise_xor.reduce(x + one) for one in q], dtype=x.dtype, keepdims=True)


def bound(shape: Any, u: float, x: Array, q: Array) -> Array:
    """None."""
    return np.zeros(1)


@njit(cache=True)
def pass_over(x, shift):
    total = x.dtype.type(0)
    for i in range(x.size):
        total ^= x.dtype.type(x[i] + shift)
    return total


@njit(parallel=True, cache=True)
def on_cpu(c, x, q):
    partial = np.zeros((TASKS, q.size), x.dtype)
    size = (x.size + TASKS - 1) // TASKS
    for task in prange(TASKS):
        mine = x[task * size : min((task + 1) * size, x.size)]
        for p in range(q.size):
            partial[task, p] = pass_over(mine, q[p])
    total = x.dtype.type(0)
    for p in range(q.size):
        one = x.dtype.type(0)
        for task in range(TASKS):
            one ^= partial[task, p]
        total += one
    c[0] = total


@triton.jit
def exclusive(a, b):
    return a ^ b


@triton.jit
def triton_kernel(c_ptr, x_ptr, q_ptr, n, p, block: tl.constexpr):
    total = tl.zeros((), c_ptr.dtype.element_ty)
    for at in range(p):
        shift = tl.load(q_ptr + at)
        mixed = tl.zeros((block,), c_ptr.dtype.element_ty)
        for first in range(0, n, block):
            i = first + tl.arange(0, block)
            x = tl.load(x_ptr + i, mask=i < n, other=0)
            mixed ^= tl.where(i < n, x + shift, 0)
        total += tl.reduce(mixed, 0, exclusive)
    tl.store(c_ptr, total)


def with_triton(c, x, q):
    """Launch one program, whose cache is that of one multiprocessor."""
    triton_kernel[(1,)](c, x, q, x.shape[0], q.shape[0], block=BLOCK)


def with_arrays(c, x, q, xp):
    """Pass by pass with the array module xp, CuPy or NumPy."""
    total = x.dtype.type(0)
    for p in range(q.size):
        total = total + xp.bitwise_xor.reduce(x + q[p])
    c[0] = total


KERNEL = Kernel(
    name="cache_sweep",
    what="c = Σ_p ⊕_i (x_i + q_p)",
    bytes=Formula("p*n*s"),
    flops=Formula("0"),
    inputs={"x": ("n",), "q": ("p",)},
    outputs={"c": (1,)},
    terms=Formula("1"),
    dtypes=("int32", "int64"),
    reference=reference,
    bound=bound,
    bound_source="exact: integers",
    data=("exact",),
    passes=True,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": TASKS, "p": 1}),
        "triton": Implementation(with_triton, tile={"n": BLOCK, "p": 1}),
        "cupy": Implementation(with_arrays, tile={"n": 64, "p": 1}),
    },
    shape_of=lambda elements: {"n": elements, "p": PASSES},
    elements=ELEMENTS,
)
