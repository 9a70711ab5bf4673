"""Data whose result is known: filled in and checked by compiled loops, with nothing kept but the buffers themselves.

Exact data are small integers, so that every partial result is representable in any order of reduction, in every type
down to bfloat16's 8 bits and over any number of ranks, and the result is compared for equality. Where ranks are more
than the largest sum allows, so many of them bring something to an element, and the others 0. Nothing overflows, as C
leaves open what that gives. Averages of 8-bit integers over more than 16 ranks are of what is alike on all ranks, as
others are nearly all 0; over more than 127 they are 0 whatever is done (`averages_to_zero`).

Rounding data have full mantissas: their result is compared with a compensated float64 sum, and may be off by
((1 + u)^m − 1)·Σ|x| with m the additions on the longest path from an input to the result. That is the bound behind
Lemma 3.1 of N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, and section 4.2 there, which
he in turn bounds by γ(m) = mu/(1 − mu) where mu < 1; 256 additions in bfloat16 are beyond that. The proof of a schedule
tells m, and p − 1 bounds it for any algorithm. u is half the distance from 1 to the next value; a 16-bit sum is rounded
twice at every hop, to float32 and to the type: 1 + u is then (1 + u16)(1 + u32).

Both kinds depend on rank and index through a hash, and in an exchange on both ranks, so that a chunk in the wrong place
shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.checking import values
from clusterbench.collectives.checking.values import ALL
from clusterbench.collectives.collective import Collective, Extent
from clusterbench.collectives.schedule import Count, Ints
from clusterbench.kernels.element_types import SHORT_FLOATS, is_float

EVEN_FROM = 16
"""Ranks above which an average of 8-bit integers is one of even values; up to here values are of 7 and more."""

_OPS = {"sum": values.SUM, "prod": values.PROD, "min": values.MIN, "max": values.MAX, "avg": values.AVG,
        "": values.NONE}  # fmt: skip

_LARGEST_SUM = {"int8": 127, "uint8": 127, "bfloat16": 127, "float16": 2047}
"""Up to where every integer, of either sign, is a value of the type: what partial sums of exact data stay within."""
_LARGEST_OTHER_SUM = 2**24 - 1
"""The same of float32, which serves the wider types too."""
_SHORT_INTEGERS = ("int8", "uint8")

_HOLDS = {"float16": values.FLOAT16, "bfloat16": values.BFLOAT16}
"""What an array of 16-bit words holds for compiled code; any other array holds its own type."""

_ROUNDING = {
    "float16": (2.0**-11, 2.0**-24),
    "bfloat16": (2.0**-8, 2.0**-133),
    "float32": (2.0**-24, 2.0**-149),
    "float64": (2.0**-53, 2.0**-1074),
}
"""Half the distance from 1 to the next value, and the least value above 0 (IEEE Std 754-2019, table 3.5)."""


class DataError(ValueError):
    """A buffer or an operation that the problem does not have."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One collective call: what every rank brings and must hold follows from it."""

    collective: Collective
    ranks: int
    root: int
    """−1 where there is none."""
    count: Count
    """As in `schedule.layout`: elements a rank as nccl-tests counts them, or the matrix of an uneven exchange."""
    dtype: np.dtype[Any]
    op: str
    """Empty where nothing is reduced."""
    seed: int

    def brings(self, rank: int) -> int:
        """Elements that a rank brings."""
        return int(self._brought(rank)[:, 3].sum())

    def holds(self, rank: int) -> int:
        """Elements that a rank must hold at the end."""
        return int(self._held(rank)[:, 3].sum())

    def _brought(self, rank: int) -> Ints:
        """The segments (see `data_values`) of what a rank brings, of shape (segments, 4)."""
        what = self.collective
        if what.exchanges:
            lengths = self._lengths()[rank]
            return _segments([(rank, to, 0, int(lengths[to])) for to in range(self.ranks)])
        if what.reduces:
            return _segments([(rank, 0, 0, self._count() * what.parts(self.ranks))])
        if self._has(what.takes, rank):
            parts = what.parts(self.ranks) if what.takes != "part" else 1
            return _segments([(rank, to, 0, self._count()) for to in range(parts)])
        return _segments([])

    def _held(self, rank: int) -> Ints:
        """The segments of what a rank must hold at the end."""
        what = self.collective
        if what.exchanges:
            lengths = self._lengths()[:, rank]
            return _segments([(source, rank, 0, int(lengths[source])) for source in range(self.ranks)])
        if not self._has(what.gives, rank):
            return _segments([])
        count = self._count()
        if what.reduces:
            return _segments([(ALL, 0, rank * count if what.gives == "part" else 0, count)])
        if what.takes == "part":
            return _segments([(source, 0, 0, count) for source in range(self.ranks)])
        return _segments([(self.root, rank if what.gives == "part" else 0, 0, count)])

    def _has(self, extent: Extent, rank: int) -> bool:
        return extent != "root" or rank == self.root

    def _count(self) -> int:
        return int(np.asarray(self.count)[()])

    def _lengths(self) -> Ints:
        """Elements from rank i to rank j of an exchange."""
        return np.broadcast_to(np.asarray(self.count, np.int64), (self.ranks, self.ranks))

    def _law(self) -> tuple[int, int, int, int, int, int]:
        """The law (see `data_values`) that exact data follow."""
        signed = is_float(self.dtype) or self.dtype.kind == "i"
        contributors = self.ranks
        if self.op in ("min", "max"):
            low, span = (-64 if signed else 0), 128
        else:
            if self.op in ("sum", "avg"):
                most = _LARGEST_SUM.get(self.dtype.name, _LARGEST_OTHER_SUM)
                contributors = min(self.ranks, most)
                largest = max(1, min(4096, most // self.ranks))
            else:
                largest = 127 if self.dtype.itemsize <= 2 else 1 << 20
            low, span = (-largest, 2 * largest + 1) if signed else (0, largest + 1)
        even = self.op == "avg" and self.dtype.name in _SHORT_INTEGERS and EVEN_FROM < self.ranks <= most
        return self.ranks, low, span, values.EVEN_AVG if even else _OPS[self.op], self.seed, contributors


@dataclass(frozen=True, slots=True)
class Wrong:
    """Elements of a result that are not what they should be, on one rank; the first of them as an example."""

    count: int
    index: int = -1
    expected: float | int = 0
    """Of a float, the shortest decimal number that the type rounds to the value."""
    found: float | int = 0
    ulp: int | None = None
    """How many values of the type it takes from one to the other; None for integers, and where one is a NaN."""
    error_over_bound: float | None = None
    """Of rounding data, the largest error over its bound: what is wrong is beyond it. None for exact data."""

    def text(self) -> str:
        """The message, or nothing where nothing is wrong."""
        if self.count == 0:
            return ""
        apart = ""
        if self.ulp is not None:
            apart = f" ({self.ulp} ULP apart)"
        elif isinstance(self.expected, int) and isinstance(self.found, int):
            apart = f" ({abs(self.expected - self.found)} apart)"
        expected, found = (
            f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
            for value in (self.expected, self.found)
        )
        what, largest = "wrong", ""
        if self.error_over_bound is not None:
            what, largest = (
                "beyond the error bound",
                f"; the largest error is {self.error_over_bound:.3g} times its bound",
            )
        return f"{self.count} {what}, first at index {self.index}: expected {expected}, found {found}{apart}{largest}"


def fill(problem: Problem, buffer: NDArray[Any], rank: int) -> None:
    """Exact data: write what a rank brings into `buffer`, which is just that. Raises `DataError` for another length."""
    _refuse_length(problem, buffer, problem.brings(rank), "brings")
    values.fill(_words(buffer), problem._brought(rank), problem._law(), _holds(problem))


def check(problem: Problem, result: NDArray[Any], rank: int) -> Wrong:
    """Compare a result with what exact data give, element by element; −0 is 0, and a NaN is wrong.

    Raises `DataError` for a result of another length than the rank must hold.
    """
    _refuse_length(problem, result, problem.holds(rank), "must hold")
    wanted = np.zeros(1, problem.dtype)
    count, index = values.check(
        _words(result), problem._held(rank), problem._law(), is_float(problem.dtype), _holds(problem), _words(wanted)
    )
    return _wrong(result, int(count), int(index), wanted)


def poison(buffer: NDArray[Any]) -> None:
    """Fill with what no result of exact data can be, so that an element that was never written shows."""
    if is_float(buffer.dtype):
        buffer.fill(np.nan)
    else:  # exact data are symmetric about zero, and those without a sign end before the largest value
        limits = np.iinfo(buffer.dtype)
        buffer.fill(limits.min if limits.min < 0 else limits.max)


def fill_rounding(problem: Problem, buffer: NDArray[Any], rank: int) -> None:
    """Rounding data: write floats uniform in [−1, 1), with full mantissas, as what a rank brings to a sum or average.

    Raises `DataError` where the problem is another, or for a buffer of another length.
    """
    _refuse_not_rounding(problem)
    _refuse_length(problem, buffer, problem.brings(rank), "brings")
    values.fill_rounding(_words(buffer), rank, problem.seed, _holds(problem))


def check_rounding(problem: Problem, result: NDArray[Any], rank: int, additions: int | None = None) -> Wrong:
    """Compare a sum (or average) of rounding data with the exact one; what is beyond its error bound is wrong.

    `additions` are those on the longest path, p − 1 unless given. Raises `DataError` as `fill_rounding` does.
    """
    _refuse_not_rounding(problem)
    _refuse_length(problem, result, problem.holds(rank), "must hold")
    if len(result) == 0:
        return Wrong(0, error_over_bound=0.0)
    ranks, averages = problem.ranks, problem.op == "avg"
    unit, least = _ROUNDING[problem.dtype.name]
    growth = math.log1p(unit)
    growth += math.log1p(_ROUNDING["float32"][0]) if problem.dtype.name in SHORT_FLOATS else 0.0
    factor = math.expm1((max(ranks - 1 if additions is None else additions, 1) + averages) * growth)
    # A quotient may be subnormal, and is then off by up to half the least of them; a sum that is so is exact.
    least = least / 2 if averages else 0.0
    first, wanted = int(problem._held(rank)[0, 2]), np.zeros(1, problem.dtype)
    worst, count, index = values.check_rounding(
        _words(result), first, ranks, ranks if averages else 1, factor, least, problem.seed, _holds(problem),
        _words(wanted),
    )  # fmt: skip
    return replace(_wrong(result, int(count), int(index), wanted), error_over_bound=float(worst))


def averages_to_zero(problem: Problem) -> bool:
    """Whether every average of exact data is 0: no sum of an 8-bit integer reaches so many ranks.

    Only elements that were never written, or not by this call, are then found wrong.
    """
    name = problem.dtype.name
    return problem.op == "avg" and name in _SHORT_INTEGERS and problem.ranks > _LARGEST_SUM[name]


def _holds(problem: Problem) -> int:
    return _HOLDS.get(problem.dtype.name, values.OWN)


def _words(array: NDArray[Any]) -> NDArray[Any]:
    """The array as compiled code takes it: 16-bit floats as words."""
    return array.view(np.uint16) if array.dtype.name in SHORT_FLOATS else array


def _wrong(result: NDArray[Any], count: int, index: int, wanted: NDArray[Any]) -> Wrong:
    if count == 0:
        return Wrong(0)
    found = result[index : index + 1]
    return Wrong(count, index, _shown(wanted), _shown(found), _ulp(wanted, found))


def _segments(rows: list[tuple[int, int, int, int]]) -> Ints:
    return np.array(rows, np.int64).reshape(-1, 4)


def _refuse_length(problem: Problem, buffer: NDArray[Any], expected: int, does: str) -> None:
    if buffer.shape != (expected,) or buffer.dtype != problem.dtype:
        raise DataError(
            f"a buffer of shape {buffer.shape} and type {buffer.dtype.name}; the rank {does} {expected} elements "
            f"of type {problem.dtype.name} in this {problem.collective.name}"
        )


def _refuse_not_rounding(problem: Problem) -> None:
    if problem.op not in ("sum", "avg") or not is_float(problem.dtype):
        raise DataError(
            f"rounding data for {problem.op or problem.collective.name} in {problem.dtype.name}; "
            "expected sum or avg in a floating-point type"
        )


def _shown(one: NDArray[Any]) -> float | int:
    """The only element as a Python number; a float as the shortest decimal number that the type rounds to it."""
    return float(str(one[0])) if is_float(one.dtype) else int(one[0])


def _ulp(one: NDArray[Any], other: NDArray[Any]) -> int | None:
    """How many values of their type it takes from one float to the other, or None."""
    if not is_float(one.dtype) or one[0] != one[0] or other[0] != other[0]:
        return None
    return abs(_rank_among_values(one) - _rank_among_values(other))


def _rank_among_values(one: NDArray[Any]) -> int:
    """The number of a float among the values of its type, counted from zero: IEEE's encoding is in their order."""
    width = one.dtype.itemsize * 8
    bits = int(one.view(f"u{one.dtype.itemsize}")[0])
    magnitude = bits & ((1 << width - 1) - 1)
    return -magnitude if bits >> width - 1 else magnitude
