"""Measures messages: `pingpong` between the first and the last rank, and `sendrecv` round the ring of all ranks.

What is measured is defined in collectives/transports/point_to_point.py; sizes and rates as in nccl-tests' sendrecv. The
busbw of two-way traffic counts both directions, as OSU's osu_bibw does; algbw is always size / time of one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.judge import Bound, judge_time
from clusterbench.bench.measuring.exchanges import SAMPLE_UNITS, Exchange, Found, measure, room_for
from clusterbench.bench.measuring.sampling import Rules, timer_overhead_s, with_samples
from clusterbench.bench.names import PINGPONG, SENDRECV
from clusterbench.bench.worlds.world import AgreedError, World, await_all
from clusterbench.collectives.transports.native import native
from clusterbench.results import notes, rates
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

WINDOW = 64
"""Messages in flight, as OSU has it."""
TRANSPORT = "mpi"
"""How messages go; their buffers are in host memory."""
_KINDS = {PINGPONG: ("latency", "one-way", "two-way"), SENDRECV: ("sendrecv",)}
_DIRECTIONS = {"latency": 1, "one-way": 1, "two-way": 2, "sendrecv": 1}
"""busbw / algbw."""

Finished = Callable[[Measurement, "NDArray[np.float64]"], None]


@dataclass(frozen=True, slots=True)
class PointToPointRequest:
    """What to measure."""

    name: str
    """One of `names.MESSAGES`."""
    counts: tuple[int, ...]
    """Elements of a message."""
    dtype: np.dtype[Any]
    check: bool
    rules: Rules
    seed: int
    window: int = WINDOW
    """Messages in flight where bandwidth is measured."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The kinds of exchange that are measured: the rows' `algorithm`."""
        return _KINDS[self.name]

    def points(self) -> list[tuple[str, int]]:
        """All points (algorithm, count), in the order of the seed."""
        points = [(kind, count) for kind in self.algorithms for count in self.counts]
        return [points[i] for i in np.random.default_rng(self.seed).permutation(len(points))]


class PointToPointRuns:
    """The points of one request on one rank. All ranks make theirs alike and call `run` together."""

    def __init__(self, world: World, request: PointToPointRequest) -> None:
        """Take the buffers.

        Raises `AgreedError` on every rank where there are too few of them, or a host cannot hold the buffers.
        """
        if request.name == PINGPONG and world.size < 2:
            raise AgreedError(
                "pingpong needs at least 2 ranks; there is 1: start it with mpiexec -n 2", exit_codes.USAGE
            )
        self.world = world
        self.request = request
        exchanges = (self._exchange(kind, count) for kind, count in request.points())
        self.room = room_for(world, [e for e in exchanges if e is not None], "-e")
        self.native = native(world.comm, world.page.progress_address)
        self.overhead_s = float(max(world.comm.allgather(timer_overhead_s())))

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all points; yields their rows, the same on every rank, and hands each to `finished` with its samples.

        Raises `MpiError` where MPI fails.
        """
        request = self.request
        check_seed = request.seed if request.check else None

        def alive() -> None:
            step("", 0)

        for kind, count in request.points():
            step(f"{kind}, {count} elements", 0)
            started, exchange, found = now_iso(), self._exchange(kind, count), None
            if exchange is not None:
                found = measure(
                    self.world, self.native, exchange, self.room, request.rules, self.overhead_s, check_seed, alive
                )
            await_all(self.world, alive)
            found = self.world.comm.bcast(found)  # rank 0 is in every exchange
            row = replace(self._row(kind, count, found, started), run_id=run_id, device=device)
            finished(row, found.samples.seconds)
            step("", 1)
            yield row

    def _exchange(self, kind: str, count: int) -> Exchange | None:
        """This rank's part in an exchange, or None where it has none."""
        rank, size, request = self.world.rank, self.world.size, self.request
        size_bytes = count * request.dtype.itemsize
        if kind == "sendrecv":
            return Exchange(kind, (rank + 1) % size, (rank - 1) % size, True, size_bytes, request.dtype.itemsize, 1)
        if rank not in (0, size - 1):
            return None
        other = size - 1 - rank
        window = 1 if kind == "latency" else request.window
        return Exchange(kind, other, other, rank == 0, size_bytes, request.dtype.itemsize, window)

    def _row(self, kind: str, count: int, found: Found, started: str) -> Measurement:
        request, world = self.request, self.world
        summary = summarise(found.samples.seconds)
        size_bytes = count * request.dtype.itemsize
        algbw = rates.algbw(size_bytes, summary.median_s)
        verdict, reason = judge_time(Bound(None, ""), summary)
        if found.reason:
            verdict, reason = "FAIL", found.reason
        row = Measurement(
            run_id="",
            suite="point-to-point",
            name=request.name,
            algorithm=kind,
            transport=TRANSPORT,
            backend="cpu",
            dtype=request.dtype.name,
            placement="out_of_place",
            count=count,
            size_bytes=size_bytes,
            shape=self._shape(kind, size_bytes),
            ranks=world.size,
            nodes=self._nodes(),
            algbw=algbw,
            busbw=algbw * _DIRECTIONS[kind],
            wrong=found.wrong,
            verdict=verdict,
            reason=reason,
            culprit=found.culprit,
            host=world.places[0].host,
            note=notes.joined(self._notes()),
            started_at=started,
        )
        return with_samples(row, found.samples, summary, SAMPLE_UNITS[kind])

    def _shape(self, kind: str, size_bytes: int) -> str:
        if self.request.name == SENDRECV:
            return ""
        window = "" if kind == "latency" else f",window={self.request.window}"
        return f"bytes={size_bytes},src=0,dst={self.world.size - 1}{window}"

    def _nodes(self) -> int:
        hosts = [place.host for place in self.world.places]
        return len({hosts[0], hosts[-1]}) if self.request.name == PINGPONG else self.world.nodes

    def _notes(self) -> Iterator[str]:
        last = self.world.places[-1]
        if self.request.name == PINGPONG and last.host != self.world.places[0].host:
            yield f"rank {last.rank} on {last.host}"
        if self.world.oversubscribed:
            yield notes.SHARED_CORES
