"""Data whose result is known: filled in and checked by compiled loops, with nothing kept but the buffers themselves.

Exact data are small integers, so that every partial result is representable in any order of summation and the result is
compared for equality. Rounding data have full mantissas: their result is compared with a float64 sum, and may be off by
γ(m)·Σ|x| with m the additions on the longest path from an input to the result (N. J. Higham, "Accuracy and Stability
of Numerical Algorithms", 2nd ed., 2002, section 4.2): the proof of a schedule tells m, and p − 1 bounds it for any
algorithm. Both kinds depend on rank and index through a hash, so that a chunk in the wrong place shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.collective import Collective

_SUM, _PROD, _MIN, _MAX, _AVG, _NONE = range(6)
_OPS = {"sum": _SUM, "prod": _PROD, "min": _MIN, "max": _MAX, "avg": _AVG, "": _NONE}


@dataclass(frozen=True, slots=True)
class Wrong:
    """Elements of a result that differ from what they should be, on one rank; the first of them as an example."""

    count: int
    index: int = -1
    expected: float = 0.0
    found: float = 0.0


def fill(buffer: NDArray[Any], collective: Collective, rank: int, ranks: int, op: str, seed: int) -> None:
    """Exact data: what `rank` brings to the collective, `buffer` being just that."""
    low, span = _range(collective, ranks, buffer.dtype)
    _fill(buffer, rank, ranks, low, span, _OPS[op], seed)


def check(result: NDArray[Any], collective: Collective, rank: int, ranks: int, op: str, seed: int) -> Wrong:
    """Compare a result with what exact data give, element by element."""
    low, span = _range(collective, ranks, result.dtype)
    parts = ranks if collective.gives == "whole" and collective.has_parts else 1
    offset = rank * len(result) if collective.gives == "part" else 0
    is_float = bool(np.issubdtype(result.dtype, np.floating))
    count, index, expected = _check(result, parts, offset, ranks, low, span, _OPS[op], is_float, seed)
    if count == 0:
        return Wrong(0)
    return Wrong(int(count), int(index), float(expected), float(result[index]))


def fill_rounding(buffer: NDArray[Any], rank: int, seed: int) -> None:
    """Rounding data: floats uniform in [−1, 1), with full mantissas."""
    _fill_rounding(buffer, rank, seed)


def error_over_bound(
    result: NDArray[Any], offset: int, ranks: int, op: str, seed: int, additions: int | None = None
) -> float:
    """Largest error of a sum (or average) of rounding data over its bound.

    `offset` is the result's first element in the vector; `additions` those on the longest path, p − 1 unless given.
    """
    unit = float(np.finfo(result.dtype).eps) / 2
    roundings = max(ranks - 1 if additions is None else additions, 1) + (op == "avg")
    gamma = roundings * unit / (1 - roundings * unit)
    return float(_error_over_bound(result, offset, ranks, ranks if op == "avg" else 1, gamma, seed))


def _range(collective: Collective, ranks: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest value and number of values: as many as keep partial sums within 8 bits, or that every type holds."""
    signed = np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.signedinteger)
    copied = 127 if dtype.itemsize <= 2 else 1 << 20
    largest = max(1, min(64, 127 // ranks)) if collective.reduces else copied
    return (-largest, 2 * largest + 1) if signed else (0, largest + 1)


@njit(cache=True)
def _hash(rank: int, index: int, seed: int) -> Any:
    """31 bits from rank, index and seed: the finaliser of SplitMix64.

    G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
    doi 10.1145/2660193.2660195.
    """
    h = np.uint64(index) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(rank + 2) * np.uint64(0xD1B54A32D192ED03)
    h += np.uint64(seed) * np.uint64(0x8CB92BA72F3D8DD7)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((h ^ (h >> np.uint64(31))) >> np.uint64(33))


@njit(cache=True)
def _value(rank: int, index: int, ranks: int, low: int, span: int, op: int, seed: int) -> int:
    mixed = _hash(rank, index, seed)
    if op != _PROD:
        return low + mixed % span
    # One rank brings a 2 or 3, the others ones (or minus ones): the product stays small however many ranks there are.
    if _hash(-1, index, seed) % ranks == rank:
        return 2 + mixed % 2
    return -1 if low < 0 and mixed % 2 == 1 else 1


@njit(cache=True)
def _fill(buffer: Any, rank: int, ranks: int, low: int, span: int, op: int, seed: int) -> None:
    for i in range(len(buffer)):
        buffer[i] = _value(rank, i, ranks, low, span, op, seed)


@njit(cache=True)
def _check(
    result: Any, parts: int, offset: int, ranks: int, low: int, span: int, op: int, is_float: bool, seed: int
) -> tuple[int, int, float]:
    wrong, first, wanted = 0, -1, 0.0
    one = np.empty(1, result.dtype)  # where the exact value takes the result's type, and wraps as that does
    per_part = max(1, len(result) // parts)
    for i in range(len(result)):
        if op == _NONE:
            total = _value(i // per_part, i % per_part, ranks, low, span, op, seed)
        else:
            index = offset + i
            total = _value(0, index, ranks, low, span, op, seed)
            for rank in range(1, ranks):
                value = _value(rank, index, ranks, low, span, op, seed)
                if op == _PROD:
                    total *= value
                elif op == _MIN:
                    total = min(total, value)
                elif op == _MAX:
                    total = max(total, value)
                else:
                    total += value
        one[0] = total
        if op == _AVG and is_float:
            one[0] = one[0] / ranks
        elif op == _AVG:  # C's division, as in kernels/local_reduce.py: cut off towards zero
            summed = np.int64(one[0])
            one[0] = summed // ranks if summed >= 0 else -(-summed // ranks)
        if result[i] != one[0]:
            if wrong == 0:
                first, wanted = i, float(one[0])
            wrong += 1
    return wrong, first, wanted


@njit(cache=True)
def _rounding_value(rank: int, index: int, seed: int) -> float:
    high, low = float(_hash(rank, index, seed)), float(_hash(rank, index, seed + 1))
    return (high + low / 2147483648.0) / 1073741824.0 - 1.0


@njit(cache=True)
def _fill_rounding(buffer: Any, rank: int, seed: int) -> None:
    for i in range(len(buffer)):
        buffer[i] = _rounding_value(rank, i, seed)


@njit(cache=True)
def _error_over_bound(result: Any, offset: int, ranks: int, divisor: int, gamma: float, seed: int) -> float:
    worst = 0.0
    one = np.empty(1, result.dtype)
    for i in range(len(result)):
        # Kahan's compensated sum: for float64 results a plain float64 reference would be no better than they are.
        total, lost, magnitude = 0.0, 0.0, 0.0
        for rank in range(ranks):
            one[0] = _rounding_value(rank, offset + i, seed)
            value = float(one[0])
            magnitude += abs(value)
            step = value - lost
            grown = total + step
            lost = (grown - total) - step
            total = grown
        error = abs(float(result[i]) - total / divisor)
        if not error <= gamma * magnitude / divisor * worst:  # also for a NaN
            worst = error / (gamma * magnitude / divisor)
            if worst != worst:
                return np.inf
    return worst
