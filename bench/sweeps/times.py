"""How long the points of a sweep will take, and by what that is known.

A point takes n samples of a batch of calls each, its warm-up, and what goes on between two points (checks, journal).
Of a point that the store has from this machine the latest row says how long a call takes, how large a batch is, and by
how much samples scatter: from that follows the n at which the interval is as narrow as the sweep asks, as its width
falls with √n (`sampling` has the rules). Else the call is priced on the topology that the sweep names, and the scatter
is that of the store's rows in general. Where neither is there, a point takes its budget at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, isfinite, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

from clusterbench.bench.measuring.sampling import FIRST_SAMPLES, MAX_SAMPLES
from clusterbench.bench.sweeps.file import Block
from clusterbench.collectives.algorithm import LIBRARY, Call, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.discovery import schedule
from clusterbench.kernels.element_types import element_type
from clusterbench.results.record import Run, instant
from clusterbench.results.statistics import half_width
from clusterbench.results.tables import LINE_BITS

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterbench.collectives.simulator.patterns import Patterns

START_S = 8.0
"""Until a world measures its first point, where no sweep has told: Python, MPI and compiled loops on a busy host."""
OVER_BUDGET = 1.2
"""What a point takes of its time budget at most, about: a tenth of warm-up, and the checks of its data."""

EARLIER, TOPOLOGY, BUDGET = "earlier rows", "topology", "budget"
"""By what the time of a point is known."""
COLUMNS = (
    *("name", "algorithm", "transport", "backend", "dtype", "placement", "ranks", "size_bytes", "started_at"),
    *("n", "batch", "warmup", "median_s", "mean_s", "ci95_low_s", "ci95_high_s"),
)
"""What of a row is needed here."""

Key = tuple[str, str, str, str, str, int]
"""Collective, algorithm, transport (of the library empty), type, placement, ranks."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A row of the store."""

    size_bytes: int
    call_s: float
    batch: int
    warmup: int
    scatter: float | None
    """Half the width of the interval as a share of the median, times √n; None without an interval."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a sweep."""

    what: Collective
    algorithm: str
    transport: str
    dtype: str
    placement: str
    ranks: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Times:
    """What is known of this machine."""

    start_s: float = START_S
    """What a launch takes beside its points."""
    start_known: bool = False
    """Whether earlier sweeps have told."""
    between_s: float = 0.0
    """Between two points."""
    scatter: float | None = None
    """Of the rows in general."""
    rows: Mapping[Key, Sequence[Earlier]] = field(default_factory=dict)

    def point(self, block: Block, point: Point) -> tuple[float, str]:
        """How long a point takes, about, in seconds, and by what that is known."""
        known = self._earlier(point)
        if known is not None:
            warm_s = (known.warmup if block.warmup < 0 else block.warmup) * known.call_s
            taken_s = self._sampling_s(block, known.call_s, known.batch, known.scatter)
            if taken_s is not None:
                return self.between_s + warm_s + taken_s, EARLIER
        call_s = _priced_s(block, point)
        if call_s is not None:
            taken_s = self._sampling_s(block, call_s, 1, self.scatter)
            if taken_s is not None:
                return self.between_s + max(0, block.warmup) * call_s + taken_s, TOPOLOGY
        return block.budget_s * OVER_BUDGET, BUDGET

    def _earlier(self, point: Point) -> Earlier | None:
        spec = point.algorithm
        transport = "" if _is_library(spec) else point.transport
        key = point.what.name, spec, transport, point.dtype, point.placement, point.ranks
        # A size that is no whole number of elements on every rank is rounded down.
        rounded = point.ranks * element_type(point.dtype).itemsize
        near = [row for row in self.rows.get(key, ()) if 0 <= point.size_bytes - row.size_bytes < rounded]
        return near[-1] if near else None

    def _sampling_s(self, block: Block, call_s: float, batch: int, scatter: float | None) -> float | None:
        if block.samples:
            return block.samples * batch * call_s
        if scatter is None:
            return None
        samples = min(max(ceil((scatter / block.precision) ** 2), FIRST_SAMPLES), MAX_SAMPLES)
        return min(samples * batch * call_s, block.budget_s)


def _is_library(algorithm: str) -> bool:
    return algorithm.partition(":")[0] == LIBRARY


def _priced_s(block: Block, point: Point) -> float | None:
    """What a call takes on the topology of the sweep; None where it names none, and for the library's own."""
    from clusterbench.collectives.simulator.phases import price_by
    from clusterbench.collectives.topology.graph import TopologyError

    if not block.topology or _is_library(point.algorithm) or point.what.uneven:
        return None
    try:
        patterns = _patterns(block.topology)
        if len(patterns.topology.ranks) != point.ranks:
            return None
        root = block.root if point.what.is_rooted else -1
        made = schedule(parse_specs(point.algorithm)[0], Call(point.what, point.ranks, root))
        return price_by(patterns, made, point.size_bytes).time_s
    except (TopologyError, UnsuitableAlgorithmError):  # the launch itself says what is wrong
        return None


@lru_cache(maxsize=8)
def _patterns(topology: str) -> Patterns:
    """Of a topology, so that what many points share is priced once."""
    from clusterbench.collectives.simulator.patterns import Patterns
    from clusterbench.collectives.topology.spec import topology_from

    return Patterns(topology_from(topology))


def times(frame: DataFrame, runs: Sequence[Run]) -> Times:
    """What rows of a machine (`COLUMNS`, in the order of their ids) and runs, the latest first, tell of it."""
    rows: dict[Key, list[Earlier]] = {}
    scatters, gaps = [], []
    before: tuple[int, float, float] | None = None
    for row_id, row in zip(frame.index, frame.to_dict("records"), strict=True):
        if not row["mean_s"] or not isfinite(row["mean_s"]):
            before = None
            continue
        known = _earlier(row)
        transport = "" if _is_library(row["algorithm"]) else row["transport"]
        key = row["name"], row["algorithm"], transport, row["dtype"], row["placement"], int(row["ranks"])
        rows.setdefault(key, []).append(known)
        if known.scatter is not None:
            scatters.append(known.scatter)
        began_s = instant(row["started_at"])
        if before is not None and began_s is not None and before[0] == row_id >> LINE_BITS:
            gaps.append(max(0.0, began_s - before[1] - before[2]))
        taken_s = (known.warmup + row["n"] * known.batch) * known.call_s
        before = None if began_s is None else (row_id >> LINE_BITS, began_s, taken_s)
    starts = [start for run in runs if (start := _start_s(run)) is not None]
    return Times(
        start_s=starts[0] if starts else START_S,
        start_known=bool(starts),
        between_s=median(gaps) if gaps else 0.0,
        scatter=median(scatters) if scatters else None,
        rows=rows,
    )


def _earlier(row: Mapping[Any, Any]) -> Earlier:
    low_s, high_s = (row[name] if isfinite(row[name] or 0.0) else None for name in ("ci95_low_s", "ci95_high_s"))
    width = half_width(row["median_s"], low_s or None, high_s or None)
    scatter = width * sqrt(row["n"]) if width is not None and isfinite(width) else None
    return Earlier(int(row["size_bytes"]), row["mean_s"], int(row["batch"]), int(row["warmup"]), scatter)


def _start_s(run: Run) -> float | None:
    about = run.environment.get("sweep")
    start = about.get("start_s") if isinstance(about, dict) else None
    return float(start) if isinstance(start, int | float) and 0 < start < 3600 else None


def in_words(known: Times, by: Counter[str]) -> str:
    """By what the times of a plan are known: `6 of 14 rows by earlier rows, 8 by their budget; ...`."""
    total = sum(by.values())
    rows = ", ".join(f"{by[name]} of {total} rows by {words}" for name, words in _WORDS.items() if by[name])
    start = "as earlier sweeps took" if known.start_known else "as is assumed"
    return f"{rows}; {known.start_s:.1f} s to start a launch, {start}"


_WORDS = {
    EARLIER: "earlier rows of the same point",
    TOPOLOGY: "their price on the topology",
    BUDGET: "their budget, which is the most",
}


def duration_text(time_s: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if time_s < 90:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 5400 else f"{time_s / 3600:.1f} h"
