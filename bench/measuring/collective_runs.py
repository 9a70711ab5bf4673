"""Measures collectives on this rank and its peers: buffers, checks, samples, one row a point.

Each point of the request is checked before it is timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench import exit_codes
from clusterbench.bench.judge import judge_against_proof
from clusterbench.bench.measuring.collective_buffers import Arena, take_arena
from clusterbench.bench.measuring.collective_checks import NOT_CHECKED, AnyCall, Verified, verify, verify_last
from clusterbench.bench.measuring.collective_request import (
    DEVICE,
    NCCL,
    OVER_MESSAGES,
    OVER_WINDOWS,
    REGISTERED,
    Point,
    Request,
    Way,
    is_library,
)
from clusterbench.bench.measuring.collective_schedules import Schedules, call_for
from clusterbench.bench.measuring.expectations import Asked, Expectations, expectations, machine_of
from clusterbench.bench.measuring.pair_calibration import PairTimes, long_messages, time_pairs
from clusterbench.bench.measuring.sampling import Block, Samples, in_pieces, sample, timer_overhead_s, with_samples
from clusterbench.bench.measuring.shared_calls import SharedCalls
from clusterbench.bench.worlds.memory import refuse_too_large
from clusterbench.bench.worlds.world import AgreedError, World, agreed, alike
from clusterbench.collectives import traffic
from clusterbench.collectives.algorithm import ORDER
from clusterbench.collectives.checking import data
from clusterbench.collectives.programs.program import lower
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.transports import cutting, library, mpi
from clusterbench.collectives.transports.native import MpiError, NativeMpi, native
from clusterbench.collectives.transports.prepared import Buffers, PreparedCall
from clusterbench.results import notes, rates
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

if TYPE_CHECKING:
    from mpi4py import MPI

    from clusterbench.bench.measuring.device_calls import DeviceCalls
    from clusterbench.collectives.algorithm import Call, Spec
    from clusterbench.collectives.schedule import Schedule
    from clusterbench.collectives.transports.shared import SharedCall

SAMPLE_UNIT = "maximum over ranks of one call after a barrier, or of the mean of `batch` calls in a row"

Finished = Callable[[Measurement, "NDArray[np.float64]"], None]


class CollectiveRuns:
    """The points of one request on one rank. All ranks make theirs alike and call `run` together."""

    def __init__(self, world: World, request: Request) -> None:
        """Prove the schedules and take the buffers.

        Raises `AgreedError` on every rank where a schedule fails its proof, or a host cannot hold the buffers;
        `NoWindowError`, which is one, where the ranks cannot share memory and were to.
        """
        self.world = world
        self.request = request
        self.native: NativeMpi = native(world.comm, world.page.progress_address)
        self.points = request.points()
        self.cut = self._cut()
        call = self._call()
        self.schedules = Schedules(world, self.native, call, self._sizes(), request.read)
        self._refuse_uncountable()
        self.expectations = self._expectations(call)
        self.shared = SharedCalls(world, self.native, self.schedules, request) if request.uses_window() else None
        world.begin("compiling programs")
        scratch_bytes = self._scratch_bytes()
        refuse_too_large(world, self._needed_bytes() + scratch_bytes, "-e")
        problems = [request.problem(count, world.size) for count in request.counts]
        self.gpu: DeviceCalls | None = None
        if request.buffers == DEVICE:
            from clusterbench.bench.measuring.device_calls import DeviceCalls

            world.begin("setting up the GPU")
            uses_library = any(is_library(spec) for spec in request.algorithms)
            self.gpu = DeviceCalls(
                world, self.native, request.transports[0], problems, request.placements, uses_library
            )
        world.begin("taking buffers")
        if self.shared is not None:
            self.shared.open()
        if self.shared is not None and request.buffers == REGISTERED:
            self.arena: Arena = self.shared.arena()
        else:
            self.arena = take_arena(problems, request.placements, world.rank)
        if self.gpu is None:
            self.native.scratch.take(scratch_bytes)  # now, and not piece by piece as sizes grow
        self.overhead_s = world.comm.allreduce(timer_overhead_s(), _max())

    def run(
        self, run_id: str, device: str, finished: Finished, step: Callable[[str, int], None]
    ) -> Iterator[Measurement]:
        """Measure all points, once, as `measured` does."""
        yield from self.measured(self.points, run_id, device, finished, step)
        self.close()

    def close(self) -> None:
        """Give shared memory back; all ranks call it together, once they have measured everything."""
        if self.shared is not None:
            self.shared.close()

    def measured(
        self,
        points: Iterable[Point],
        run_id: str,
        device: str,
        finished: Finished,
        step: Callable[[str, int], None],
    ) -> Iterator[Measurement]:
        """Measure some of the points; yields their rows, the same on every rank, and hands each to `finished` with its
        samples.

        Raises `MpiError` where MPI fails.
        """
        for point in points:
            asked = replace(self._asked(point), run_id=run_id, device=self.gpu.module.device if self.gpu else device)
            self.world.page.begin_row(asked)
            step(f"{point.algorithm}, {point.count} elements, {point.placement.replace('_', ' ')}", 0)
            row, seconds = self._measure(point, asked, lambda: step("", 0))
            finished(row, seconds)
            step("", 1)
            yield row

    def _cut(self) -> cutting.Cut:
        """Have our messages between hosts cut as was asked for, or as is fastest."""
        hosts = [place.host for place in self.world.places]
        if self.world.nodes == 1 or not self.request.sends_messages():
            return cutting.Cut()
        if self.request.piece_bytes:
            chosen = cutting.Cut(self.request.piece_bytes)
        else:
            self.world.begin("timing messages in pieces")
            chosen = cutting.best_cut(self.native, hosts)
        cutting.cut(self.native, hosts, chosen.longest_bytes)
        return chosen

    def _sizes(self) -> dict[Spec, tuple[int, ...]]:
        """The sizes with which each schedule is run."""
        sizes: dict[Spec, dict[int, None]] = defaultdict(dict)
        for count in self.request.counts:  # in their order, and not in that of the points
            for point in self.points:
                if point.count == count and not is_library(point.way.spec):
                    sizes[point.way.spec][self.request.size_bytes(count, self.world.size)] = None
        return {spec: tuple(of) for spec, of in sizes.items()}

    def _call(self) -> Call:
        request, world = self.request, self.world
        call = call_for(request.collective, world, request.root, request.host_ranks)
        if not request.topology or not any(ORDER in dict(spec.options) for spec in request.algorithms):
            return call
        from clusterbench.collectives.topology.nearness import nearness

        near = agreed(world, lambda: nearness(machine_of(request)))
        return replace(call, nearness=lambda: near)

    def _expectations(self, call: Call) -> Expectations:
        sizes = {self.request.size_bytes(count, self.world.size): count for count in self.request.counts}
        points = {(spec, size) for spec, of in self._sizes().items() for size in of}
        made = {(spec, size): self.schedules.ready(spec, size).schedule for spec, size in points}
        by_messages = not self.request.topology and self.request.buffers != DEVICE and self.world.size > 1
        links = self.schedules.links() if by_messages else None  # all ranks measure, and rank 0 reckons
        pairs = self._pairs(made)
        self.world.begin("reckoning what to expect")
        asked = Asked(self.request, call, sizes, made)
        return agreed(self.world, lambda: expectations(asked, links, pairs))

    def _pairs(self, made: Mapping[tuple[Spec, int], Schedule]) -> PairTimes | None:
        """What pairs of ranks take on an emulated network, with messages as long as those of the schedules."""
        if not self.request.emulation or not self.request.topology:
            return None
        machine = alike(lambda: machine_of(self.request))
        patterns = Patterns(machine)
        sent = (long_messages(schedule, size, patterns) for (_, size), schedule in made.items())
        return time_pairs(self.world, self.native, machine, set().union(*sent))

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

    def _needed_bytes(self) -> int:
        """What this rank needs of its host's memory besides scratch: buffers and the window."""
        request, world = self.request, self.world
        problem = request.problem(max(request.counts), world.size)
        itemsize = problem.dtype.itemsize
        sides = problem.brings(world.rank), problem.holds(world.rank)
        buffers = (sum(sides) if "out_of_place" in request.placements else max(sides)) * itemsize
        window = self.shared.needed_bytes if self.shared else 0  # where buffers are registered they are part of it
        return (0 if request.buffers == REGISTERED else buffers) + window

    def _scratch_bytes(self) -> int:
        """The scratch of the largest program."""
        request, world = self.request, self.world
        itemsize = request.problem(max(request.counts), world.size).dtype.itemsize
        scratch = (
            lower(
                self.schedules.program(
                    point.way.spec, request.size_bytes(point.count, world.size), point.placement == "in_place"
                ),
                request.problem(point.count, world.size).count,
                itemsize,
            ).scratch_bytes
            for point in self.points
            if not is_library(point.way.spec)
            and point.way.transport not in OVER_WINDOWS
            and point.count == max(request.counts)
        )
        return max(scratch, default=0)

    def _prepare(self, point: Point, problem: data.Problem, size_bytes: int) -> AnyCall:
        in_place, of_library = point.placement == "in_place", is_library(point.way.spec)
        first = of_library and in_place and library.puts_result_first(problem.collective)
        first = first and point.way.transport != NCCL
        buffers = self.arena.buffers(problem, self.world.rank, in_place, result_first=first)
        if self.gpu is not None:
            program = None if of_library else self.schedules.program(point.way.spec, size_bytes, in_place)
            return self.gpu.prepare(problem, self.world.rank, program, in_place, first, buffers)
        if of_library:
            return library.prepare(
                self.native, problem.collective, problem.count, problem.dtype, problem.op, buffers, in_place,
                problem.root,
            )  # fmt: skip
        return self._prepare_schedule(point, problem, size_bytes, buffers)

    def _prepare_schedule(
        self, point: Point, problem: data.Problem, size_bytes: int, buffers: Buffers
    ) -> PreparedCall | SharedCall:
        """A call of one of our schedules by the transport of the point, on buffers of the host."""
        spec, in_place = point.way.spec, point.placement == "in_place"
        if self.shared is not None and point.way.transport in OVER_WINDOWS:
            return self.shared.prepare(spec, problem, point.count, in_place, buffers)
        program = self.schedules.program(spec, size_bytes, in_place)
        return mpi.prepare(self.native, program, problem.count, problem.dtype, problem.op, buffers)

    def _measure(
        self, point: Point, asked: Measurement, alive: Callable[[], None]
    ) -> tuple[Measurement, NDArray[np.float64]]:
        request, ranks = self.request, self.world.size
        problem, size_bytes = request.problem(point.count, ranks), request.size_bytes(point.count, ranks)
        call = self._prepare(point, problem, size_bytes)
        account = self.world.account
        with account.checking():
            verified = self._verify(call, point.way, problem, size_bytes)
            data.fill(problem, call.buffers.send, self.world.rank)  # what the last result will be held against
            call.load()
        block = in_pieces(lambda samples, batch: Block(*call.time(samples, batch)), alive)
        samples = sample(block, request.rules, self.overhead_s, self.world.comm.bcast)
        account.loops_s += samples.spent_s
        alive()
        if point.placement == "out_of_place" and request.check and not verified.reason:
            # The input is unchanged, so the result of the last timed call is still to be what it was to be.
            with account.checking():
                verified = verify_last(self.world.comm, call, problem, verified)
        return self._row(point, asked, samples, verified), samples.seconds

    def _verify(self, call: AnyCall, way: Way, problem: data.Problem, size_bytes: int) -> Verified:
        if not self.request.check:
            return NOT_CHECKED
        proof = None if is_library(way.spec) else self.schedules.ready(way.spec, size_bytes).proof
        return verify(self.world.comm, call, problem, proof.additions if proof else None)

    def _asked(self, point: Point) -> Measurement:
        """The row of a point before it is measured: what it is, and when it began."""
        request, size = self.request, self.world.size
        name, size_bytes = request.collective.name, request.size_bytes(point.count, size)
        bound = self.expectations.bound(size_bytes)
        return Measurement(
            run_id="",
            suite="collectives",
            name=name,
            algorithm=str(point.algorithm),
            transport=request.named(point.way.transport),
            backend="cupy" if self.gpu else "cpu",
            dtype=request.dtype.name,
            op=request.op,
            root=request.root,
            placement=point.placement,
            count=point.count,
            size_bytes=size_bytes,
            shape=request.shape(size_bytes),
            ranks=size,
            nodes=self.world.nodes,
            bound_s=bound.time_s,
            bound_by=bound.by,
            expected_s=self.expectations.expected_s.get((point.way.spec, size_bytes)),
            topology=request.topology,
            host=self.world.places[0].host,
            started_at=now_iso(),
        )

    def _row(self, point: Point, asked: Measurement, samples: Samples, verified: Verified) -> Measurement:
        summary = summarise(samples.seconds)
        verdict, reason = judge_against_proof(self.expectations.permitted(asked.size_bytes), summary)
        if verified.reason:
            verdict, reason = "FAIL", verified.reason
        row = replace(
            asked,
            algbw=rates.algbw(asked.size_bytes, summary.median_s),
            busbw=rates.busbw(asked.name, asked.size_bytes, summary.median_s, asked.ranks),
            bound_share=None if asked.bound_s is None else asked.bound_s / summary.median_s,
            expected_share=None if asked.expected_s is None else asked.expected_s / summary.median_s,
            wrong=verified.wrong,
            error_over_bound=verified.error_over_bound,
            verdict=verdict,
            reason=reason,
            culprit=verified.culprit,
            note=notes.joined(self._notes(point, verified)),
        )
        return with_samples(row, samples, summary, SAMPLE_UNIT)

    def _notes(self, point: Point, verified: Verified) -> Iterator[str]:
        request, spec = self.request, point.way.spec
        yield verified.note
        if self.world.oversubscribed:
            yield notes.SHARED_CORES
        if is_library(spec):
            marking = library.marking if self.gpu is None else self.gpu.marking
            yield marking(request.dtype, request.op)
        else:
            ready = self.schedules.ready(spec, request.size_bytes(point.count, self.world.size))
            if spec != point.algorithm and not notes.what_ran("", ready.note):
                yield notes.ran_as(str(spec))
            yield ready.note
            yield point.way.note
            yield str(self.cut) if point.way.transport in OVER_MESSAGES else ""
            model = self.expectations.models.get((spec, request.size_bytes(point.count, self.world.size)), "")
            yield notes.expected_by(f"pairs of ranks, {model}") if model else ""
            if str(spec) in request.paths:
                yield notes.ran_as(request.paths[str(spec)])
        if self.gpu is not None:
            yield self.gpu.shared
        if request.check and data.averages_to_zero(request.problem(point.count, self.world.size)):
            yield f"an average of {request.dtype.name} over so many ranks is 0 whatever they bring"
        if request.weights is not None:
            busiest = traffic.imbalance(traffic.counts(request.weights, point.count))
            yield f"the busiest rank sends or receives {busiest:.2f} times the mean"


def _max() -> MPI.Op:
    from mpi4py import MPI

    return MPI.MAX
