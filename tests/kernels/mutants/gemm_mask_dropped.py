"""Mutant: the mask of k is missing in one operand, so a row runs on into the next."""

from dataclasses import replace

from clusterbench.kernels.catalog import gemm
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 16


@triton.jit
def kernel(c_ptr, a_ptr, b_ptr, m, n, depth, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)[:, None]
    j = tl.program_id(1) * block + tl.arange(0, block)[None, :]
    total = tl.zeros((block, block), dtype=c_ptr.dtype.element_ty)
    for first in range(0, depth, block):
        k = first + tl.arange(0, block)[None, :]
        a = tl.load(a_ptr + i * depth + k, mask=i < m, other=0.0)
        k = first + tl.arange(0, block)[:, None]
        b = tl.load(b_ptr + k * n + j, mask=j < n, other=0.0)
        total = tl.dot(a, b, acc=total, input_precision="ieee", out_dtype=c_ptr.dtype.element_ty)
    tl.store(c_ptr + i * n + j, total, mask=(i < m) & (j < n))


def launch(c, a, b):
    (m, n), depth = c.shape, a.shape[1]
    kernel[(triton.cdiv(m, BLOCK), triton.cdiv(n, BLOCK))](c, a, b, m, n, depth, block=BLOCK)


KERNEL = replace(
    gemm.KERNEL,
    name="gemm_mask_dropped",
    implementations={"triton": Implementation(launch, tile={"m": BLOCK, "k": BLOCK, "n": BLOCK})},
)
