"""Measures collectives on this rank and its peers: buffers, checks, samples, one row a point.

A point is an algorithm, a size and a placement. Points are measured in an order shuffled by the recorded seed, so that
a machine that changes with time does not favour one algorithm or size. Each is checked before it is timed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.collective_buffers import Arena, take_arena
from clusterbench.bench.collective_schedules import Schedules, call_for
from clusterbench.bench.judge import Bound, judge_time
from clusterbench.bench.memory import refuse_too_large
from clusterbench.bench.sampling import Block, Rules, Samples, in_pieces, sample, timer_overhead_s, with_samples
from clusterbench.bench.world import AgreedError, World
from clusterbench.collectives import data, traffic
from clusterbench.collectives.algorithm import LIBRARY, Spec
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.program import lower
from clusterbench.collectives.schedule import Count, Schedule
from clusterbench.collectives.transports import library, mpi
from clusterbench.collectives.transports.native import MpiError, NativeMpi, native
from clusterbench.collectives.transports.prepared import PreparedCall
from clusterbench.kernels.element_types import is_float
from clusterbench.results import notes, rates
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

if TYPE_CHECKING:
    from mpi4py import MPI

    from clusterbench.bench.device_calls import DeviceCalls
    from clusterbench.collectives.transports.device import DeviceCall

PLACEMENTS = ("out_of_place", "in_place")
SAMPLE_UNIT = "maximum over ranks of one call after a barrier, or of the mean of `batch` calls in a row"

AnyCall: TypeAlias = "PreparedCall | DeviceCall"
Finished = Callable[[Measurement, "NDArray[np.float64]"], None]


def is_library(algorithm: Spec) -> bool:
    """Whether it is the library's own collective: `library`, or `library:ID` where it is told which."""
    return algorithm.name.partition(":")[0] == LIBRARY


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure."""

    collective: Collective
    algorithms: tuple[Spec, ...]
    """The library, algorithms of the catalogue, or names in `read`; each serves the collective."""
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
    buffers: str = "host"
    """Where buffers are: `host` or `device`."""

    def points(self) -> list[tuple[Spec, int, str]]:
        """All points (algorithm, count, placement), in the order of the seed."""
        points = [(a, c, p) for a in self.algorithms for c in self.counts for p in self.placements]
        return [points[i] for i in np.random.default_rng(self.seed).permutation(len(points))]

    def transport_of(self, algorithm: Spec) -> str:
        """What a row says of how it was run: `library` for the MPI library's own, `nccl` for NCCL's."""
        return LIBRARY if is_library(algorithm) and self.transport != "nccl" else self.transport

    def problem(self, count: int, ranks: int) -> data.Problem:
        """The data of a point."""
        whole: Count = count if self.weights is None else traffic.counts(self.weights, count)
        return data.Problem(self.collective, ranks, self.root, whole, self.dtype, self.op, self.seed)

    def size_bytes(self, count: int, ranks: int) -> int:
        """nccl-tests' size of a point."""
        return rates.collective_size_bytes(self.collective.name, count, self.dtype.itemsize, ranks)


@dataclass(frozen=True, slots=True)
class _Verified:
    """What the checks of a point found, the same on every rank."""

    wrong: int | None
    error_over_bound: float | None
    reason: str
    culprit: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of rounding data on one rank."""

    bits: int
    """A checksum of its bits."""
    wrong: data.Wrong


class CollectiveRuns:
    """The points of one request on one rank. All ranks make theirs alike and call `run` together."""

    def __init__(self, world: World, request: Request) -> None:
        """Prove the schedules and take the buffers.

        Raises `AgreedError` on every rank where a schedule fails its proof, or a host cannot hold the buffers.
        """
        self.world = world
        self.request = request
        self.native: NativeMpi = native(world.comm)
        sizes = tuple(request.size_bytes(count, world.size) for count in request.counts)
        ours = {spec: sizes for spec in request.algorithms if not is_library(spec)}
        self.schedules = Schedules(
            world, self.native, call_for(request.collective, world, request.root), ours, request.read
        )
        world.begin("compiling programs")
        self._refuse_uncountable()
        self._refuse_too_large()
        problems = [request.problem(count, world.size) for count in request.counts]
        self.gpu: DeviceCalls | None = None
        if request.buffers == "device":
            from clusterbench.bench.device_calls import DeviceCalls

            world.begin("setting up the GPU")
            uses_library = any(is_library(spec) for spec in request.algorithms)
            self.gpu = DeviceCalls(world, self.native, request.transport, problems, request.placements, uses_library)
        world.begin("taking buffers")
        self.arena: Arena = take_arena(problems, request.placements, world.rank)
        self.overhead_s = world.comm.allreduce(timer_overhead_s(), _max())

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all points; yields their rows, the same on every rank, and hands each to `finished` with its samples.

        Raises `MpiError` where MPI fails.
        """
        for algorithm, count, placement in self.request.points():
            step(f"{algorithm}, {count} elements, {placement.replace('_', ' ')}", 0)
            row, seconds = self._measure(algorithm, count, placement, lambda: step("", 0))
            row = replace(row, run_id=run_id, device=self.gpu.module.device if self.gpu else device)
            finished(row, seconds)
            step("", 1)
            yield row

    def _refuse_uncountable(self) -> None:
        if any(is_library(spec) for spec in self.request.algorithms):
            largest = max(self.request.counts)
            count = self.request.problem(largest, self.world.size).count
            try:
                self.native.address(library.function_name(self.request.collective, count))
            except MpiError as error:  # the same library, so the same on every rank
                raise AgreedError(
                    f"-e asks the library for {largest} elements a rank, more than an int counts, and {error}; "
                    "choose a wider -d or a smaller -e, or leave library out of --algorithm",
                    exit_codes.USAGE,
                ) from None

    def _refuse_too_large(self) -> None:
        request, world = self.request, self.world
        largest = max(request.counts)
        problem, size_bytes = request.problem(largest, world.size), request.size_bytes(largest, world.size)
        itemsize = problem.dtype.itemsize
        sides = problem.brings(world.rank), problem.holds(world.rank)
        scratch = [
            lower(self.schedules.program(spec, size_bytes, placement == "in_place"), problem.count, itemsize)
            for spec in request.algorithms
            if not is_library(spec)
            for placement in request.placements
        ]
        needed = (sum(sides) if "out_of_place" in request.placements else max(sides)) * itemsize
        needed += max((lowered.scratch_bytes for lowered in scratch), default=0)
        refuse_too_large(world, needed, "-e")

    def _prepare(self, algorithm: Spec, problem: data.Problem, size_bytes: int, placement: str) -> AnyCall:
        in_place, of_library = placement == "in_place", is_library(algorithm)
        first = of_library and in_place and library.puts_result_first(problem.collective)
        first = first and self.request.transport != "nccl"
        buffers = self.arena.buffers(problem, self.world.rank, in_place, result_first=first)
        if self.gpu is not None:
            program = None if of_library else self.schedules.program(algorithm, size_bytes, in_place)
            return self.gpu.prepare(problem, self.world.rank, program, in_place, first, buffers)
        if of_library:
            return library.prepare(
                self.native, problem.collective, problem.count, problem.dtype, problem.op, buffers, in_place,
                problem.root,
            )  # fmt: skip
        program = self.schedules.program(algorithm, size_bytes, in_place)
        return mpi.prepare(self.native, program, problem.count, problem.dtype, problem.op, buffers)

    def _measure(
        self, algorithm: Spec, count: int, placement: str, alive: Callable[[], None]
    ) -> tuple[Measurement, NDArray[np.float64]]:
        request, started, ranks = self.request, now_iso(), self.world.size
        problem, size_bytes = request.problem(count, ranks), request.size_bytes(count, ranks)
        call = self._prepare(algorithm, problem, size_bytes, placement)
        verified = self._verify(call, algorithm, problem, size_bytes)
        data.fill(problem, call.buffers.send, self.world.rank)
        call.load()
        block = in_pieces(lambda samples, batch: Block(*call.time(samples, batch)), alive)
        samples = sample(block, request.rules, self.overhead_s, self.world.comm.bcast)
        alive()
        if placement == "out_of_place" and request.check and not verified.reason:
            # The input is unchanged, so the result of the last timed call is still to be what it was to be.
            wrong, reason, culprit = self._count_wrong(call, problem)
            if wrong:
                verified = replace(verified, wrong=wrong, reason=f"after timing, {reason}", culprit=culprit)
        return self._row(algorithm, count, placement, samples, verified, started), samples.seconds

    def _verify(self, call: AnyCall, algorithm: Spec, problem: data.Problem, size_bytes: int) -> _Verified:
        if not self.request.check:
            return _Verified(None, None, "", "")
        rank = self.world.rank
        data.poison(call.buffers.result)
        data.fill(problem, call.buffers.send, rank)
        call.load()
        call.run()
        wrong, reason, culprit = self._count_wrong(call, problem)
        if problem.op not in ("sum", "avg") or not is_float(problem.dtype):
            return _Verified(wrong, None, reason, culprit)
        proof = None if is_library(algorithm) else self.schedules.ready(algorithm, size_bytes).proof
        found = self._sums(call, problem, proof.additions if proof else None)
        for number, when in enumerate(("", "in the second call, ")):
            if not reason:  # the gravest first: exact data, then those that round
                wrong, reason, culprit = _said([calls[number].wrong for calls in found], when)
        error = max(one.wrong.error_over_bound or 0.0 for calls in found for one in calls)
        return _Verified(wrong, error, reason, culprit, _unlike_bits(problem, found))

    def _sums(self, call: AnyCall, problem: data.Problem, additions: int | None) -> list[tuple[_Sum, _Sum]]:
        """What two calls with the same rounding data gave, on every rank."""

        def summed() -> int:
            data.fill_rounding(problem, call.buffers.send, self.world.rank)
            call.load()
            call.run()
            call.fetch()
            return zlib.crc32(call.buffers.result.view(np.uint8).data)

        def compared() -> data.Wrong:
            return data.check_rounding(problem, call.buffers.result, self.world.rank, additions)

        first = _Sum(summed(), compared())
        bits = summed()
        again = first if bits == first.bits else _Sum(bits, compared())  # the same bits are as right as they were
        return self.world.comm.allgather((first, again))

    def _count_wrong(self, call: AnyCall, problem: data.Problem) -> tuple[int, str, str]:
        """Wrong elements of exact data over all ranks, and what is wrong on the first rank that has any."""
        call.fetch()
        return _said(self.world.comm.allgather(data.check(problem, call.buffers.result, self.world.rank)))

    def _row(
        self, algorithm: Spec, count: int, placement: str, samples: Samples, verified: _Verified, started: str
    ) -> Measurement:
        request, size = self.request, self.world.size
        name, size_bytes = request.collective.name, request.size_bytes(count, size)
        summary = summarise(samples.seconds)
        verdict, reason = judge_time(Bound(None, ""), summary)
        if verified.reason:
            verdict, reason = "FAIL", verified.reason
        row = Measurement(
            run_id="",
            suite="collectives",
            name=name,
            algorithm=str(algorithm),
            transport=request.transport_of(algorithm),
            backend="cupy" if self.gpu else "cpu",
            dtype=request.dtype.name,
            op=request.op,
            root=request.root,
            placement=placement,
            count=count,
            size_bytes=size_bytes,
            shape=f"bytes={size_bytes},traffic={request.traffic}" if request.traffic else "",
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
            note=notes.joined(self._notes(algorithm, count, verified)),
            started_at=started,
        )
        return with_samples(row, samples, summary, SAMPLE_UNIT)

    def _notes(self, algorithm: Spec, count: int, verified: _Verified) -> Iterator[str]:
        yield verified.note
        if self.world.oversubscribed:
            yield notes.SHARED_CORES
        if is_library(algorithm):
            marking = library.marking if self.gpu is None else self.gpu.marking
            yield marking(self.request.dtype, self.request.op)
        else:
            yield self.schedules.ready(algorithm, self.request.size_bytes(count, self.world.size)).note
            if str(algorithm) in self.request.paths:
                yield notes.ran_as(self.request.paths[str(algorithm)])
        if self.gpu is not None:
            yield self.gpu.shared
        if self.request.check and data.averages_to_zero(self.request.problem(count, self.world.size)):
            yield f"an average of {self.request.dtype.name} over so many ranks is 0 whatever they bring"
        if self.request.weights is not None:
            busiest = traffic.imbalance(traffic.counts(self.request.weights, count))
            yield f"the busiest rank sends or receives {busiest:.2f} times the mean"


def _said(found: Sequence[data.Wrong], when: str = "") -> tuple[int, str, str]:
    """Wrong elements over all ranks, and what is wrong on the first rank that has any: in words, and the rank."""
    total = sum(wrong.count for wrong in found)
    for rank, wrong in enumerate(found):
        if wrong.count:
            return total, f"{when}rank {rank}: {wrong.text()}", f"rank {rank}"
    return total, "", ""


def _unlike_bits(problem: data.Problem, found: Sequence[tuple[_Sum, _Sum]]) -> str:
    """Whether the sums of rounding data differ in bits: between two calls, or between ranks."""
    remarks = []
    unsteady = [str(rank) for rank, (first, again) in enumerate(found) if first.bits != again.bits]
    if unsteady:
        remarks.append(f"results of two calls differ in bits on rank {', '.join(unsteady)}")
    if problem.collective.gives == "whole":
        differing = [str(rank) for rank, (first, _) in enumerate(found) if first.bits != found[0][0].bits]
        if differing:
            remarks.append(f"results of rank {', '.join(differing)} differ in bits from rank 0's")
    return notes.joined(remarks)


def _max() -> MPI.Op:
    from mpi4py import MPI

    return MPI.MAX
