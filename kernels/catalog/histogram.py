"""h_v = how many x_i are v, for 256 values: many writers of few places.

Costs:      n·s bytes (and 1,024 for the counts), no floating-point operations: bound by conflicts where many elements
            have one value.
How wrong:  not at all: the counts are exact, and their sum is n.
No GPU:     `numba` is the CPU's own version; Triton's interpreter and NumPy run the other sources.
Source:     V. Podlozhnyuk, "Histogram calculation in CUDA", NVIDIA, 2007.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.running.lazy import tl, triton

BINS = 256
BLOCK = 1024  # elements of one Triton program
PART = 65536  # elements of one CPU task, which counts on its own


def reference(x: Array) -> Array:
    """How often each of 0 to 255 is among x."""
    return np.bincount(x, minlength=BINS).astype(np.int32)


def bound(shape: Any, u: float, x: Array) -> Array:
    """None."""
    return np.zeros(BINS)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Half of the elements have any value, and half one of four, so that writers meet."""
    spread = rng.integers(0, BINS, shape["n"])
    return {"x": np.where(rng.random(shape["n"]) < 0.5, spread, rng.integers(100, 104, shape["n"]))}


@njit(parallel=True, cache=True)
def on_cpu(h, x):
    parts = (x.size + PART - 1) // PART
    partial = np.zeros((parts, BINS), np.int32)
    for part in prange(parts):
        # Two rows of counts, so that an element does not wait for the count of an equal one before it.
        even, odd = np.zeros(BINS, np.int32), np.zeros(BINS, np.int32)
        low, high = part * PART, min((part + 1) * PART, x.size)
        for i in range(low, high - 1, 2):
            even[x[i]] += 1
            odd[x[i + 1]] += 1
        if (high - low) % 2:
            even[x[high - 1]] += 1
        partial[part] = even + odd
    h[:] = partial.sum(axis=0)


@triton.jit
def triton_zero(h_ptr, bins: tl.constexpr):
    tl.store(h_ptr + tl.arange(0, bins), tl.zeros((bins,), tl.int32))


@triton.jit
def triton_kernel(h_ptr, x_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside, other=0)
    tl.atomic_add(h_ptr + x, 1, mask=inside)


def with_triton(h, x):
    """Launch `triton_zero`, then `triton_kernel` with one program for BLOCK elements."""
    triton_zero[(1,)](h, bins=BINS)
    n = x.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](h, x, n, block=BLOCK)


def with_arrays(h, x, xp):
    """`bincount` of the array module xp, CuPy or NumPy."""
    h[...] = xp.bincount(x, minlength=BINS)


KERNEL = Kernel(
    name="histogram",
    what="h_v = |{i : x_i = v}|",
    bytes=Formula("n*s"),
    flops=Formula("0"),
    inputs={"x": ("n",)},
    outputs={"h": (BINS,)},
    types={"h": "int32"},
    terms=Formula("1"),
    dtypes=("int32",),
    reference=reference,
    bound=bound,
    bound_source="exact: elements are counted",
    data=("exact",),
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": PART}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
