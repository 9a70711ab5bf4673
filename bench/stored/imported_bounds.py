"""Rows of another tool's output meet a topology: they get bound, expected time and verdict, as our own rows have them.

The bound is proven on the topology. NCCL's and RCCL's collectives are expected to take what NCCL's own model says, if
it knows the collective and the machine, and all others as long as the fastest algorithm of the catalogue, simulated.

Logs say the time, and not which algorithm ran. A row that is faster than end points alone can be over the links that
their messages take is labelled in-network (`results/notes.py`) where switches of the topology reduce: by NVLS or SHARP.
It is INVALID only beyond what hardware permits to any algorithm.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from clusterbench.bench.judge import TOLERANCE, judge_against_proof, judge_figure
from clusterbench.bench.measuring.expectations import MOST_RANKS, catalogue, in_words, permitted
from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.bounds.bounds import Limits, limits
from clusterbench.collectives.bounds.routed import routed_end_points
from clusterbench.collectives.collective import collective
from clusterbench.collectives.predictors import nccl_model
from clusterbench.collectives.predictors.nccl_machine import machine as nccl_machine
from clusterbench.collectives.simulator import phases
from clusterbench.collectives.simulator.closed import host_ranks
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.results import notes
from clusterbench.results.importing import Imported, Samples
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

_NCCL = ("nccl", "rccl")
_ONE_AT_A_TIME = ("latency", "sendrecv")
"""Kinds of messages that have a bound; messages in flight hide each other's latency."""
_ROOTED = ("broadcast", "reduce", "scatter", "gather")

Expected = tuple[float, str]
"""Seconds, and by what, in words."""


def judged(imported: Imported, topology: Topology, text: str, file: str) -> tuple[Imported, list[str]]:
    """The rows held against a topology, which `text` names; and which of them have no bound, in words.

    Raises `TopologyError` where rows are of another number of ranks than the topology has.
    """
    _refuse_other_ranks(imported, topology, text, file)
    judge = _Judge(topology, text)
    without: Counter[str] = Counter()
    rows = []
    for row, samples in zip(imported.measurements, imported.samples, strict=True):
        why = _unbounded(row, len(topology.ranks))
        without.update(filter(None, [why]))
        rows.append(row if why else judge.row(row, samples))
    words = [f"rows without a bound: {count}, {why}" for why, count in without.items()]
    words += _other_devices(imported, text)
    return replace(imported, measurements=tuple(rows)), words


_MODEL = re.compile(r"\b(?:[AHBVL]|GB|MI)\d{3}X?\b", re.IGNORECASE)
"""The name of an accelerator in a device's or a preset's: A100, GB200, MI300X."""


def _other_devices(imported: Imported, text: str) -> list[str]:
    """What is odd where the file's devices are not those after which the topology is named."""
    named = {model.upper() for model in _MODEL.findall(text)}
    devices = sorted({row.device for row in imported.measurements if _MODEL.search(row.device)})
    other = [device for device in devices if named.isdisjoint(model.upper() for model in _MODEL.findall(device))]
    return [f"the file is of {other[0]}, and the topology of {', '.join(sorted(named))}"] if named and other else []


def _refuse_other_ranks(imported: Imported, topology: Topology, text: str, file: str) -> None:
    ranks = len(topology.ranks)
    for row in imported.measurements:
        is_message = row.suite == "point-to-point" and row.name != "sendrecv"
        if row.suite == "kernels" or is_message or _groups(row) or notes.all_ranks(row.ranks, row.note) == ranks:
            continue
        where = imported.ranks_from.get(row.ranks, "")
        with_places = f"{text[:80]}{',' if ':' in text else ':'}ranks=FILE"
        raise TopologyError(
            f"{file}{f' ({where})' if where else ''}: {row.name} ran on {row.ranks} ranks, and --topology {text[:120]} "
            f"has {ranks}; expected a topology of the ranks that ran, such as {with_places} with their places"
        )


def _groups(row: Measurement) -> bool:
    return "groups=" in row.shape


def _unbounded(row: Measurement, ranks: int) -> str:
    """Why a row has no bound; empty where it has one."""
    if row.suite == "kernels":
        return "they are of no collective"
    if row.name == "all_to_all_v":
        return "who sends how much is not in the file"
    if _groups(row):
        return "several groups ran at once"
    if row.suite == "point-to-point" and row.algorithm not in _ONE_AT_A_TIME:
        return "they have several messages in flight"
    if notes.all_ranks(row.ranks, row.note) != ranks:
        return "which ranks of the topology sent the messages is not in the file"
    return "" if row.size_bytes and row.median_s else "they move no data"


@dataclass(slots=True)
class _Place:
    """One collective on a number of ranks: what bounds it, and what it is expected to take."""

    limits: Limits
    end_points: float
    """Seconds a byte that end points alone take, as if no switch reduced; 0 where nothing is known."""
    over_routes: float
    """The same over the links that their messages take."""
    simulated: Callable[[int], float | None] | None = None


@dataclass(slots=True)
class _Judge:
    """Judges rows by one topology."""

    topology: Topology
    text: str
    machines: dict[int, nccl_model.Machine | None] = field(default_factory=dict)
    """NCCL's view of the first so many ranks; None where it has none."""
    places: dict[tuple[str, int, int], _Place] = field(default_factory=dict)

    def row(self, row: Measurement, samples: Samples | None) -> Measurement:
        """The row with its bound, expectation and verdict. It has a size and a time."""
        time_s = row.median_s or 0.0
        place = self._place(row)
        found = place.limits.at(row.size_bytes)
        hardware = permitted(found)
        if samples is not None:
            verdict, reason = judge_against_proof(hardware, summarise(samples))
        else:
            verdict, reason = judge_figure(hardware, time_s)
        end_points = place.end_points * row.size_bytes / time_s
        reduces = bool(self.topology.reducing.any())
        if verdict == "PASS" and end_points > 1 + TOLERANCE and not reduces:
            verdict = "INCONCLUSIVE"
            reason = (
                f"at {end_points:.0%} of what end points alone can do, and no switch of the topology reduces: "
                "it is not this machine's, or its switches do"
            )
        if row.verdict == "FAIL":
            verdict, reason = row.verdict, row.reason
        expected = self._expected(row, place)
        expected_s, by = expected if expected is not None else (None, "")
        over_routes = place.over_routes * row.size_bytes / time_s
        label = notes.in_network(over_routes) if over_routes > 1 and reduces and verdict != "INVALID" else ""
        return replace(
            row,
            bound_s=found.bound_s,
            bound_share=found.bound_s / time_s,
            bound_by=in_words(found),
            expected_s=expected_s,
            expected_share=None if expected_s is None else expected_s / time_s,
            topology=self.text,
            verdict=verdict,
            reason=reason,
            note=notes.joined((label, row.note, notes.expected_by(by) if by else "")),
        )

    def _part(self, ranks: int) -> Topology:
        """The topology of the first so many ranks."""
        return replace(self.topology, ranks=self.topology.ranks[:ranks])

    def _place(self, row: Measurement) -> _Place:
        root = max(row.root, 0) if row.name in _ROOTED else -1  # whichever it is, where the file does not say
        key = (row.name, row.ranks, root)
        if key not in self.places:
            part = self._part(row.ranks)
            proven = limits(part, row.name, root)
            plain = limits(replace(part, reducing=np.zeros_like(part.reducing)), row.name, root).end_points
            routed = routed_end_points(part, row.name, root)
            self.places[key] = _Place(
                limits=proven,
                end_points=0.0 if plain is None or proven.estimated else float(plain.seconds_per_byte),
                over_routes=0.0 if routed is None or proven.estimated else float(routed.seconds_per_byte),
            )
        return self.places[key]

    def _expected(self, row: Measurement, place: _Place) -> Expected | None:
        if row.suite != "collectives" or row.ranks < 2:
            return None
        if row.transport in _NCCL and row.name in nccl_model.COLLECTIVES:
            machine = self._machine(row.ranks)
            if machine is not None:
                found = nccl_model.choose(machine, row.name, row.size_bytes)
                return found.time_s, f"NCCL's model: {found.algorithm}, {found.protocol}"
        if row.ranks > MOST_RANKS:
            return None
        if place.simulated is None:
            place.simulated = self._simulated(row)
        time_s = place.simulated(row.size_bytes)
        return None if time_s is None else (time_s, "simulation of the fastest algorithm")

    def _machine(self, ranks: int) -> nccl_model.Machine | None:
        if ranks not in self.machines:
            try:
                self.machines[ranks] = nccl_machine(self._part(ranks))
            except nccl_model.NcclModelError:  # a machine of CPUs, or of GPUs of others
                self.machines[ranks] = None
        return self.machines[ranks]

    def _simulated(self, row: Measurement) -> Callable[[int], float | None]:
        """The time of the fastest algorithm of the catalogue at any size; None where there is none."""
        part, what = self._part(row.ranks), collective(row.name)
        root = max(row.root, 0) if what.is_rooted else -1
        call = Call(what, row.ranks, root, host_ranks(part, row.ranks))
        patterns = Patterns(part)
        plans = [phases.plan(patterns, made) for made in catalogue(call)]
        return lambda size_bytes: min((plan.at(size_bytes).time_s for plan in plans), default=None)
