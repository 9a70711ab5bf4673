"""What Numba's CUDA simulator needs besides Numba: shared memory and barriers without races, and fast enough.

The simulator runs every CUDA thread of a block as a thread of Python. As shipped (numba-cuda 0.30) it looks a shared
array up and stores a new one without a lock, so that two threads can get an array each and a correct kernel can fail;
its shared memory keeps what the last block left; and its barrier is polled by a loop that holds the interpreter's lock.
`repair` replaces those three.
"""

from __future__ import annotations

import sys
from threading import Condition, Lock, current_thread
from typing import Any

import numpy as np


class BlockBarrier:
    """A barrier for the threads of a block that are still running: one that has ended no longer counts, as on a GPU."""

    def __init__(self, threads: int) -> None:
        self._condition = Condition()
        self._live = threads
        self._waiting = 0
        self._round = 0

    def wait(self) -> None:
        """Return when every running thread waits."""
        with self._condition:
            self._waiting += 1
            here = self._round
            if self._waiting == self._live:
                self._release()
            else:
                self._condition.wait_for(lambda: self._round != here)

    def leave(self) -> None:
        """Count the calling thread out."""
        with self._condition:
            self._live -= 1
            if self._live and self._waiting == self._live:
                self._release()

    def _release(self) -> None:
        self._waiting = 0
        self._round += 1
        self._condition.notify_all()


class SharedMemory:
    """Shared arrays of one launch: one for each block and place in the source, filled with NaN or 0xA5."""

    def __init__(self) -> None:
        self._arrays: dict[Any, Any] = {}
        self._lock = Lock()

    def array(self, place: Any, shape: Any, dtype: Any) -> Any:
        """The array that the thread's block has at this place of its source."""
        key = (tuple(current_thread().blockIdx), place)  # type: ignore[attr-defined] # the simulator's own thread class
        with self._lock:
            if key not in self._arrays:
                fresh = np.full(int(np.prod(shape)) * dtype.itemsize, 0xA5, np.uint8).view(dtype).reshape(shape)
                if dtype.kind == "f":
                    fresh.fill(np.nan)
                self._arrays[key] = fresh
            return self._arrays[key]


def repair() -> None:
    """Replace the simulator's shared memory and barrier in this process.

    They have no public interface. Raises RuntimeError, naming what is missing, where a version of Numba lacks it.
    """
    from numba import types
    from numba.cuda.simulator import kernel, kernelapi
    from numba.np.numpy_support import as_dtype

    for owner, name in ((kernel, "BlockManager"), (kernel, "BlockThread"), (kernelapi, "FakeCUDAShared")):
        if not hasattr(owner, name):
            raise RuntimeError(f"this version of Numba's simulator has no {owner.__name__}.{name}")
    allocate = kernelapi.FakeCUDAShared.array

    def array(self: Any, shape: Any, dtype: Any, alignment: Any = None) -> Any:
        if alignment is not None or shape == 0:
            return allocate(self, shape, dtype, alignment)
        frame = sys._getframe(1)
        memory = self.__dict__.setdefault("_by_block", SharedMemory())
        kind = np.dtype(as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
        return memory.array((frame.f_code, frame.f_lasti), shape, kind)

    def run(self: Any, grid_point: Any, *args: Any) -> None:
        points = list(np.ndindex(*self._block_dim))
        self.barrier = BlockBarrier(len(points))

        def target() -> None:
            try:
                self._f(*args)
            finally:
                self.barrier.leave()

        threads = [kernel.BlockThread(target, self, grid_point, point, self._debug) for point in points]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for thread in threads:
            if thread.exception:
                raise thread.exception[0].with_traceback(thread.exception[1])

    kernelapi.FakeCUDAShared.array = array
    kernel.BlockManager.run = run
    kernel.BlockThread.syncthreads = lambda self: self._manager.barrier.wait()
