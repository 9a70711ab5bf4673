"""What Triton's interpreter needs besides Triton: a tensor without torch, and programs in another order.

The interpreter runs one program after the other, in the order of the grid. A kernel that leans on this order is wrong
on a GPU, so `shuffle_programs` lets them run in a random one.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from clusterbench.kernels.kernel import Array


class HostTensor:
    """A NumPy array with the methods that the interpreter asks a torch tensor for.

    Host and device are the same memory here, so the copies between them do nothing.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        self.dtype = array.dtype
        self.shape = array.shape

    def data_ptr(self) -> int:
        """The address of the first element."""
        return int(self.array.ctypes.data)

    def untyped_storage(self) -> HostTensor:
        """The storage: this tensor itself."""
        return self

    def cpu(self) -> HostTensor:
        """The same memory on the host."""
        return self

    def new_empty(self, *size: Any, **options: Any) -> HostTensor:
        """An empty tensor, which `set_` makes a view of a storage."""
        return HostTensor(self.array)

    def set_(self, storage: HostTensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> HostTensor:
        """Nothing to do: the copy on the host is the tensor itself."""
        return self

    def storage_offset(self) -> int:
        """Elements before the first one; the address counts them already."""
        return 0

    def size(self) -> tuple[int, ...]:
        """The extents."""
        return self.shape

    def stride(self) -> tuple[int, ...]:
        """Elements from one to the next in each dimension."""
        return tuple(step // self.array.itemsize for step in self.array.strides)

    def copy_(self, other: HostTensor) -> HostTensor:
        """Nothing to do: both are the same memory."""
        return self


def shuffle_programs(rng: np.random.Generator | None) -> None:
    """Run the programs of every later launch in a random order; None gives the order of the grid back.

    Uses the interpreter's own builder, which has no public interface for this. Raises RuntimeError where a version of
    Triton does not have it.
    """
    from triton.runtime import interpreter

    builder = getattr(interpreter, "interpreter_builder", None)
    if builder is None or not hasattr(builder, "set_grid_idx") or not hasattr(builder, "set_grid_dim"):
        raise RuntimeError(
            "this version of Triton has no interpreter_builder.set_grid_idx: programs cannot be shuffled"
        )
    kind = type(builder)
    if rng is None:
        builder.__dict__.pop("set_grid_dim", None)
        builder.__dict__.pop("set_grid_idx", None)
        return
    order: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def set_grid_dim(nx: int, ny: int, nz: int) -> None:
        programs = list(product(range(nx), range(ny), range(nz)))
        order.clear()
        order.update(zip(programs, (programs[i] for i in rng.permutation(len(programs))), strict=True))
        kind.set_grid_dim(builder, nx, ny, nz)

    def set_grid_idx(x: int, y: int, z: int) -> None:
        kind.set_grid_idx(builder, *order[x, y, z])

    builder.set_grid_dim, builder.set_grid_idx = set_grid_dim, set_grid_idx
