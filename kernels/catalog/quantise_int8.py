"""y_ij = round(x_ij / scale_i), scale_i = max_j |x_ij| / 127: each row as 8-bit integers and one float32.

Costs:      m·n·(s + 1) + 4·m bytes: bound by memory. 2·m·n operations: a comparison and a quotient.
How wrong:  not at all, but one step where x / scale lies within 10·u of half-way between two integers, as two quotients
            of at most 2 ulp may put it on either side; the scale by 5·u.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     T. Dettmers et al., "LLM.int8(): 8-bit matrix multiplication for transformers at scale", NeurIPS 2022
            (row-wise scales of the largest magnitude); rounding: IEEE Std 754-2019, 4.3.1.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.loops.short_rows import IS_BFLOAT16, bits, is_short, widen
from clusterbench.kernels.quantised import LOST_BELOW, one_step_at_ties, quotients, scale_bound, scales
from clusterbench.kernels.running.lazy import tl, triton

LARGEST = 127
ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes at once
COLUMNS = 4096  # of the problem that is timed
PATTERN = 61  # rows of exact data before they repeat


def reference(x: Array) -> tuple[Array, Array]:
    """The integers, as floating-point numbers, and the scales."""
    scale = scales(x, LARGEST)
    return np.rint(quotients(x, scale)), scale


def bound(shape: Any, u: float, x: Array) -> tuple[Array, Array]:
    """One step next to ties; a quotient's error of the scale."""
    scale = scales(x, LARGEST)
    near = one_step_at_ties(quotients(x, scale), np.ones_like(x), u)
    return np.where((scale > 0)[:, None] & (scale < LOST_BELOW)[:, None], 2 * LARGEST, near), scale_bound(scale, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: integers up to 127, and ties between them, times a power of two, the largest in every row; the first of
    many rows is zeros.
    """
    if data != "exact":
        return {}
    m, n = shape["m"], shape["n"]
    rows = min(m, PATTERN)
    pattern = rng.integers(-2 * LARGEST, 2 * LARGEST, (rows, n), endpoint=True).astype(np.float32) / 2
    pattern[np.arange(rows), rng.integers(0, n, rows)] = rng.choice([-LARGEST, LARGEST], rows)
    pattern *= 2.0 ** rng.integers(-3, 3, (rows, 1), endpoint=True)
    if rows > 1:
        pattern[0] = 0
    return {"x": np.resize(pattern.astype(element_type(dtype)), (m, n))}


@njit(cache=True)
def largest_size(x):
    found = x.dtype.type(0)
    for i in range(x.size):
        size = abs(x[i])
        found = size if size > found else found
    return found


@njit(cache=True, error_model="numpy")
def quantise_row(y, x):
    scale = largest_size(x) / x.dtype.type(LARGEST)
    if scale > 0:
        for i in range(x.size):
            y[i] = np.int8(np.rint(x[i] / scale))
    else:
        y[:] = 0
    return scale


@njit(parallel=True, cache=True)
def on_floats(y, scale, x):
    for i in prange(x.shape[0]):
        scale[i] = quantise_row(y[i], x[i])


@njit(parallel=True, cache=True)
def on_shorts(y, scale, x, brain):
    for i in prange(x.shape[0]):
        wide = np.empty(x.shape[1], np.float32)
        widen(wide, x[i], brain)
        scale[i] = quantise_row(y[i], wide)


def on_cpu(y, scale, x):
    """Row by row in float32."""
    if is_short(x):
        on_shorts(y, scale, bits(x), IS_BFLOAT16[x.dtype.name])
    else:
        on_floats(y, scale, x)


@triton.jit
def triton_kernel(y_ptr, scale_ptr, x_ptr, m, n, largest: tl.constexpr, rows: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    place = i.to(tl.int64) * n
    size = tl.zeros((rows, 1), tl.float32)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        x = tl.load(x_ptr + place + j, mask=(i < m) & (j < n), other=0.0).to(tl.float32)
        size = tl.maximum(size, tl.max(tl.abs(x), axis=1, keep_dims=True))
    scale = size / largest
    tl.store(scale_ptr + i, scale, mask=i < m)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0).to(tl.float32)
        quotient = x / tl.where(scale > 0, scale, 1.0)
        # Adding and taking away 1.5·2^23 leaves the nearest whole number, ties to even, of any below 2^22.
        whole = (quotient + 12582912.0) - 12582912.0
        whole = tl.minimum(tl.maximum(whole, -largest), largest)
        tl.store(y_ptr + place + j, whole.to(tl.int8), mask=inside)


def with_triton(y, scale, x):
    """Launch `triton_kernel` with one program for ROWS rows."""
    m, n = x.shape
    triton_kernel[(triton.cdiv(m, ROWS),)](y, scale, x, m, n, largest=float(LARGEST), rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="quantise_int8",
    what="y_ij = round(x_ij / scale_i), scale_i = max_j |x_ij| / 127",
    bytes=Formula("m*n*(s + 1) + 4*m"),
    flops=Formula("2*m*n"),
    inputs={"x": ("m", "n")},
    outputs={"y": ("m", "n"), "scale": ("m",)},
    types={"y": "int8", "scale": "float32"},
    terms=Formula("1"),
    dtypes=("float32", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="exact but within 10·u of a tie; the scale 5·u (IEEE Std 754-2019, 4.3.1; PTX ISA, div.full)",
    data=("exact", "rounding", "hard", "offset"),
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
