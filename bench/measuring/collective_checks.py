"""Whether a collective's result is right on every rank: exact data, data that round, and the same bits twice.

What is wrong is said in words: the first rank that has any, how many elements, the first of them with what was expected
and what was found, and whether another call with the same data gives the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clusterbench.collectives.checking import data
from clusterbench.collectives.transports.prepared import PreparedCall
from clusterbench.kernels.element_types import is_float
from clusterbench.results import notes

if TYPE_CHECKING:
    from mpi4py import MPI

    from clusterbench.collectives.transports.device import DeviceCall
    from clusterbench.collectives.transports.shared import SharedCall

AnyCall: TypeAlias = "PreparedCall | DeviceCall | SharedCall"


@dataclass(frozen=True, slots=True)
class Verified:
    """What the checks of a point found, the same on every rank."""

    wrong: int | None
    error_over_bound: float | None
    reason: str
    culprit: str
    note: str = ""


NOT_CHECKED = Verified(None, None, "", "")


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of rounding data on one rank."""

    bits: int
    """A checksum of its bits."""
    wrong: data.Wrong


def verify(comm: MPI.Intracomm, call: AnyCall, problem: data.Problem, additions: int | None) -> Verified:
    """Call it, and compare what it gives; all ranks together.

    `additions` are those on the longest path to an element of a sum, None where that is not known.
    """
    first = _exact_call(comm, call, problem)
    wrong, reason, culprit = _said(first)
    if wrong:
        reason += _repeated(first, _exact_call(comm, call, problem))
    if problem.op not in ("sum", "avg") or not is_float(problem.dtype):
        return Verified(wrong, None, reason, culprit)
    found = _sums(comm, call, problem, additions)
    for number, when in enumerate(("", "in the second call, ")):
        if not reason:  # the gravest first: exact data, then those that round
            wrong, reason, culprit = _said([calls[number].wrong for calls in found], when)
    error = max(one.wrong.error_over_bound or 0.0 for calls in found for one in calls)
    return Verified(wrong, error, reason, culprit, _unlike_bits(problem, found))


def verify_last(comm: MPI.Intracomm, call: AnyCall, problem: data.Problem, before: Verified) -> Verified:
    """`before`, or what is wrong with the result of the last call, whose input was exact data; all ranks together."""
    found = _wrong(comm, call, problem)
    wrong, reason, culprit = _said(found, "after timing, ")
    if not wrong:
        return before
    reason += _repeated(found, _exact_call(comm, call, problem))
    return replace(before, wrong=wrong, reason=reason, culprit=culprit)


def _exact_call(comm: MPI.Intracomm, call: AnyCall, problem: data.Problem) -> list[data.Wrong]:
    """A call with exact data, and what is wrong with its result, on every rank."""
    data.poison(call.buffers.result)
    data.fill(problem, call.buffers.send, comm.rank)
    call.load()
    call.run()
    return _wrong(comm, call, problem)


def _wrong(comm: MPI.Intracomm, call: AnyCall, problem: data.Problem) -> list[data.Wrong]:
    call.fetch()
    return comm.allgather(data.check(problem, call.buffers.result, comm.rank))


def _sums(comm: MPI.Intracomm, call: AnyCall, problem: data.Problem, additions: int | None) -> list[tuple[_Sum, _Sum]]:
    """What two calls with the same rounding data gave, on every rank."""

    def summed() -> int:
        data.fill_rounding(problem, call.buffers.send, comm.rank)
        call.load()
        call.run()
        call.fetch()
        return zlib.crc32(call.buffers.result.view(np.uint8).data)

    def compared() -> data.Wrong:
        return data.check_rounding(problem, call.buffers.result, comm.rank, additions)

    first = _Sum(summed(), compared())
    bits = summed()
    again = first if bits == first.bits else _Sum(bits, compared())  # the same bits are as right as they were
    return comm.allgather((first, again))


def _said(found: Sequence[data.Wrong], when: str = "") -> tuple[int, str, str]:
    """Wrong elements over all ranks, and what is wrong on the first rank that has any: in words, and the rank."""
    total = sum(wrong.count for wrong in found)
    for rank, wrong in enumerate(found):
        if wrong.count:
            return total, f"{when}rank {rank}: {wrong.text()}", f"rank {rank}"
    return total, "", ""


def _repeated(first: Sequence[data.Wrong], again: Sequence[data.Wrong]) -> str:
    """Whether what is wrong is so once more in another call with the same data, in words."""
    if not any(wrong.count for wrong in again):
        return "; right in another call"
    if list(map(repr, first)) == list(map(repr, again)):  # as text, in which a NaN equals a NaN
        return "; the same in another call"
    return f"; in another call {_said(again)[1]}"


def _unlike_bits(problem: data.Problem, found: Sequence[tuple[_Sum, _Sum]]) -> str:
    """Whether the sums of rounding data differ in bits: between two calls, or between ranks."""
    remarks = []
    unsteady = [str(rank) for rank, (first, again) in enumerate(found) if first.bits != again.bits]
    if unsteady:
        remarks.append(f"results of two calls differ in bits on rank {', '.join(unsteady)}")
    if problem.collective.gives == "whole":
        differing = [str(rank) for rank, (first, _) in enumerate(found) if first.bits != found[0][0].bits]
        if differing:
            remarks.append(f"results of rank {', '.join(differing)} differ in bits from rank 0's")
    return notes.joined(remarks)
