"""i <- next[i], n - 1 times: each load waits for the one before it, so a hop takes the latency of memory.

Costs:      n·s bytes that are useful, one hop after the other: bound by the latency of the level that holds `next`.
How wrong:  not at all: where the last hop ends is known.
No GPU:     `numba` is the CPU's own version; Triton's interpreter and NumPy run the other sources.
Source:     L. McVoy, C. Staelin, "lmbench: portable tools for performance analysis", USENIX 1996 (lat_mem_rd).
"""

from typing import Any

import numpy as np
from numba import njit

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.running.lazy import tl, triton

ELEMENTS = 1 << 22  # of the problem that is timed: long enough for any cache, short enough for a sample


def reference(following: Array) -> Array:
    """The element from which a hop leads back to the start."""
    return np.flatnonzero(following == 0).astype(following.dtype)[:1]


def bound(shape: Any, u: float, following: Array) -> Array:
    """None."""
    return np.zeros(1)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """One random cycle through all elements (S. Sattolo, 1986): the order of a permutation, closed."""
    order = rng.permutation(shape["n"])
    following = np.empty(shape["n"], np.int64)
    following[order] = np.roll(order, -1)
    return {"following": following}


@njit(cache=True)
def on_cpu(end, following):
    here = following.dtype.type(0)
    for _ in range(following.size - 1):
        here = following[here]
    end[0] = here


@triton.jit
def triton_kernel(end_ptr, following_ptr, n):
    here = tl.zeros((), end_ptr.dtype.element_ty)
    for _ in range(n - 1):
        here = tl.load(following_ptr + here)
    tl.store(end_ptr, here)


def with_triton(end, following):
    """Launch one program: there is nothing to do side by side."""
    triton_kernel[(1,)](end, following, following.shape[0])


def with_arrays(end, following, xp):
    """Hop by hop on the host, with the array module xp, CuPy or NumPy: for its result, not for its speed."""
    here = 0
    for _ in range(following.size - 1):
        here = int(following[here])
    end[0] = here


KERNEL = Kernel(
    name="chase",
    what="i ← next[i]",
    bytes=Formula("n*s"),
    flops=Formula("0"),
    inputs={"following": ("n",)},
    outputs={"end": (1,)},
    terms=Formula("1"),
    dtypes=("int32", "int64"),
    reference=reference,
    bound=bound,
    bound_source="exact: an index",
    data=("exact",),
    fill=fill,
    steps=Formula("n - 1"),
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": 64}),
        "cupy": Implementation(with_arrays, tile={"n": 64}, timed=False),
    },
    shape_of=lambda elements: {"n": elements},
    elements=ELEMENTS,
)
