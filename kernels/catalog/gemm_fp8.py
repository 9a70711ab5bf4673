"""C = A·B of 8-bit floats with sums and result in float32: the narrowest product that trains models.

Costs:      2·m·n·k flops, (m·k + k·n)·s + 4·m·n bytes: bound by the rate of the matrix units.
How wrong:  at most 2.5·k·2^-24·(|A|·|B|) and 2^-24·|C|: products of 4 significant bits are exact. A unit that keeps
            fewer bits of its sums, as Hopper's are reported to keep 14 (deepseek-ai/DeepGEMM#37), exceeds it: those are
            not float32's sums, until `max_num_imprecise_acc` of `tl.dot` promotes them.
No GPU:     Triton's interpreter runs the source on float32 that hold 8-bit numbers, as it rounds the type wrongly.
Source:     P. Micikevicius et al., "FP8 formats for deep learning", 2022; bound: `elementary.matrix_unit`.
"""

from dataclasses import replace

from clusterbench.kernels.catalog import gemm, gemm_tf32
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation


def with_triton(c, a, b):
    """`gemm.with_triton`, whose sums are float32's."""
    gemm.with_triton(c, a, b)


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_fp8",
    bytes=Formula("(m*k + k*n)*s + 4*m*n"),
    dtypes=("float8_e4m3fn", "float8_e5m2"),
    types={"c": "float32"},
    bound=gemm_tf32.bound,
    bound_source="2.5·k·2^-24·(|A|·|B|) + 2^-24·|C| (Fasi et al. 2021; Blanchard et al. 2020)",
    implementations={"triton": Implementation(with_triton, tile=gemm.KERNEL.implementations["triton"].tile)},
)
