"""What a sweep runs, in which order: worlds, and of each as many launches as the file asks for.

A world measures one collective, type, number of ranks, placement and transport by all its algorithms and at all its
sizes, in an order shuffled anew in each launch. First all worlds are launched once, in an order drawn by the seed, then
all of them a second time: what changes on the machine meanwhile meets every point, and not the last launches of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from clusterbench.bench.jobs.world_runs import Part
from clusterbench.bench.names import ALL, BEST
from clusterbench.bench.sweeps.file import Block, Sweep, SweepFileError
from clusterbench.bench.sweeps.times import Point, Times
from clusterbench.bench.worlds.launchers import Launcher
from clusterbench.collectives.algorithm import LIBRARY, Spec, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.collective import Collective, collective
from clusterbench.collectives.discovery import algorithm, algorithms, suitable
from clusterbench.collectives.transports.library import works_in_place

MOST_LAUNCHES = 100_000


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a world."""

    part: Part
    ranks: int
    rank_placement: str
    points: int
    expected_s: float
    """About how long it takes."""
    by: Counter[str]
    """By what the times of its points are known, see `sweep_times`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All launches, in the order in which they run."""

    launches: tuple[Launch, ...]
    left_out: tuple[str, ...]
    """Combinations of the file that nothing can run, in words."""

    @property
    def points(self) -> int:
        """How many rows it makes."""
        return sum(launch.points for launch in self.launches)

    @property
    def expected_s(self) -> float:
        """About how long it takes."""
        return sum(launch.expected_s for launch in self.launches)


@dataclass(frozen=True, slots=True)
class _World:
    block: Block
    what: Collective
    dtype: str
    transport: str
    buffers: str
    ranks: int
    rank_placement: str
    algorithms: tuple[str, ...]


def plan(sweep: Sweep, launcher: Launcher, seed: int, known: Times | None = None) -> Plan:
    """The plan of a sweep; the same for the same file, launcher and seed, but for the times that are expected.

    `known` is what is known of the machine. Raises `SweepFileError`.
    """
    left_out: dict[str, None] = {}
    worlds = [world for block in sweep.blocks for world in _worlds(sweep, block, launcher, left_out)]
    expected = [_expected(world, known or Times()) for world in worlds]
    most = max((world.block.launches for world in worlds), default=0)
    launches: list[Launch] = []
    for number in range(1, most + 1):
        for index in np.random.default_rng((seed, number)).permutation(len(worlds)):
            if number <= worlds[index].block.launches:
                launches.append(_launch(sweep, worlds[index], int(index) + 1, number, seed, expected[index]))
        if len(launches) > MOST_LAUNCHES:
            raise SweepFileError(f"{sweep.path}: more than {MOST_LAUNCHES} launches; expected fewer")
    if not launches:
        raise SweepFileError(f"{sweep.path}: nothing of it can be run: {'; '.join(left_out)}")
    return Plan(tuple(launches), tuple(left_out))


def _worlds(sweep: Sweep, block: Block, launcher: Launcher, left_out: dict[str, None]) -> Iterator[_World]:
    placements = block.rank_placements
    if len(launcher.hosts) < 2 and len(placements) > 1:
        left_out[f"ranks {', '.join(placements[1:])}: on one host that is the same as {placements[0]}"] = None
        placements = placements[:1]
    for name, dtype, buffers, ranks, placement in product(
        block.collectives, block.types, block.buffers, block.ranks, placements
    ):
        what = collective(name)
        problem = launcher.problem(ranks)
        if problem:
            raise SweepFileError(f"{sweep.path}: ranks: {problem}")
        if block.placement == "in-place" and not works_in_place(what):
            left_out[f"{name} in place: it has no in-place form"] = None
            continue
        library_is_in = False
        for transport in block.transports:
            if (transport == "nccl" and buffers != "device") or (
                transport in ("shared", "hybrid") and buffers == "device"
            ):
                left_out[f"transport {transport} with {buffers} buffers: they do not go together"] = None
                continue
            served = [
                spec
                for spec in map(_spec, block.algorithms)
                if _is_served(sweep, spec, what, ranks, left_out)
                and (not _is_library(spec) or transport == "nccl" or not library_is_in)
            ]
            library_is_in = library_is_in or transport != "nccl"  # its rows are the same beside every transport
            for together in _together(served):
                texts = tuple(map(str, together))
                yield _World(block, what, dtype, transport, buffers, ranks, placement, texts)


def _spec(text: str) -> Spec:
    return parse_specs(text)[0]


def _is_library(spec: Spec) -> bool:
    return spec.name.partition(":")[0] == LIBRARY


def _is_served(sweep: Sweep, spec: Spec, what: Collective, ranks: int, left_out: dict[str, None]) -> bool:
    if _is_library(spec) or spec.name in (ALL, BEST):
        return True
    try:
        algorithm(spec.name, what, ranks)
    except UnsuitableAlgorithmError as error:
        if spec.name not in algorithms():
            raise SweepFileError(f"{sweep.path}: algorithms: {error}") from None
        left_out[str(error)] = None
        return False
    return True


def _together(specs: Sequence[Spec]) -> Iterator[list[Spec]]:
    """Those that one world can run: the library can be told one algorithm of its own a world."""
    told = [spec for spec in specs if _is_library(spec) or spec.name == ALL]
    others = [spec for spec in specs if spec not in told]
    if any(spec.name != LIBRARY for spec in told if _is_library(spec)):
        if others:
            yield others
        yield from ([spec] for spec in told)
    elif specs:
        yield list(specs)


def _launch(
    sweep: Sweep, world: _World, number: int, launch: int, seed: int, expected: tuple[float, Counter[str]]
) -> Launch:
    block, what = world.block, world.what
    # The traffic of an all_to_all_v is drawn by the seed, and is the same in all its launches.
    own_seed = seed if what.uneven else (seed + launch) % 2**32
    args = ["collectives", "run", what.name, "-d", world.dtype, "--algorithm", ",".join(world.algorithms)]
    args += ["--sizes", ",".join(map(str, block.sizes)), "--transport", world.transport, "--buffers", world.buffers]
    args += ["--placement", block.placement, "--precision", f"{block.precision:g}", "--budget", f"{block.budget_s:g}"]
    args += ["--seed", str(own_seed), "-c", str(int(block.check))]
    args += ["-o", block.op] if what.reduces else []
    args += ["-r", str(block.root)] if what.is_rooted else []
    args += ["--traffic", block.traffic] if what.uneven and block.traffic else []
    args += ["--topology", block.topology] if block.topology else []
    args += ["-n", str(block.samples)] if block.samples else []
    args += ["-w", str(block.warmup)] if block.warmup >= 0 else []
    args += ["--strict"] if sweep.strict else []
    over = "" if world.transport == "mpi" else f" over {world.transport}"
    memory = "" if world.buffers == "host" else f", {world.buffers} buffers"
    lie = "" if world.rank_placement == "block" else f" {world.rank_placement}"
    title = f"{what.name} {world.dtype}{over}{memory}, {world.ranks} ranks{lie}, launch {launch} of {block.launches}"
    name = f"{number:04d}-{what.name}-{world.dtype}-{world.ranks}ranks-launch{launch}"
    expected_s, by = expected
    part = Part(name, title, tuple(args))
    return Launch(part, world.ranks, world.rank_placement, by.total(), expected_s, by)


def _expected(world: _World, known: Times) -> tuple[float, Counter[str]]:
    """How long a launch of a world takes, about, and by what the time of each of its points is known."""
    expected_s, by = known.start_s, Counter[str]()
    for point in _points(world):
        point_s, source = known.point(world.block, point)
        expected_s += point_s
        by[source] += 1
    return expected_s, by


def _points(world: _World) -> Iterator[Point]:
    """The rows that a world makes, or about those: sizes that come to as many elements are one."""
    names = [
        name
        for text in world.algorithms
        for name in ((LIBRARY, *suitable(world.what, world.ranks)) if text == ALL else (text,))
    ]
    both = {"out-of-place": ("out_of_place",), "in-place": ("in_place",)}
    placements = both.get(world.block.placement, ("out_of_place", "in_place"))
    placements = placements if works_in_place(world.what) else placements[:1]
    for name, size, placement in product(names, world.block.sizes, placements):
        yield Point(world.what, name, world.transport, world.dtype, placement, world.ranks, size)
