"""Rows of a simulation: those of a measurement, with evidence `simulated`, each beside its proven bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from clusterbench.bench.names import ALL
from clusterbench.collectives.algorithm import AUTO, Call, Spec, UnsuitableAlgorithmError
from clusterbench.collectives.bounds.bounds import Limits, limits
from clusterbench.collectives.building.segments import choose_segments
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.discovery import algorithm, schedule, suitable
from clusterbench.collectives.predictors.nccl_model import Machine, choose
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.simulator import closed, events, phases
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.messages import Order
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.nearness import nearness
from clusterbench.results import rates
from clusterbench.results.record import Measurement

Mode = Literal["closed", "phases", "events"]
NCCL = "nccl"
"""In the place of an algorithm: what NCCL's own model says that NCCL takes."""


MOST_FOR_SEGMENTS = 256
"""Ranks up to which the segments of a pipeline are chosen by trying; beyond, it has one unless they are given."""


BELOW = "faster than the bound, as this model does not know that messages share links"
ROUNDING = 1e-9
"""By how much a share of a bound may be over 1, as times are sums of floats."""


class SimulationError(ValueError):
    """What cannot be simulated; the message names the flag."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What is asked for."""

    topology: Topology
    collective: Collective
    sizes: tuple[int, ...]
    algorithms: tuple[Spec, ...]
    left_out: tuple[str, ...]
    """Why some were left out of `all`."""
    mode: Mode
    order: Order
    costs: Costs
    dtype: str
    itemsize: int
    op: str
    root: int
    faults: tuple[str, ...]
    culprits: Mapping[str, str]
    """See `topology.faults.Faulty`."""
    run_id: str

    @property
    def ranks(self) -> int:
        """As many as the topology has."""
        return len(self.topology.ranks)

    def call(self) -> Call:
        """What algorithms are asked for."""
        ranks_a_host = closed.host_ranks(self.topology, self.ranks)
        return Call(self.collective, self.ranks, self.root, ranks_a_host, nearness=partial(nearness, self.topology))


def chosen(specs: list[Spec], call: Call) -> tuple[tuple[Spec, ...], list[str]]:
    """The algorithms named, `all` replaced by every one that serves the call; and why some were left out of all."""
    found: list[Spec] = []
    left_out = []
    for spec in specs:
        if spec.name != ALL:
            found.append(spec)
            continue
        for name in suitable(call.collective, call.ranks):
            try:
                schedule(Spec(name), call)
            except UnsuitableAlgorithmError as error:
                left_out.append(str(error))
            else:
                found.append(Spec(name))
    return tuple(dict.fromkeys(found)), left_out


class Planned:
    """The plans of schedules that were priced by phases: an algorithm's first size makes one, and the others use it."""

    def __init__(self, patterns: Patterns, element_bytes: int) -> None:
        self._patterns, self._element_bytes = patterns, element_bytes
        self._plans: dict[Spec, phases.Plan] = {}

    def plan(self, spec: Spec, made: Schedule) -> phases.Plan:
        """The plan of an algorithm with its options, whose schedule is `made`."""
        if spec not in self._plans:
            self._plans[spec] = phases.plan(self._patterns, made, element_bytes=self._element_bytes)
        return self._plans[spec]


def simulate(asked: Simulation, step: Callable[[str, int], None]) -> list[Measurement]:
    """All rows, algorithm by algorithm and size by size; `step` is told what is done.

    Raises the errors of topologies, schedules and algorithms, all with an exit code.
    """
    machine = None
    for spec in asked.algorithms:  # what cannot be served is refused before anything is priced
        if spec.name == NCCL:
            machine = _nccl_machine(asked)
            choose(machine, asked.collective.name, asked.sizes[0])
        else:
            schedule(spec, asked.call())
    bound = limits(asked.topology, asked.collective.name, asked.root)
    planned = Planned(Patterns(asked.topology, asked.costs), asked.itemsize)
    rows = []
    for spec in asked.algorithms:
        for size_bytes in asked.sizes:
            step(f"{spec} {size_bytes} B", 0)
            if machine is not None and spec.name == NCCL:
                rows.append(_nccl_row(asked, bound, machine, size_bytes))
            else:
                rows.append(_row(asked, bound, planned, spec, size_bytes))
            step(f"{spec} {size_bytes} B", 1)
    return rows


def _row(asked: Simulation, bound: Limits, planned: Planned, spec: Spec, size_bytes: int) -> Measurement:
    ran, made = _schedule(asked, spec, size_bytes)
    if asked.mode == "closed":
        found = closed.estimate(made, asked.topology, size_bytes, asked.costs)
    elif asked.mode == "phases":
        found = planned.plan(ran, made).at(size_bytes)
    else:
        found = events.play(
            made, asked.topology, size_bytes, asked.costs, order=asked.order, element_bytes=asked.itemsize
        )
    note = f"by {found.mode}: {found.explanation}"
    return _measurement(asked, bound, str(ran), size_bytes, found.time_s, note, _culprit(asked, found))


def _schedule(asked: Simulation, spec: Spec, size_bytes: int) -> tuple[Spec, Schedule]:
    """The algorithm with its segments chosen, where they are left to the size, and its schedule."""
    call = asked.call()
    of = algorithm(spec.name, call.collective, call.ranks)
    options = {**{name: option.default for name, option in of.options.items()}, **dict(spec.options)}
    if of.is_pipeline and options["segments"] == AUTO and call.ranks <= MOST_FOR_SEGMENTS:
        links = closed.links(asked.topology, asked.costs, asked.ranks)

        def build(count: int) -> Schedule:
            return of.schedule(replace(call, options={**dict(spec.options), "segments": str(count)}))

        count = choose_segments(build, size_bytes, links)
        kept = tuple(pair for pair in spec.options if pair[0] != "segments")
        spec = Spec(spec.name, (*kept, ("segments", str(count)))) if count > 1 else spec
        return spec, build(count)
    return spec, schedule(spec, call)


def _culprit(asked: Simulation, found: Prediction) -> str:
    """What a fault names and the time is lost at, most of it: a late or slow rank, or a link; empty where none is."""
    at_link = asked.culprits.get(found.bottleneck, "")
    if found.late_rank >= 0 and (not at_link or found.waiting_s > found.bottleneck_s):
        return f"rank {found.late_rank}"
    return at_link


def _nccl_machine(asked: Simulation) -> Machine:
    from clusterbench.collectives.predictors.nccl_machine import machine

    return machine(asked.topology)


def _nccl_row(asked: Simulation, bound: Limits, machine: Machine, size_bytes: int) -> Measurement:
    found = choose(machine, asked.collective.name, size_bytes)
    ignored = [f"{fault} is not in the model" for fault in asked.faults if fault.startswith(("late:", "slow:"))]
    note = "; ".join(["by NCCL's own model", *ignored, *machine.notes])
    name = f"{NCCL}:{found.algorithm}/{found.protocol}"
    return _measurement(asked, bound, name, size_bytes, found.time_s, note, "")


def _measurement(
    asked: Simulation, bound: Limits, name: str, size_bytes: int, time_s: float, note: str, culprit: str
) -> Measurement:
    least = bound.at(size_bytes)
    share = least.bound_s / time_s if time_s > 0 else None
    if share is not None and share > 1 + ROUNDING:
        # A model that knows no shared links can be below what is possible: no share of the bound, then, but a word.
        share, note = None, f"{BELOW}; {note}"
    collective = asked.collective.name
    algbw = rates.algbw(size_bytes, time_s) if time_s > 0 else None
    return Measurement(
        run_id=asked.run_id,
        suite="collectives",
        name=collective,
        algorithm=name,
        transport="simulated",
        dtype=asked.dtype,
        op=asked.op if asked.collective.reduces else "",
        root=asked.root,
        placement="out_of_place",
        count=rates.count_for_size(collective, size_bytes, asked.itemsize, asked.ranks),
        size_bytes=size_bytes,
        ranks=asked.ranks,
        nodes=asked.topology.nodes,
        median_s=time_s,
        algbw=algbw,
        busbw=None if algbw is None else algbw * rates.busbw_factor(collective, asked.ranks),
        bound_s=least.bound_s,
        bound_share=share,
        bound_by=least.by,
        expected_s=time_s,
        expected_share=1.0,
        culprit=culprit,
        topology=asked.topology.name,
        evidence="simulated",
        note=note,
        reason="; ".join(asked.faults),
    )
