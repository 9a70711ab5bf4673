"""Measures collectives on this rank and its peers: buffers, checks, samples, one row a point.

A point is an algorithm, a size and a placement. Points are measured in an order shuffled by the recorded seed, so that
a machine that changes with time does not favour one algorithm or size. Each is checked before it is timed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.judge import Bound, judge_time
from clusterbench.bench.sampling import Block, Rules, Samples, sample, timer_overhead_s, with_samples
from clusterbench.bench.world import AgreedError, World, agreed
from clusterbench.collectives import data, discovery
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.program import compile_program, lower
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.transports import library, mpi
from clusterbench.collectives.transports.native import MpiError, NativeMpi, native
from clusterbench.collectives.transports.prepared import Buffer, Buffers, PreparedCall
from clusterbench.results import rates
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

if TYPE_CHECKING:
    from mpi4py import MPI

PLACEMENTS = ("out_of_place", "in_place")
LIBRARY = "library"
SAMPLE_UNIT = "maximum over ranks of one call after a barrier, or of the mean of `batch` calls in a row"
ALIGNMENT = 4096
PROVEN_RANKS = 256
"""Ranks up to which a schedule is proven before it is run: about a second. `collectives prove` does it for more."""

Finished = Callable[[Measurement, "NDArray[np.float64]"], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure."""

    collective: Collective
    algorithms: tuple[str, ...]
    """`library`, or names of the catalogue; each serves the collective."""
    counts: tuple[int, ...]
    """Elements a rank, as nccl-tests counts them."""
    dtype: np.dtype[Any]
    op: str
    """Empty where nothing is reduced."""
    placements: tuple[str, ...]
    transport: str
    """How schedules of our own are run."""
    check: bool
    rules: Rules
    seed: int

    def points(self) -> list[tuple[str, int, str]]:
        """All points (algorithm, count, placement), in the order of the seed."""
        points = [(a, c, p) for a in self.algorithms for c in self.counts for p in self.placements]
        return [points[i] for i in np.random.default_rng(self.seed).permutation(len(points))]


@dataclass(frozen=True, slots=True)
class _Verified:
    """What the checks of a point found, the same on every rank."""

    wrong: int | None
    error_over_bound: float | None
    reason: str
    culprit: str
    note: str = ""


class CollectiveRuns:
    """The points of one request on one rank. All ranks make theirs alike and call `run` together."""

    def __init__(self, world: World, request: Request) -> None:
        """Prove the schedules, compile the programs, and take the buffers.

        Raises `AgreedError` on every rank where a schedule fails its proof, or a host cannot hold the buffers.
        """
        self.world = world
        self.request = request
        ours = [name for name in request.algorithms if name != LIBRARY]
        self.schedules = {name: self._schedule(name) for name in ours}
        self.additions = {name: self._additions(schedule) for name, schedule in self.schedules.items()}
        self.programs = {
            (name, placement): compile_program(schedule, world.rank, placement == "in_place")
            for name, schedule in self.schedules.items()
            for placement in request.placements
        }
        largest = max(request.counts)
        vector = largest * request.collective.parts(world.size)
        self._refuse_too_large(largest, vector)
        self.native: NativeMpi = native(world.comm)
        self._refuse_uncountable(largest)
        self.vector = _aligned(vector, request.dtype)
        small = request.collective.has_parts and "out_of_place" in request.placements
        self.part = _aligned(largest if small else 0, request.dtype)
        both = not request.collective.has_parts and "out_of_place" in request.placements
        self.other = _aligned(vector if both else 0, request.dtype)
        self.overhead_s = world.comm.allreduce(timer_overhead_s(), _max())

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all points; yields their rows, the same on every rank, and hands each to `finished` with its samples.

        Raises `MpiError` where MPI fails.
        """
        for algorithm, count, placement in self.request.points():
            step(f"{algorithm}, {count} elements, {placement.replace('_', ' ')}", 0)
            row, seconds = self._measure(algorithm, count, placement)
            row = replace(row, run_id=run_id, device=device)
            finished(row, seconds)
            step("", 1)
            yield row

    def _schedule(self, name: str) -> Schedule:
        what, size = self.request.collective, self.world.size
        return discovery.algorithm(name, what, size).schedule(what, size)

    def _additions(self, schedule: Schedule) -> int | None:
        """Prove a schedule on rank 0, for all ranks: the additions on its longest path, or None where it is not proven.

        Raises `AgreedError` on every rank if the schedule is wrong.
        """
        if self.world.size > PROVEN_RANKS:
            return None
        return agreed(self.world, lambda: prove(schedule)).additions

    def _refuse_uncountable(self, count: int) -> None:
        if LIBRARY in self.request.algorithms:
            try:
                self.native.address(library.function_name(self.request.collective, count))
            except MpiError as error:  # the same library, so the same on every rank
                raise AgreedError(
                    f"-e asks the library for {count} elements a rank, more than an int counts, and {error}; "
                    "choose a wider -d or a smaller -e, or leave library out of --algorithm",
                    exit_codes.USAGE,
                ) from None

    def _refuse_too_large(self, count: int, vector: int) -> None:
        import psutil

        dtype = self.request.dtype
        out_of_place = "out_of_place" in self.request.placements
        other = (count if self.request.collective.has_parts else vector) if out_of_place else 0
        scratch = max((lower(p, count, dtype.itemsize).scratch_bytes for p in self.programs.values()), default=0)
        needed = (vector + other) * dtype.itemsize + scratch
        on_host = [p.host for p in self.world.places].count(self.world.places[self.world.rank].host)
        free = psutil.virtual_memory().available
        shortage = self.world.comm.allgather((needed * on_host, free))
        for rank, (wanted, there) in enumerate(shortage):
            if wanted > there:
                raise AgreedError(
                    f"-e needs {wanted / 2**30:.1f} GiB on host {self.world.places[rank].host} for the buffers of "
                    f"{on_host} ranks, which has {there / 2**30:.1f} GiB free; choose a smaller -e",
                    exit_codes.USAGE,
                )

    def _buffers(self, algorithm: str, count: int, in_place: bool) -> Buffers:
        what, rank, size = self.request.collective, self.world.rank, self.world.size
        vector = self.vector[: count * what.parts(size)]
        if not what.has_parts:
            receive = vector if in_place else self.other[: len(vector)]
            return Buffers(vector, receive, receive)
        own = vector[rank * count : (rank + 1) * count] if in_place else self.part[:count]
        if what.gives == "whole":
            return Buffers(own, vector, vector)
        moved = in_place and algorithm == LIBRARY and library.puts_result_first(what)
        return Buffers(vector, own, vector[:count] if moved else own)

    def _prepare(self, algorithm: str, count: int, placement: str) -> PreparedCall:
        request, in_place = self.request, placement == "in_place"
        buffers = self._buffers(algorithm, count, in_place)
        if algorithm == LIBRARY:
            return library.prepare(self.native, request.collective, count, request.dtype, request.op, buffers, in_place)
        program = self.programs[algorithm, placement]
        return mpi.prepare(self.native, program, count, request.dtype, request.op, buffers)

    def _measure(self, algorithm: str, count: int, placement: str) -> tuple[Measurement, NDArray[np.float64]]:
        request, started = self.request, now_iso()
        call = self._prepare(algorithm, count, placement)
        verified = self._verify(call, algorithm)
        data.fill(call.buffers.send, request.collective, self.world.rank, self.world.size, request.op, request.seed)
        samples = sample(
            lambda n, batch: Block(*call.time(n, batch)), request.rules, self.overhead_s, self.world.comm.bcast
        )
        if placement == "out_of_place" and request.check and not verified.reason:
            # The input is unchanged, so the result of the last timed call is still to be what it was to be.
            wrong, reason, culprit = self._count_wrong(call)
            if wrong:
                verified = replace(verified, wrong=wrong, reason=f"after timing, {reason}", culprit=culprit)
        return self._row(algorithm, count, placement, samples, verified, started), samples.seconds

    def _verify(self, call: PreparedCall, algorithm: str) -> _Verified:
        request = self.request
        if not request.check:
            return _Verified(None, None, "", "")
        buffers, rank, size = call.buffers, self.world.rank, self.world.size
        _poison(buffers.result)
        data.fill(buffers.send, request.collective, rank, size, request.op, request.seed)
        call.run()
        wrong, reason, culprit = self._count_wrong(call)
        error, note = None, ""
        if request.op in ("sum", "avg") and np.issubdtype(request.dtype, np.floating):
            data.fill_rounding(buffers.send, rank, request.seed)
            call.run()
            offset = rank * len(buffers.result) if request.collective.gives == "part" else 0
            additions = self.additions.get(algorithm)
            mine = data.error_over_bound(buffers.result, offset, size, request.op, request.seed, additions)
            errors = self.world.comm.allgather(mine)
            error = max(errors)
            if not error <= 1 and not reason:
                culprit = f"rank {errors.index(error)}"
                reason = f"{culprit}: error is {error:.3g} times its bound"
            if request.collective.gives == "whole":
                prints = self.world.comm.allgather(zlib.crc32(buffers.result.view(np.uint8).data))
                differing = [str(r) for r, other in enumerate(prints) if other != prints[0]]
                note = f"results of rank {', '.join(differing)} differ in bits from rank 0's" if differing else ""
        return _Verified(wrong, error, reason, culprit, note)

    def _count_wrong(self, call: PreparedCall) -> tuple[int, str, str]:
        """Wrong elements over all ranks, and what is wrong on the first rank that has any."""
        request, world = self.request, self.world
        mine = data.check(call.buffers.result, request.collective, world.rank, world.size, request.op, request.seed)
        found = world.comm.allgather(mine)
        total = sum(wrong.count for wrong in found)
        for rank, wrong in enumerate(found):
            if wrong.count:
                return (
                    total,
                    f"rank {rank}: {wrong.count} wrong, first at index {wrong.index}: "
                    f"expected {wrong.expected:g}, found {wrong.found:g}",
                    f"rank {rank}",
                )
        return total, "", ""

    def _row(
        self, algorithm: str, count: int, placement: str, samples: Samples, verified: _Verified, started: str
    ) -> Measurement:
        request, size = self.request, self.world.size
        name, itemsize = request.collective.name, request.dtype.itemsize
        summary = summarise(samples.seconds)
        size_bytes = rates.collective_size_bytes(name, count, itemsize, size)
        verdict, reason = judge_time(Bound(None, ""), summary)
        if verified.reason:
            verdict, reason = "FAIL", verified.reason
        row = Measurement(
            run_id="",
            suite="collectives",
            name=name,
            algorithm=algorithm,
            transport=LIBRARY if algorithm == LIBRARY else request.transport,
            backend="cpu",
            dtype=request.dtype.name,
            op=request.op,
            placement=placement,
            count=count,
            size_bytes=size_bytes,
            ranks=size,
            nodes=self.world.nodes,
            algbw=rates.algbw(size_bytes, summary.median_s),
            busbw=rates.busbw(name, size_bytes, summary.median_s, size),
            wrong=verified.wrong,
            error_over_bound=verified.error_over_bound,
            verdict=verdict,
            reason=reason,
            culprit=verified.culprit,
            host=self.world.places[0].host,
            note="; ".join(self._notes(algorithm, verified)),
            started_at=started,
        )
        return with_samples(row, samples, summary, SAMPLE_UNIT)

    def _notes(self, algorithm: str, verified: _Verified) -> Iterator[str]:
        if verified.note:
            yield verified.note
        if self.world.oversubscribed:
            yield "more ranks than cores"
        if algorithm != LIBRARY and self.additions[algorithm] is None:
            yield f"the schedule was not proven for so many ranks; `clusterbench collectives prove {algorithm}` does it"


def _aligned(elements: int, dtype: np.dtype[Any]) -> Buffer:
    """Zeroed elements at a page boundary, every page touched."""
    size = elements * dtype.itemsize
    room = np.zeros(size + ALIGNMENT, np.uint8)
    room.fill(0)
    skip = -room.ctypes.data % ALIGNMENT
    return room[skip : skip + size].view(dtype)


def _poison(buffer: Buffer) -> None:
    """Fill with what no result of exact data can be, so that an element that was never written shows."""
    if np.issubdtype(buffer.dtype, np.floating):
        buffer.fill(np.nan)
    else:  # the values of exact data are symmetric about zero, and those without a sign end before the largest
        limits = np.iinfo(buffer.dtype)
        buffer.fill(limits.min if limits.min < 0 else limits.max)


def _max() -> MPI.Op:
    from mpi4py import MPI

    return MPI.MAX
