"""`Kernel`: what one device is asked to compute, what that must cost, how wrong it may be, and who computes it.

One file of the catalogue holds one kernel with all its implementations and ends in `KERNEL = Kernel(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clusterbench.kernels.formula import Formula

Array = NDArray[Any]
Shape = Mapping[str, int]
"""The dimensions of a problem by name: {"n": 1024}, {"m": 64, "n": 64, "k": 64}."""

BACKENDS = ("numba", "triton", "numba-cuda", "cupy")
"""The back ends of the suite; `numba` is the CPU, the others are sources for GPUs."""


class KernelError(ValueError):
    """A kernel that is not well described, or was asked for what it does not have."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Implementation:
    """One back end's version of a kernel."""

    launch: Callable[..., None]
    """launch(outputs..., inputs..., scalars...) on the back end's arrays, all contiguous in C order; may return before
    a GPU has finished. An array-level `cupy` version takes the array module as its last argument `xp`."""
    tile: Mapping[str, int]
    """Elements of each dimension that one program, block or blocked loop takes: what off-by-one errors live around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A computation on named arrays.

    `bytes` and `flops` are formulas of the dimensions and of `s`, the bytes of an element: compulsory traffic, each
    operand once, and one for each addition or multiplication. `reference` and `bound` take the inputs and scalars in
    order, in any precision; `bound` takes the shape and u before them, and returns the largest absolute error of each
    element of each output.
    """

    name: str
    what: str
    """The computation in one line of mathematics."""
    bytes: Formula
    flops: Formula
    inputs: Mapping[str, tuple[str | int, ...]]
    """Array -> its dimensions, by name or as a number."""
    outputs: Mapping[str, tuple[str | int, ...]]
    scalars: Mapping[str, float] = field(default_factory=dict)
    """Scalar -> its value, a small integer, so that exact data stay exact and every back end passes the same number."""
    terms: Formula
    """Products (or operands) that are summed into one element of the result: bounds the exact test data."""
    dtypes: tuple[str, ...]
    reference: Callable[..., Array]
    bound: Callable[..., Array]
    bound_source: str
    implementations: Mapping[str, Implementation]
    shape_of: Callable[[int], Shape]
    """shape_of(elements) -> the problem whose largest array has about this many elements."""
    elements: int | None = None
    """Elements of the largest array to time unless told otherwise; None for arrays far beyond the last-level cache."""
    file: str = ""
    """Where it was found; filled in by discovery."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.implementations) - set(BACKENDS))
        if unknown:
            raise KernelError(f"kernel {self.name!r}: back end {unknown[0]!r}; expected one of {', '.join(BACKENDS)}")
        if not self.implementations or not self.dtypes or not self.outputs:
            raise KernelError(f"kernel {self.name!r} needs at least one implementation, one dtype and one output")
        for dtype in self.dtypes:
            if np.dtype(dtype).name != dtype:
                raise KernelError(
                    f"kernel {self.name!r}: dtype {dtype!r}; expected NumPy's name {np.dtype(dtype).name!r}"
                )
        names = dict.fromkeys(self.dimensions, 2)
        for formula in (self.bytes, self.flops, self.terms):
            formula({**names, "s": 4})
        for backend, implementation in self.implementations.items():
            if set(implementation.tile) != set(self.dimensions):
                raise KernelError(
                    f"kernel {self.name!r}, {backend}: tile has {', '.join(implementation.tile)}; "
                    f"expected {', '.join(self.dimensions)}"
                )

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions, in the order in which the arrays show them."""
        shapes = (*self.inputs.values(), *self.outputs.values())
        return tuple(dict.fromkeys(d for shape in shapes for d in shape if isinstance(d, str)))

    def extent(self, array: str, shape: Shape) -> tuple[int, ...]:
        """The shape of one of its arrays. Raises `KernelError` where a dimension is missing or not positive."""
        for name in self.dimensions:
            if shape.get(name, 0) < 1:
                raise KernelError(f"kernel {self.name!r}: {name} is {shape.get(name)}; expected a whole number from 1")
        dimensions = self.inputs.get(array) or self.outputs[array]
        return tuple(d if isinstance(d, int) else shape[d] for d in dimensions)

    def traffic_bytes(self, shape: Shape, dtype: DTypeLike) -> int:
        """Compulsory traffic in bytes."""
        return self.bytes({**shape, "s": np.dtype(dtype).itemsize})

    def operations(self, shape: Shape) -> int:
        """Additions and multiplications."""
        return self.flops({**shape, "s": 1})

    def footprint_bytes(self, shape: Shape, dtype: DTypeLike) -> int:
        """Memory of all its arrays in bytes."""
        arrays = (*self.inputs, *self.outputs)
        return sum(int(np.prod(self.extent(array, shape))) for array in arrays) * np.dtype(dtype).itemsize

    def written_bytes(self, shape: Shape, dtype: DTypeLike) -> int:
        """What it writes: its outputs, each once."""
        return sum(int(np.prod(self.extent(array, shape))) for array in self.outputs) * np.dtype(dtype).itemsize

    def only_reads(self, shape: Shape) -> bool:
        """Whether what it writes is negligible (below 1 %) beside what it reads."""
        sizes = {a: int(np.prod(self.extent(a, shape))) for a in (*self.inputs, *self.outputs)}
        return 100 * sum(sizes[a] for a in self.outputs) < sum(sizes.values())

    def scalar_values(self, dtype: DTypeLike) -> tuple[Any, ...]:
        """The scalars in the type of the arrays."""
        kind: Any = np.dtype(dtype).type
        return tuple(kind(value) for value in self.scalars.values())


def shape_text(shape: Shape) -> str:
    """`n=1024` or `m=64,n=64,k=64`."""
    return ",".join(f"{name}={value}" for name, value in shape.items())
