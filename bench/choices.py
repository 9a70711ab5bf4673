"""Which algorithm and transport is the fastest at which size: chosen from measured rows, and looked up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clusterbench.bench.collective_request import MPI, SHARED, STAGED
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import faster


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


def chosen_cells(rows: Iterable[Measurement], rounds: Callable[[str, int], int]) -> tuple[Cell, ...]:
    """The cells of one call from its rows, which are those of our schedules over `mpi` and over `shared` or `hybrid`.

    A choice must win clearly, its interval apart from the other's; of what is not clearly slower than the fastest the
    simplest is taken: the algorithm with the fewest rounds (`rounds(algorithm, size_bytes)`), and `mpi`.
    """
    by_size: dict[int, dict[str, list[Measurement]]] = {}
    for row in rows:
        transport = SHARED if row.transport == STAGED else row.transport
        by_size.setdefault(row.size_bytes, {}).setdefault(transport, []).append(row)
    cells = []
    for size_bytes, by_transport in sorted(by_size.items()):
        best = {transport: _simplest(found, rounds) for transport, found in sorted(by_transport.items())}
        window = next((transport for transport in by_transport if transport != MPI), MPI)
        others = {row.algorithm: row for row in by_transport.get(window, [])}
        over = {row.algorithm: _clearly(row, others.get(row.algorithm), window) for row in by_transport.get(MPI, [])}
        cells.append(
            Cell(
                size_bytes,
                _clearly(best[MPI], best.get(window), window) if MPI in best else window,
                {transport: row.algorithm for transport, row in best.items()},
                dict(sorted(over.items())),
            )
        )
    return tuple(cells)


def _simplest(rows: Sequence[Measurement], rounds: Callable[[str, int], int]) -> Measurement:
    """Of what is not clearly slower than the fastest, what has the fewest rounds."""
    fastest = min(rows, key=lambda row: row.median_s or math.inf)
    equal = [row for row in rows if row is fastest or faster(_interval(fastest), _interval(row)) != "first"]
    return min(equal, key=lambda row: (rounds(row.algorithm, row.size_bytes), row.algorithm))


def _clearly(over_mpi: Measurement, over_window: Measurement | None, window: str) -> str:
    """The transport to take: `window`, which shares memory, only where it is clearly faster."""
    if over_window is None or faster(_interval(over_mpi), _interval(over_window)) != "second":
        return MPI
    return window


def _interval(row: Measurement) -> tuple[float | None, float | None]:
    return row.ci95_low_s, row.ci95_high_s
