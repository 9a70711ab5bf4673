"""What a run of collectives is asked to measure, and the points that this makes.

A point is an algorithm, a size, a placement, and the way in which it is run. Points are measured in an order shuffled
by the recorded seed, so that a machine that changes with time does not favour one algorithm or size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.emulation.runtime import Record as Emulation
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.collectives import traffic
from clusterbench.collectives.algorithm import LIBRARY, Spec
from clusterbench.collectives.checking import data
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Count, Schedule
from clusterbench.results import rates
from clusterbench.results.record import Measurement

PLACEMENTS = ("out_of_place", "in_place")
MPI, SHARED, HYBRID, NCCL = "mpi", "shared", "hybrid", "nccl"
"""Transports of schedules; `nccl` has NCCL's own collectives only."""
OVER_WINDOWS = (SHARED, HYBRID)
"""Those by which ranks of a host share memory."""
OVER_MESSAGES = (MPI, HYBRID)
"""Those by which ranks on several hosts send each other messages."""
HOST, REGISTERED, DEVICE = "host", "registered", "device"
"""Where buffers are: each rank's own memory, a window that all ranks of a host see, or a GPU."""
STAGED = "staged"
"""What rows call `shared` on buffers that the other ranks do not see."""


def is_library(algorithm: Spec) -> bool:
    """Whether it is the library's own collective: `library`, or `library:ID` where it is told which."""
    return algorithm.name.partition(":")[0] == LIBRARY


@dataclass(frozen=True, slots=True)
class Way:
    """How a point is run."""

    spec: Spec
    """The algorithm."""
    transport: str
    """`library` for the MPI library's own."""
    note: str = ""
    """What its row says of the choice."""


@dataclass(frozen=True, slots=True)
class Point:
    """One row to measure."""

    algorithm: Spec
    """What was asked for, which the row names."""
    count: int
    placement: str
    way: Way


PointKey = tuple[str, str, str, int]
"""Algorithm, transport, placement and count, as rows have them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure."""

    collective: Collective
    algorithms: tuple[Spec, ...]
    """The library, algorithms of the catalogue, or names in `read` or `taken`; each serves the collective."""
    counts: tuple[int, ...]
    """Elements a rank, as nccl-tests counts them."""
    dtype: np.dtype[Any]
    op: str
    """Empty where nothing is reduced."""
    placements: tuple[str, ...]
    transports: tuple[str, ...]
    """How schedules of our own are run: each by every one of these, unless `taken` says how."""
    check: bool
    rules: Rules
    seed: int
    root: int = -1
    """Of a rooted collective; −1 for the others."""
    weights: NDArray[np.float64] | None = None
    """The traffic matrix of an all_to_all_v, in proportions; see `collectives/traffic.py`."""
    traffic: str = ""
    """What its rows call that traffic (`traffic.traffic_name`); empty for any other collective."""
    read: Mapping[str, Schedule] = field(default_factory=dict)
    """Schedules from files."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where they were read, by the same names."""
    buffers: str = HOST
    """`HOST`, `REGISTERED` or `DEVICE`."""
    host_ranks: int = 0
    """Over `hybrid`, as if each host had so many neighbouring ranks; 0: the hosts that there are."""
    topology: str = ""
    """What rows are held against, as `--topology` has it; empty: against messages that are timed."""
    emulation: Emulation | None = None
    """The emulated network of that topology; None for a real one."""
    taken: Mapping[tuple[Spec, int], Way] = field(default_factory=dict)
    """How an algorithm is run at a count, where a table chose that."""
    piece_bytes: int = 0
    """Of our messages between hosts; 0: as is fastest in an exchange that is timed at the start."""
    rank_order: str = ""
    """How ranks lie on several hosts, where that is not one host after the other."""
    left_out: frozenset[PointKey] = frozenset()
    """Points that are not measured, as they have been before."""

    def points(self) -> list[Point]:
        """All points, in the order of the seed."""
        points = [
            Point(algorithm, count, placement, way)
            for algorithm in self.algorithms
            for count in self.counts
            for way in self._ways(algorithm, count)
            for placement in self.placements
        ]
        shuffled = [points[i] for i in np.random.default_rng(self.seed).permutation(len(points))]
        return [point for point in shuffled if self.key(point) not in self.left_out]

    def key(self, point: Point) -> PointKey:
        """What tells a point from the others of the request, as its row has it."""
        return str(point.algorithm), self.named(point.way.transport), point.placement, point.count

    def without(self, rows: Iterable[Measurement], ranks: int) -> Self:
        """The same without the points that `rows` are of, and without what only these needed."""
        asked = self.collective.name, self.dtype.name, self.op, self.root, ranks
        done = {
            (row.algorithm, row.transport, row.placement, row.count)
            for row in rows
            if (row.name, row.dtype, row.op, row.root, row.ranks) == asked and row.shape == self.shape(row.size_bytes)
        }
        less = replace(self, left_out=self.left_out | done)
        points = less.points()
        if not points:
            return less
        algorithms, counts = {point.algorithm for point in points}, {point.count for point in points}
        return replace(
            less,
            algorithms=tuple(algorithm for algorithm in self.algorithms if algorithm in algorithms),
            counts=tuple(count for count in self.counts if count in counts),
        )

    def _ways(self, algorithm: Spec, count: int) -> tuple[Way, ...]:
        if is_library(algorithm) and NCCL not in self.transports:
            return (Way(algorithm, LIBRARY),)
        if (algorithm, count) in self.taken:
            return (self.taken[algorithm, count],)
        return tuple(Way(algorithm, transport) for transport in self.transports)

    def named(self, transport: str) -> str:
        """What a row calls a transport."""
        return STAGED if transport == SHARED and self.buffers == HOST else transport

    def transports_used(self) -> set[str]:
        """Those of all points, `library` among them."""
        return {way.transport for algorithm in self.algorithms for n in self.counts for way in self._ways(algorithm, n)}

    def uses_window(self) -> bool:
        """Whether ranks need memory that all of them see."""
        return self.buffers == REGISTERED or not self.transports_used().isdisjoint(OVER_WINDOWS)

    def sends_messages(self) -> bool:
        """Whether schedules of ours are run over MPI's messages between buffers of hosts."""
        return self.buffers != DEVICE and not self.transports_used().isdisjoint(OVER_MESSAGES)

    def without_window(self, note: str) -> Self:
        """The same over `mpi` alone; rows of what was to be run over shared memory have `note`."""
        taken = {
            key: replace(way, transport=MPI, note=note) if way.transport in OVER_WINDOWS else way
            for key, way in self.taken.items()
        }
        return replace(self, transports=(MPI,), taken=taken)

    def problem(self, count: int, ranks: int) -> data.Problem:
        """The data of a point."""
        whole: Count = count if self.weights is None else traffic.counts(self.weights, count)
        return data.Problem(self.collective, ranks, self.root, whole, self.dtype, self.op, self.seed)

    def size_bytes(self, count: int, ranks: int) -> int:
        """nccl-tests' size of a point."""
        return rates.collective_size_bytes(self.collective.name, count, self.dtype.itemsize, ranks)

    def shape(self, size_bytes: int) -> str:
        """The shape of a row: what tells its problem from others of one size; empty where the size says all."""
        parts: dict[str, int | str] = {"buffers": REGISTERED} if self.buffers == REGISTERED else {}
        parts |= {"host_ranks": self.host_ranks} if self.host_ranks else {}
        parts |= {"ranks": self.rank_order} if self.rank_order else {}
        # The name of traffic may have commas itself, so it comes last.
        parts |= {"traffic": self.traffic} if self.traffic else {}
        return ",".join(f"{name}={value}" for name, value in {"bytes": size_bytes, **parts}.items()) if parts else ""
