"""y_ij = scale_i·q_ij: rows of 8-bit floats back to float32.

Costs:      m·n·(4 + s) + 4·m bytes: bound by memory. m·n operations.
How wrong:  2^-24·|y|: a product in float32, in which the type's numbers are exact.
No GPU:     `numba` is the CPU's own version; Triton's interpreter runs the other on float32 that hold 8-bit numbers.
Source:     P. Micikevicius et al., "FP8 formats for deep learning", 2022; bound: Higham, "Accuracy and Stability of
            Numerical Algorithms", section 2.2.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, one_rounding
from clusterbench.kernels.catalog import dequantise_int8
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel


def bound(shape: Any, u: float, q: Array, scale: Array) -> Array:
    """A product in float32."""
    return one_rounding(dequantise_int8.reference(q, scale), elementary.computed(u))


@njit(parallel=True, cache=True)
def on_codes(y, q, scale, numbers):
    for i in prange(q.shape[0]):
        factor = scale[i]
        for j in range(q.shape[1]):
            y[i, j] = factor * numbers[q[i, j]]


def on_cpu(y, q, scale):
    """Row by row, by a table of the 256 numbers of the type."""
    numbers = np.arange(256, dtype=np.uint8).view(q.dtype).astype(np.float32)
    on_codes(y, q.view(np.uint8), scale, numbers)


KERNEL = Kernel(
    name="dequantise_fp8",
    what="y_ij = scale_i·q_ij",
    bytes=Formula("m*n*(4 + s) + 4*m"),
    flops=Formula("m*n"),
    inputs={"q": ("m", "n"), "scale": ("m",)},
    outputs={"y": ("m", "n")},
    types={"scale": "float32", "y": "float32"},
    terms=Formula("1"),
    dtypes=("float8_e4m3fn", "float8_e5m2"),
    reference=dequantise_int8.reference,
    bound=bound,
    bound_source="2^-24·|y| (Higham, section 2.2)",
    implementations={
        "numba": Implementation(on_cpu, tile={"m": 1, "n": 64}),
        "triton": dequantise_int8.KERNEL.implementations["triton"],
    },
    # y has four times the bytes of q, by which the problem is asked for.
    shape_of=lambda elements: dequantise_int8.KERNEL.shape_of(max(1, elements // 4)),
)
