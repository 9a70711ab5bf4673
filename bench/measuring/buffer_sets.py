"""Sets of buffers for a kernel: one for hot caches, and so many in turns that each is cold when it is met.

A buffer that is overwritten to fill the caches would leave lines behind which the call that is timed has to write
back; other sets of the same kernel leave those that it leaves itself.
"""

from __future__ import annotations

import numpy as np

from clusterbench.bench.judge import BEYOND_CACHE
from clusterbench.kernels.ceilings import roofline
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.vectors import LINE_BYTES, PAGE_BYTES

TIMES_CACHE = 2
"""Last-level caches that the other sets fill before one comes again."""
OFFSET_BYTES = 1536
"""By which the arrays of a kernel begin later in a page, one after the other."""
MOST_SETS = 1 << 16
"""Of smaller buffers fewer bytes are in turn; whether they are cold is looked at in any case."""


def cold_sets(footprint_bytes: int, cache_bytes: int) -> int:
    """How many sets of this many bytes to take in turns, so that each is cold; one that is far beyond the cache is."""
    if footprint_bytes >= BEYOND_CACHE * cache_bytes:
        return 1
    return min(MOST_SETS, 1 + -(-TIMES_CACHE * cache_bytes // footprint_bytes))


def order_of_turns(sets: int, rng: np.random.Generator) -> list[int]:
    """The order in which sets are taken that were filled one after the other.

    Those of the first half come first, which have left the caches meanwhile; within a half at random, as the processor
    would fetch the next set ahead of time.
    """
    half = sets // 2
    return [*rng.permutation(half).tolist(), *(half + rng.permutation(sets - half)).tolist()]


def placed(extent: tuple[int, ...], dtype: str, sets: int, number: int = 0) -> list[Array]:
    """Arrays, each from a cache line on, in one piece of memory that all cores have touched first, each its part.

    `number` is that of the argument: each begins elsewhere in a page, as the OFFSET of STREAM has it. A load waits for
    a store before it whose address has the same last twelve bits, and arrays in step would meet that at every element.
    """
    kind, size = element_type(dtype), int(np.prod(extent))
    each = -(-size * kind.itemsize // LINE_BYTES) * LINE_BYTES
    room = np.empty((sets * each + PAGE_BYTES) // 8, np.uint64)
    roofline.fill(room, np.uint64(0))
    memory = room.view(np.uint8)[(number * OFFSET_BYTES - room.ctypes.data) % PAGE_BYTES :]
    return [memory[i * each : i * each + size * kind.itemsize].view(kind).reshape(extent) for i in range(sets)]
