"""Memory at page boundaries.

Large memory from malloc lies 16 bytes behind a page. Copies from page-aligned buffers there take twice as long: each
store seems to overlap the next load ("4-KByte Aliasing" in the Intel 64 and IA-32 Architectures Optimization Reference
Manual).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PAGE_BYTES = 4096


def page_aligned(size_bytes: int) -> NDArray[np.uint8]:
    """Zeroed bytes at a page boundary, every page touched."""
    room = np.zeros(size_bytes + PAGE_BYTES, np.uint8)
    room.fill(0)
    skip = -room.ctypes.data % PAGE_BYTES
    return room[skip : skip + size_bytes]


@dataclass(slots=True)
class Scratch:
    """What a rank's calls keep between their steps. One memory serves all of them, as a rank runs one at a time."""

    _room: NDArray[np.uint8] = field(default_factory=lambda: page_aligned(PAGE_BYTES))

    def take(self, size_bytes: int) -> NDArray[np.uint8]:
        """So many bytes, at least one, at a page boundary; what is in them is what the last call left."""
        if size_bytes > len(self._room):
            self._room = page_aligned(size_bytes)  # who was given the smaller one still holds it
        return self._room[: max(1, size_bytes)]
