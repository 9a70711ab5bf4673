"""Which problem of a kernel is timed on a device, and whether it fits there."""

from __future__ import annotations

from clusterbench.bench.judge import BEYOND_CACHE
from clusterbench.bench.measuring.buffer_sets import cold_sets
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.kernel import Kernel, KernelError, Shape, shape_text

MEMORY_SHARE = 0.5
"""Of the free memory, what arrays and the check of their results may take together."""
CHECK_COPIES = 3
"""Arrays of the size of the largest that checking needs at once, beside those that are timed."""


def beyond_cache_bytes(cache_bytes: int, free_bytes: int) -> int:
    """An array far beyond the cache: four times the last-level cache, but at most a sixteenth of the free memory.

    Where memory decides, it is a power of two, so that two runs on one machine mostly measure the same problem.
    """
    room = 1 << max(0, (free_bytes // 16).bit_length() - 1)
    return min(BEYOND_CACHE * cache_bytes, room)


def shape_to_time(kernel: Kernel, dtype: str, size_bytes: int | None, stream_bytes: int) -> Shape:
    """The problem to time: its largest array has `size_bytes`, or the kernel's own choice, or `stream_bytes`."""
    itemsize = element_type(dtype).itemsize
    if size_bytes is not None:
        return kernel.shape_of(max(1, size_bytes // itemsize))
    return kernel.shape_of(stream_bytes // itemsize if kernel.elements is None else kernel.elements)


def refuse_too_large(
    kernel: Kernel, dtype: str, shape: Shape, cold: bool, cache_bytes: int, free_bytes: int, where: str = "memory"
) -> None:
    """Raise `KernelError` where the arrays of a problem, and those of its check, take over half of the free memory.

    `cold`: with as many sets of buffers as leave each cold.
    """
    largest = max(kernel.size_bytes(array, shape, dtype) for array in kernel.arguments)
    footprint = kernel.footprint_bytes(shape, dtype)
    sets = cold_sets(footprint, cache_bytes) if cold else 1
    needed, room = sets * footprint + CHECK_COPIES * largest, MEMORY_SHARE * free_bytes
    if needed > room:
        raise KernelError(
            f"kernel {kernel.name!r} {dtype} at {shape_text(shape)} needs {needed >> 20} MiB with its check; "
            f"expected at most {int(room) >> 20} MiB, half of the free {where}"
        )
