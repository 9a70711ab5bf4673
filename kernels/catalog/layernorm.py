"""y_ij = w_j·(x_ij - μ_i) / √(ε + σ_i²) + b_j: each row less its mean, divided by its standard deviation.

Costs:      (2·m·n + 2·n)·s bytes: bound by memory. 8·m·n operations: the mean; difference, square and sum;
            difference, two products and a sum.
How wrong:  |w|·(δ + |z|·((γ_(n+3) + δ²)/2 + 8·u)) + 2·u·(|w·z| + |b|) with δ = γ_n·mean|x| / √(ε + σ²): the mean's
            error in units of the deviation, which the two-pass variance squares. The one-pass variance, mean x² - μ²,
            is off by u·μ²/σ² instead, and breaks it where the mean is many deviations.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016; bound: Higham, "Accuracy and Stability of
            Numerical Algorithms", sections 1.9 (variance), 3.1 and 4.2.
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
from clusterbench.kernels.loops.streaming import fence, stream
from clusterbench.kernels.running.lazy import tl, triton

EPSILON = 2.0**-24  # about what frameworks take for float32, and a number of every type
ROWS, BLOCK = 4, 512  # of a Triton program, and how many columns it takes at once
COLUMNS = 4096  # of the problem that is timed
PATTERN = 61  # rows of exact data before they repeat
LARGE = 2.0**15  # whose square leaves nothing of EPSILON in any type


def _parts(x: Array) -> tuple[Array, Array]:
    """The normalised rows, and the deviation that they were divided by."""
    n = x.dtype.type(x.shape[1])
    centred = x - x.sum(axis=1, keepdims=True) / n
    deviation = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / n + x.dtype.type(EPSILON))
    return centred / deviation, deviation


def reference(x: Array, w: Array, b: Array) -> Array:
    """w·z + b with z the normalised rows."""
    return w * _parts(x)[0] + b


def bound(shape: Any, u: float, x: Array, w: Array, b: Array) -> Array:
    """The error of the head of this file, compounded."""
    inner = elementary.computed(u)
    z, deviation = _parts(x)
    mean_off = gamma(shape["n"], inner) * np.abs(x).mean(axis=1, keepdims=True) / deviation
    relative = (gamma(shape["n"] + 3, inner) + mean_off**2) / 2 + (elementary.INVERSE_ROOT + 3) * inner
    scale = 1 + elementary.compounded(relative)
    error = np.abs(w) * (mean_off * scale + np.abs(z) * (scale - 1)) + 2 * inner * (np.abs(w * z) + np.abs(b))
    return elementary.stored(error, w * z + b, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: pairs of one large number and its negative, whose mean is 0 and whose deviation is that number; rows of an
    odd length hold one number throughout, so that b alone is left.
    """
    if data != "exact":
        return {}
    m, n = shape["m"], shape["n"]
    rows = min(m, PATTERN)
    if n % 2:
        pattern = np.tile(rng.integers(-15, 15, (rows, 1), endpoint=True), n)
    else:
        signs = rng.choice([-LARGE, LARGE], (rows, n // 2))
        pattern = np.stack([signs, -signs], axis=2).reshape(rows, n)
    return {"x": np.resize(pattern.astype(element_type(dtype)), (m, n))}


# Leave to reassociate: the bounds of both sums hold for any order.
@njit(cache=True, fastmath={"reassoc"})
def total(x):
    found = x.dtype.type(0)
    for i in range(x.size):
        found += x[i]
    return found


@njit(cache=True, fastmath={"reassoc", "contract"})
def squares_about(x, mean):
    found = x.dtype.type(0)
    for i in range(x.size):
        found += (x[i] - mean) * (x[i] - mean)
    return found


@njit(cache=True, error_model="numpy")
def normalise_row(y, x, w, b):
    kind = x.dtype.type
    mean = total(x) / kind(x.size)
    factor = kind(1) / np.sqrt(squares_about(x, mean) / kind(x.size) + kind(EPSILON))
    for i in range(x.size):
        y[i] = w[i] * ((x[i] - mean) * factor) + b[i]


@njit(parallel=True, cache=True)
def on_floats(y, x, w, b, tasks):
    rows = x.shape[0]
    for task in prange(tasks):
        result = np.empty(x.shape[1], x.dtype)
        for i in range(task * rows // tasks, (task + 1) * rows // tasks):
            normalise_row(result, x[i], w, b)
            stream(y[i], result)
        fence()


@njit(parallel=True, cache=True)
def on_shorts(y, x, w, b, brain, tasks):
    rows = x.shape[0]
    table = np.empty((2, w.size), np.float32)
    widen(table[0], w, brain)
    widen(table[1], b, brain)
    for task in prange(tasks):
        wide, result = np.empty((2, x.shape[1]), np.float32), np.empty(x.shape[1], x.dtype)
        for i in range(task * rows // tasks, (task + 1) * rows // tasks):
            widen(wide[0], x[i], brain)
            normalise_row(wide[1], wide[0], table[0], table[1])
            narrow(result, wide[1], brain)
            stream(y[i], result)
        fence()


def on_cpu(y, x, w, b):
    """Row by row in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        on_shorts(bits(y), bits(x), bits(w), bits(b), IS_BFLOAT16[y.dtype.name], get_num_threads())
    else:
        on_floats(y, x, w, b, get_num_threads())


@triton.jit
def triton_kernel(
    y_ptr, x_ptr, w_ptr, b_ptr, m, n, epsilon: tl.constexpr, wide: tl.constexpr, rows: tl.constexpr, block: tl.constexpr
):
    i = tl.program_id(0) * rows + tl.arange(0, rows)[:, None]
    place = i.to(tl.int64) * n
    mean = tl.zeros((rows, 1), wide)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        x = tl.load(x_ptr + place + j, mask=(i < m) & (j < n), other=0.0).to(wide)
        mean += tl.sum(x, axis=1, keep_dims=True)
    mean /= n
    squares = tl.zeros((rows, 1), wide)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0).to(wide)
        centred = tl.where(inside, x - mean, 0.0)
        squares += tl.sum(centred * centred, axis=1, keep_dims=True)
    factor = tl.rsqrt(squares / n + epsilon)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)[None, :]
        inside = (i < m) & (j < n)
        x = tl.load(x_ptr + place + j, mask=inside, other=0.0).to(wide)
        w = tl.load(w_ptr + j, mask=j < n, other=0.0).to(wide)
        b = tl.load(b_ptr + j, mask=j < n, other=0.0).to(wide)
        y = w * ((x - mean) * factor) + b
        tl.store(y_ptr + place + j, y.to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, x, w, b):
    """Launch `triton_kernel` with one program for ROWS rows."""
    m, n = x.shape
    wide = tl.float64 if x.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(m, ROWS),)](y, x, w, b, m, n, epsilon=EPSILON, wide=wide, rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="layernorm",
    what="y_ij = w_j·(x_ij - μ_i) / √(ε + σ_i²) + b_j",
    bytes=Formula("(2*m*n + 2*n)*s"),
    flops=Formula("8*m*n"),
    inputs={"x": ("m", "n"), "w": ("n",), "b": ("n",)},
    outputs={"y": ("m", "n")},
    terms=Formula("2"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="|w|·(δ + |z|·((γ_(n+3) + δ²)/2 + 8·u)) + 2·u·(|w·z| + |b|), two-pass (Higham, sections 1.9 and 3.1)",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": Implementation(with_triton, tile={"m": ROWS, "n": BLOCK}),
    },
    shape_of=lambda elements: {"m": max(1, elements // COLUMNS), "n": min(elements, COLUMNS)},
)
