"""Mutant: elements behind the end are loaded and summed."""

from dataclasses import replace

from clusterbench.kernels.catalog import dot
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 64


@triton.jit
def zero(d_ptr):
    tl.store(d_ptr, 0.0)


@triton.jit
def kernel(d_ptr, x_ptr, y_ptr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    tl.atomic_add(d_ptr, tl.sum(tl.load(x_ptr + i) * tl.load(y_ptr + i), axis=0))


def launch(d, x, y):
    zero[(1,)](d)
    kernel[(triton.cdiv(x.shape[0], BLOCK),)](d, x, y, block=BLOCK)


KERNEL = replace(
    dot.KERNEL,
    name="dot_unmasked_load",
    implementations={"triton": Implementation(launch, tile={"n": BLOCK})},
)
