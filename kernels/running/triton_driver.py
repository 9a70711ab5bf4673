"""Triton's kernels on a GPU without torch: compiled by Triton, launched by CuPy on its own arrays and stream.

Triton asks an active driver for the device, the stream and the target, to load a binary, and to launch it. Its own
driver for NVIDIA builds a C extension on first use, and before Triton 3.9 imported torch; this one has CuPy do the same
by its public interface (`RawModule`, `RawKernel`). What is not public in it: `DriverBase` and the launcher's arguments
are those of Triton's own back ends, which plug in as packages, and change between versions; so do the two addresses of
scratch memory that follow a kernel's own arguments. What needs more than a plain launch is refused: thread block
clusters, cooperative grids, programmatic launches, tensor descriptors, scratch memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase

from clusterbench.kernels.device import nvidia_gpus
from clusterbench.kernels.kernel import Array, KernelError

WARP = 32
SCRATCH_ARGUMENTS = 2
"""Addresses of scratch memory, global and the profiler's, that a kernel takes after its own arguments (Triton 3.9)."""
_SCALARS: dict[str, Any] = {
    "i1": np.int8,
    **{f"i{bits}": np.dtype(f"int{bits}").type for bits in (8, 16, 32, 64)},
    **{f"u{bits}": np.dtype(f"uint{bits}").type for bits in (8, 16, 32, 64)},
    **{f"fp{bits}": np.dtype(f"float{bits}").type for bits in (16, 32, 64)},
}
"""The scalars of a signature as CuPy passes them."""


class DeviceTensor:
    """An array of CuPy with what Triton asks a tensor for. CuPy lacks bfloat16 and 8-bit floats: it has their bits."""

    def __init__(self, array: Any, dtype: np.dtype[Any]) -> None:
        self.array = array
        self.dtype = dtype
        self.shape = array.shape

    def data_ptr(self) -> int:
        """The address of the first element."""
        return int(self.array.data.ptr)


def put(cupy: Any, array: Array) -> DeviceTensor:
    """A copy of a host array on the device."""
    bits = array if array.dtype.kind in "biuf" else array.view(f"u{array.itemsize}")
    return DeviceTensor(cupy.array(bits), array.dtype)


def write(tensor: DeviceTensor, array: Array) -> None:
    """Overwrite a tensor with a host array of its size and type."""
    tensor.array.set(array.view(tensor.array.dtype))


def part(tensor: DeviceTensor, first: int, extent: tuple[int, ...]) -> DeviceTensor:
    """The part from element `first` as a contiguous tensor of this extent."""
    return DeviceTensor(tensor.array[first : first + int(np.prod(extent))].reshape(extent), tensor.dtype)


def get(cupy: Any, tensor: DeviceTensor) -> Array:
    """A tensor on the host, after everything launched has finished."""
    array: Array = np.asarray(cupy.asnumpy(tensor.array))
    return array.view(tensor.dtype)


class CupyDriver(DriverBase):  # type: ignore[misc] # Triton has no types
    """The driver. `triton.runtime.driver.set_active(CupyDriver(cupy))` makes it Triton's own."""

    def __init__(self, cupy: Any) -> None:
        super().__init__()
        self.cupy = cupy
        self.utils = self

    @classmethod
    def is_active(cls) -> bool:
        """Whether there is a GPU for it."""
        return nvidia_gpus() > 0

    def get_current_device(self) -> int:
        """The number of CuPy's current device."""
        return int(self.cupy.cuda.runtime.getDevice())

    def get_current_stream(self, device: int) -> int:
        """The handle of CuPy's current stream."""
        return int(self.cupy.cuda.get_current_stream().ptr)

    def get_current_target(self) -> Any:
        """What to compile for: the current device's compute capability."""
        return GPUTarget("cuda", int(self.cupy.cuda.Device(self.get_current_device()).compute_capability), WARP)

    def get_device_properties(self, device: int) -> dict[str, int]:
        """What Triton looks at: the shared memory that a block may have."""
        return {"max_shared_mem": int(self.cupy.cuda.Device(device).attributes["MaxSharedMemoryPerBlockOptin"])}

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, Any, int, int, int]:
        """The module, the kernel, its registers, spilt words, and the most threads of a block."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(binary)
            module = self.cupy.RawModule(path=file.name)
            kernel = module.get_function(name)
        if shared:
            kernel.max_dynamic_shared_size_bytes = shared
        return module, kernel, kernel.num_regs, kernel.local_size_bytes // 4, kernel.max_threads_per_block

    def unload_module(self, module: Any) -> None:
        """Nothing to do: CuPy unloads it with its last reference."""

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        """The launcher of a compiled kernel. Raises `KernelError` for one that needs more than a plain launch."""
        return _launcher(source, metadata)

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Not asked for: nothing is compiled for the host."""
        raise NotImplementedError("CuPy launches, no C++ is written")

    def get_active_torch_device(self) -> Any:
        """Not asked for: there is no torch."""
        raise NotImplementedError("there is no torch here")

    def get_benchmarker(self) -> Any:
        """Not asked for: Triton's autotuner is not used."""
        raise NotImplementedError("the suite measures by itself")


def _launcher(source: Any, metadata: Any) -> Callable[..., None]:
    kinds = list(source.signature.values())
    wants = {
        "clusters": getattr(metadata, "num_ctas", 1) > 1,
        "a cooperative grid": getattr(metadata, "launch_cooperative_grid", False),
        "a programmatic launch": getattr(metadata, "launch_pdl", False),
        "scratch memory": metadata.global_scratch_size or metadata.profile_scratch_size,
        "tuples or descriptors": any(not isinstance(kind, str) or kind.startswith("tensordesc") for kind in kinds),
    }
    for what, wanted in wants.items():
        if wanted:
            raise KernelError(f"Triton kernel {metadata.name!r} wants {what}; launched by CuPy it can have none")

    def launch(
        x: int, y: int, z: int, stream: int, function: Any, packed: Any, about: Any, enter: Any, leave: Any, *given: Any
    ) -> None:
        if enter is not None:
            enter(about)
        arguments = [_passed(kind, value) for kind, value in zip(kinds, given, strict=True) if kind != "constexpr"]
        arguments += [np.uint64(0)] * SCRATCH_ARGUMENTS
        # On the current stream, which is the one that Triton was told.
        function((x, y, z), (WARP * metadata.num_warps, 1, 1), tuple(arguments), shared_mem=metadata.shared)
        if leave is not None:
            leave(about)

    return launch


def _passed(kind: str, value: Any) -> Any:
    """An argument as CuPy passes it: an address of a tensor, or a scalar of the signature's type."""
    if kind.startswith("*"):
        return np.uint64(value.data_ptr())
    if kind not in _SCALARS:
        raise KernelError(f"a scalar of type {kind}; expected one of {', '.join(_SCALARS)}")
    return _SCALARS[kind](value)
