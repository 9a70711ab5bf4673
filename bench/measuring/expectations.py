"""What rows of collectives are held against: a bound that nothing beats, and the time that a model expects.

With `--topology` the bound is proven on it (`collectives/bounds`), and the expectation is the schedule's price by
phases. In an emulated network links and messages cost in it what pairs of ranks have measured when the run begins, and
messages set out as soon as their data are there.
Without, both come from messages between ranks that are timed when the run begins: the least that the bytes of
the collective take at the measured rate, and the schedule's price by the same α, β and γ. Such a bound is an estimate:
what shares memory, or a library's shortcut, may beat messages. The library is expected to be as fast as the fastest
algorithm of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clusterbench.bench.emulation.machine import machine as emulated_machine
from clusterbench.bench.emulation.machine import with_buckets
from clusterbench.bench.judge import NO_BOUND, Bound
from clusterbench.bench.measuring.collective_request import Request, is_library
from clusterbench.bench.measuring.pair_calibration import Calibrated, PairTimes
from clusterbench.collectives import traffic
from clusterbench.collectives.algorithm import Call, Spec, UnsuitableAlgorithmError
from clusterbench.collectives.building.segments import Links, price_s
from clusterbench.collectives.discovery import schedule, suitable
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.results import rates
from clusterbench.results.notes import ESTIMATE

if TYPE_CHECKING:
    from clusterbench.bench.emulation.runtime import Record as Emulation
    from clusterbench.collectives.bounds.bounds import Bound as Proven
    from clusterbench.collectives.bounds.bounds import Limits
    from clusterbench.collectives.simulator.patterns import Patterns
    from clusterbench.collectives.topology.graph import Topology

MOST_RANKS = 256
"""Ranks up to which the library's time is expected from all algorithms; it takes some seconds there."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """By size in bytes, and by algorithm and size. What is not known is not in it."""

    bounds: Mapping[int, Bound] = field(default_factory=dict)
    hardware: Mapping[int, Bound] = field(default_factory=dict)
    """What the hardware permits to any algorithm: a row beyond it is wrong. None where the bound is an estimate."""
    expected_s: Mapping[tuple[Spec, int], float] = field(default_factory=dict)
    models: Mapping[tuple[Spec, int], str] = field(default_factory=dict)
    """What an expected time is by, in words, where pairs of ranks were timed for it."""

    def bound(self, size_bytes: int) -> Bound:
        """The bound of a size, which may have no time."""
        return self.bounds.get(size_bytes, NO_BOUND)

    def permitted(self, size_bytes: int) -> Bound:
        """What the hardware permits at a size, which may have no time."""
        return self.hardware.get(size_bytes, NO_BOUND)


@dataclass(frozen=True, slots=True)
class Asked:
    """The points of a request: sizes with their counts, and the schedules of our algorithms at each."""

    request: Request
    call: Call
    sizes: Mapping[int, int]
    """Elements a rank by size in bytes."""
    schedules: Mapping[tuple[Spec, int], Schedule]


def expectations(asked: Asked, links: Links | None, pairs: PairTimes | None = None) -> Expectations:
    """What the rows of a request are held against; `links` is what messages cost, None where they say nothing.

    `pairs` is what pairs of ranks took on the topology, None where they were not timed. Raises `TopologyError` for a
    topology that cannot be read, or has another number of ranks.
    """
    if asked.request.topology:
        return _by_topology(asked, pairs)
    return Expectations() if links is None else _by_messages(asked, links)


def _by_messages(asked: Asked, links: Links) -> Expectations:
    name, ranks = asked.call.collective.name, asked.call.ranks
    alpha = min(links.local.alpha_s, links.remote.alpha_s)
    beta = min(links.local.beta_s, links.remote.beta_s)
    by = f"messages as measured, {alpha * 1e6:.2f} µs and {1e-9 / beta:.2f} GB/s: {ESTIMATE}"
    factor = rates.busbw_factor(name, ranks)
    bounds = {size: Bound(max(alpha, factor * size * beta), by) for size in asked.sizes}
    return Expectations(bounds, {}, _expected(asked, lambda made, size: price_s(made, size, links)))


def machine_of(request: Request) -> Topology:
    """The topology of a request that has one, at the rates of what is emulated. Raises `TopologyError`."""
    from clusterbench.collectives.topology.spec import topology_from

    return emulated_machine(request.emulation) if request.emulation else topology_from(request.topology)


def _by_topology(asked: Asked, pairs: PairTimes | None) -> Expectations:
    from clusterbench.collectives.bounds.bounds import limits
    from clusterbench.collectives.simulator.patterns import Patterns
    from clusterbench.collectives.simulator.phases import price_by
    from clusterbench.collectives.topology.graph import TopologyError

    call, request = asked.call, asked.request
    emulation, machine = request.emulation, machine_of(request)
    if len(machine.ranks) != call.ranks:
        raise TopologyError(
            f"--topology {request.topology[:120]} has {len(machine.ranks)} ranks; expected {call.ranks}, as many as run"
        )
    proven: Limits = limits(machine, call.collective.name, call.root, _matrix(asked, max(asked.sizes)))
    bounds, hardware = {}, {}
    for size in asked.sizes:
        found = proven.at(size)
        bounds[size] = _emulated(Bound(found.bound_s, in_words(found)), emulation)
        hardware[size] = _emulated(permitted(found), emulation)
    if pairs is None:
        patterns: Patterns = Patterns(machine)
        expected = _expected(asked, lambda made, size: price_by(patterns, made, size, _matrix(asked, size)).time_s)
        return Expectations(bounds, hardware, expected)
    calibrated = Calibrated(machine, pairs)
    expected = _expected(asked, lambda made, size: calibrated.price_s(made, size, _matrix(asked, size)))
    models = {(spec, size): calibrated.said(made, size) for (spec, size), made in asked.schedules.items()}
    return Expectations(bounds, hardware, expected, models)


def _emulated(bound: Bound, emulation: Emulation | None) -> Bound:
    """The bound where links begin with full buckets, as they do in an emulated network."""
    if emulation is None or bound.time_s is None:
        return bound
    return Bound(with_buckets(emulation, bound.time_s), bound.by)


def in_words(proven: Proven) -> str:
    """What sets a bound, and that it is an estimate where links were measured."""
    return f"{proven.by}, {ESTIMATE}" if proven.estimated else proven.by


def permitted(proven: Proven) -> Bound:
    """What the hardware permits to any algorithm; without a time where the bound is an estimate."""
    return NO_BOUND if proven.estimated else Bound(proven.hardware_s, proven.by)


def _matrix(asked: Asked, size_bytes: int) -> Ints | None:
    weights = asked.request.weights
    return None if weights is None else traffic.counts(weights, asked.sizes[size_bytes])


def _expected(asked: Asked, price: Callable[[Schedule, int], float]) -> dict[tuple[Spec, int], float]:
    found = {(spec, size): price(made, size) for (spec, size), made in asked.schedules.items()}
    of_library = [spec for spec in asked.request.algorithms if is_library(spec)]
    if of_library and asked.call.ranks <= MOST_RANKS:
        all_of_them = catalogue(asked.call)
        for size in asked.sizes if all_of_them else ():
            least_s = min(price(made, size) for made in all_of_them)
            found |= {(spec, size): least_s for spec in of_library}
    return found


def catalogue(call: Call) -> list[Schedule]:
    """The schedules of all algorithms that serve a call, but for those that a library would not take."""
    made = []
    for name in suitable(call.collective, call.ranks):
        try:
            made.append(schedule(Spec(name), call))
        except UnsuitableAlgorithmError:
            continue  # of rounds too large for so many ranks
    return made
