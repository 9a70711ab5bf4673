"""The hash behind all data that is checked: what an element is depends on who sends it, on its index, and on a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True)
def mixed(rank: int, peer: int, index: int, seed: int) -> Any:
    """64 bits from two ranks (−1 is none), an index and a seed: the finaliser of SplitMix64.

    G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
    doi 10.1145/2660193.2660195.
    """
    h = np.uint64(index) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(rank + 2) * np.uint64(0xD1B54A32D192ED03)
    h += np.uint64(seed) * np.uint64(0x8CB92BA72F3D8DD7) + np.uint64(peer) * np.uint64(0xAEF17502108EF2D9)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
