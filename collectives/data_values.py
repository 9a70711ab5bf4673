"""The values of `collectives/data.py`, element by element, and the compiled loops that write and compare them.

A buffer consists of segments, rows (source rank, or `ALL` for the reduction over all; destination of an exchange, else
0; index of the first element; length). A law is (ranks, lowest value, number of values, operation, seed, ranks that
bring something other than 0 to one element of a sum). Arrays of 16-bit floats come in as arrays of uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, njit, uint16

from clusterbench.kernels.half import from_bfloat16, from_float16, to_bfloat16, to_float16

ALL = -1
SUM, PROD, MIN, MAX, AVG, NONE = range(6)

BLOCK = 1024
"""Elements that are made at once, in the first-level cache."""
LEADING = 32
"""Values that only the one rank brings whose value is the minimum or maximum."""


@njit(cache=True)
def _hash(rank: int, peer: int, index: int, seed: int) -> Any:
    """31 bits from ranks, index and seed: the finaliser of SplitMix64.

    G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
    doi 10.1145/2660193.2660195.
    """
    h = np.uint64(index) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(rank + 2) * np.uint64(0xD1B54A32D192ED03)
    h += np.uint64(seed) * np.uint64(0x8CB92BA72F3D8DD7) + np.uint64(peer) * np.uint64(0xAEF17502108EF2D9)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((h ^ (h >> np.uint64(31))) >> np.uint64(33))


@njit(cache=True)
def _below(mixed: int, end: int) -> int:
    """31 bits turned into a number from 0 to end − 1."""
    return (mixed * end) >> 31


@njit(cache=True)
def _chosen(index: int, ranks: int, seed: int) -> int:
    """The rank that an element singles out."""
    return _below(_hash(-1, 0, index, seed), ranks)


@njit(cache=True)
def _value(rank: int, peer: int, index: int, law: Any) -> int:
    """What a rank brings (for `peer`, in an exchange)."""
    ranks, low, span, op, seed, contributors = law
    mixed = _hash(rank, peer, index, seed)
    if op == NONE:
        return low + _below(mixed, span)
    if op in (SUM, AVG):
        if ranks > contributors and (rank - _chosen(index, ranks, seed)) % ranks >= contributors:
            return 0
        return low + _below(mixed, span)
    leads = _chosen(index, ranks, seed) == rank
    if op == PROD:  # one rank brings a 2 or 3, the others ones (or minus ones): the product stays small
        if leads:
            return 2 + mixed % 2
        return -1 if low < 0 and mixed % 2 == 1 else 1
    bottom, top = low + (LEADING if op == MIN else 0), low + span - (LEADING if op == MAX else 0)
    if not leads:
        return bottom + _below(mixed, top - bottom)
    return (low if op == MIN else top) + _below(mixed, LEADING)


@njit(cache=True)
def _reduced(index: int, law: Any) -> int:
    """What all ranks' values give; of an average, the sum."""
    ranks, _, _, op, seed, contributors = law
    first = _chosen(index, ranks, seed)
    if op in (MIN, MAX):
        return _value(first, 0, index, law)
    if op == PROD:
        product = 1
        for rank in range(ranks):
            product *= _value(rank, 0, index, law)
        return product
    total = 0
    for step in range(contributors):
        total += _value((first + step) % ranks, 0, index, law)
    return total


@njit(cache=True)
def _write(block: Any, segment: Any, start: int, law: Any) -> None:
    """The exact values of a segment from element `start` of it on, as many as the block has room for."""
    ranks, low, span, op, seed, contributors = law
    source, peer, first = segment[0], segment[1], segment[2] + start
    plain = op == NONE or (op in (SUM, AVG) and ranks == contributors)
    if plain:  # most frequent by far, and so without a branch in the loop
        block[:] = 0
        for rank in range(source, source + 1) if source != ALL else range(ranks):
            for j in range(len(block)):
                block[j] += low + _below(_hash(rank, peer, first + j, seed), span)
        return
    for j in range(len(block)):
        block[j] = _reduced(first + j, law) if source == ALL else _value(source, peer, first + j, law)


@njit(cache=True)
def _divide(block: Any, divisor: int) -> None:
    """C's division, as in kernels/local_reduce.py: cut off towards zero."""
    for j in range(len(block)):
        block[j] = block[j] // divisor if block[j] >= 0 else -(-block[j] // divisor)


@njit(cache=True)
def _shortened(value: float, is_bfloat16: bool) -> int:
    return to_bfloat16(float32(value)) if is_bfloat16 else to_float16(float32(value))


@njit(cache=True)
def _widened(short: int, is_bfloat16: bool) -> float:
    return from_bfloat16(uint16(short)) if is_bfloat16 else from_float16(uint16(short))


@njit(cache=True)
def fill(buffer: Any, segments: Any, law: Any) -> None:
    """Write exact data."""
    at = 0
    room = np.empty(BLOCK, np.int64)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            for j in range(len(block)):
                buffer[at + j] = block[j]
            at += len(block)


@njit(cache=True)
def fill_short(buffer: Any, segments: Any, law: Any, is_bfloat16: bool) -> None:
    """`fill` for a 16-bit float."""
    at = 0
    room = np.empty(BLOCK, np.int64)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            for j in range(len(block)):
                buffer[at + j] = _shortened(float32(block[j]), is_bfloat16)
            at += len(block)


@njit(cache=True)
def check(result: Any, segments: Any, law: Any, is_float: bool, wanted: Any) -> tuple[int, int]:
    """Count the elements that are not what exact data give, and find the first; its right value goes to wanted[0]."""
    wrong, first, at = 0, -1, 0
    room, right = np.empty(BLOCK, np.int64), np.empty(BLOCK, result.dtype)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            if law[3] == AVG and not is_float:
                _divide(block, law[0])
            divisor = law[0] if law[3] == AVG and is_float else 1
            differing = 0
            for j in range(len(block)):
                right[j] = block[j] / divisor if divisor > 1 else block[j]
                differing += result[at + j] != right[j]
            if differing > 0 and wrong == 0:
                j = 0
                while result[at + j] == right[j]:
                    j += 1
                first, wanted[0] = at + j, right[j]
            wrong += differing
            at += len(block)
    return wrong, first


@njit(cache=True)
def check_short(result: Any, segments: Any, law: Any, is_bfloat16: bool, wanted: Any) -> tuple[int, int]:
    """`check` for a 16-bit float: the sum is exact, an average is divided in float32 and rounded once."""
    wrong, first, at = 0, -1, 0
    room, right = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.uint16)
    divisor = float32(law[0] if law[3] == AVG else 1)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            differing = 0
            for j in range(len(block)):
                right[j] = _shortened(float32(block[j]) / divisor, is_bfloat16)
                differing += _widened(result[at + j], is_bfloat16) != _widened(right[j], is_bfloat16)
            if differing > 0 and wrong == 0:
                j = 0
                while _widened(result[at + j], is_bfloat16) == _widened(right[j], is_bfloat16):
                    j += 1
                first, wanted[0] = at + j, right[j]
            wrong += differing
            at += len(block)
    return wrong, first


@njit(cache=True)
def _rounding_value(rank: int, index: int, seed: int) -> float:
    high, low = float(_hash(rank, 0, index, seed)), float(_hash(rank, 0, index, seed + 1))
    return (high + low / 2147483648.0) / 1073741824.0 - 1.0


@njit(cache=True)
def fill_rounding(buffer: Any, rank: int, seed: int) -> None:
    """Write floats uniform in [−1, 1)."""
    for i in range(len(buffer)):
        buffer[i] = _rounding_value(rank, i, seed)


@njit(cache=True)
def fill_rounding_short(buffer: Any, rank: int, seed: int, is_bfloat16: bool) -> None:
    """`fill_rounding` for a 16-bit float."""
    for i in range(len(buffer)):
        buffer[i] = _shortened(_rounding_value(rank, i, seed), is_bfloat16)


@njit(cache=True)
def _summed(index: int, ranks: int, seed: int, kind: int, one: Any) -> tuple[float, float]:
    """Sum and sum of magnitudes of what all ranks bring; `kind` is 0 for `one`'s type, 1 float16, 2 bfloat16."""
    # Kahan's compensated sum: for float64 results a plain float64 reference would be no better than they are.
    total, lost, magnitude = 0.0, 0.0, 0.0
    for rank in range(ranks):
        value = _rounding_value(rank, index, seed)
        if kind == 0:
            one[0] = value
            value = float64(one[0])
        else:
            value = float64(_widened(_shortened(value, kind == 2), kind == 2))
        magnitude += abs(value)
        step = value - lost
        grown = total + step
        lost = (grown - total) - step
        total = grown
    return total, magnitude


@njit(cache=True)
def _worse(worst: float, error: float, bound: float) -> float:
    """The larger of `worst` and error / bound; infinite for a NaN."""
    if error <= bound * worst:
        return worst
    return error / bound if error == error and bound > 0 else np.inf


@njit(cache=True)
def error_over_bound(
    result: Any, first: int, ranks: int, divisor: int, factor: float, least: float, seed: int
) -> float:
    """Largest |result − exact| over factor·Σ|x| / divisor + least."""
    worst = 0.0
    one = np.empty(1, result.dtype)
    for i in range(len(result)):
        total, magnitude = _summed(first + i, ranks, seed, 0, one)
        worst = _worse(worst, abs(float64(result[i]) - total / divisor), factor * magnitude / divisor + least)
    return worst


@njit(cache=True)
def error_over_bound_short(
    result: Any, first: int, ranks: int, divisor: int, factor: float, least: float, seed: int, is_bfloat16: bool
) -> float:
    """`error_over_bound` for a 16-bit float."""
    worst = 0.0
    one = np.empty(1, np.float32)
    for i in range(len(result)):
        total, magnitude = _summed(first + i, ranks, seed, 2 if is_bfloat16 else 1, one)
        found = float64(_widened(result[i], is_bfloat16))
        worst = _worse(worst, abs(found - total / divisor), factor * magnitude / divisor + least)
    return worst
