"""Calls over memory that the ranks of a host share: fused programs, their check, the window, and buffers in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from clusterbench.bench import exit_codes
from clusterbench.bench.measuring.collective_buffers import Arena, sizes
from clusterbench.bench.measuring.collective_request import OVER_WINDOWS, REGISTERED, SHARED, Point, Request
from clusterbench.bench.measuring.collective_schedules import Schedules
from clusterbench.bench.worlds.world import AgreedError, World, agreed
from clusterbench.collectives.algorithm import Spec
from clusterbench.collectives.checking.data import Problem
from clusterbench.collectives.fusion.check import check_fused
from clusterbench.collectives.fusion.fuse import fuse
from clusterbench.collectives.fusion.layout import FusedLayout
from clusterbench.collectives.fusion.steps import FusedProgram
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.transports import shared
from clusterbench.collectives.transports.hybrid import hosts_in_blocks, hosts_of, split_window
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.collectives.transports.pages import PAGE_BYTES
from clusterbench.collectives.transports.prepared import Buffers
from clusterbench.collectives.transports.shared_window import (
    NoSharedMemoryError,
    SharedWindow,
    open_window,
    part_bytes,
)

FUSING_S_A_STEP = 2e-4
"""About three times what fusing and checking took a step of all ranks' programs, on a busy core."""


class NoWindowError(AgreedError):
    """There is no memory that all ranks can share; every rank raises it."""


class FusedProgramError(RuntimeError):
    """A fused program that does not do what its schedule does: a defect of the suite, and never run."""


class SharedCalls:
    """The window of a request on one rank, and the layouts of what runs over it. All ranks make theirs alike."""

    def __init__(self, world: World, native: NativeMpi, schedules: Schedules, request: Request) -> None:
        """Fuse the schedules of all points that share memory, check them, and find out how much memory it takes.

        Nothing is taken yet. Raises `AgreedError` where a fused program is wrong, or `host_ranks` joins hosts.
        """
        self._world, self._native, self._schedules, self._request = world, native, schedules, request
        self._hosts = _hosts(world, request)
        self._programs: dict[tuple[Spec, bool], tuple[FusedProgram, ...]] = {}
        self._layouts: dict[tuple[Spec, int, bool], FusedLayout] = {}
        for point in request.points():
            if point.way.transport in OVER_WINDOWS:
                self._lay_out(point)
        self._half_bytes = max((one.stage_bytes(shared.STAGE_BYTES) for one in self._layouts.values()), default=0)
        self._elements = (0, 0)
        self._window: SharedWindow | None = None
        room = 0
        if request.buffers == REGISTERED:
            problems = [request.problem(count, world.size) for count in request.counts]
            self._elements = sizes(problems, request.placements, world.rank)
            room = sum(_pages(elements * request.dtype.itemsize) for elements in self._elements)
        self._room_bytes = max(world.comm.allgather(room))

    @property
    def needed_bytes(self) -> int:
        """What the window takes of this rank's memory, the buffers in it included, and messages between hosts."""
        inbox = max((layout.inbox_bytes(self._world.rank) for layout in self._layouts.values()), default=0)
        return part_bytes(self._half_bytes, self._room_bytes) + PAGE_BYTES + inbox

    def open(self) -> None:
        """Take the window. Raises `NoWindowError` on every rank where there is none to be had."""
        try:
            if self._hosts is None:
                self._window = open_window(self._world.comm, self._half_bytes, self._room_bytes)
            else:
                self._window = split_window(self._world.comm, self._hosts, self._half_bytes, self._room_bytes)
        except NoSharedMemoryError as error:
            raise NoWindowError(str(error), error.exit_code) from None

    def close(self) -> None:
        """Give the window back; all ranks call it together, and use nothing in it afterwards."""
        if self._window is not None:
            self._window.close()

    def arena(self) -> Arena:
        """Registered buffers for all problems of the request."""
        dtype, memory = self._request.dtype, self._open().registered()
        large, small = (elements * dtype.itemsize for elements in self._elements)
        behind = _pages(large)
        return Arena(memory[:large].view(dtype), memory[behind : behind + small].view(dtype))

    def prepare(self, spec: Spec, problem: Problem, count: int, in_place: bool, buffers: Buffers) -> shared.SharedCall:
        """A call over the fused program of an algorithm; all ranks call it together."""
        patience = shared.PATIENCE_SHARED if self._world.oversubscribed else shared.PATIENCE
        layout = self._layouts[spec, count, in_place]
        return shared.prepare(self._native, self._open(), layout, problem.dtype, problem.op, buffers, patience)

    def _open(self) -> SharedWindow:
        if self._window is None:
            raise RuntimeError("the window is used before it is opened")
        return self._window

    def _lay_out(self, point: Point) -> None:
        request, ranks, in_place = self._request, self._world.size, point.placement == "in_place"
        key = point.way.spec, point.count, in_place
        size_bytes = request.size_bytes(point.count, ranks)
        fused = self._schedules.resolved(point.way.spec, size_bytes), in_place
        if fused not in self._programs:
            schedule = self._schedules.ready(point.way.spec, size_bytes).schedule
            self._programs[fused] = self._fused(fused[0], schedule, in_place)
        count = request.problem(point.count, ranks).count
        self._layouts[key] = FusedLayout(self._programs[fused], count, request.dtype.itemsize, self._is_staged)

    @property
    def _is_staged(self) -> bool:
        return self._request.buffers != REGISTERED

    def _fused(self, spec: Spec, schedule: Schedule, in_place: bool) -> tuple[FusedProgram, ...]:
        """The programs of all ranks, once rank 0 has checked them for all.

        Both grow with the chunks that the schedule moves times the ranks: milliseconds for the ranks of a small host,
        seconds for a hundred of them.
        """
        longer_s = _transfers(schedule) * FUSING_S_A_STEP
        self._world.begin(f"fusing {spec}", longer_s)
        programs = fuse(schedule, in_place, self._is_staged, self._hosts)
        self._world.begin(f"checking the fused program of {spec}", longer_s)
        check = partial(check_fused, schedule, programs, in_place, self._is_staged, self._hosts)
        agreed(self._world, partial(_refuse_wrong, spec, check))
        return tuple(programs)


def _hosts(world: World, request: Request) -> tuple[int, ...] | None:
    """The host of every rank, of those that share memory; None where all of them must.

    Raises `AgreedError` where `host_ranks` would have ranks of several hosts share memory.
    """
    if SHARED in request.transports_used():
        return None
    there = hosts_of(world.comm)
    if not request.host_ranks:
        return there
    asked = hosts_in_blocks(world.size, request.host_ranks)
    for first in range(0, world.size, request.host_ranks):
        joined = range(first, min(first + request.host_ranks, world.size))
        if len({there[rank] for rank in joined}) > 1:
            raise AgreedError(
                f"--host-ranks {request.host_ranks} takes ranks {joined[0]} to {joined[-1]} for those of one host, but "
                "they are on several; choose a number that parts hosts, or leave it out",
                exit_codes.USAGE,
            )
    return asked


def _refuse_wrong(spec: Spec, check: Callable[[], str | None]) -> None:
    fault = check()
    if fault is not None:
        raise FusedProgramError(f"{spec} is not run, as its fused program is wrong: {fault}")


def _transfers(schedule: Schedule) -> int:
    return sum(int(phase.count.sum()) for phase in schedule.rounds())


def _pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
