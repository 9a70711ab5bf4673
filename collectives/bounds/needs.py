"""What a collective must move: how many bytes must cross from some ranks to the others, for each byte of its size.

The size is that of nccl-tests: the vector that all ranks reduce or get, or all ranks' parts together; in an exchange
the vector of one rank. Let s of p ranks lie inside and the other r = p − s outside. Then out of the inside must go

    all_reduce                  1         a sum that was made inside, however early
    all_gather                  s / p     every part that starts inside
    reduce_scatter              r / p     every part that ends outside
    broadcast, reduce           1         if the root is inside, or outside
    scatter, gather             r / p if the root is inside, s / p if it is outside
    all_to_all                  s · r / p
    all_to_all_v                what the matrix says
    sendrecv, pingpong          1 for each message from inside to outside

of each byte, where there are ranks on both sides. Nothing is assumed about who reduces or copies on the way: these hold
for switches that do as well. (all_gather and reduce_scatter: L. Zhao et al., "ForestColl: efficient collective
communications on heterogeneous network fabrics", 2024, arXiv 2402.06787.)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from clusterbench.collectives.bounds.max_flow import Mask
from clusterbench.collectives.collective import collective
from clusterbench.collectives.schedule import Ints

POINT_TO_POINT = ("sendrecv", "pingpong")
"""Every rank sends to the next one, the last to the first; the first rank sends to the last."""
ROOTED = ("broadcast", "reduce", "scatter", "gather")


class BoundError(ValueError):
    """A call that has no bound, as it is incomplete: the message says what was found and expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """A collective over ranks, as what it must move."""

    name: str
    ranks: int
    root: int = -1
    src: Ints | None = None
    """Of a collective that is made of messages (all_to_all_v, sendrecv, pingpong): who sends,"""
    dst: Ints | None = None
    """to whom,"""
    amount: Ints | None = None
    """how many units."""
    unit: Fraction = Fraction(1)
    """Bytes of what `crossings` counts, for each byte of the size."""


def need(name: str, ranks: int, root: int = -1, matrix: Ints | None = None) -> Need:
    """What a collective needs. `matrix` is of an all_to_all_v: elements that rank i sends to rank j, (ranks, ranks).

    Only its proportions count: all ranks together send as much as in an all_to_all of that size, own parts included.
    Raises `UnknownCollectiveError` for an unknown name, and `BoundError` for a root that is no rank, and a matrix that
    is missing, of another shape, or has a number below 0 or none above.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    known = plain if plain in POINT_TO_POINT else collective(name).name
    if known in ROOTED and not 0 <= root < ranks:
        raise BoundError(f"root {root} of {known}; expected a rank from 0 to {ranks - 1}")
    if (known == "all_to_all_v") != (matrix is not None):
        found, expected = ("no matrix", "one") if matrix is None else ("a matrix", "none")
        raise BoundError(f"{found} of {known}; expected {expected}")
    if matrix is not None:
        return _of_matrix(known, ranks, np.asarray(matrix))
    here = np.arange(ranks, dtype=np.int64)
    if known == "sendrecv":
        return Need(known, ranks, src=here, dst=np.roll(here, -1), amount=np.ones_like(here))
    if known == "pingpong":
        return Need(known, ranks, src=here[:1], dst=here[-1:], amount=np.ones(1, np.int64))
    in_parts = known in ("all_gather", "reduce_scatter", "scatter", "gather", "all_to_all")
    return Need(known, ranks, root if known in ROOTED else -1, unit=Fraction(1, ranks if in_parts else 1))


def _of_matrix(name: str, ranks: int, matrix: Ints) -> Need:
    if matrix.shape != (ranks, ranks) or matrix.dtype.kind not in "iu":
        raise BoundError(
            f"a matrix of {matrix.dtype} of shape {matrix.shape} for {name} over {ranks} ranks; "
            f"expected whole numbers of shape {(ranks, ranks)}"
        )
    total = sum(map(int, matrix.sum(axis=1, dtype=np.int64)))
    if matrix.min() < 0 or not 0 < total < 1 << 62:
        raise BoundError(f"a matrix of {name} with least number {matrix.min()} and sum {total}; "
                         f"expected none below 0 and some above")  # fmt: skip
    src, dst = (axis.astype(np.int64) for axis in np.nonzero(matrix))
    return Need(name, ranks, src=src, dst=dst, amount=matrix[src, dst].astype(np.int64), unit=Fraction(ranks, total))


def crossings(need: Need, labels: Ints, groups: int) -> tuple[Ints, Ints]:
    """What must leave each of some groups of ranks, and what must enter it, in `need.unit` of the size.

    `labels` has for each rank its group, or −1; both results have shape (groups,). A group without ranks, or with all,
    needs nothing.
    """
    if need.src is not None and need.dst is not None and need.amount is not None:
        a, b = labels[need.src], labels[need.dst]
        out, into = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        leaves, enters = (a != b) & (a >= 0), (a != b) & (b >= 0)
        np.add.at(out, a[leaves], need.amount[leaves])
        np.add.at(into, b[enters], need.amount[enters])
        return out, into
    inside = np.bincount(labels[labels >= 0], minlength=groups).astype(np.int64)
    rest = need.ranks - inside
    with_root = np.zeros(groups, np.bool_)
    if need.root >= 0 and labels[need.root] >= 0:
        with_root[labels[need.root]] = True
    there = (inside > 0) & (rest > 0)
    return there * _leaving(need.name, inside, rest, with_root), there * _leaving(need.name, rest, inside, ~with_root)


def _leaving(name: str, inside: Ints, rest: Ints, with_root: Mask) -> Ints:
    ones = np.ones_like(inside)
    amounts = {
        "all_reduce": ones,
        "all_gather": inside,
        "reduce_scatter": rest,
        "broadcast": ones * with_root,
        "reduce": ones * ~with_root,
        "scatter": rest * with_root,
        "gather": inside * ~with_root,
        "all_to_all": inside * rest,
    }
    return amounts[name]
