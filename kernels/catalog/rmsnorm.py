"""y_ij = w_j·x_ij / √(ε + Σ_k x_ik² / n): each row divided by its root mean square.

Costs:      (2·m·n + n)·s bytes: bound by memory. 4·m·n operations: a square and its sum, two products.
How wrong:  relative γ_(n+3)/2 + 5·u of the inverse root + 3·u: the squares have one sign, so nothing cancels.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019; bound: Higham, "Accuracy and
            Stability of Numerical Algorithms", sections 3.1 and 4.2.
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
from clusterbench.kernels.loops.streaming import fence, stream, weigh
from clusterbench.kernels.running.lazy import tl, triton

EPSILON = 2.0**-24  # about what frameworks take for float32, and a number of every type
ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes at once
COLUMNS = 4096  # of the problem that is timed
PATTERN = 61  # rows of made data before they repeat
LARGE = 2.0**15  # whose square leaves nothing of EPSILON in any type


def reference(x: Array, w: Array) -> Array:
    """w·x over the root of EPSILON and the mean square."""
    n = x.dtype.type(x.shape[1])
    return w * (x / np.sqrt(np.square(x).sum(axis=1, keepdims=True) / n + x.dtype.type(EPSILON)))


def bound(shape: Any, u: float, x: Array, w: Array) -> Array:
    """The relative error of the head of this file, compounded, and w times what underflow of x / root takes."""
    inner = elementary.computed(u)
    relative = gamma(shape["n"] + 3, inner) / 2 + (elementary.INVERSE_ROOT + 3) * inner
    y = reference(x, w)
    error = np.abs(y) * elementary.compounded(np.asarray(relative)) + np.abs(w) * elementary.least_normal(u)
    return elementary.stored(error, y, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: numbers of one size and either sign, whose root mean square is that size. Rounding: rows so small that
    EPSILON decides, among others.
    """
    m, n = shape["m"], shape["n"]
    rows = min(m, PATTERN)
    if data == "exact":
        pattern = rng.choice([-LARGE, LARGE], (rows, n))
    elif data == "rounding":
        pattern = rng.uniform(-1, 1, (rows, n)) / 3 * 2.0 ** (-6 * (np.arange(rows) % 3))[:, None]
    else:
        return {}
    return {"x": np.resize(pattern.astype(element_type(dtype)), (m, n))}


# Leave to reassociate: terms of one sign, whose bound holds for any order.
@njit(cache=True, fastmath={"reassoc", "contract"})
def sum_of_squares(x):
    found = x.dtype.type(0)
    for i in range(x.size):
        found += x[i] * x[i]
    return found


@njit(cache=True, error_model="numpy")
def inverse_root(squares, n):
    kind = type(squares)
    return kind(1) / np.sqrt(squares / kind(n) + kind(EPSILON))


@njit(cache=True)
def normalise_row(y, x, w):
    factor = inverse_root(sum_of_squares(x), x.size)
    for i in range(x.size):
        y[i] = w[i] * (x[i] * factor)


@njit(parallel=True, cache=True)
def on_floats(y, x, w, tasks):
    rows, n = x.shape
    for task in prange(tasks):
        low, high = task * rows // tasks, (task + 1) * rows // tasks
        if low < high:
            # A row is written while the next is read.
            squares = sum_of_squares(x[low])
            for i in range(low, high):
                squares = weigh(y[i], x[i], w, inverse_root(squares, n), x[min(i + 1, high - 1)])
        fence()


@njit(parallel=True, cache=True)
def on_shorts(y, x, w, brain, tasks):
    rows = x.shape[0]
    weights = np.empty(w.size, np.float32)
    widen(weights, w, brain)
    for task in prange(tasks):
        wide, result = np.empty((2, x.shape[1]), np.float32), np.empty(x.shape[1], x.dtype)
        for i in range(task * rows // tasks, (task + 1) * rows // tasks):
            widen(wide[0], x[i], brain)
            normalise_row(wide[1], wide[0], weights)
            narrow(result, wide[1], brain)
            stream(y[i], result)
        fence()


def on_cpu(y, x, w):
    """Row by row in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        on_shorts(bits(y), bits(x), bits(w), IS_BFLOAT16[y.dtype.name], get_num_threads())
    else:
        on_floats(y, x, w, get_num_threads())


@triton.jit
def triton_kernel(
    y_ptr, x_ptr, w_ptr, m, n, epsilon: tl.constexpr, wide: tl.constexpr, rows: tl.constexpr, block: tl.constexpr
):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    place = i.to(tl.int64) * n
    squares = tl.zeros((rows, 1), wide)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        x = tl.load(x_ptr + place + j, mask=(i < m) & (j < n), other=0.0).to(wide)
        squares += tl.sum(x * x, axis=1, keep_dims=True)
    factor = tl.rsqrt(squares / n + epsilon)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0).to(wide)
        w = tl.load(w_ptr + j, mask=j < n, other=0.0).to(wide)
        tl.store(y_ptr + place + j, (w * (x * factor)).to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, x, w):
    """Launch `triton_kernel` with one program for ROWS rows."""
    m, n = x.shape
    wide = tl.float64 if x.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(m, ROWS),)](y, x, w, m, n, epsilon=EPSILON, wide=wide, rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="rmsnorm",
    what="y_ij = w_j·x_ij / √(ε + Σ_k x_ik² / n)",
    bytes=Formula("(2*m*n + n)*s"),
    flops=Formula("4*m*n"),
    inputs={"x": ("m", "n"), "w": ("n",)},
    outputs={"y": ("m", "n")},
    terms=Formula("1"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="γ_(n+3)/2 + 8·u, relative (Higham, sections 3.1 and 4.2)",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
