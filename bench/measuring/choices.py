"""Which algorithm and transport is the fastest at which size: chosen from measured rows, and looked up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from clusterbench.bench.measuring.collective_request import MPI, SHARED, STAGED
from clusterbench.results.record import Measurement

MARGIN = 1.05
"""How many times as fast counts as faster: less is no reason to leave the simpler choice."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What was chosen at one size."""

    size_bytes: int
    transport: str
    """Of the fastest: `mpi`, or `shared` or `hybrid`."""
    best: dict[str, str]
    """By transport the fastest algorithm over it; both transports, or `mpi` alone where ranks shared no memory."""
    over: dict[str, str]
    """By algorithm the transport over which it is faster."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The choices for one call, of which sizes differ."""

    collective: str
    ranks: int
    hosts: int
    buffers: str
    """`host` or `registered`."""
    cells: tuple[Cell, ...]
    """In the order of sizes."""

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What tells it from other entries."""
        return self.collective, self.ranks, self.hosts, self.buffers

    def nearest(self, size_bytes: int) -> Cell:
        """The cell whose size is nearest by its logarithm; the smaller one of two."""
        return min(self.cells, key=lambda cell: abs(math.log(cell.size_bytes / max(1, size_bytes))))


def contenders(rows: Iterable[Measurement], most: int) -> set[tuple[int, str, str]]:
    """Of each size and transport the `most` fastest algorithms: (size in bytes, the row's transport, algorithm)."""
    groups: dict[tuple[int, str], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.size_bytes, row.transport), []).append(row)
    return {
        (*key, row.algorithm)
        for key, found in groups.items()
        for row in sorted(found, key=lambda row: row.median_s or math.inf)[:most]
    }


def chosen_cells(rows: Iterable[Measurement], rounds: Callable[[str, int], int]) -> tuple[Cell, ...]:
    """The cells of one call from its rows, which are those of our schedules over `mpi` and over `shared` or `hybrid`.

    There may be several rows of one algorithm, of several visits, in and out of place: the fastest visit counts, as
    whatever disturbs one makes it slower, and the best are of those that were visited most. What is not faster by
    `MARGIN` is as good: of what is as good as the fastest the simplest is taken, the algorithm with the fewest rounds
    (`rounds(algorithm, size_bytes)`), and `mpi`.
    """
    by_size: dict[int, dict[str, dict[str, list[Measurement]]]] = {}
    for row in rows:
        transport = SHARED if row.transport == STAGED else row.transport
        by_transport = by_size.setdefault(row.size_bytes, {})
        by_transport.setdefault(transport, {}).setdefault(row.algorithm, []).append(row)
    cells = []
    for size_bytes, by_transport in sorted(by_size.items()):
        window = next((transport for transport in by_transport if transport != MPI), MPI)
        best = {
            transport: _simplest(found, {algorithm: rounds(algorithm, size_bytes) for algorithm in found})
            for transport, found in sorted(by_transport.items())
        }
        times = {transport: _times(by_transport[transport][algorithm]) for transport, algorithm in best.items()}
        others = by_transport.get(window, {})
        cells.append(
            Cell(
                size_bytes,
                window if MPI not in best or _is_faster(times[window], times[MPI]) else MPI,
                best,
                {
                    algorithm: window if _is_faster(_times(others.get(algorithm, [])), _times(found)) else MPI
                    for algorithm, found in sorted(by_transport.get(MPI, {}).items())
                },
            )
        )
    return tuple(cells)


def _simplest(found: Mapping[str, Sequence[Measurement]], rounds: Mapping[str, int]) -> str:
    """Of the algorithms with most visits, and of those as good as the fastest, that with the fewest rounds."""
    visits = max(len(rows) for rows in found.values())
    times = {algorithm: _times(rows) for algorithm, rows in found.items() if len(rows) == visits}
    fastest = min(times.values(), key=_mean)
    as_good = [algorithm for algorithm, of in times.items() if not _is_faster(fastest, of)]
    return min(as_good, key=lambda algorithm: (rounds[algorithm], algorithm))


def _times(rows: Iterable[Measurement]) -> dict[str, float]:
    """By placement the median of the fastest visit, in seconds."""
    times: dict[str, float] = {}
    for row in rows:
        times[row.placement] = min(times.get(row.placement, math.inf), row.median_s or math.inf)
    return times


def _is_faster(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether the first one's times are below the second's by `MARGIN`, in the mean over the placements of both."""
    both = first.keys() & second.keys()
    return bool(both) and MARGIN * _mean({p: first[p] for p in both}) < _mean({p: second[p] for p in both})


def _mean(times: Mapping[str, float]) -> float:
    return geometric_mean(times.values())
