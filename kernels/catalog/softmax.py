"""y_ij = e^(x_ij - max_k x_ik) / Σ_k e^(x_ik - max_k x_ik): a softmax over each row, as in attention.

Costs:      2·m·n·s bytes: bound by memory. 5·m·n operations by convention: comparison, difference, exponential, sum and
            quotient. A GPU program reads a row twice, the second time from cache.
How wrong:  relative ε_j + Σ_i y_i·ε_i + γ + 5·u with ε_i = 3·u·|x_i - max| + 6·u: the difference and the two roundings
            of an exponential's argument, each moved by its size, and the exponential's own 6·u; γ of the sum's n terms
            and of the maxima by which a block of columns rescales it.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA
            J. Numer. Anal. 41(4), 2021; M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018.
"""

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.loops.short_rows import IS_BFLOAT16, bits, is_short, narrow, widen
from clusterbench.kernels.loops.streaming import beside, fence, scratch, soften, stream
from clusterbench.kernels.loops.vector_rows import block_of, exponentials, largest
from clusterbench.kernels.running.lazy import tl, triton

ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes at once
COLUMNS = 2048  # of the problem that is timed
PATTERN = 61  # rows of exact data before they repeat


def reference(x: Array) -> Array:
    """The exponentials of x less its row's maximum, over their sum."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def bound(shape: Any, u: float, x: Array) -> Array:
    """The relative error of the head of this file, compounded, and what flushing an exponential to 0 takes."""
    inner = elementary.computed(u)
    y, below = reference(x), np.abs(x - x.max(axis=1, keepdims=True))
    each = np.where(y > 0, elementary.exponential(below, inner) + below * inner, 0)
    blocks = -(-shape["n"] // BLOCK)
    rescaled = gamma(shape["n"] + (2 + elementary.EXP) * blocks, inner)
    relative = each + (y * each).sum(axis=1, keepdims=True) + rescaled + elementary.DIVISION * inner
    error = y * elementary.compounded(relative) + elementary.least_normal(u)
    return elementary.stored(error, y, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: in each row as many equal numbers as the largest power of two allows, scattered among -∞."""
    if data != "exact":
        return {}
    m, n = shape["m"], shape["n"]
    order = rng.permuted(np.tile(np.arange(n), (min(m, PATTERN), 1)), axis=1)
    level = rng.integers(-100, 100, (len(order), 1), endpoint=True)
    pattern = np.where(order < 1 << n.bit_length() - 1, level, -np.inf).astype(element_type(dtype))
    return {"x": np.resize(pattern, (m, n))}


@njit(cache=True, error_model="numpy")
def softmax_row(y, x, block):
    share = x.dtype.type(1) / exponentials(y, x, largest(x, block), block)
    for i in range(x.size):
        y[i] *= share


@njit(parallel=True, cache=True, error_model="numpy")
def on_floats(y, x, rooms, block):
    rows, tasks, one = x.shape[0], rooms.shape[0], x.dtype.type(1)
    for task in prange(tasks):
        low, high = task * rows // tasks, (task + 1) * rows // tasks
        if low < high:
            # A row is written while the next is computed and the one after is read.
            e = beside(rooms[task], y[low])
            total = exponentials(e, x[low], largest(x[low], block), block)
            top = largest(x[min(low + 1, high - 1)], block)
            for i in range(low + 1, high):
                total, top = soften(y[i - 1], e, one / total, x[i], top, x[min(i + 1, high - 1)])
            for j in range(x.shape[1]):
                y[high - 1, j] = e[j] * (one / total)
        fence()


@njit(parallel=True, cache=True)
def on_shorts(y, x, brain, block, tasks):
    rows = x.shape[0]
    for task in prange(tasks):
        wide, result = np.empty((2, x.shape[1]), np.float32), np.empty(x.shape[1], x.dtype)
        for i in range(task * rows // tasks, (task + 1) * rows // tasks):
            widen(wide[0], x[i], brain)
            softmax_row(wide[1], wide[0], block)
            narrow(result, wide[1], brain)
            stream(y[i], result)
        fence()


def on_cpu(y, x):
    """Row by row in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        on_shorts(bits(y), bits(x), IS_BFLOAT16[y.dtype.name], block_of("float32"), get_num_threads())
    else:
        on_floats(y, x, scratch(get_num_threads(), x.shape[1], x.dtype), block_of(x.dtype))


@triton.jit
def triton_kernel(y_ptr, x_ptr, m, n, wide: tl.constexpr, rows: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    place = i.to(tl.int64) * n
    top = tl.full((rows, 1), float("-inf"), wide)
    total = tl.zeros((rows, 1), wide)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        x = tl.load(x_ptr + place + j, mask=(i < m) & (j < n), other=float("-inf")).to(wide)
        top_now = tl.maximum(top, tl.max(x, axis=1, keep_dims=True))
        shift = tl.where(top_now == float("-inf"), 0.0, top_now)  # -∞ - (-∞) is no number
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift), axis=1, keep_dims=True)
        top = top_now
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0).to(wide)
        tl.store(y_ptr + place + j, (tl.exp(x - top) / total).to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, x):
    """Launch `triton_kernel` with one program for ROWS rows."""
    m, n = x.shape
    wide = tl.float64 if x.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(m, ROWS),)](y, x, m, n, wide=wide, rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="softmax",
    what="y_ij = e^x_ij / Σ_k e^x_ik",
    bytes=Formula("2*m*n*s"),
    flops=Formula("5*m*n"),
    inputs={"x": ("m", "n")},
    outputs={"y": ("m", "n")},
    terms=Formula("1"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="ε_j + Σ y_i·ε_i + γ + 5·u, relative (after Blanchard, Higham and Higham 2021)",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
