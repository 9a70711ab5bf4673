"""y_i = x[index_i]: reads that jump, writes that do not; an embedding table's access.

Costs:      n·(2·s + 4) bytes that are useful, no flops. Memory moves whole lines (64 bytes; 32 on a GPU) for each
            element that is read alone, so up to 16 times as much for x.
How wrong:  not at all: elements are copied bit for bit.
No GPU:     `numba` is the CPU's own version; Triton's interpreter and NumPy run the other sources.
Source:     J. Lavin, J. Riedy et al., "Spatter: a tool for evaluating gather / scatter performance", MEMSYS 2020.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 1024  # elements of one Triton program


def reference(x: Array, index: Array) -> Array:
    """x[index]."""
    return x[index]


def bound(shape: Any, u: float, x: Array, index: Array) -> Array:
    """None."""
    return np.zeros(shape["n"])


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Every element once, in a random order."""
    return {"index": rng.permutation(shape["n"])}


@njit(parallel=True, cache=True)
def on_cpu(y, x, index):
    for i in prange(y.size):
        y[i] = x[index[i]]


@triton.jit
def triton_kernel(y_ptr, x_ptr, index_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    index = tl.load(index_ptr + i, mask=inside, other=0)
    tl.store(y_ptr + i, tl.load(x_ptr + index, mask=inside), mask=inside)


def with_triton(y, x, index):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = y.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](y, x, index, n, block=BLOCK)


def with_arrays(y, x, index, xp):
    """`take` of the array module xp, CuPy or NumPy."""
    xp.take(x, index, out=y)


KERNEL = Kernel(
    name="gather",
    what="y_i = x[index_i]",
    bytes=Formula("n*(2*s + 4)"),
    flops=Formula("0"),
    inputs={"x": ("n",), "index": ("n",)},
    outputs={"y": ("n",)},
    types={"index": "int32"},
    terms=Formula("1"),
    dtypes=("float32", "float64"),
    reference=reference,
    bound=bound,
    bound_source="exact: elements are copied",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
        "cupy": Implementation(with_arrays, tile={"n": 64}),
    },
    shape_of=lambda elements: {"n": elements},
)
