"""y = g·σ(g)·v with σ(g) = 1 / (1 + e^-g): the gate of a transformer's feed-forward part.

Costs:      3·n·s bytes: bound by memory. 5·n operations: exponential, sum, quotient, two products.
How wrong:  relative (1 - σ(g))·(2·|g| + 6)·u + 8·u: what moves an exponential moves σ by 1 - σ of it, then a sum, a
            quotient and two products.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     N. Shazeer, "GLU variants improve transformer", 2020; bound: Higham, "Accuracy and Stability of Numerical
            Algorithms", section 3.1.
"""

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.loops.half import from_bfloat16, from_float16, to_bfloat16, to_float16
from clusterbench.kernels.loops.short_rows import bits, is_short
from clusterbench.kernels.loops.streaming import fence, gate_lines, whole_lines
from clusterbench.kernels.loops.vector_exp import exp
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 2048  # elements of one Triton program: 16 bytes of a 16-bit type for each of AMD's 256 threads
PATTERN = 1009  # exact data before they repeat


def reference(g: Array, v: Array) -> Array:
    """g·σ(g)·v."""
    return g * elementary.logistic(g) * v


def bound(shape: Any, u: float, g: Array, v: Array) -> Array:
    """The relative error of the head of this file, compounded, and what underflow of e^-|g| and of g·σ takes."""
    inner = elementary.computed(u)
    y = reference(g, v)
    relative = elementary.logistic_error(g, 0, inner) + 2 * inner
    error = np.abs(y) * elementary.compounded(relative) + (np.abs(g) + 1) * np.abs(v) * elementary.least_normal(u)
    return elementary.stored(error, y, u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator) -> dict[str, Array]:
    """Exact: gates that are wholly open, or wholly shut, in every type, and small integers."""
    if data != "exact":
        return {}
    n = shape["n"]
    g = rng.choice([-1024, 0, 64, 128], min(n, PATTERN)).astype(element_type(dtype))
    v = rng.integers(-15, 15, min(n, PATTERN), endpoint=True).astype(element_type(dtype))
    return {"g": np.resize(g, n), "v": np.resize(v, n)}


@njit(cache=True, error_model="numpy")
def gated(g, v):
    one = type(g)(1)
    small = exp(-abs(g))
    share = (one if g >= 0 else small) / (one + small)
    return g * share * v


@njit(parallel=True, cache=True)
def on_floats(y, g, v, tasks):
    for task in prange(tasks):
        low, high = task * y.size // tasks, (task + 1) * y.size // tasks
        mine, gates, values = y[low:high], g[low:high], v[low:high]
        first, lines, end = whole_lines(mine)
        gate_lines(mine, gates, values, first, lines)
        for i in range(first):
            mine[i] = gated(gates[i], values[i])
        for i in range(end, mine.size):
            mine[i] = gated(gates[i], values[i])
        fence()


@njit(parallel=True, cache=True, error_model="numpy")
def on_float16(y, g, v):
    for i in prange(y.size):
        y[i] = to_float16(gated(from_float16(g[i]), from_float16(v[i])))


@njit(parallel=True, cache=True, error_model="numpy")
def on_bfloat16(y, g, v):
    for i in prange(y.size):
        y[i] = to_bfloat16(gated(from_bfloat16(g[i]), from_bfloat16(v[i])))


def on_cpu(y, g, v):
    """Element by element in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        (on_float16 if y.dtype.name == "float16" else on_bfloat16)(bits(y), bits(g), bits(v))
    else:
        on_floats(y, g, v, get_num_threads())


@triton.jit
def triton_kernel(y_ptr, g_ptr, v_ptr, n, wide: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = i < n
    g = tl.load(g_ptr + i, mask=inside, other=0.0).to(wide)
    v = tl.load(v_ptr + i, mask=inside, other=0.0).to(wide)
    small = tl.exp(-tl.abs(g))
    share = tl.where(g >= 0, 1.0, small) / (1.0 + small)
    tl.store(y_ptr + i, (g * share * v).to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, g, v):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = y.shape[0]
    wide = tl.float64 if y.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(n, BLOCK),)](y, g, v, n, wide=wide, block=BLOCK)


KERNEL = Kernel(
    name="swiglu",
    what="y = g·σ(g)·v",
    bytes=Formula("3*n*s"),
    flops=Formula("5*n"),
    inputs={"g": ("n",), "v": ("n",)},
    outputs={"y": ("n",)},
    terms=Formula("1"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="(1 - σ)·(2·|g| + 6)·u + 8·u, relative (Higham, section 3.1)",
    fill=fill,
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
    },
    shape_of=lambda elements: {"n": elements},
)
