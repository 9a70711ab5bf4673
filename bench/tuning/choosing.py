"""Which algorithm of a library is the fastest at each size, and which of these choices are worth a rule.

A choice is made from a few launches of each algorithm. As the best of several noisy figures looks better than it is,
what it gains is then measured anew, with the rules loaded and without in turns, and only what is significantly faster
there is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from clusterbench.bench.measuring.forced_library import FIXED, RULES, number_and_segment
from clusterbench.collectives.algorithm import LIBRARY
from clusterbench.results.record import Measurement

if TYPE_CHECKING:
    from clusterbench.results.compare import ComparedRow, Comparison
    from clusterbench.results.statistics import Ratio

TOLERANCE = 0.02
"""A gain that is worth a rule, as a share of the time."""

_FIGURES = ("median_s", "ci95_low_s", "ci95_high_s", "bytes_per_s", "flop_per_s")

Turn = tuple[Sequence[Measurement], Sequence[Measurement]]
"""Rows of two launches next to each other: by the component's own rules, and by those written."""

Place = tuple[str, int, int]
"""Collective, ranks and size in bytes."""


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """The algorithm that the library is to use for a collective over so many ranks, from a size on."""

    collective: str
    ranks: int
    size_bytes: int
    algorithm: int = 0
    """By the library's number; 0 leaves it to the library."""
    segment_bytes: int = 0
    """Of an algorithm that works by segments; 0 for the library's own."""


def fastest(rows: Iterable[Measurement]) -> list[Choice]:
    """Of each collective, number of ranks and size the algorithm with the least median over launches.

    Rows are of `library:ID`, perhaps with its segments, and of `library:fixed`; where no ID is faster than this by
    TOLERANCE the choice is 0.
    """
    times = medians(rows)
    found = []
    for point in dict.fromkeys(point for point, _ in times):
        own = times.get((point, FIXED))
        told = {_choice(who): time_s for (at, who), time_s in times.items() if at == point and who[:1].isdecimal()}
        if own is None or not told:
            continue
        best = min(told, key=lambda choice: (told[choice], choice))
        found.append(Choice(*point, *(best if told[best] < (1 - TOLERANCE) * own else ())))
    return found


def _choice(told: str) -> tuple[int, int]:
    number, segment_bytes = number_and_segment(told)
    return int(number), segment_bytes


def medians(rows: Iterable[Measurement]) -> dict[tuple[Place, str], float]:
    """Seconds of the library, by collective, ranks and size, and by what it was told; the median over launches.

    It was told a number, perhaps with segments, `fixed`, or nothing. Rows that failed or hold wrong data do not count.
    """
    launches: dict[tuple[Place, str], list[float]] = defaultdict(list)
    for row in rows:
        name, _, told = row.algorithm.partition(":")
        if name == LIBRARY and row.median_s is not None and row.verdict not in ("FAIL", "INVALID"):
            launches[(row.name, row.ranks, row.size_bytes), told].append(row.median_s)
    return {what: median(launches[what]) for what in sorted(launches)}


def kept(choices: Iterable[Choice], gains: Mapping[Place, ComparedRow]) -> list[Choice]:
    """The choices, with 0 where the rules did not make the library significantly faster."""
    return [
        choice
        if (found := gains.get((choice.collective, choice.ranks, choice.size_bytes))) and found.change == "better"
        else replace(choice, algorithm=0, segment_bytes=0)
        for choice in choices
    ]


def gains(before: Iterable[Measurement], after: Iterable[Measurement], seed: int) -> Comparison:
    """What the rules changed: rows of `library:fixed` against rows of `library:rules`, launches in turns.

    Raises `CompareError` where there is nothing to compare.
    """
    import pandas as pd

    from clusterbench.results.compare import Side, compare

    sides = []
    for rows in (before, after):
        frame = pd.DataFrame([row.as_row() for row in rows], columns=list(Measurement.__dataclass_fields__))
        frame[list(_FIGURES)] = frame[list(_FIGURES)].astype(float)
        sides.append(Side((), frame.assign(algorithm=LIBRARY)))
    of_own, of_rules = sides
    return compare(of_own, of_rules, TOLERANCE, seed=seed)


def mean_ratio(turns: Sequence[Turn], choices: Sequence[Choice], seed: int) -> Ratio | None:
    """The geometric mean over the sizes of `choices`, of one collective and number of ranks, of time after / before.

    A size without a rule counts as 1, as the library does the same there, whatever was measured. Turns in which a size
    with a rule is missing are left out; None where no turn is left.
    """
    import numpy as np

    from clusterbench.results.launches import geometric_mean
    from clusterbench.results.statistics import Ratio

    places = [(choice.collective, choice.ranks, choice.size_bytes) for choice in choices if choice.algorithm]
    if not places:
        return Ratio(1.0, None, None)
    sides = [[medians(rows) for rows in turn] for turn in turns]
    whole = [
        [[times[place, told] for place in places] for times, told in zip(turn, (FIXED, RULES), strict=True)]
        for turn in sides
        if all((place, told) in times for place in places for times, told in zip(turn, (FIXED, RULES), strict=True))
    ]
    if not whole:
        return None
    before_s, after_s = np.array(whole).transpose(1, 2, 0)
    found = geometric_mean(before_s, after_s, seed)
    share = len(places) / len(choices)
    ends = [None if end is None else end**share for end in (found.low, found.high)]
    return Ratio(found.value**share, *ends)


def by_point(comparison: Comparison) -> dict[Place, ComparedRow]:
    """The rows of a comparison by collective, ranks and size in bytes."""
    return {(row.point["name"], row.point["ranks"], int(row.point["size"])): row for row in comparison.rows}
