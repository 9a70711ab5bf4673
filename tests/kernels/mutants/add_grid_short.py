"""Mutant: the grid is rounded down, so the last block has no program."""

from dataclasses import replace

from clusterbench.kernels.catalog import add
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 128


@triton.jit
def kernel(a_ptr, b_ptr, c_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    total = tl.load(b_ptr + i, mask=inside) + tl.load(c_ptr + i, mask=inside)
    tl.store(a_ptr + i, total, mask=inside)


def launch(a, b, c):
    n = a.shape[0]
    kernel[(max(1, n // BLOCK),)](a, b, c, n, block=BLOCK)


KERNEL = replace(
    add.KERNEL,
    name="add_grid_short",
    implementations={"triton": Implementation(launch, tile={"n": BLOCK})},
)
