"""C = A·B of tf32 operands, which lie in memory as float32, with sums in float32: what float32 GEMMs of AI run as.

Costs:      as `gemm` in float32; bound by the rate of the matrix units, which take 10 of 23 fraction bits.
How wrong:  at most 2.5·k·2^-24·(|A|·|B|) and 2^-24·|C|: products of 11 significant bits are exact in float32, which a
            matrix unit sums with addends cut off. Operands of full float32 would be off by 2^-11 first.
No GPU:     Triton's interpreter runs the source on tf32 numbers; it ignores the input precision: the type is modelled.
Source:     NVIDIA A100 Tensor Core GPU Architecture, 2020; bound: `elementary.matrix_unit`.
"""

from dataclasses import replace
from typing import Any

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array
from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.kernel import Implementation


def bound(shape: Any, u: float, a: Array, b: Array) -> Array:
    """What a matrix unit's float32 sums leave, whatever the operands are."""
    inner = elementary.computed(u)
    return elementary.stored(elementary.matrix_unit(shape["k"], abs(a) @ abs(b), u), a @ b, inner)


def with_triton(c, a, b):
    """`gemm.with_triton`, which lets the matrix units cut float32 operands to tf32."""
    gemm.with_triton(c, a, b, precision="tf32")


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_tf32",
    dtypes=("tf32",),
    types={"c": "float32"},
    bound=bound,
    bound_source="2.5·k·2^-24·(|A|·|B|) + 2^-24·|C| (Fasi et al. 2021; Blanchard et al. 2020)",
    implementations={"triton": Implementation(with_triton, tile=gemm.KERNEL.implementations["triton"].tile)},
)
