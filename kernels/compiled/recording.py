"""What a launch would run: the kernels that an implementation launches, with their arguments, and nothing is run.

An implementation's `launch` is called as it is called on a GPU, on arrays that nobody has touched, while the two places
at which Triton and Numba start a kernel (`JITFunction.run`, `CUDADispatcher.configure`) note the call instead. So no
kernel has to be described a second time, and what is compiled is what runs. The module must have been imported
without `TRITON_INTERPRET` and `NUMBA_ENABLE_CUDASIM`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.kernel import Kernel, KernelError, Shape

ELEMENTS = 1 << 14
"""Of the largest array of the problem for which kernels are compiled and counted: dimensions of a power of two, as
those of timed problems are, so that the compiler finds the same divisors; few enough to follow every thread."""


@dataclass(frozen=True, slots=True)
class Address:
    """An array of a launch as Triton takes one: a pointer to elements of a type, aligned to 16 bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    index: int
    """Which of the launch's arrays it is."""

    def data_ptr(self) -> int:
        """An address that no other array is near to."""
        return (self.index + 1) << 40

    def stride(self, axis: int | None = None) -> Any:
        """Elements from one to the next in each dimension, or in one."""
        steps = tuple(int(np.prod(self.shape[place + 1 :])) for place in range(len(self.shape)))
        return steps if axis is None else steps[axis]

    def size(self, axis: int | None = None) -> Any:
        """The extents, or one."""
        return self.shape if axis is None else self.shape[axis]

    def numel(self) -> int:
        """Elements."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel that an implementation launches."""

    function: Any
    """Triton's `JITFunction`, or Numba's dispatcher."""
    grid: tuple[int, int, int]
    block: tuple[int, int, int] | None
    """Threads of a block; None where the compiler decides (Triton)."""
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    times: int = 1
    """How often it is launched alike, one right after the other."""

    def alike(self, other: Launch) -> bool:
        """Whether it is the same launch again."""
        return (
            self.function is other.function
            and (self.grid, self.block, self.keywords) == (other.grid, other.block, other.keywords)
            and len(self.arguments) == len(other.arguments)
            and all(a is b or (np.isscalar(a) and a == b) for a, b in zip(self.arguments, other.arguments, strict=True))
        )

    @property
    def name(self) -> str:
        """The function as it is named in its file."""
        return str(getattr(self.function, "__name__", self.function))


def problem(kernel: Kernel) -> Shape:
    """The problem for which a kernel is compiled."""
    return kernel.shape_of(ELEMENTS)


def record(kernel: Kernel, backend: str, dtype: str) -> list[Launch]:
    """The launches of one implementation, in order.

    Raises `KernelError` where it launches nothing, and what the implementation itself raises.
    """
    shape = problem(kernel)
    kinds = [(kernel.type_of(name, dtype), kernel.extent(name, shape)) for name in kernel.arguments]
    found: list[Launch] = []

    def note(launch: Launch) -> None:
        if found and found[-1].alike(launch):
            found[-1] = replace(found[-1], times=found[-1].times + 1)
        else:
            found.append(launch)

    with _noting(backend, note):
        kernel.implementations[backend].launch(*_arrays(backend, kinds), *kernel.scalar_values(dtype))
    if not found:
        raise KernelError(f"kernel {kernel.name!r}, {backend}: its launch starts no kernel")
    return found


def _arrays(backend: str, kinds: Sequence[tuple[str, tuple[int, ...]]]) -> list[Any]:
    if backend == "triton":
        return [Address(element_type(dtype), extent, index) for index, (dtype, extent) in enumerate(kinds)]
    # Pages that nobody touches take no memory.
    return [np.empty(extent, element_type(dtype)) for dtype, extent in kinds]


@contextmanager
def _noting(backend: str, note: Callable[[Launch], None]) -> Iterator[None]:
    if backend == "triton":
        from triton.runtime.jit import JITFunction

        def run(function: Any, *arguments: Any, grid: Any, warmup: bool = False, **keywords: Any) -> None:
            given = grid(keywords) if callable(grid) else grid
            note(Launch(function, _three(given), None, arguments, keywords))

        with patch.object(JITFunction, "run", run):
            yield
        return
    from numba.cuda.dispatcher import CUDADispatcher

    def configure(function: Any, grid: Any, block: Any, *stream: Any) -> Callable[..., None]:
        return lambda *arguments: note(Launch(function, _three(grid), _three(block), arguments, {}))

    with patch.object(CUDADispatcher, "configure", configure):
        yield


def _three(extent: Any) -> tuple[int, int, int]:
    given = tuple(int(part) for part in extent) if isinstance(extent, Sequence) else (int(extent),)
    x, y, z = (*given, 1, 1)[:3]
    return x, y, z
