"""Which pairs of ranks stand out among their like, and who is to blame: pure functions of a matrix of times.

Pairs are compared within a class: ranks that share a core, that share a host, or neither. The rule for a time t of a
class with median m and median absolute deviation d (Rousseeuw and Croux, "Alternatives to the median absolute
deviation", JASA 88(424), 1993: 1.4826·d estimates the standard deviation of normal noise): it stands out where

    t > m + 5·1.4826·d   and   t > 1.2·m,

so that neither the tail of a noisy class nor a difference that nobody would act on is named. One bad rank among four is
in half of all pairs, which no median of pairs shows; so the same rule is applied to the best time that each rank has
in a class, as sender and as receiver, and all pairs of a rank that stands out by it stand out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEVIATIONS = 5.0
"""Standard deviations beyond the median: of 10,000 normal times less than one lies there."""
NORMAL = 1.4826
WORSE = 1.2
"""Times the median from which a difference matters."""
EXPLAINED = 0.75
"""Share of a rank's pairs that must be bad for the rank to be named, where the bad pairs do not all share one."""

Matrix = NDArray[np.float64]
Classes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outlier:
    """A pair that stands out, and the median of its class without those that do."""

    src: int
    dst: int
    time_s: float
    median_s: float

    @property
    def excess(self) -> float:
        """Its time over the median."""
        return self.time_s / self.median_s


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The times of one class, seconds."""

    pairs: int
    median_s: float
    mad_s: float
    best_s: float
    worst_s: float


def class_figures(times_s: Matrix, classes: Classes, which: int) -> ClassFigures | None:
    """What the times of a class are like; None where there are none. Both arguments have shape (ranks, ranks)."""
    chosen = times_s[(classes == which) & ~np.isnan(times_s)]
    if not len(chosen):
        return None
    median = float(np.median(chosen))
    mad = float(np.median(np.abs(chosen - median)))
    return ClassFigures(len(chosen), median, mad, float(np.min(chosen)), float(np.max(chosen)))


def outliers(times_s: Matrix, classes: Classes) -> list[Outlier]:
    """The pairs that stand out by the rule above, the worst for its class first.

    `times_s[src, dst]` is NaN where a pair was not measured; `classes` gives each pair's class.
    """
    out = np.zeros(times_s.shape, np.bool_)
    for which in np.unique(classes[~np.isnan(times_s)]):
        members = (classes == which) & ~np.isnan(times_s)
        out |= members & _beyond(times_s, members)
        for axis in (0, 1):
            best = np.min(np.where(members, times_s, np.inf), axis=axis)
            out |= members & np.expand_dims(_beyond(best, np.isfinite(best)), axis)
    found = []
    for src, dst in np.argwhere(out):
        # Never empty: the best time of a class stands out by no rule.
        usual = times_s[(classes == classes[src, dst]) & ~np.isnan(times_s) & ~out]
        found.append(Outlier(int(src), int(dst), float(times_s[src, dst]), float(np.median(usual))))
    return sorted(found, key=lambda outlier: -outlier.excess)


def _beyond(values: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the values lie beyond the rule's limit, that of the members."""
    if not members.any():
        return members
    median = np.median(values[members])
    deviation = NORMAL * np.median(np.abs(values[members] - median))
    beyond: NDArray[np.bool_] = members & (values > max(median + DEVIATIONS * deviation, WORSE * median))
    return beyond


def typical_pair(times_s: Matrix, classes: Classes, which: int, without: Iterable[Outlier]) -> tuple[int, int]:
    """The pair of a class whose time is nearest the median of those that do not stand out."""
    usual = np.where(classes == which, times_s, np.nan)
    for outlier in without:
        usual[outlier.src, outlier.dst] = np.nan
    src, dst = np.unravel_index(np.nanargmin(np.abs(usual - np.nanmedian(usual))), usual.shape)
    return int(src), int(dst)


def culprits(bad: Sequence[tuple[int, int]], measured: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Who is to blame for each bad pair: a rank where the bad pairs point at one, else the pair itself.

    A rank is named where it is in at least two bad pairs, and in all of them or in `EXPLAINED` of its own; then the
    same is asked of the pairs that this does not explain. Both arguments name pairs in either order.
    """
    left = {tuple(sorted(pair)) for pair in bad}
    partners = {tuple(sorted(pair)) for pair in measured}
    named: dict[Any, str] = {}
    while left:
        count = Counter(rank for pair in left for rank in pair)
        rank, times = max(count.items(), key=lambda item: (item[1], -item[0]))
        own = sum(rank in pair for pair in partners)
        if times < 2 or (times < len(left) and times < EXPLAINED * own):
            break
        explained = {pair for pair in left if rank in pair}
        named |= dict.fromkeys(explained, f"rank {rank}")
        left -= explained
        partners = {pair for pair in partners if rank not in pair}
    named |= {pair: f"rank {pair[0]} - rank {pair[1]}" for pair in left}
    return {pair: named[tuple(sorted(pair))] for pair in bad}
