"""y_ij = e4m3(x_ij / scale_i), scale_i = max_j |x_ij| / 448: each row as 8-bit floats and one float32.

Costs:      m·n·(4 + s) + 4·m bytes: bound by memory. 2·m·n operations: a comparison and a quotient.
How wrong:  not at all, but one step where x / scale lies within 10·u of half-way between two numbers of the type, as
            two quotients of at most 2 ulp may put it on either side; the scale by 5·u of float32.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other and a model rounds, as it rounds the
            type wrongly.
Source:     P. Micikevicius et al., "FP8 formats for deep learning", 2022 (E4M3: 4 exponent bits of bias 7, largest 448,
            one NaN); rounding: IEEE Std 754-2019, 4.3.1.
"""

import math
from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels.bounds import Array
from clusterbench.kernels.catalog.quantise_int8 import largest_size
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.judging.conversion import rounded
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.quantised import LOST_BELOW, one_step_at_ties, quotients, scale_bound, scales
from clusterbench.kernels.running.lazy import tl, triton

DTYPE = "float8_e4m3fn"
LARGEST, LEAST_EXPONENT, FRACTION_BITS = 448, -6, 3
ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes at once
COLUMNS = 4096  # of the problem that is timed
PATTERN = 61  # rows of exact data before they repeat


def reference(x: Array) -> tuple[Array, Array]:
    """The 8-bit floats, in a wide type, and the scales."""
    scale = scales(x, LARGEST)
    return rounded(quotients(x, scale), DTYPE).astype(x.dtype), scale


def bound(shape: Any, u: float, x: Array) -> tuple[Array, Array]:
    """One step next to ties; a quotient's error of the scale."""
    scale = scales(x, LARGEST)
    quotient = quotients(x, scale)
    exponent = np.maximum(np.frexp(quotient)[1] - 1, LEAST_EXPONENT)
    near = one_step_at_ties(quotient, np.exp2(exponent - FRACTION_BITS, dtype=x.dtype), u)
    return np.where((scale > 0)[:, None] & (scale < LOST_BELOW)[:, None], 2 * LARGEST, near), scale_bound(scale, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: numbers of the type, and ties between them, times a power of two, the largest in every row; the first of
    many rows is zeros.
    """
    if data != "exact":
        return {}
    m, n = shape["m"], shape["n"]
    rows = min(m, PATTERN)
    numbers = np.arange(0x7F, dtype=np.uint8).view(element_type(DTYPE)).astype(np.float32)  # all but NaN
    numbers = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2])
    pattern = rng.choice(numbers, (rows, n)) * rng.choice(np.array([-1, 1], np.float32), (rows, n))
    pattern[np.arange(rows), rng.integers(0, n, rows)] = rng.choice([-LARGEST, LARGEST], rows)
    pattern *= 2.0 ** rng.integers(-3, 3, (rows, 1), endpoint=True)
    if rows > 1:
        pattern[0] = 0
    return {"x": np.resize(pattern, (m, n))}


@njit(cache=True, error_model="numpy")
def e4m3(value):
    """The bits of the nearest number of the type, ties to even: a carry of the fraction moves the exponent on."""
    size = abs(value)
    exponent = max(math.frexp(size)[1] - 1, LEAST_EXPONENT) if size > 0 else LEAST_EXPONENT
    steps = np.rint(math.ldexp(size, FRACTION_BITS - exponent))
    code = (exponent - LEAST_EXPONENT) * 8 + int(min(steps, 16))
    return np.uint8(min(code, 0x7E) | (0x80 if value < 0 else 0))


@njit(parallel=True, cache=True, error_model="numpy")
def on_floats(y, scale, x):
    for i in prange(x.shape[0]):
        row = x[i]
        factor = largest_size(row) / row.dtype.type(LARGEST)
        scale[i] = factor
        for j in range(row.size):
            y[i, j] = e4m3(row[j] / factor) if factor > 0 else np.uint8(0)


def on_cpu(y, scale, x):
    """Row by row; the 8-bit floats are passed as their bits."""
    on_floats(y.view(np.uint8), scale, x)


@triton.jit
def triton_kernel(y_ptr, scale_ptr, x_ptr, m, n, largest: tl.constexpr, rows: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    place = i.to(tl.int64) * n
    size = tl.zeros((rows, 1), tl.float32)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        x = tl.load(x_ptr + place + j, mask=(i < m) & (j < n), other=0.0)
        size = tl.maximum(size, tl.max(tl.abs(x), axis=1, keep_dims=True))
    scale = size / largest
    tl.store(scale_ptr + i, scale, mask=i < m)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0)
        quotient = x / tl.where(scale > 0, scale, 1.0)
        quotient = tl.minimum(tl.maximum(quotient, -largest), largest)
        tl.store(y_ptr + place + j, quotient.to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, scale, x):
    """Launch `triton_kernel` with one program for ROWS rows."""
    m, n = x.shape
    triton_kernel[(triton.cdiv(m, ROWS),)](y, scale, x, m, n, largest=float(LARGEST), rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="quantise_fp8",
    what="y_ij = e4m3(x_ij / scale_i), scale_i = max_j |x_ij| / 448",
    bytes=Formula("m*n*(4 + s) + 4*m"),
    flops=Formula("2*m*n"),
    inputs={"x": ("m", "n")},
    outputs={"y": ("m", "n"), "scale": ("m",)},
    types={"x": "float32", "scale": "float32"},
    terms=Formula("1"),
    dtypes=(DTYPE,),
    reference=reference,
    bound=bound,
    bound_source="exact but within 10·u of a tie; the scale 5·u (IEEE Std 754-2019, 4.3.1; PTX ISA, div.full)",
    data=("exact", "rounding", "hard", "offset"),
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    # x has four times the bytes of y, by which the problem is asked for.
    shape_of=lambda elements: {"m": max(1, elements // 4 // COLUMNS), "n": max(1, min(elements // 4, COLUMNS))},
)
