"""Attention whose query i sees keys 0 to i only: `attention` under the mask of a language model.

Costs:      half of what `attention` costs: 8·n·(n + 1)·d flops; tiles that no query sees are passed over.
How wrong:  as `attention`, over the keys that a query sees.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other, with a model's rounding for bfloat16.
Source:     as `attention`. Not tried with infinities: a tile's product takes unseen keys' values times 0.
"""

from dataclasses import replace
from functools import partial

from clusterbench.kernels.catalog import attention
from clusterbench.kernels.catalog.attention import GROUPS, QUERIES
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Shape


def shape_of(elements: int) -> Shape:
    """As many queries as `attention` has."""
    return {name: size for name, size in attention.shape_of(elements).items() if name != "l"}


def with_numba(o, q, k, v):
    """`attention.with_numba` with the mask."""
    attention.with_numba(o, q, k, v, causal=True)


def with_triton(o, q, k, v):
    """`attention.with_triton` with the mask."""
    attention.with_triton(o, q, k, v, causal=True)


KERNEL = replace(
    attention.KERNEL,
    name="attention_causal",
    what="o_i = Σ_(j≤i) softmax_(j≤i)(q_i·k_j / √d)·v_j",
    bytes=Formula(f"{2 * GROUPS * (QUERIES + 1)}*n*d*s"),
    flops=Formula(f"{2 * GROUPS * QUERIES}*n*(n + 1)*d"),
    inputs={"q": (GROUPS, QUERIES, "n", "d"), "k": (GROUPS, "n", "d"), "v": (GROUPS, "n", "d")},
    terms=Formula("n"),
    data=("exact", "rounding", "hard", "offset"),
    reference=partial(attention.reference, causal=True),
    bound=partial(attention.bound, causal=True),
    fill=partial(attention.fill, causal=True),
    implementations={
        "numba": Implementation(with_numba, tile={"n": attention.TILE, "d": 8}),
        "triton": Implementation(with_triton, tile={"n": attention.TILE, "d": attention.TILE}),
    },
    shape_of=shape_of,
)
