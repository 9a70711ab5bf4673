"""Triton's kernels launched by CuPy, on a CuPy that is made up and records what is asked of it.

Proves: Triton takes the driver and CuPy's arrays without torch, compiles for the target that the device names, and the
binary, the grid, the block, the shared memory and every argument in its order and type reach CuPy. Does not prove: that
CuPy and the CUDA driver do what they are then asked for, that the kernel's own idea of its arguments is this one
(the two addresses of scratch memory at their end), or anything about results or times: for that there must be a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clusterbench.kernels.discovery import discover
from clusterbench.kernels.kernel import KernelError

pytest.importorskip("triton")

from triton.runtime import driver as triton_drivers

from clusterbench.kernels.running.triton_driver import CupyDriver, DeviceTensor, get, part, put

KERNELS = discover()


class RecordingCupy:
    """As much of CuPy as the driver uses: device 0 of an H100, an array whose address is counted on, a stream."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.binaries: list[tuple[str, bytes]] = []
        self.sizes: list[int] = []
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(getDevice=lambda: 0),
            get_current_stream=lambda: SimpleNamespace(ptr=0x51),
            Device=lambda number: SimpleNamespace(
                compute_capability="90", attributes={"MaxSharedMemoryPerBlockOptin": 232448}
            ),
        )

    def RawModule(self, path: str) -> Any:  # noqa: N802 # CuPy's name
        with open(path, "rb") as file:  # noqa: PTH123 # as CuPy does
            content = file.read()

        def get_function(name: str) -> Any:
            self.binaries.append((name, content))
            return _Function(self)

        return SimpleNamespace(get_function=get_function)


class _Function:
    num_regs, local_size_bytes, max_threads_per_block = 26, 0, 1024

    def __init__(self, cupy: RecordingCupy) -> None:
        self._cupy = cupy

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "max_dynamic_shared_size_bytes":
            self._cupy.sizes.append(value)
        object.__setattr__(self, name, value)

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
        self._cupy.calls.append((grid, block, args, shared_mem))


@pytest.fixture
def cupy() -> Iterator[RecordingCupy]:
    made = RecordingCupy()
    before = triton_drivers._active
    triton_drivers.set_active(CupyDriver(made))
    yield made
    triton_drivers._active = before


def _tensor(address: int, *extent: int) -> DeviceTensor:
    return DeviceTensor(SimpleNamespace(data=SimpleNamespace(ptr=address), shape=extent), np.dtype("float32"))


def test_a_launch_reaches_cupy_with_its_binary_its_grid_and_its_arguments(cupy: RecordingCupy) -> None:
    a, b, c = (_tensor(0x7000_0000 + 0x10000 * i, 2049) for i in range(3))
    KERNELS["triad"].implementations["triton"].launch(a, b, c, 3.0)
    ((grid, block, arguments, shared),) = cupy.calls
    assert grid == (3, 1, 1)
    assert block == (128, 1, 1)
    assert [int(value) for value in arguments[:3]] == [0x7000_0000, 0x7001_0000, 0x7002_0000]
    assert [(type(value), value) for value in arguments[3:]] == [
        (np.float32, 3), (np.int32, 2049), (np.uint64, 0), (np.uint64, 0),
    ]  # fmt: skip
    assert shared == 0
    ((name, binary),) = cupy.binaries
    assert name == "triton_kernel"
    assert binary[:4] == b"\x7fELF"


def test_shared_memory_is_asked_for_and_a_kernel_is_loaded_once(cupy: RecordingCupy) -> None:
    launch = KERNELS["gemm"].implementations["triton"].launch
    for _ in range(2):
        launch(_tensor(1 << 20, 64, 64), _tensor(1 << 21, 64, 64), _tensor(1 << 22, 64, 64))
    assert len(cupy.binaries) == 1
    assert [call[0] for call in cupy.calls] == [(2, 2, 1)] * 2
    assert cupy.sizes == [cupy.calls[0][3]]
    assert cupy.sizes[0] > 0


def test_what_a_plain_launch_cannot_do_is_refused() -> None:
    whole = {"num_ctas": 1, "launch_cooperative_grid": False, "launch_pdl": False, "name": "k", "num_warps": 4}
    for change, what in (
        ({"num_ctas": 2}, "clusters"),
        ({"launch_cooperative_grid": True}, "cooperative"),
        ({"global_scratch_size": 8}, "scratch"),
    ):
        metadata = SimpleNamespace(**{"global_scratch_size": 0, "profile_scratch_size": 0, **whole, **change})
        with pytest.raises(KernelError, match=what):
            CupyDriver(None).launcher_cls(SimpleNamespace(signature={"x": "*fp32"}), metadata)


def test_types_that_cupy_lacks_travel_as_bits() -> None:
    import ml_dtypes

    there = SimpleNamespace(array=np.array, asnumpy=np.asarray)
    values = np.arange(6).astype(ml_dtypes.bfloat16)
    tensor = put(there, values)
    assert tensor.array.dtype == np.uint16
    assert str(tensor.dtype) == "bfloat16"
    found = get(there, part(tensor, 2, (2, 2)))
    assert found.dtype == values.dtype
    assert found.tolist() == [[2, 3], [4, 5]]
