"""16-bit floats for kernels that work on rows: widened to float32 in a buffer that stays in cache, and rounded back.

NumPy arrays of float16 and of `ml_dtypes`' bfloat16 are passed to compiled code as their bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from clusterbench.kernels.kernel import Array
from clusterbench.kernels.loops.half import from_bfloat16, from_float16, to_bfloat16, to_float16

PART = 4096
"""Elements of one task of a whole array."""
IS_BFLOAT16 = {"float16": False, "bfloat16": True}


def is_short(array: Array) -> bool:
    """Whether an array is of a 16-bit type."""
    return array.dtype.name in IS_BFLOAT16


def bits(array: Array) -> Array:
    """The same memory as unsigned integers."""
    return array.view("uint16")


@njit(cache=True)
def widen(wide: Array, short: Array, brain: bool) -> None:
    """wide = short, where `brain` says that the bits are bfloat16's."""
    if brain:
        for i in range(short.size):
            wide[i] = from_bfloat16(short[i])
    else:
        for i in range(short.size):
            wide[i] = from_float16(short[i])


@njit(cache=True)
def narrow(short: Array, wide: Array, brain: bool) -> None:
    """short = wide, rounded to nearest, ties to even."""
    if brain:
        for i in range(short.size):
            short[i] = to_bfloat16(wide[i])
    else:
        for i in range(short.size):
            short[i] = to_float16(wide[i])


@njit(parallel=True, cache=True)
def _widen_flat(wide: Array, short: Array, brain: bool) -> None:
    for part in prange((short.size + PART - 1) // PART):
        low, high = part * PART, min((part + 1) * PART, short.size)
        widen(wide[low:high], short[low:high], brain)


@njit(parallel=True, cache=True)
def _narrow_flat(short: Array, wide: Array, brain: bool) -> None:
    for part in prange((short.size + PART - 1) // PART):
        low, high = part * PART, min((part + 1) * PART, short.size)
        narrow(short[low:high], wide[low:high], brain)


def widened(array: Array) -> Array:
    """A contiguous array of a 16-bit type as a float32 array of its own."""
    wide = np.empty(array.shape, np.float32)
    _widen_flat(wide.reshape(-1), bits(array).reshape(-1), IS_BFLOAT16[array.dtype.name])
    return wide


def narrow_into(array: Array, wide: Array) -> None:
    """Round a whole float32 array into one of a 16-bit type."""
    _narrow_flat(bits(array).reshape(-1), wide.reshape(-1), IS_BFLOAT16[array.dtype.name])
