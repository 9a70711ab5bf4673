"""y = x·σ(2·√(2/π)·(x + 0.044715·x³)): the Gaussian error linear unit in the form with a hyperbolic tangent.

Costs:      2·n·s bytes: bound by memory. 8·n operations: four for the argument, exponential, sum, quotient, product.
How wrong:  relative (1 - σ(z))·(8·|z| + 6)·u + 7·u: the argument z is a product of sums of one sign in 6 roundings, and
            what moves z moves σ by 1 - σ of it.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016; (1 + tanh(z/2)) / 2 = σ(z). Bound: Higham,
            "Accuracy and Stability of Numerical Algorithms", section 3.1.
"""

from math import pi, sqrt
from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.loops.half import from_bfloat16, from_float16, to_bfloat16, to_float16
from clusterbench.kernels.loops.short_rows import bits, is_short
from clusterbench.kernels.loops.vector_exp import exp
from clusterbench.kernels.running.lazy import tl, triton

LINEAR, CUBIC = 2 * sqrt(2 / pi), 2 * sqrt(2 / pi) * 0.044715
ROUNDINGS = 6  # of z = x·(LINEAR + CUBIC·x²): two constants, square, product, sum, product
BLOCK = 2048  # elements of one Triton program: 16 bytes of a 16-bit type for each of AMD's 256 threads
PATTERN = 1009  # exact data before they repeat


def _argument(x: Array) -> Array:
    return x * (x.dtype.type(LINEAR) + x.dtype.type(CUBIC) * np.square(x))


def reference(x: Array) -> Array:
    """x·σ(z)."""
    return x * elementary.logistic(_argument(x))


def bound(shape: Any, u: float, x: Array) -> Array:
    """The relative error of the head of this file, compounded, and what flushing the exponential to 0 takes."""
    inner = elementary.computed(u)
    y = reference(x)
    relative = elementary.logistic_error(_argument(x), ROUNDINGS, inner) + inner
    error = np.abs(y) * elementary.compounded(relative) + np.abs(x) * elementary.least_normal(u)
    return elementary.stored(error, y, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: what passes unchanged in every type, and what becomes 0."""
    if data != "exact":
        return {}
    x = rng.choice([-64, 0, *range(16, 128)], min(shape["n"], PATTERN)).astype(element_type(dtype))
    return {"x": np.resize(x, shape["n"])}


@njit(cache=True, error_model="numpy")
def smoothed(x):
    kind = type(x)
    z = x * (kind(LINEAR) + kind(CUBIC) * (x * x))
    small = exp(-abs(z))
    return x * ((kind(1) if z >= 0 else small) / (kind(1) + small))


@njit(parallel=True, cache=True, error_model="numpy")
def on_floats(y, x):
    for i in prange(y.size):
        y[i] = smoothed(x[i])


@njit(parallel=True, cache=True, error_model="numpy")
def on_float16(y, x):
    for i in prange(y.size):
        y[i] = to_float16(smoothed(from_float16(x[i])))


@njit(parallel=True, cache=True, error_model="numpy")
def on_bfloat16(y, x):
    for i in prange(y.size):
        y[i] = to_bfloat16(smoothed(from_bfloat16(x[i])))


def on_cpu(y, x):
    """Element by element in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        (on_float16 if y.dtype.name == "float16" else on_bfloat16)(bits(y), bits(x))
    else:
        on_floats(y, x)


@triton.jit
def triton_kernel(y_ptr, x_ptr, n, linear: tl.constexpr, cubic: tl.constexpr, wide: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside, other=0.0).to(wide)
    z = x * (linear + cubic * (x * x))
    small = tl.exp(-tl.abs(z))
    y = x * (tl.where(z >= 0, 1.0, small) / (1.0 + small))
    tl.store(y_ptr + i, y.to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, x):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = y.shape[0]
    wide = tl.float64 if y.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(n, BLOCK),)](y, x, n, linear=LINEAR, cubic=CUBIC, wide=wide, block=BLOCK)


KERNEL = Kernel(
    name="gelu",
    what="y = x·σ(2·√(2/π)·(x + 0.044715·x³))",
    bytes=Formula("2*n*s"),
    flops=Formula("8*n"),
    inputs={"x": ("n",)},
    outputs={"y": ("n",)},
    terms=Formula("1"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="(1 - σ)·(8·|z| + 6)·u + 7·u, relative (Higham, section 3.1)",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
    },
    shape_of=lambda elements: {"n": elements},
)
