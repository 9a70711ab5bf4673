"""y = x + STEPS·b as STEPS multiply-adds x ← a·x + b, a = 1: independent chains in registers, and no memory in between.

Costs:      2·STEPS·n flops, 2·n·s bytes: bound by the multiply-add peak of its type. Matrix units are `gemm`'s.
How wrong:  not at all on whole numbers; γ_(2·STEPS)·(|x| + STEPS·b) on any, fused or not.
No GPU:     `numba` is the CPU's own version, with vectors written out as LLVM's, so that no optimiser decides whether
            they are used; Triton's interpreter runs the other. No compiler may sum the steps up: it would round once.
Source:     Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1, for the bound; the form is ERT's
            (Y. J. Lo et al., "Roofline model toolkit", PMBS 2014) with a result that counts the steps.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from clusterbench.kernels.bounds import Array, gamma
from clusterbench.kernels.ceilings.roofline import CHAINS
from clusterbench.kernels.formula import Formula
from clusterbench.kernels.kernel import Implementation, Kernel
from clusterbench.kernels.loops.vectors import lanes
from clusterbench.kernels.running.lazy import tl, triton

STEPS = 512
BLOCK = 1024  # elements of one Triton program
ELEMENTS = 1 << 16  # of the problem that is timed


def reference(x: Array, a: Array, b: Array) -> Array:
    """x + STEPS·b, the limit without rounding for a = 1."""
    return a * x + x.dtype.type(STEPS) * b


def bound(shape: Any, u: float, x: Array, a: Array, b: Array) -> Array:
    """γ of two roundings a step, of the largest value on the way."""
    return gamma(2 * STEPS, u) * (np.abs(x) + STEPS * np.abs(b))


@intrinsic
def run_chains(typingctx: Any, y: Any, x: Any, first: Any, a: Any, b: Any, steps: Any) -> Any:
    """CHAINS vectors of x from element `first`, each taken through all steps in a register, to y."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[3]
        width = lanes(as_dtype(kind))
        vector = ir.VectorType(args[3].type, width)
        name = f"llvm.fmuladd.v{width}f{kind.bitwidth}"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        target, source = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in range(2))

        def splat(value: Any) -> Any:
            only = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            return builder.shuffle_vector(only, only, mask)

        def place(pointer: Any, chain: int) -> Any:
            offset = builder.add(args[2], ir.Constant(ir.IntType(64), chain * width))
            element = builder.gep(pointer, [offset], source_etype=args[3].type)
            return builder.bitcast(element, vector.as_pointer())

        align = kind.bitwidth // 8
        factor, summand = splat(args[3]), splat(args[4])
        cells = [
            cgutils.alloca_once_value(builder, builder.load(place(source, chain), align=align, typ=vector))
            for chain in range(CHAINS)
        ]
        with cgutils.for_range(builder, args[5]):
            for cell in cells:
                builder.store(builder.call(fused, [factor, builder.load(cell), summand]), cell)
        for chain, cell in enumerate(cells):
            builder.store(builder.load(cell), place(target, chain), align=align)
        return context.get_dummy_value()

    return types.void(y, x, types.int64, a, a, types.int64), codegen


@njit(parallel=True, cache=True)
def on_vectors(y, x, a, b, block):
    for task in prange(x.size // block):
        run_chains(y, x, task * block, a, b, STEPS)
    for i in range(x.size // block * block, x.size):
        value = x[i]
        for _ in range(STEPS):
            value = a * value + b
        y[i] = value


def on_cpu(y, x, a, b):
    """CHAINS vectors a task; what is left over one by one."""
    on_vectors(y, x, a, b, CHAINS * lanes(x.dtype))


@triton.jit
def triton_kernel(y_ptr, x_ptr, a, b, n, steps: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i, mask=i < n, other=0.0)
    factor, summand = tl.full((), a, x.dtype), tl.full((), b, x.dtype)  # plain numbers would make float32 of x
    for _ in range(steps):
        x = factor * x + summand
    tl.store(y_ptr + i, x, mask=i < n)


def with_triton(y, x, a, b):
    """Launch `triton_kernel` with one program for BLOCK elements."""
    n = y.shape[0]
    triton_kernel[(triton.cdiv(n, BLOCK),)](y, x, float(a), float(b), n, steps=STEPS, block=BLOCK)


KERNEL = Kernel(
    name="fma_peak",
    what=f"{STEPS} times x ← a·x + b",
    bytes=Formula("2*n*s"),
    flops=Formula(f"{2 * STEPS}*n"),
    inputs={"x": ("n",)},
    outputs={"y": ("n",)},
    scalars={"a": 1, "b": 1},
    terms=Formula("1"),
    dtypes=("float32", "float64", "float16"),
    reference=reference,
    bound=bound,
    bound_source="exact on whole numbers; γ_(2·STEPS)·(|x| + STEPS·b) (Higham, section 3.1)",
    data=("exact",),
    implementations={
        "numba": Implementation(on_cpu, tile={"n": 64}, dtypes=("float32", "float64")),
        "triton": Implementation(with_triton, tile={"n": BLOCK}),
    },
    shape_of=lambda elements: {"n": elements},
    elements=ELEMENTS,
)
