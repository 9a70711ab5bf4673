"""o_i = Σ_j p_ij·v_j with p_i the softmax of q_i·k_j / √d over j: attention forward, without its n·l scores in memory.

Heads come in GROUPS groups: the QUERIES heads of a group share keys and values. A tile of queries passes over the keys
tile by tile, with a running maximum and sum by which what was added before is rescaled ("flash").

Costs:      16·n·l·d flops for 4 heads (a product for the scores, one for the result; exponentials are not counted),
            (8·n + 4·l)·d·s bytes.
How wrong:  Σ_j p_j·|v_j|·(ε_j + Σ_i p_i·ε_i + 2·γ + 5·u + u_p) with ε_j = A_d·|q|·|k_j|/√d + 2·u·|s_j| +
            3·u·|s_j - max| + 6·u: the score's inner product (A as `elementary.matrix_unit` has it), its scaling, and
            what an exponential adds; γ of the l terms of both sums and of the rescaling; u_p the rounding of p to the
            type of v.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     T. Dao et al., "FlashAttention: fast and memory-efficient exact attention with IO-awareness", NeurIPS 2022;
            J. Ainslie et al., "GQA", EMNLP 2023. Bound: P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing
            the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41(4), 2021, section 3; Higham, section 3.1.
"""

from math import sqrt
from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel, Shape
from clusterbench.kernels.loops.short_rows import is_short, narrow_into, widened
from clusterbench.kernels.loops.vector_exp import exp
from clusterbench.kernels.running.lazy import tl, triton

GROUPS, QUERIES = 2, 2  # groups, and heads that share a group's keys and values
TILE = 16  # queries, and keys, that a program or a CPU task takes at once: the least that a matrix unit does
LONGEST = 2048  # queries, and keys, of a problem that is timed
DEPTH = 64  # of the problem that is timed: elements of a head
SEPARATION = 2.0**13  # of exact scores: e^-(2·SEPARATION/√d) is 0 in every type for any usual d


def _scores(q: Array, k: Array, causal: bool) -> Array:
    """q·k / √d for each group, head, query and key; -∞ where a causal query must not look."""
    scores = np.einsum("ghnd,gld->ghnl", q, k) / np.sqrt(q.dtype.type(q.shape[3]))
    if causal:
        scores[:, :, np.triu(np.ones(scores.shape[2:], bool), 1)] = -np.inf
    return scores


def _weights(scores: Array) -> tuple[Array, Array]:
    """The exponentials of the scores less their maximum, and their sum over the keys."""
    e = np.exp(scores - scores.max(axis=3, keepdims=True))
    return e, e.sum(axis=3, keepdims=True)


def reference(q: Array, k: Array, v: Array, *, causal: bool = False) -> Array:
    """The softmax of the scores, times v."""
    weights, total = _weights(_scores(q, k, causal))
    return np.einsum("ghnl,gld->ghnd", weights, v) / total


def bound(shape: Any, u: float, q: Array, k: Array, v: Array, *, causal: bool = False) -> Array:
    """The error of the head of this file, compounded; twice the largest |v| where the scores are known to nothing."""
    inner, keys, depth = elementary.computed(u), k.shape[1], q.shape[3]
    scores = _scores(q, k, causal)
    weights, total = _weights(scores)
    p = weights / total
    sizes = np.einsum("ghnd,gld->ghnl", np.abs(q), np.abs(k)) / np.sqrt(q.dtype.type(depth))
    below = scores.max(axis=3, keepdims=True) - scores
    each = elementary.matrix_unit(depth, sizes, u) + 2 * inner * np.abs(scores)
    each += elementary.exponential(below, inner) + below * inner
    each = np.where(np.isfinite(scores), each, 0)
    tiles = -(-keys // TILE)
    sums = gamma(-(-5 * keys // 2) + (2 + elementary.EXP) * tiles, inner)
    mean = (p * each).sum(axis=3, keepdims=True)
    relative = each + mean + 2 * sums + elementary.DIVISION * inner + (u if u > inner else 0)
    size = np.abs(v)
    error = np.einsum("ghnl,gld->ghnd", p * elementary.compounded(relative), size)
    most = size.max(axis=1)[:, None, None, :]
    # Scores that are known so badly say nothing of what weighs, and of what does not.
    vague = np.where(p > 0, relative >= elementary.LARGEST_SHARE, each >= below / 2) & np.isfinite(scores)
    error = np.where(vague.any(axis=3, keepdims=True), 2 * most, error) + keys * elementary.least_normal(u) * most
    return elementary.stored(error, reference(q, k, v, causal=causal), u)


def fill(shape: Shape, dtype: str, data: str, rng: np.random.Generator, *, causal: bool = False) -> dict[str, Array]:
    """Exact: each query is the code of one key that it may see, so far from all other codes that the softmax is 1 there
    and 0 elsewhere; keys of one code have one value.
    """
    if data != "exact":
        return {}
    n, d = shape["n"], shape["d"]
    keys = shape.get("l", n)
    k = rng.choice([-1.0, 1.0], (GROUPS, keys, d))
    q, v = np.empty((GROUPS, QUERIES, n, d)), np.empty_like(k)
    last = np.arange(1, n + 1) if causal else np.full(n, keys)
    for group in range(GROUPS):
        _, code = np.unique(k[group], axis=0, return_inverse=True)
        v[group] = rng.integers(-100, 100, (keys, d), endpoint=True)[code.reshape(-1)]
        q[group] = SEPARATION * k[group][rng.integers(0, last, (QUERIES, n))]
    kind = element_type(dtype)
    return {"q": q.astype(kind), "k": k.astype(kind), "v": v.astype(kind)}


# Leave to reassociate: an inner product, whose bound holds for any order.
@njit(cache=True, fastmath={"reassoc", "contract"})
def inner(x, y):
    found = x.dtype.type(0)
    for i in range(x.size):
        found += x[i] * y[i]
    return found


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def attend(o, q, k, v, scale, seen):
    """One query over the keys before `seen`, tile by tile."""
    kind = q.dtype.type
    score = np.empty(TILE, q.dtype)
    top, total = kind(-np.inf), kind(0)
    o[:] = 0
    for first in range(0, seen, TILE):
        size = min(TILE, seen - first)
        top_now = top
        for j in range(size):
            score[j] = inner(q, k[first + j]) * scale
            top_now = score[j] if score[j] > top_now else top_now
        shift = kind(0) if top_now == kind(-np.inf) else top_now
        kept = exp(top - shift)
        total *= kept
        for i in range(o.size):
            o[i] *= kept
        for j in range(size):
            weight = exp(score[j] - shift)
            total += weight
            row = v[first + j]
            for i in range(o.size):
                o[i] += weight * row[i]
        top = top_now
    for i in range(o.size):
        o[i] /= total


@njit(parallel=True, cache=True, error_model="numpy")
def on_cpu(o, q, k, v, causal):
    groups, heads, n, d = q.shape
    scale = q.dtype.type(1) / np.sqrt(q.dtype.type(d))
    for task in prange(groups * heads * n):
        g, h, i = task // (heads * n), task // n % heads, task % n
        attend(o[g, h, i], q[g, h, i], k[g], v[g], scale, i + 1 if causal else k.shape[1])


def with_numba(o, q, k, v, causal=False):
    """`on_cpu`; 16-bit floats are widened to float32 first, and the result rounded back."""
    if not is_short(o):
        on_cpu(o, q, k, v, causal)
        return
    wide = np.empty(o.shape, np.float32)
    on_cpu(wide, widened(q), widened(k), widened(v), causal)
    narrow_into(o, wide)


@triton.jit
def triton_kernel(
    o_ptr, q_ptr, k_ptr, v_ptr, n, keys, depth, scale: tl.constexpr,
    causal: tl.constexpr, heads: tl.constexpr, wide: tl.constexpr, tile: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * tile + tl.arange(0, tile)[:, None]
    head = tl.program_id(1).to(tl.int64)
    across, columns = tl.arange(0, width)[None, :], tl.arange(0, tile)[None, :]
    mine = head * n * depth + i * depth + across
    theirs = head // heads * keys * depth
    inside = (i < n) & (across < depth)
    q = tl.load(q_ptr + mine, mask=inside, other=0.0)
    top = tl.full((tile, 1), float("-inf"), wide)
    total = tl.zeros((tile, 1), wide)
    result = tl.zeros((tile, width), wide)
    end = tl.minimum(keys, (tl.program_id(0) + 1) * tile) if causal else keys
    for first in range(0, end, tile):
        j = first + columns
        down = tl.arange(0, width)[:, None]
        k = tl.load(k_ptr + theirs + j * depth + down, mask=(j < keys) & (down < depth), other=0.0)
        seen = (j < keys) & (j <= i) if causal else j < keys
        score = tl.dot(q, k, input_precision="ieee", out_dtype=wide) * scale
        score = tl.where(seen, score, float("-inf"))
        top_now = tl.maximum(top, tl.max(score, axis=1, keep_dims=True))
        shift = tl.where(top_now == float("-inf"), 0.0, top_now)  # -∞ - (-∞) is no number
        kept = tl.exp(top - shift)
        weight = tl.exp(score - shift)
        total = total * kept + tl.sum(weight, axis=1, keep_dims=True)
        rows = first + tl.arange(0, tile)[:, None]
        v = tl.load(v_ptr + theirs + rows * depth + across, mask=(rows < keys) & (across < depth), other=0.0)
        result = tl.dot(weight.to(v.dtype), v, acc=result * kept, input_precision="ieee", out_dtype=wide)
        top = top_now
    tl.store(o_ptr + mine, (result / total).to(o_ptr.dtype.element_ty), mask=inside)


def with_triton(o, q, k, v, causal=False):
    """Launch `triton_kernel` with one program for TILE queries of a head."""
    g, heads, n, depth = q.shape
    keys = k.shape[1]
    wide = tl.float64 if q.dtype.itemsize == 8 else tl.float32
    triton_kernel[(triton.cdiv(n, TILE), g * heads)](
        o, q, k, v, n, keys, depth, scale=1 / sqrt(depth), causal=causal, heads=heads, wide=wide, tile=TILE,
        width=max(TILE, triton.next_power_of_2(depth)),
    )  # fmt: skip


def shape_of(elements: int) -> Shape:
    """As many queries as keys; no more than LONGEST, as work and what checks hold grow with their square."""
    n = min(LONGEST, max(1, elements // (GROUPS * QUERIES * DEPTH)))
    return {"n": n, "l": n, "d": DEPTH}


KERNEL = Kernel(
    name="attention",
    what="o_i = Σ_j softmax_j(q_i·k_j / √d)·v_j",
    bytes=Formula(f"({2 * GROUPS * QUERIES}*n + {2 * GROUPS}*l)*d*s"),
    flops=Formula(f"{4 * GROUPS * QUERIES}*n*l*d"),
    inputs={"q": (GROUPS, QUERIES, "n", "d"), "k": (GROUPS, "l", "d"), "v": (GROUPS, "l", "d")},
    outputs={"o": (GROUPS, QUERIES, "n", "d")},
    terms=Formula("l"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="Σ p_j·|v_j|·(ε_j + Σ p_i·ε_i + 2·γ + 5·u) (after Blanchard, Higham and Higham 2021; Higham, 3.1)",
    fill=fill,
    implementations={
        "numba": Implementation(with_numba, tile={"n": 4, "l": TILE, "d": 8}),
        "triton": Implementation(with_triton, tile={"n": TILE, "l": TILE, "d": TILE}),
    },
    shape_of=shape_of,
    elements=GROUPS * QUERIES * DEPTH * 1024,
)
