"""A GPU that is made up: as much of CuPy as events, streams, graphs and copies use, on arrays of NumPy.

What runs on it runs at once, on the host. It proves what is asked of CuPy, in which order and on which stream, and that
rows say what came back. It proves nothing about a bus, an event or a graph of a real GPU.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np

CACHE_BYTES = 1 << 16
BUS = "0000:17:00.0"


class MadeUpCupy:
    """A copy takes 1 ms a MiB by its events, and what calls `spend` as long as it says; all is done at once."""

    def __init__(self, lose: int = 0, free_bytes: int = 1 << 30) -> None:
        self.asked: list[str] = []
        self.now_ms = 0.0
        self.lose = lose
        """Bytes that every copy leaves out at its end."""
        outer = self

        class Stream:
            ptr = 0x51

            def __init__(self, non_blocking: bool) -> None:
                assert non_blocking
                self.captured: list[float] | None = None

            def __enter__(self) -> None:
                outer.asked.append("enter")

            def __exit__(self, *error: object) -> None:
                outer.asked.append("leave")

            def begin_capture(self) -> None:
                outer.asked.append("begin")
                self.began_ms = outer.now_ms

            def end_capture(self) -> Any:
                outer.asked.append("end")
                took_ms, outer.now_ms = outer.now_ms - self.began_ms, self.began_ms

                def launch(stream: Stream) -> None:
                    outer.asked.append("launch")
                    outer.now_ms += took_ms

                return SimpleNamespace(launch=launch)

        class Event:
            at_ms = 0.0

            def record(self, stream: Stream) -> None:
                self.at_ms = outer.now_ms
                outer.asked.append("event")

            def synchronize(self) -> None: ...

        class Device:
            def __init__(self, number: int) -> None:
                self.number = number

            def __enter__(self) -> None:
                outer.asked.append(f"device {self.number}")

            def __exit__(self, *error: object) -> None: ...

        self.cuda = SimpleNamespace(
            Stream=Stream,
            Event=Event,
            Device=Device,
            get_elapsed_time=lambda start, stop: stop.at_ms - start.at_ms,
            alloc_pinned_memory=bytearray,
            runtime=SimpleNamespace(
                deviceSynchronize=lambda: None,
                getDeviceProperties=lambda number: {"name": b"Made-up GPU", "l2CacheSize": CACHE_BYTES},
                deviceGetPCIBusId=lambda number: BUS,
                memGetInfo=lambda: (free_bytes, free_bytes),
            ),
        )

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=lambda: self.asked.append("free"))

    def spend(self, ms: float) -> None:
        """Let the GPU be busy for so long."""
        self.now_ms += ms

    def zeros(self, size: int, dtype: Any) -> Any:
        return _Array(self, np.zeros(size, dtype))

    def asnumpy(self, array: Any) -> Any:
        return array.content

    def move(self, to: int, source: int, size: int, what: str) -> None:
        self.asked.append(what)
        self.now_ms += size / (1 << 20)
        ctypes.memmove(to, source, size - self.lose)


class _Array:
    def __init__(self, cupy: MadeUpCupy, content: np.ndarray) -> None:
        self.cupy, self.content, self.data = cupy, content, self

    def set(self, content: np.ndarray) -> None:
        self.content[...] = content

    @property
    def _place(self) -> int:
        return self.content.ctypes.data

    def copy_from_host_async(self, mem: int, size: int, stream: Any) -> None:
        self.cupy.move(self._place, mem, size, "to device")

    def copy_to_host_async(self, mem: int, size: int, stream: Any) -> None:
        self.cupy.move(mem, self._place, size, "to host")

    def copy_from_device_async(self, source: Any, size: int, stream: Any) -> None:
        self.cupy.move(self._place, source._place, size, "to peer")
