"""Makes schedules for one topology: trees at the rate of the bound, cut into segments, and short ways for small sizes.

all_gather packs trees from every rank, broadcast from its root. reduce_scatter packs them in the reversed machine and
sends towards their roots. all_reduce does the one and then the other, segment by segment, so that both are on their
way at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from clusterbench.collectives.bounds.bounds import Limits, limits
from clusterbench.collectives.bounds.classes import best_shares
from clusterbench.collectives.collective import Collective, collective
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.synthesis.all_reduce import split
from clusterbench.collectives.synthesis.errors import SynthesisError
from clusterbench.collectives.synthesis.latency import center, latencies, shortest_trees
from clusterbench.collectives.synthesis.loads import carried_rate
from clusterbench.collectives.synthesis.packing import Trees, pack
from clusterbench.collectives.synthesis.rate import FEW, Packing, best_packing, capacities
from clusterbench.collectives.synthesis.reversing import turned, turned_ways
from clusterbench.collectives.synthesis.routed import routed
from clusterbench.collectives.synthesis.shallow import shallower
from clusterbench.collectives.synthesis.sparing import spared
from clusterbench.collectives.synthesis.splitting import Logical, split_off
from clusterbench.collectives.synthesis.trees_to_schedule import Edges, edges, schedule
from clusterbench.collectives.topology.graph import Topology

COLLECTIVES = ("all_gather", "reduce_scatter", "all_reduce", "broadcast")
MOST_RANKS = 256
MOST_TWICE = 32
"""Ranks up to which links are tried that no route takes."""
MOST_VERTICES = 1024
"""Of a topology: capacities are kept as a matrix, and searched hundreds of times."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Trees of a collective on a topology, from which its schedules are made."""

    collective: Collective
    ranks: int
    root: int
    parts: tuple[Edges, ...]
    trees: int
    """Of all roots together."""
    rate: Fraction | None
    """Bytes/s of the vector while the pipeline is full, exact; None where no link limits it."""

    @property
    def depth(self) -> int:
        """Edges one after the other from the first sender to the last receiver."""
        return sum(part.depth for part in self.parts)

    @property
    def chunks_moved(self) -> int:
        """In each segment."""
        return sum(int(part.count.sum()) for part in self.parts)

    def schedule(self, segments: int = 1) -> Schedule:
        """The schedule of so many segments."""
        return schedule(self.collective, self.ranks, list(self.parts), self.trees, segments, root=self.root)


@dataclass(frozen=True, slots=True, eq=False)
class Synthesis:
    """What was made for a collective on a topology."""

    topology: Topology
    limits: Limits
    fast: Plan
    """For large sizes."""
    short: Plan
    """For small sizes, without segments."""
    most_trees_of_a_root: int

    @property
    def share(self) -> Fraction | None:
        """Rate over that of the bound; None where nothing limits it."""
        return _share(self.limits, self.fast)


def synthesize(topology: Topology, name: str, root: int = 0, most_trees: int | None = None) -> Synthesis:
    """Trees for a collective. `most_trees` is of a root at most; else as many as the rate of the bound needs.

    Raises `SynthesisError` for another collective, a machine that is too large and several ranks on one vertex;
    `TopologyError` where ranks cannot reach one another.
    """
    what = collective(name)
    if what.name not in COLLECTIVES:
        raise SynthesisError(f"no trees for {what.name}; expected one of {', '.join(COLLECTIVES)}")
    _refuse(topology)
    ranks = len(topology.ranks)
    if what.is_rooted and not 0 <= root < ranks:
        raise SynthesisError(f"root {root} of {what.name}; expected a rank from 0 to {ranks - 1}")
    root = root if what.is_rooted else -1
    found = limits(topology, what.name, root)
    best: tuple[Plan, int] | None = None
    for machine, few in _machines(topology):
        try:
            made = _fast(machine, what, root, most_trees or few)
        except SynthesisError:  # such as too many trees
            if best is None:
                raise
            continue
        if best is None or (best[0].rate is not None and made[0].rate is not None and made[0].rate > best[0].rate):
            best = made
        if _share(found, best[0]) in (None, 1):
            break
    assert best is not None
    return Synthesis(topology, found, best[0], _short(topology, what, root), best[1])


def _machines(topology: Topology) -> Iterator[tuple[Topology, int | None]]:
    """The links that trees may go over, and how many trees a root may have at most, the surest first.

    Transfers can only name ways that are routes. Links that only detours take, or no route at all, may be what the rate
    of the bound needs, or lead trees over ways that cannot be named.
    """
    direct = routed(topology, detours=False)
    yield direct, None
    detours = routed(topology, detours=True)
    if (detours.links.dst != direct.links.dst).any():
        yield detours, None
    if len(topology.ranks) <= MOST_TWICE and (topology.links.dst != detours.links.dst).any():
        yield topology, FEW


def _share(found: Limits, plan: Plan) -> Fraction | None:
    """Rate over that of the bound; None where nothing limits it."""
    bound = found.cut.seconds_per_byte
    if found.end_points is not None:
        bound = max(bound, found.end_points.seconds_per_byte)
    return None if plan.rate is None or not bound else plan.rate * bound


def _fast(topology: Topology, what: Collective, root: int, most_trees: int | None) -> tuple[Plan, int]:
    """The plan for large sizes, and how many trees a root has at most."""
    if what.name == "all_reduce":
        return _all_reduce(topology, what, most_trees)
    ranks = len(topology.ranks)
    weights = np.ones(ranks, np.int64) if root < 0 else (np.arange(ranks) == root).astype(np.int64)
    packing = _packing(topology, weights, what.name, root, most_trees)
    part = _part(topology, packing.supplies, packing.tree_rate, reduces=what.name == "reduce_scatter")
    return _plan(topology, what, root, [part], packing.supplies), packing.trees


def _refuse(topology: Topology) -> None:
    ranks = len(topology.ranks)
    if ranks > MOST_RANKS or topology.vertices > MOST_VERTICES:
        raise SynthesisError(
            f"{topology.name}: {ranks} ranks and {topology.vertices} vertices; expected at most {MOST_RANKS} and "
            f"{MOST_VERTICES}"
        )
    if ranks < 2:
        raise SynthesisError(f"{topology.name}: one rank; expected two or more")
    twice = np.flatnonzero(np.bincount(topology.ranks) > 1)
    if len(twice):
        raise SynthesisError(
            f"{topology.name}: several ranks on {topology.names[int(twice[0])]}; expected one a vertex"
        )
    if not topology.searchable:
        raise SynthesisError(
            f"{topology.name}: a platform whose routes are listed; expected links that may be combined"
        )


def _packing(topology: Topology, weights: Ints, name: str, root: int, most_trees: int | None) -> Packing:
    found = limits(topology, name, root)
    spent = found.cut.seconds_per_byte
    if not found.complete and spent:
        raise SynthesisError(f"{topology.name}: {found.among} were compared; expected all: the machine is too large")
    machine = turned(topology) if name == "reduce_scatter" else topology
    if not spent:  # no link limits the bandwidth
        return Packing(weights, 1, Fraction(1))
    return best_packing(machine, weights, 1 / spent, most_trees)


def _part(
    topology: Topology, supplies: Ints, tree_rate: Fraction, *, reduces: bool, capacity: Ints | None = None
) -> Edges:  # fmt: skip
    machine = turned(topology) if reduces else topology
    if capacity is None:
        capacity = spared(machine, capacities(machine, tree_rate), supplies)
    logical = split_off(machine, capacity, supplies)
    trees = shallower(pack(logical.capacity, supplies), logical.capacity)
    return _edges(topology, trees, logical, supplies, reduces=reduces)


def _edges(
    topology: Topology, trees: Trees, logical: Logical, supplies: Ints, *, reduces: bool, early: bool = False
) -> Edges:  # fmt: skip
    return edges(trees, logical, topology, np.cumsum(supplies) - supplies, reduces=reduces, early=early)


def _plan(topology: Topology, what: Collective, root: int, parts: list[Edges], supplies: Ints) -> Plan:
    trees = int(supplies.sum())
    return Plan(what, len(topology.ranks), root, tuple(parts), trees, carried_rate(topology, parts, trees))


def _all_reduce(topology: Topology, what: Collective, most_trees: int | None) -> tuple[Plan, int]:
    """Both phases with equal weights, or the better of that and what the linear program finds."""
    ones = np.ones(len(topology.ranks), np.int64)
    gathers = _packing(topology, ones, "all_gather", -1, most_trees)
    supplies = gathers.supplies
    scatters = best_packing(turned(topology), supplies, gathers.rate, 1)
    parts = [
        _part(topology, supplies, scatters.tree_rate, reduces=True),
        _part(topology, supplies, gathers.tree_rate, reduces=False),
    ]
    plan = _plan(topology, what, -1, parts, supplies)
    if plan.rate is None:
        return plan, gathers.trees
    plain = replace(topology, reducing=np.zeros_like(topology.reducing))  # as trees take switches
    shares = best_shares(plain, float(plan.rate))
    if shares is None:
        return plan, gathers.trees
    better = split(topology, shares, plan.rate)
    if better is None:
        return plan, gathers.trees
    try:
        parts = [
            _part(topology, better.supplies, better.tree_rate, reduces=True, capacity=better.reduces),
            _part(topology, better.supplies, better.tree_rate, reduces=False, capacity=better.gathers),
        ]
    except SynthesisError:  # rounded shares that a switch cannot pass on
        return plan, gathers.trees
    other = _plan(topology, what, -1, parts, better.supplies)
    if other.rate is None or other.rate <= plan.rate:
        return plan, gathers.trees
    return other, int(better.supplies.max())


def _short(topology: Topology, what: Collective, root: int) -> Plan:
    """Trees of least latency; of an all_reduce one of each kind, at the rank in the middle."""
    seconds, logical = latencies(topology)
    ranks = len(topology.ranks)
    roots = np.arange(ranks)
    if what.name == "all_reduce":
        roots = np.array([center(seconds)])
    elif root >= 0:
        roots = np.array([root])
    supplies = np.isin(np.arange(ranks), roots).astype(np.int64)
    parts = []
    if what.name in ("reduce_scatter", "all_reduce"):
        trees = shortest_trees(seconds.T, roots)
        parts.append(_edges(topology, trees, turned_ways(logical), supplies, reduces=True, early=True))
    if what.name != "reduce_scatter":
        trees = shortest_trees(seconds, roots)
        parts.append(_edges(topology, trees, logical, supplies, reduces=False, early=True))
    return _plan(topology, what, root, parts, supplies)
