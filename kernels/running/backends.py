"""The back ends: how each of them runs here and why, and how arrays get to it and back.

Without a GPU a GPU source runs in its interpreter or simulator, for correctness at small sizes; it is never timed.
Triton decides when it decorates and Numba when it is imported whether code is interpreted, so those run in a worker
process (`worker.py`) that has the variables in `Backend.environment`. They go there with a GPU, too, where they need
no variable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from clusterbench.kernels import device
from clusterbench.kernels.element_types import TF32, TINY_FLOATS
from clusterbench.kernels.kernel import Array, KernelError
from clusterbench.kernels.running.lazy import EXTRAS

Mode = Literal["native", "interpreter", "simulator", "absent"]
INTERPRETED_WRONGLY = ("bfloat16", *TINY_FLOATS, TF32)
"""Types that Triton 3.9's interpreter gets wrong without a word: it truncates to bfloat16 and then computes with the
bits, rounds ties of 8-bit floats away from zero, and ignores the input precision of a matrix product."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How one back end runs on this machine."""

    name: str
    mode: Mode
    reason: str
    """Why this mode, in words."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What must be set in the environment before anything is imported; empty where nothing must."""

    @property
    def in_worker(self) -> bool:
        """Whether it runs in a process of its own."""
        return self.name in ("triton", "numba-cuda")


def detect() -> dict[str, Backend]:
    """Every back end of the suite with its mode here. Imports none of them."""
    gpus = device.nvidia_gpus()
    return {backend.name: backend for backend in (_numba(), _triton(gpus), _numba_cuda(gpus), _cupy(gpus))}


def models(backend: Backend, dtype: str) -> bool:
    """Whether a type is modelled on this back end: its source runs on float32, and `conversion.py` rounds."""
    return backend.name == "triton" and backend.mode == "interpreter" and dtype in INTERPRETED_WRONGLY


def _numba() -> Backend:
    return Backend("numba", "native", "compiled for the CPU, all cores")


def _triton(gpus: int) -> Backend:
    if find_spec("triton") is None:
        return Backend("triton", "absent", _missing("triton"))
    if gpus and find_spec("cupy") is not None:
        return Backend("triton", "native", f"{gpus} GPU(s), the first is used, by CuPy's arrays and stream")
    where = _missing("cupy") if gpus else "no GPU"
    return Backend("triton", "interpreter", f"{where}: Triton's interpreter on the CPU", {"TRITON_INTERPRET": "1"})


def _numba_cuda(gpus: int) -> Backend:
    if find_spec("numba_cuda") is None:
        return Backend("numba-cuda", "absent", _missing("numba_cuda"))
    if gpus:
        return Backend("numba-cuda", "native", f"{gpus} GPU(s), the first is used")
    return Backend(
        "numba-cuda", "simulator", "no GPU: Numba's CUDA simulator on the CPU", {"NUMBA_ENABLE_CUDASIM": "1"}
    )


def _cupy(gpus: int) -> Backend:
    if gpus and find_spec("cupy") is not None:
        return Backend("cupy", "native", f"{gpus} GPU(s), the first is used")
    why = "no GPU" if not gpus else _missing("cupy")
    return Backend("cupy", "simulator", f"{why}: the same array-level source run by NumPy")


def _missing(package: str) -> str:
    return f"{package} is not installed; install clusterbench's extra `{EXTRAS[package]}`"


@dataclass(frozen=True, slots=True)
class Memory:
    """How arrays get to a back end and back."""

    put: Callable[[Array], Any]
    """A copy of a one-dimensional host array in the back end's memory."""
    view: Callable[[Any, int, tuple[int, ...]], Any]
    """view(buffer, first, extent): the part from element `first` as a contiguous array of this extent."""
    get: Callable[[Any], Array]
    """The buffer on the host, after everything launched has finished."""
    write: Callable[[Any, Array], None] = lambda buffer, array: buffer.__setitem__(..., array)
    """Overwrite a buffer with a one-dimensional host array of its length."""
    last: tuple[Any, ...] = ()
    """Further arguments of a launch: the array module for array-level sources."""
    scalar: Callable[[Any], Any] = lambda value: value
    """A scalar as a launch takes it."""


def memory(backend: Backend) -> Memory:
    """The memory of a back end in this process. Raises `KernelError` for one that is absent."""
    if backend.mode == "absent":
        raise KernelError(f"back end {backend.name} is absent: {backend.reason}")
    if backend.name == "numba":
        return Memory(np.array, _view, np.asarray)
    if backend.name == "triton" and backend.mode == "native":
        return _triton_memory()
    if backend.name == "triton":
        from clusterbench.kernels.running.interpreted import HostTensor

        return Memory(np.array, lambda buffer, first, extent: HostTensor(_view(buffer, first, extent)), np.asarray)
    if backend.name == "numba-cuda":
        from clusterbench.kernels.running.lazy import cuda

        return Memory(
            cuda.to_device,
            _view,
            lambda buffer: np.asarray(buffer.copy_to_host()),
            lambda buffer, array: buffer.copy_to_device(array),
        )
    if backend.mode == "native":
        from clusterbench.kernels.running.lazy import cupy

        return Memory(cupy.array, _view, cupy.asnumpy, lambda buffer, array: buffer.set(array), last=(cupy,))
    return Memory(np.array, _view, np.asarray, last=(np,))


def _triton_memory() -> Memory:
    """CuPy's memory, with Triton told to launch there."""
    from functools import partial

    from triton.runtime import driver

    from clusterbench.kernels.running import triton_driver
    from clusterbench.kernels.running.lazy import cupy

    driver.set_active(triton_driver.CupyDriver(cupy))
    parts = (
        partial(triton_driver.put, cupy),
        triton_driver.part,
        partial(triton_driver.get, cupy),
        triton_driver.write,
    )
    return Memory(*parts, scalar=lambda value: value.item())  # Triton knows no scalars of NumPy


def _view(buffer: Any, first: int, extent: tuple[int, ...]) -> Any:
    return buffer[first : first + int(np.prod(extent))].reshape(extent)
