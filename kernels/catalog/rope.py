"""y = x turned, pair by pair, by the angle whose cosine and sine are given: rotary position embedding.

Element j of a row's first half is paired with element j of its second: (p, q) becomes (p·c - q·s, q·c + p·s).

Costs:      6·n·h·s bytes: both halves in and out, cosines and sines once: bound by memory. 6·n·h operations.
How wrong:  γ_2·(|p·c| + |q·s|) and γ_2·(|q·c| + |p·s|), fused or not: the difference may cancel.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     J. Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021; bound: Higham,
            "Accuracy and Stability of Numerical Algorithms", section 3.1.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, inner_product
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.short_rows import IS_BFLOAT16, bits, is_short, narrow, widen
from clusterbench.kernels.running.lazy import tl, triton

ROWS, BLOCK = 8, 64  # of a Triton program: rows, and pairs of each
PAIRS = 64  # of a row of the problem that is timed: a head of 128 elements


def _turned(p: Array, q: Array, c: Array, s: Array) -> Array:
    return np.stack([p * c - q * s, q * c + p * s], axis=1)


def reference(x: Array, c: Array, s: Array) -> Array:
    """Each pair of x turned."""
    return _turned(x[:, 0], x[:, 1], c, s)


def bound(shape: Any, u: float, x: Array, c: Array, s: Array) -> Array:
    """γ_2 times the sum of the products' sizes, and the rounding to a narrower type."""
    p, q, cosine, sine = abs(x[:, 0]), abs(x[:, 1]), abs(c), abs(s)
    sizes = np.stack([p * cosine + q * sine, q * cosine + p * sine], axis=1)
    return elementary.stored(inner_product(2, sizes, elementary.computed(u)), reference(x, c, s), u)


# Leave to contract: one rounding in place of two, which the bound covers.
@njit(cache=True, fastmath={"contract"})
def turn_row(y, x, c, s):
    for j in range(c.size):
        p, q = x[0, j], x[1, j]
        y[0, j] = p * c[j] - q * s[j]
        y[1, j] = q * c[j] + p * s[j]


@njit(parallel=True, cache=True)
def on_floats(y, x, c, s):
    for i in prange(x.shape[0]):
        turn_row(y[i], x[i], c[i], s[i])


@njit(parallel=True, cache=True)
def on_shorts(y, x, c, s, brain):
    pairs = c.shape[1]
    for i in prange(x.shape[0]):
        wide = np.empty((6, pairs), np.float32)
        for half in range(2):
            widen(wide[half], x[i, half], brain)
        widen(wide[2], c[i], brain)
        widen(wide[3], s[i], brain)
        turn_row(wide[4:], wide[:2], wide[2], wide[3])
        for half in range(2):
            narrow(y[i, half], wide[4 + half], brain)


def on_cpu(y, x, c, s):
    """Row by row in float64 or float32, in which 16-bit floats are computed with."""
    if is_short(y):
        on_shorts(bits(y), bits(x), bits(c), bits(s), IS_BFLOAT16[y.dtype.name])
    else:
        on_floats(y, x, c, s)


@triton.jit
def triton_kernel(y_ptr, x_ptr, c_ptr, s_ptr, n, h, wide: tl.constexpr, rows: tl.constexpr, block: tl.constexpr):
    i = (tl.program_id(0) * rows + tl.arange(0, rows)[:, None]).to(tl.int64)
    j = tl.program_id(1) * block + tl.arange(0, block)[None, :]
    inside = (i < n) & (j < h)
    p = tl.load(x_ptr + i * (2 * h) + j, mask=inside, other=0.0).to(wide)
    q = tl.load(x_ptr + i * (2 * h) + h + j, mask=inside, other=0.0).to(wide)
    c = tl.load(c_ptr + i * h + j, mask=inside, other=0.0).to(wide)
    s = tl.load(s_ptr + i * h + j, mask=inside, other=0.0).to(wide)
    tl.store(y_ptr + i * (2 * h) + j, (p * c - q * s).to(y_ptr.dtype.element_ty), mask=inside)
    tl.store(y_ptr + i * (2 * h) + h + j, (q * c + p * s).to(y_ptr.dtype.element_ty), mask=inside)


def with_triton(y, x, c, s):
    """Launch `triton_kernel` with one program for ROWS rows and BLOCK pairs."""
    n, h = c.shape
    wide = tl.float64 if x.dtype.itemsize == 8 else tl.float32
    grid = (triton.cdiv(n, ROWS), triton.cdiv(h, BLOCK))
    triton_kernel[grid](y, x, c, s, n, h, wide=wide, rows=ROWS, block=BLOCK)


KERNEL = Kernel(
    name="rope",
    what="(p, q)_j ← (p·c - q·s, q·c + p·s)_j",
    bytes=Formula("6*n*h*s"),
    flops=Formula("6*n*h"),
    inputs={"x": ("n", 2, "h"), "c": ("n", "h"), "s": ("n", "h")},
    outputs={"y": ("n", 2, "h")},
    terms=Formula("2"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="γ_2·(|p·c| + |q·s|), fused or not (Higham, section 3.1)",
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 1, "h": 64}),
        "triton": Implementation(with_triton, tile={"n": ROWS, "h": BLOCK}),
    },
    shape_of=lambda elements: {"n": max(1, elements // (2 * PAIRS)), "h": max(1, min(elements // 2, PAIRS))},
)
