"""The values of `collectives/checking/data.py`, element by element, and the compiled loops that write and compare them.

A buffer consists of segments, rows (source rank, or `ALL` for the reduction over all; destination of an exchange, else
0; index of the first element; length). A law is (ranks, lowest value, number of values, operation, seed, ranks that
bring something other than 0 to one element of a sum). Arrays of 16-bit floats come in as arrays of uint16, and a code
says which of the two they hold: `FLOAT16` or `BFLOAT16`; `OWN` is an array that holds its own type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, njit, uint16

from clusterbench.collectives.checking.splitmix import mixed
from clusterbench.kernels.loops.half import from_bfloat16, from_float16, to_bfloat16, to_float16

ALL = -1
SUM, PROD, MIN, MAX, AVG, EVEN_AVG, NONE = range(7)
"""Operations. EVEN_AVG is the average of what is alike on all ranks, for types in which other sums average to 0."""
OWN, FLOAT16, BFLOAT16 = range(3)
"""What an array holds."""

BLOCK = 1024
"""Elements that are made at once, in the first-level cache."""
LEADING = 32
"""Values that only the one rank brings whose value is the minimum or maximum."""


@njit(cache=True)
def _hash(rank: int, peer: int, index: int, seed: int) -> Any:
    """31 bits from ranks, index and seed."""
    return np.int64(mixed(rank, peer, index, seed) >> np.uint64(33))


@njit(cache=True)
def _below(bits: int, end: int) -> int:
    """31 bits turned into a number from 0 to end − 1."""
    return (bits * end) >> 31


@njit(cache=True)
def _chosen(index: int, ranks: int, seed: int) -> int:
    """The rank that an element singles out."""
    return _below(_hash(-1, 0, index, seed), ranks)


@njit(cache=True)
def _value(rank: int, peer: int, index: int, law: Any) -> int:
    """What a rank brings (for `peer`, in an exchange)."""
    ranks, low, span, op, seed, contributors = law
    bits = _hash(rank, peer, index, seed)
    if op == NONE:
        return low + _below(bits, span)
    if op in (SUM, AVG):
        if ranks > contributors and (rank - _chosen(index, ranks, seed)) % ranks >= contributors:
            return 0
        return low + _below(bits, span)
    leads = _chosen(index, ranks, seed) == rank
    if op == EVEN_AVG:
        level, sign, short = _even(index, law)
        return sign * (level - 1 if leads and short else level)
    if op == PROD:  # one rank brings a 2 or 3, the others ones (or minus ones): the product stays small
        if leads:
            return 2 + bits % 2
        return -1 if low < 0 and bits % 2 == 1 else 1
    bottom, top = low + (LEADING if op == MIN else 0), low + span - (LEADING if op == MAX else 0)
    if not leads:
        return bottom + _below(bits, top - bottom)
    return (low if op == MIN else top) + _below(bits, LEADING)


@njit(cache=True)
def _even(index: int, law: Any) -> tuple[int, int, bool]:
    """What all ranks bring to an element of an even average: a level from 1 up, its sign, and whether one falls short.

    One rank brings one less to every second element. So the sum is a multiple of the ranks, and the average falls where
    a contribution is lost; or it is one below a multiple, and the average grows where one is added twice.
    """
    low, span, seed = law[1], law[2], law[4]
    bits = _hash(-1, 1, index, seed)
    return 1 + _below(bits, low + span - 1), -1 if low < 0 and bits % 2 == 1 else 1, bits // 2 % 2 == 1


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
    if op == EVEN_AVG:
        level, sign, short = _even(index, law)
        return sign * (level * ranks - short)
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
    """C's division, as in kernels/loops/local_reduce.py: cut off towards zero."""
    for j in range(len(block)):
        block[j] = block[j] // divisor if block[j] >= 0 else -(-block[j] // divisor)


@njit(cache=True)
def _widened(short: int, holds: int) -> float:
    return from_bfloat16(uint16(short)) if holds == BFLOAT16 else from_float16(uint16(short))


@njit(cache=True)
def _put(buffer: Any, at: int, value: Any, holds: int) -> None:
    """Write a value, rounded to what the array holds."""
    if holds == OWN:
        buffer[at] = value
    elif holds == BFLOAT16:
        buffer[at] = to_bfloat16(float32(value))
    else:
        buffer[at] = to_float16(float32(value))


@njit(cache=True)
def _store(buffer: Any, at: int, block: Any, holds: int) -> None:
    """`_put` for a block, without a branch in the loops."""
    if holds == OWN:
        for j in range(len(block)):
            _put(buffer, at + j, block[j], OWN)
    elif holds == BFLOAT16:
        for j in range(len(block)):
            _put(buffer, at + j, block[j], BFLOAT16)
    else:
        for j in range(len(block)):
            _put(buffer, at + j, block[j], FLOAT16)


@njit(cache=True)
def _got(buffer: Any, at: int, holds: int) -> float:
    return float64(buffer[at]) if holds == OWN else float64(_widened(buffer[at], holds))


@njit(cache=True)
def _unlike(found: Any, right: Any, holds: int) -> bool:
    """Whether a value is not the right one, which is no NaN: then equal bits are equal values."""
    return found != right and (holds == OWN or _widened(found, holds) != _widened(right, holds))


@njit(cache=True)
def fill(buffer: Any, segments: Any, law: Any, holds: int) -> None:
    """Write exact data."""
    at = 0
    room = np.empty(BLOCK, np.int64)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            _store(buffer, at, block, holds)
            at += len(block)


@njit(cache=True)
def check(result: Any, segments: Any, law: Any, is_float: bool, holds: int, wanted: Any) -> tuple[int, int]:
    """Count the elements that are not what exact data give, and find the first; its right value goes to wanted[0].

    A floating-point sum is exact, and its average is divided in the type, or in float32 for one of 16 bits, and rounded
    once.
    """
    wrong, first, at = 0, -1, 0
    room, right = np.empty(BLOCK, np.int64), np.empty(BLOCK, result.dtype)
    averages = law[3] in (AVG, EVEN_AVG)
    for s in range(len(segments)):
        for start in range(0, segments[s, 3], BLOCK):
            block = room[: min(BLOCK, segments[s, 3] - start)]
            _write(block, segments[s], start, law)
            if averages and not is_float:
                _divide(block, law[0])
            if averages and is_float:  # in float64, whose quotients of such numbers round to the right float32
                _store(right, 0, block / law[0], holds)
            else:
                _store(right, 0, block, holds)
            differing = 0
            for j in range(len(block)):
                differing += _unlike(result[at + j], right[j], holds)
            if differing > 0 and wrong == 0:
                j = 0
                while not _unlike(result[at + j], right[j], holds):
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
def fill_rounding(buffer: Any, rank: int, seed: int, holds: int) -> None:
    """Write floats uniform in [−1, 1)."""
    room = np.empty(BLOCK, np.float64)
    for start in range(0, len(buffer), BLOCK):
        block = room[: min(BLOCK, len(buffer) - start)]
        for j in range(len(block)):
            block[j] = _rounding_value(rank, start + j, seed)
        _store(buffer, start, block, holds)


@njit(cache=True)
def _summed(index: int, ranks: int, seed: int, one: Any, holds: int) -> tuple[float, float]:
    """Sum and sum of magnitudes of what all ranks bring, as an array such as `one` holds it."""
    # Kahan's compensated sum: for float64 results a plain float64 reference would be no better than they are.
    total, lost, magnitude = 0.0, 0.0, 0.0
    for rank in range(ranks):
        _put(one, 0, _rounding_value(rank, index, seed), holds)
        value = _got(one, 0, holds)
        magnitude += abs(value)
        step = value - lost
        grown = total + step
        lost = (grown - total) - step
        total = grown
    return total, magnitude


@njit(cache=True)
def check_rounding(
    result: Any, first: int, ranks: int, divisor: int, factor: float, least: float, seed: int, holds: int, wanted: Any
) -> tuple[float, int, int]:
    """Compare with the exact sums over `divisor`, each of which may be off by factor·Σ|x| / divisor + least.

    Returns the largest error over its bound (infinite for a NaN), how many elements are beyond theirs, and the first of
    them, whose exact value goes to wanted[0], rounded.
    """
    worst, wrong, at = 0.0, 0, -1
    one = np.empty(1, result.dtype)
    for i in range(len(result)):
        total, magnitude = _summed(first + i, ranks, seed, one, holds)
        bound = factor * magnitude / divisor + least
        error = abs(_got(result, i, holds) - total / divisor)
        if error <= bound * min(worst, 1.0):
            continue
        if not error <= bound:
            if wrong == 0:
                at = i
                _put(wanted, 0, total / divisor, holds)
            wrong += 1
        worst = max(worst, error / bound if error == error and bound > 0 else np.inf)
    return worst, wrong, at
