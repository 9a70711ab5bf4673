"""Which algorithm is fastest at which size, how sure that is, and where the fastest changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from clusterbench.results.report import units
from clusterbench.results.report.cells import (
    Cell,
    Table,
    heads,
    number_cell,
    size_cell,
    table_of,
    text_cell,
    timing_cells,
)
from clusterbench.results.report.figures import Crossing, collective_title, evidence_suffix, series_name
from clusterbench.results.report.rows import (
    COLLECTIVE_FIELDS,
    LIBRARY,
    grouped,
    lines,
    sharing_cores,
    timed_collectives,
)
from clusterbench.results.statistics import faster

if TYPE_CHECKING:
    from pandas import DataFrame

_MARKS = {"tie": "inconclusive", "unknown": "inconclusive"}
"""Badges of what is not clear."""


@dataclass(frozen=True, slots=True)
class Competition:
    """The rows that compete with each other: of each size the best of every series, the fastest first."""

    title: str
    by_size: dict[int, list[Any]]
    key: tuple[Any, ...] = ()
    """The values of `COLLECTIVE_FIELDS`, the evidence and the origin."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sizes next to each other at which one algorithm is the fastest, or as good as it."""

    first_bytes: int
    last_bytes: int
    series: str
    equals: tuple[str, ...]
    """Others that are as good as the fastest at all of these sizes."""


def competitions(rows: DataFrame) -> list[Competition]:
    """A competition for every collective, type, operation, root, placement, ranks, buffers and traffic
    that has rivals.

    What was measured never competes with what was not, and where there are more ranks than cores nothing does: such a
    time tells more of the scheduler than of the algorithm.
    """
    timed = timed_collectives(rows)
    timed = timed[~sharing_cores(timed)]
    by = (*COLLECTIVE_FIELDS, "evidence", "origin")
    found = []
    for key, group in grouped(lines(timed), by).items():
        if len({(row.algorithm, row.transport) for row in group}) < 2:
            continue
        title = collective_title(dict(zip(by, key, strict=True))) + evidence_suffix(*key[-2:])
        best: dict[int, dict[str, Any]] = {}
        for row in sorted(group, key=attrgetter("size_bytes", "median_s")):
            best.setdefault(int(row.size_bytes), {}).setdefault(series(row), row)
        by_size = {size: list(of_size.values()) for size, of_size in best.items()}
        found.append(Competition(title, by_size, key))
    return found


def left_out(rows: DataFrame) -> str:
    """Which rows do not compete because of more ranks than cores, in words; empty where all do."""
    timed = timed_collectives(rows)
    shared = timed[sharing_cores(timed)]
    if shared.empty:
        return ""
    ranks = ", ".join(str(count) for count in sorted(set(shared["ranks"])))
    return (
        f"More ranks than cores: the times of {len(shared)} of {len(timed)} rows, those of {ranks} ranks, are the "
        "scheduler’s, too. No fastest algorithm and no crossover is named from them."
    )


def series(row: Any) -> str:
    """What a row competes as."""
    return series_name(row.algorithm, row.transport, row.backend, row.evidence, row.origin)


def winners(rows: DataFrame, anchor: str) -> list[Table]:
    """The fastest algorithm of each size, and how sure that is (see `how_sure`)."""
    columns = heads(
        "#Size", "Fastest", "#Time", "#95 %", "#Bus GB/s", "How sure", "Runner-up", "#Slower by", "#Library / fastest",
        "As fast, as far as can be told",
    )  # fmt: skip
    return [
        table_of(
            f"{anchor}-{number}",
            f"Fastest by size: {found.title}",
            columns,
            tuple(_winner(size_bytes, ranked) for size_bytes, ranked in found.by_size.items()),
            [[row.row for row in ranked] for ranked in found.by_size.values()],
        )
        for number, found in enumerate(competitions(rows))
    ]


def _winner(size_bytes: int, ranked: Sequence[Any]) -> tuple[Cell, ...]:
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    library = next((row.median_s for row in ranked if row.algorithm == LIBRARY), None)
    ratio = None if library is None else library / first.median_s
    sure = how_sure(first, second)
    return (
        size_cell(size_bytes),
        text_cell(series(first)),
        *timing_cells(first),
        number_cell(first.busbw, units.giga(first.busbw)),
        Cell(sure, sure, _MARKS.get(sure, sure)),
        text_cell(None if second is None else series(second)),
        number_cell(*_slower(first, second)),
        number_cell(ratio, "" if ratio is None else f"{ratio:.2f}×"),
        text_cell(", ".join(series(row) for row in ranked[1:] if how_sure(first, row) == "tie")),
    )


def _slower(first: Any, second: Any) -> tuple[float | None, str]:
    if second is None:
        return None, ""
    extra = second.median_s / first.median_s - 1
    return extra, f"{units.digits(extra * 100, 2)} %"


def how_sure(first: Any, second: Any) -> str:
    """How sure it is that `first` is faster than `second`, by their 95 % intervals (see `statistics.faster`).

    `clear`, `tie` (they overlap), `unknown` (one is missing), or `alone` (there is no second).
    """
    if second is None:
        return "alone"
    ends = (first.ci95_low_s, first.ci95_high_s), (second.ci95_low_s, second.ci95_high_s)
    if None in ends[0] or None in ends[1]:
        return "unknown"
    return "clear" if faster(*ends) == "first" else "tie"


def stretches(found: Competition) -> list[Stretch]:
    """The fewest stretches of sizes in which one algorithm is nowhere clearly slower than the fastest.

    So an algorithm that wins one size by chance, in a tie, starts no stretch of its own. Of several that would do, the
    one with the least product of times over the stretch is named.
    """
    done: list[Stretch] = []
    sizes: list[int] = []
    able: list[str] = []
    for size_bytes, ranked in [*found.by_size.items(), (0, [])]:
        good = [series(row) for row in ranked if row is ranked[0] or how_sure(ranked[0], row) == "tie"]
        still = [name for name in able if name in good]
        if sizes and not still:
            best, *others = sorted(able, key=lambda name: sum(math.log(_time_s(found, s, name) or 1.0) for s in sizes))
            done.append(Stretch(sizes[0], sizes[-1], best, tuple(others)))
            sizes, still = [], good
        sizes.append(size_bytes)
        able = still or good
    return done


def _time_s(found: Competition, size_bytes: int, name: str) -> float | None:
    return next((float(row.median_s) for row in found.by_size[size_bytes] if series(row) == name), None)


def crossovers(rows: DataFrame, anchor: str) -> Table | None:
    """Where the fastest algorithm changes, over all competitions."""
    listed, behind = [], []
    for found in competitions(rows):
        for cells, part in zip(_crossovers(found), stretches(found), strict=True):
            sizes = [size for size in found.by_size if part.first_bytes <= size <= part.last_bytes]
            listed.append(cells)
            behind.append([row.row for size in sizes for row in found.by_size[size]])
    columns = heads(
        "Collective", "#From size", "#To size", "Fastest", "As fast there", "Then changes between", "#About"
    )
    caption = "Stretches of sizes with one fastest algorithm, and where the next takes over"
    return table_of(anchor, caption, columns, tuple(listed), behind) if listed else None


def _crossovers(found: Competition) -> Iterator[tuple[Cell, ...]]:
    parts = stretches(found)
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        between, about = "", None
        if following is not None:
            between = f"{units.size(part.last_bytes)} and {units.size(following.first_bytes)}"
            about = crossing_bytes(found, part, following)
        yield (
            text_cell(found.title),
            size_cell(part.first_bytes),
            size_cell(part.last_bytes),
            text_cell(part.series),
            text_cell(", ".join(part.equals)),
            text_cell(between),
            number_cell(about, "" if about is None else units.size(round(about))),
        )


def crossings(rows: DataFrame) -> dict[tuple[Any, ...], list[Crossing]]:
    """Where the fastest of what was measured here changes, by the values of `COLLECTIVE_FIELDS`, for figures."""
    marked: dict[tuple[Any, ...], list[Crossing]] = {}
    for found in competitions(rows):
        *key, evidence, origin = found.key
        for part, following in pairwise(stretches(found)) if (evidence, origin) == ("measured", "own") else ():
            about = crossing_bytes(found, part, following)
            if about is not None:
                text = f"{part.series}, then {following.series} from about {units.size(round(about))}"
                marked.setdefault(tuple(key), []).append(Crossing(about, text))
    return marked


def crossing_bytes(found: Competition, part: Stretch, following: Stretch) -> float | None:
    """The size at which two algorithms take the same time, between the two sizes where their order changes.

    Interpolated linearly in the logarithms of size and time; None where one of them was not measured at one of the
    sizes, or they do not cross there.
    """
    sizes = part.last_bytes, following.first_bytes
    gaps = []
    for size_bytes in sizes:
        first_s, second_s = _time_s(found, size_bytes, part.series), _time_s(found, size_bytes, following.series)
        if first_s is None or second_s is None:
            return None
        gaps.append(math.log(first_s / second_s))
    if not gaps[0] < 0 < gaps[1]:
        return None
    share = gaps[0] / (gaps[0] - gaps[1])
    # As a power and not by logarithms, whose rounding can lead out of the two.
    return min(sizes[0] * math.pow(sizes[1] / sizes[0], share), float(sizes[1]))
