"""y_ij = scale_i·q_ij: rows of 8-bit integers back to floating point.

Costs:      m·n·(s + 1) + 4·m bytes: bound by memory. m·n operations.
How wrong:  2^-24·|y|, a product in float32, and u·|y| where the result is narrower.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     T. Dettmers et al., "LLM.int8(): 8-bit matrix multiplication for transformers at scale", NeurIPS 2022;
            bound: Higham, "Accuracy and Stability of Numerical Algorithms", section 2.2.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, one_rounding
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.half import to_bfloat16
from clusterbench.kernels.loops.short_rows import bits, is_short
from clusterbench.kernels.running.lazy import tl, triton

ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes
COLUMNS = 4096  # of the problem that is timed


def reference(q: Array, scale: Array) -> Array:
    """Each row of q times its scale."""
    return scale[:, None] * q


def bound(shape: Any, u: float, q: Array, scale: Array) -> Array:
    """A product in float32, rounded to the result's type."""
    y = reference(q, scale)
    return elementary.stored(one_rounding(y, elementary.computed(u)), y, u)


@njit(parallel=True, cache=True)
def on_floats(y, q, scale):
    for i in prange(q.shape[0]):
        factor = scale[i]
        for j in range(q.shape[1]):
            y[i, j] = factor * np.float32(q[i, j])


@njit(parallel=True, cache=True)
def on_bfloat16(y, q, scale):
    for i in prange(q.shape[0]):
        factor = scale[i]
        for j in range(q.shape[1]):
            y[i, j] = to_bfloat16(factor * np.float32(q[i, j]))


def on_cpu(y, q, scale):
    """Row by row in float32."""
    if is_short(y):
        on_bfloat16(bits(y), q, scale)
    else:
        on_floats(y, q, scale)


@triton.jit
def triton_kernel(y_ptr, q_ptr, scale_ptr, m, n, rows: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    j = tl.program_id(1) * block + tl.arange(0, block)[None, :]
    inside = (i < m) & (j < n)
    place = i.to(tl.int64) * n + j
    q = tl.load(q_ptr + place, mask=inside).to(tl.float32)
    scale = tl.load(scale_ptr + i, mask=i < m)
    tl.store(y_ptr + place, (scale * q).to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, q, scale):
    """Launch `triton_kernel` with one program for ROWS rows and BLOCK columns."""
    m, n = q.shape
    triton_kernel[(triton.cdiv(m, ROWS), triton.cdiv(n, BLOCK))](y, q, scale, m, n, rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="dequantise_int8",
    what="y_ij = scale_i·q_ij",
    bytes=Formula("m*n*(s + 1) + 4*m"),
    flops=Formula("m*n"),
    inputs={"q": ("m", "n"), "scale": ("m",)},
    outputs={"y": ("m", "n")},
    types={"q": "int8", "scale": "float32"},
    terms=Formula("1"),
    dtypes=("float32", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="2^-24·|y| and the rounding of the result (Higham, section 2.2)",
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
