"""C = A·B for dense matrices in C order: what arithmetic a device gives when memory does not matter.

Costs:      2·m·n·k flops, (m·k + k·n + m·n)·s bytes: bound by the multiply-add peak.
How wrong:  at most γ_k·(|A|·|B|) an element with γ_k = k·u/(1 - k·u), for every order of summation, fused or not.
            float16 and bfloat16 are summed in float32, on matrix units that cut off where others round: 2.5·k·2^-24 in
            place of γ_k, and u·|C| for the result.
No GPU:     `numba` is the CPU's own version; Triton's interpreter, Numba's simulator and NumPy run the other sources,
            bfloat16 with a model's rounding.
Source:     K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 34(3), 2008;
            bound: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5.
"""

from math import isqrt
from typing import Any

import numpy as np
from numba import njit, prange

from clusterbench.kernels import elementary
from clusterbench.kernels.bounds import Array, inner_product
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.short_rows import is_short, narrow_into, widened
from clusterbench.kernels.running.gpu_stream import stream
from clusterbench.kernels.running.lazy import cuda, tl, triton

ROWS, COLUMNS, DEPTH = 64, 256, 128  # a CPU task's part of C, and how much of k it takes at once: B's part stays in L2
BLOCK = 32  # edge of a Triton program's tile
MATRIX_BLOCK = 64  # the same for types that only matrix units multiply: the least that Hopper's and Blackwell's take
TILE = 8  # edge of a CUDA block's tile


def reference(a: Array, b: Array) -> Array:
    """A·B."""
    return a @ b


def bound(shape: Any, u: float, a: Array, b: Array) -> Array:
    """γ_k·(|A|·|B|) an element, or what a matrix unit and the rounding to a narrower type leave."""
    if u <= elementary.FLOAT32_U:
        return inner_product(shape["k"], abs(a) @ abs(b), u)
    return elementary.stored(elementary.matrix_unit(shape["k"], abs(a) @ abs(b), u), a @ b, u)


def spread(shape: Any, a: Array, b: Array) -> Array:
    """√((A∘A)·(B∘B)): of the partial sums of zero-mean products."""
    return np.sqrt(np.square(a) @ np.square(b))


# Leave to contract: one rounding in place of two, which the bound covers; nothing is reassociated.
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def four_rows(c0, c1, c2, c3, a0, a1, a2, a3, b, k0, j0):
    """c_r += a_r·b for four rows, four steps of k at a time: 16 multiply-adds for 4 loads of b."""
    depth, j1 = a0.size, j0 + c0.size
    whole = depth // 4 * 4
    for k in range(0, whole, 4):
        b0, b1, b2, b3 = b[k0 + k, j0:j1], b[k0 + k + 1, j0:j1], b[k0 + k + 2, j0:j1], b[k0 + k + 3, j0:j1]
        p0, p1, p2, p3 = a0[k], a0[k + 1], a0[k + 2], a0[k + 3]
        q0, q1, q2, q3 = a1[k], a1[k + 1], a1[k + 2], a1[k + 3]
        r0, r1, r2, r3 = a2[k], a2[k + 1], a2[k + 2], a2[k + 3]
        s0, s1, s2, s3 = a3[k], a3[k + 1], a3[k + 2], a3[k + 3]
        for j in range(c0.size):
            v0, v1, v2, v3 = b0[j], b1[j], b2[j], b3[j]
            c0[j] = c0[j] + p0 * v0 + p1 * v1 + p2 * v2 + p3 * v3
            c1[j] = c1[j] + q0 * v0 + q1 * v1 + q2 * v2 + q3 * v3
            c2[j] = c2[j] + r0 * v0 + r1 * v1 + r2 * v2 + r3 * v3
            c3[j] = c3[j] + s0 * v0 + s1 * v1 + s2 * v2 + s3 * v3
    for k in range(whole, depth):
        row = b[k0 + k, j0:j1]
        for j in range(c0.size):
            c0[j] += a0[k] * row[j]
            c1[j] += a1[k] * row[j]
            c2[j] += a2[k] * row[j]
            c3[j] += a3[k] * row[j]


@njit(parallel=True, cache=True, fastmath={"contract"}, error_model="numpy")
def on_cpu(c, a, b):
    m, n = c.shape
    depth = a.shape[1]
    down, across = (m + ROWS - 1) // ROWS, (n + COLUMNS - 1) // COLUMNS
    for task in prange(down * across):
        i0, j0 = task // across * ROWS, task % across * COLUMNS
        i1, j1 = min(i0 + ROWS, m), min(j0 + COLUMNS, n)
        c[i0:i1, j0:j1] = 0
        for k0 in range(0, depth, DEPTH):
            k1 = min(k0 + DEPTH, depth)
            whole = i0 + (i1 - i0) // 4 * 4
            for i in range(i0, whole, 4):
                four_rows(
                    c[i, j0:j1], c[i + 1, j0:j1], c[i + 2, j0:j1], c[i + 3, j0:j1],
                    a[i, k0:k1], a[i + 1, k0:k1], a[i + 2, k0:k1], a[i + 3, k0:k1], b, k0, j0,
                )  # fmt: skip
            for i in range(whole, i1):
                for k in range(k0, k1):
                    row, target = b[k, j0:j1], c[i, j0:j1]
                    for j in range(target.size):
                        target[j] += a[i, k] * row[j]


def with_numba(c, a, b):
    """`on_cpu`; 16-bit floats are widened to float32 first, and the product rounded back."""
    if not is_short(c):
        on_cpu(c, a, b)
        return
    wide = np.empty(c.shape, np.float32)
    on_cpu(wide, widened(a), widened(b))
    narrow_into(c, wide)


@triton.jit
def triton_kernel(c_ptr, a_ptr, b_ptr, m, n, depth, wide: tl.constexpr, precision: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)[:, None]
    j = tl.program_id(1) * block + tl.arange(0, block)[None, :]
    across, down = tl.arange(0, block)[None, :], tl.arange(0, block)[:, None]
    total = tl.zeros((block, block), dtype=wide)
    for first in range(0, depth, block):
        k = first + across
        a = tl.load(a_ptr + i * depth + k, mask=(i < m) & (k < depth), other=0.0)
        k = first + down
        b = tl.load(b_ptr + k * n + j, mask=(k < depth) & (j < n), other=0.0)
        total = tl.dot(a, b, acc=total, input_precision=precision, out_dtype=wide)
    tl.store(c_ptr + i * n + j, total.to(c_ptr.dtype.element_ty), mask=(i < m) & (j < n))


def with_triton(c, a, b, precision="ieee"):
    """Launch `triton_kernel` with one program for each BLOCK by BLOCK tile of C, MATRIX_BLOCK for narrow types."""
    (m, n), depth = c.shape, a.shape[1]
    block = MATRIX_BLOCK if a.dtype.itemsize < 4 or precision != "ieee" else BLOCK
    wide = tl.float64 if c.dtype.itemsize == 8 else tl.float32
    grid = (triton.cdiv(m, block), triton.cdiv(n, block))
    triton_kernel[grid](c, a, b, m, n, depth, wide=wide, precision=precision, block=block)


@cuda.jit
def cuda_kernel(c, a, b):
    a_tile = cuda.shared.array((TILE, TILE), dtype=a.dtype)
    b_tile = cuda.shared.array((TILE, TILE), dtype=b.dtype)
    j, i = cuda.grid(2)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    # A plain 0 beside a float32 would make fp64 of both.
    total, nothing = c.dtype.type(0), a.dtype.type(0)
    for first in range(0, a.shape[1], TILE):
        a_tile[y, x] = a[i, first + x] if i < c.shape[0] and first + x < a.shape[1] else nothing
        b_tile[y, x] = b[first + y, j] if j < c.shape[1] and first + y < a.shape[1] else nothing
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total


def with_cuda(c, a, b):
    """Launch `cuda_kernel` with one block of threads for each TILE by TILE tile of C."""
    m, n = c.shape
    cuda_kernel[((n + TILE - 1) // TILE, (m + TILE - 1) // TILE), (TILE, TILE), stream()](c, a, b)


def with_arrays(c, a, b, xp):
    """`matmul` of the array module xp, CuPy or NumPy."""
    xp.matmul(a, b, out=c)


KERNEL = Kernel(
    name="gemm",
    what="C = A·B",
    bytes=Formula("(m*k + k*n + m*n)*s"),
    flops=Formula("2*m*n*k"),
    inputs={"a": ("m", "k"), "b": ("k", "n")},
    outputs={"c": ("m", "n")},
    terms=Formula("k"),
    dtypes=("float32", "float64", "float16", "bfloat16"),
    reference=reference,
    bound=bound,
    bound_source="γ_k·(|A|·|B|), any order, fused or not (Higham, section 3.5); narrow types: 2.5·k·2^-24 + u·|C|",
    spread=spread,
    implementations={
        "numba": Implementation(with_numba, tile={"m": ROWS, "k": DEPTH, "n": COLUMNS}),
        "triton": Implementation(with_triton, tile={"m": BLOCK, "k": BLOCK, "n": BLOCK}),
        "numba-cuda": Implementation(with_cuda, tile={"m": TILE, "k": TILE, "n": TILE}, dtypes=("float32", "float64")),
        "cupy": Implementation(with_arrays, tile={"m": 16, "k": 16, "n": 16}, dtypes=("float32", "float64", "float16")),
    },
    shape_of=lambda elements: dict.fromkeys(("m", "k", "n"), isqrt(elements)),
    elements=1024 * 1024,
)
