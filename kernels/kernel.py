"""`Kernel`: what one device is asked to compute, what that must cost, how wrong it may be, and who computes it.

One file of the catalogue holds one kernel with all its implementations and ends in `KERNEL = Kernel(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clusterbench.kernels.element_types import TF32, accumulator, element_type
from clusterbench.kernels.formula import Formula

Array = NDArray[Any]
Shape = Mapping[str, int]
"""The dimensions of a problem by name: {"n": 1024}, {"m": 64, "n": 64, "k": 64}."""

DataClass = Literal["exact", "rounding", "hard", "offset", "special"]
"""What kernels are checked with; `data.py` says what each is and finds."""
DATA: tuple[DataClass, ...] = ("exact", "rounding", "hard", "offset", "special")
WIDE = "wide"
"""In `Kernel.types`: the type in which sums are kept, `element_types.accumulator`."""

BACKENDS = ("numba", "triton", "numba-cuda", "cupy")
"""The back ends of the suite; `numba` is the CPU, the others are sources for GPUs."""


class KernelError(ValueError):
    """A kernel that is not well described, or was asked for what it does not have."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Implementation:
    """One back end's version of a kernel."""

    launch: Callable[..., None]
    """launch(arguments..., scalars...), as `Kernel.arguments` has them, on the back end's arrays, all contiguous in C
    order; may return before a GPU has finished. An array-level `cupy` version takes the array module as its last
    argument `xp`."""
    tile: Mapping[str, int]
    """Elements of each dimension that one program, block or blocked loop takes: what off-by-one errors live around."""
    dtypes: tuple[str, ...] = ()
    """The types that this back end has; empty for all of the kernel's."""
    timed: bool = True
    """Whether its time tells something: not of one that is here for its result only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A computation on named arrays.

    `bytes` and `flops` are formulas of the dimensions and of `s`, the bytes of an element: compulsory traffic, each
    operand once, and one for each addition or multiplication. `reference` and `bound` take the inputs and scalars in
    order, in any precision; `bound` takes the shape and u before them, and returns the largest absolute error of each
    element of each output, without that of underflow, which the judge adds. An array for one output, a tuple for
    several.
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
    types: Mapping[str, str] = field(default_factory=dict)
    """Array -> its type, where that is not the one that is asked for: a type by name, or `WIDE`."""
    reference: Callable[..., Array | tuple[Array, ...]]
    bound: Callable[..., Array | tuple[Array, ...]]
    bound_source: str
    spread: Callable[..., Array] | None = None
    """spread(shape, inputs..., scalars...) -> the size of a typical error over u, of each element of the first output:
    what the alarm on the RMS error is measured by. For kernels whose bound is loose, as that of a long sum is."""
    data: tuple[DataClass, ...] = DATA
    """The classes of data that mean something here: indices and counts have no rounding and no infinities."""
    fill: Callable[[Shape, str, DataClass, np.random.Generator], Mapping[str, Array]] | None = None
    """fill(shape, dtype, class, rng) -> those inputs that are not any numbers: indices, or what a class needs here."""
    updates: Mapping[str, str] = field(default_factory=dict)
    """Output -> the input that it holds at the start, to be updated in place. That input is not passed to a launch."""
    passes: bool = False
    """Whether `bytes` counts several passes over arrays that a cache is meant to hold."""
    steps: Formula | None = None
    """Steps that follow one another (hops, launches), where the time of one is the figure; None elsewhere."""
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
            _check_type(self.name, dtype)
        for array, dtype in self.types.items():
            if array not in self.inputs and array not in self.outputs:
                raise KernelError(f"kernel {self.name!r}: types names {array!r}, which is none of its arrays")
            if dtype != WIDE:
                _check_type(self.name, dtype)
        for output, start in self.updates.items():
            if self.outputs.get(output) != self.inputs.get(start, ()):
                raise KernelError(f"kernel {self.name!r}: {output!r} updates {start!r}, which has not its extents")
        names = dict.fromkeys(self.dimensions, 2)
        for formula in (self.bytes, self.flops, self.terms, *([self.steps] if self.steps else [])):
            formula({**names, "s": 4})
        for backend, implementation in self.implementations.items():
            if set(implementation.tile) != set(self.dimensions):
                raise KernelError(
                    f"kernel {self.name!r}, {backend}: tile has {', '.join(implementation.tile)}; "
                    f"expected {', '.join(self.dimensions)}"
                )
            lacking = sorted(set(implementation.dtypes) - set(self.dtypes))
            if lacking:
                raise KernelError(f"kernel {self.name!r}, {backend}: dtype {lacking[0]!r}, which the kernel has not")

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the dimensions, in the order in which the arrays show them."""
        shapes = (*self.inputs.values(), *self.outputs.values())
        return tuple(dict.fromkeys(d for shape in shapes for d in shape if isinstance(d, str)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arrays of a launch, in order."""
        return (*self.outputs, *(name for name in self.inputs if name not in self.updates.values()))

    def extent(self, array: str, shape: Shape) -> tuple[int, ...]:
        """The shape of one of its arrays. Raises `KernelError` where a dimension is missing or not positive."""
        for name in self.dimensions:
            if shape.get(name, 0) < 1:
                raise KernelError(f"kernel {self.name!r}: {name} is {shape.get(name)}; expected a whole number from 1")
        dimensions = self.inputs.get(array) or self.outputs[array]
        return tuple(d if isinstance(d, int) else shape[d] for d in dimensions)

    def type_of(self, array: str, dtype: str) -> str:
        """The type of one of its arrays where the kernel runs in `dtype`."""
        own = self.types.get(array, dtype)
        return accumulator(dtype) if own == WIDE else own

    def size_bytes(self, array: str, shape: Shape, dtype: str) -> int:
        """The memory of one of its arrays."""
        return int(np.prod(self.extent(array, shape))) * element_type(self.type_of(array, dtype)).itemsize

    def has(self, backend: str, dtype: str) -> bool:
        """Whether it has an implementation for this back end in this type."""
        made = self.implementations.get(backend)
        return made is not None and dtype in (made.dtypes or self.dtypes)

    def traffic_bytes(self, shape: Shape, dtype: str) -> int:
        """Compulsory traffic in bytes."""
        return self.bytes({**shape, "s": element_type(dtype).itemsize})

    def operations(self, shape: Shape) -> int:
        """Additions and multiplications."""
        return self.flops({**shape, "s": 1})

    def footprint_bytes(self, shape: Shape, dtype: str) -> int:
        """Memory of all arrays of a launch in bytes."""
        return sum(self.size_bytes(array, shape, dtype) for array in self.arguments)

    def written_bytes(self, shape: Shape, dtype: str) -> int:
        """What it writes: its outputs, each once."""
        return sum(self.size_bytes(array, shape, dtype) for array in self.outputs)

    def only_reads(self, shape: Shape, dtype: str) -> bool:
        """Whether what it writes is negligible (below 1 %) beside what it reads."""
        return 100 * self.written_bytes(shape, dtype) < self.footprint_bytes(shape, dtype)

    def scalar_values(self, dtype: str) -> tuple[Any, ...]:
        """The scalars in the type in which sums are kept."""
        kind: Any = element_type(accumulator(dtype)).type
        return tuple(kind(value) for value in self.scalars.values())


def _check_type(kernel: str, dtype: str) -> None:
    try:
        name = element_type(dtype).name
    except (TypeError, AttributeError) as error:
        raise KernelError(f"kernel {kernel!r}: dtype {dtype!r} is no type; expected NumPy's name of one") from error
    if name != dtype and dtype != TF32:
        raise KernelError(f"kernel {kernel!r}: dtype {dtype!r}; expected NumPy's name {name!r}")


def shape_text(shape: Shape) -> str:
    """`n=1024` or `m=64,n=64,k=64`."""
    return ",".join(f"{name}={value}" for name, value in shape.items())
