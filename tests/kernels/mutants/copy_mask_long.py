"""Mutant: the mask lets one element too many through, which lands behind the array."""

from dataclasses import replace

from clusterbench.kernels.catalog import copy
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 128


@triton.jit
def kernel(a_ptr, b_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(a_ptr + i, tl.load(b_ptr + i, mask=i <= n), mask=i <= n)


def launch(a, b):
    n = a.shape[0]
    kernel[(triton.cdiv(n, BLOCK),)](a, b, n, block=BLOCK)


KERNEL = replace(
    copy.KERNEL,
    name="copy_mask_long",
    implementations={"triton": Implementation(launch, tile={"n": BLOCK})},
)
