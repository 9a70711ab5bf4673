"""Compiled loops tell what they are at, for whoever looks at a rank that no Python of its own can ask any more.

Three 64-bit integers lie at the address that `native.PROGRESS` tells: how many calls the rank has begun, the step of
the present one, from 1 (0: in no compiled loop; `AT_BARRIER`: it waits for the start of a call), and how many steps the
call has. Each costs a store to a line of memory that nobody else writes.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from clusterbench.collectives.transports.atomics import load_acquire, store_plain
from clusterbench.collectives.transports.native import PROGRESS

OUTSIDE, AT_BARRIER = 0, -1
_STEP_AT, _STEPS_AT = 8, 16
"""Bytes from the first of the integers to the others."""


@njit(cache=True, nogil=True)
def begin_call(mpi: Any, steps: int) -> int:
    """Tell that a call of so many steps begins. Returns where to store which of them does, from 1."""
    calls = mpi[PROGRESS]
    store_plain(calls, load_acquire(calls) + 1)
    store_plain(calls + _STEPS_AT, steps)
    return calls + _STEP_AT


@njit(cache=True, nogil=True)
def tell(mpi: Any, step: int) -> None:
    """Tell that the rank is `OUTSIDE` or `AT_BARRIER`, or in a step."""
    store_plain(mpi[PROGRESS] + _STEP_AT, step)
