"""Mutant: program 0 zeroes the sum, as if it always ran first."""

from dataclasses import replace

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 16


@triton.jit
def kernel(d_ptr, x_ptr, y_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    y = tl.load(y_ptr + i, mask=i < n, other=0.0)
    if tl.program_id(0) == 0:
        tl.store(d_ptr, 0.0)
    tl.atomic_add(d_ptr, tl.sum(x * y, axis=0))


def launch(d, x, y):
    n = x.shape[0]
    kernel[(triton.cdiv(n, BLOCK),)](d, x, y, n, block=BLOCK)


KERNEL = replace(
    dot.KERNEL,
    name="dot_program_order",
    implementations={"triton": Implementation(launch, tile={"n": 8 * BLOCK})},
)
