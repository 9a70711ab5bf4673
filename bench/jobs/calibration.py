"""Measures every algorithm over every transport at a series of sizes, and keeps in a table which is the fastest.

It is measured as `collectives run` does, on float32, by sums, with root 0 and even traffic: everything once out of
place, and the fastest of each size and transport twice more, in place too, as one visit may fall into a bad moment.
Data is not checked: every schedule is proven, and every fused program checked, before it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from clusterbench.bench.measuring.choices import Entry, chosen_cells, contenders
from clusterbench.bench.measuring.collective_request import HYBRID, MPI, PLACEMENTS, REGISTERED, SHARED, Point, Request
from clusterbench.bench.measuring.collective_runs import CollectiveRuns, Finished
from clusterbench.bench.measuring.collective_schedules import all_serving
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.measuring.shared_calls import NoWindowError
from clusterbench.bench.output import note
from clusterbench.bench.tables.choice_table import fingerprint, write_entries
from clusterbench.bench.worlds.world import World, agreed
from clusterbench.collectives import traffic
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.transports.library import works_in_place
from clusterbench.results.rates import count_for_size
from clusterbench.results.record import Measurement

DTYPE = np.dtype("float32")
CONTENDERS = 3
"""Algorithms of a size and transport that are visited again, the fastest."""
VISITS = 2
"""How often."""


@dataclass
class Calibration:
    """What to calibrate on one rank; all ranks make theirs alike and call `run` together."""

    world: World
    path: Path
    """Of the table."""
    names: tuple[str, ...]
    buffers: tuple[str, ...]
    sizes: tuple[int, ...]
    rules: Rules
    seed: int
    entries: list[Entry] = field(default_factory=list)
    """What was chosen so far."""
    left_out: list[str] = field(default_factory=list)
    """What could not be measured, in words."""

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """One for each collective and kind of buffers."""
        return tuple(self._request(name, buffers) for name in self.names for buffers in self.buffers)

    def points(self) -> list[object]:
        """All points of all requests that are measured for certain."""
        return [point for request in self.requests for point in _first(request.points())]

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all; yields the rows as `CollectiveRuns.run`, and writes the table after each collective."""
        for request in self.requests:
            runs = self._runs(request)
            if runs is None:
                step("", len(_first(request.points())))
                continue
            rows: list[Measurement] = []
            for row in runs.measured(_first(runs.points), run_id, device, finished, step):
                rows.append(row)
                yield row
            for row in runs.measured(self._again(runs, rows), run_id, device, finished, lambda what, _: step(what, 0)):
                rows.append(row)
                yield row
            runs.close()
            self._keep(runs.request, runs, rows)

    def _again(self, runs: CollectiveRuns, rows: list[Measurement]) -> list[Point]:
        """What is visited again, `VISITS` times, each time in another order."""
        request, size = runs.request, self.world.size
        chosen = contenders(rows, CONTENDERS)
        points = [
            point
            for point in runs.points
            if (request.size_bytes(point.count, size), request.named(point.way.transport), str(point.algorithm))
            in chosen
        ]
        order = np.random.default_rng(self.seed)
        return [points[i] for _ in range(VISITS) for i in order.permutation(len(points))]

    def _runs(self, request: Request) -> CollectiveRuns | None:
        """The runs of a request; where ranks can share no memory those over `mpi`, or none for registered buffers."""
        try:
            return CollectiveRuns(self.world, request)
        except NoWindowError as error:
            said = f"{request.collective.name}, {request.buffers} buffers, over shared memory: {error}"
        self.left_out.append(said)
        note(f"not measured: {said}")
        if request.buffers == REGISTERED:
            return None
        return CollectiveRuns(self.world, request.without_window(""))

    def _keep(self, request: Request, runs: CollectiveRuns, rows: list[Measurement]) -> None:
        def rounds(algorithm: str, size_bytes: int) -> int:
            spec = next(spec for spec in request.algorithms if str(spec) == algorithm)
            proof = runs.schedules.ready(spec, size_bytes).proof
            return proof.rounds if proof else 0

        size, nodes = self.world.size, self.world.nodes
        entry = Entry(request.collective.name, size, nodes, request.buffers, chosen_cells(rows, rounds))
        self.entries.append(entry)
        agreed(self.world, partial(_written, self.path, entry))

    def _request(self, name: str, buffers: str) -> Request:
        what, ranks = COLLECTIVES[name], self.world.size
        root = 0 if what.is_rooted else -1
        counts = dict.fromkeys(count_for_size(name, size, DTYPE.itemsize, ranks) for size in self.sizes)
        return Request(
            collective=what,
            algorithms=tuple(all_serving(self.world, what, root)),
            counts=tuple(counts),
            dtype=DTYPE,
            op="sum" if what.reduces else "",
            placements=PLACEMENTS if works_in_place(what) else PLACEMENTS[:1],
            transports=(MPI, SHARED if self.world.nodes == 1 else HYBRID),
            check=False,
            rules=self.rules,
            seed=self.seed,
            root=root,
            weights=traffic.traffic("uniform", ranks, self.seed) if what.uneven else None,
            traffic="uniform" if what.uneven else "",
            buffers=buffers,
        )


def _first(points: list[Point]) -> list[Point]:
    """What is measured at first: out of place."""
    return [point for point in points if point.placement == PLACEMENTS[0]]


def _written(path: Path, entry: Entry) -> None:
    write_entries(path, fingerprint(), [entry])
