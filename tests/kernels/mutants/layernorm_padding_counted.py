"""Mutant: what lies behind the end of a row is off the mean, too, and adds to the variance."""

from dataclasses import replace

from clusterbench.kernels.catalog import layernorm
from clusterbench.kernels.kernel import Implementation
from clusterbench.kernels.running.lazy import tl, triton

BLOCK = 64


@triton.jit
def kernel(y_ptr, x_ptr, w_ptr, b_ptr, n, epsilon: tl.constexpr, block: tl.constexpr):
    place = tl.program_id(0) * n
    mean = 0.0
    for first in range(0, n, block):
        j = first + tl.arange(0, block)
        mean += tl.sum(tl.load(x_ptr + place + j, mask=j < n, other=0.0), axis=0)
    mean /= n
    squares = 0.0
    for first in range(0, n, block):
        j = first + tl.arange(0, block)
        centred = tl.load(x_ptr + place + j, mask=j < n, other=0.0) - mean
        squares += tl.sum(centred * centred, axis=0)
    factor = tl.rsqrt(squares / n + epsilon)
    for first in range(0, n, block):
        j = first + tl.arange(0, block)
        x = tl.load(x_ptr + place + j, mask=j < n, other=0.0)
        w = tl.load(w_ptr + j, mask=j < n, other=0.0)
        b = tl.load(b_ptr + j, mask=j < n, other=0.0)
        tl.store(y_ptr + place + j, w * ((x - mean) * factor) + b, mask=j < n)


def launch(y, x, w, b):
    kernel[(x.shape[0],)](y, x, w, b, x.shape[1], epsilon=layernorm.EPSILON, block=BLOCK)


KERNEL = replace(
    layernorm.KERNEL,
    name="layernorm_padding_counted",
    dtypes=("float32",),
    implementations={"triton": Implementation(launch, tile={"m": 2, "n": BLOCK})},
)
