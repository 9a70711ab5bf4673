"""What a class of algorithms can reach: an all_reduce as reduce-scatter and all-gather along trees.

Rank r reduces a share ω_r of the vector: it comes to r up trees that end there, and goes out again down trees that
begin there, while other parts are on their way, so that the two phases share the links. Let y be the bandwidth that the
all-gather uses of each link, z that of the reduce-scatter, and ω count bytes/s:

    maximise Σ ω_r    where y + z ≤ the bandwidth of each link,
                      y(out of S) ≥ Σ ω_r over r in S      for every S that leaves a rank out,
                      z(into S) ≥ Σ ω_r over r in S        for every such S,
                      and y, and z, flow out of every switch as they flow into it.

Trees along which that rate is reached exist where the cut conditions hold: J. Edmonds, "Edge-disjoint branchings",
1973; for switches, which copy nothing, as edges can be split off there (J. Bang-Jensen, A. Frank and B. Jackson,
"Preserving and increasing local edge-connectivity in mixed graphs", SIAM Journal on Discrete Mathematics 8, 1995). At
switches that reduce or multicast, the last condition is dropped.

The cuts are too many to write down. The linear program begins with those round single ranks; each solution is
searched by max-flow for cuts that it violates, and solved again with these. Every one of the programs gives a bound of
the class, the last one the best.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, vstack

from clusterbench.collectives.bounds.capacities import Graph, graph, whole_numbers
from clusterbench.collectives.bounds.max_flow import UNLIMITED, Mask, Network, max_flow
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Topology

NAME = "reduce-scatter + all-gather along trees"
MOST_LINKS = 4096
"""Of a topology: beyond that, programs and searches take minutes."""
MOST_RANKS = 256
MOST_PROGRAMS = 200
VIOLATED = 1e-9
"""Of the whole rate: what a solution of the solver, whose tolerance is that, may be off."""
FINENESS = 1 << 50
"""Total of the whole numbers that a solution is searched in."""


@dataclass(frozen=True, slots=True)
class ClassLimit:
    """What the class takes at least for each byte of the size, or why that is not known."""

    name: str
    seconds_per_byte: float | None
    reason: str = ""

    def at(self, size_bytes: int) -> float | None:
        """`class_s`: the time that no algorithm of the class beats, in seconds."""
        return None if self.seconds_per_byte is None else self.seconds_per_byte * size_bytes


def class_limit(topology: Topology) -> ClassLimit:
    """The limit of an all_reduce by reduce-scatter and all-gather along trees on a topology."""
    ranks, links = len(topology.ranks), len(topology.links)
    if ranks > MOST_RANKS or links > MOST_LINKS:
        return ClassLimit(NAME, None, f"{ranks} ranks and {links} links; at most {MOST_RANKS} and {MOST_LINKS}")
    prepared = graph(topology)
    if len(prepared.holders) < 2:
        return ClassLimit(NAME, 0.0)
    limited = np.isfinite(topology.links.bandwidth)
    if not limited.any():
        return ClassLimit(NAME, None, "no link limits the bandwidth")
    program = _program(prepared, float(topology.links.bandwidth[limited].max()))
    rate = 0.0
    for _ in range(MOST_PROGRAMS):
        solution = program.solved()
        if solution is None:
            return ClassLimit(NAME, None, "the linear program has no solution that its solver finds")
        rate = float(solution[: program.roots].sum())
        if not program.add_violated(solution):
            return ClassLimit(NAME, 1 / (rate * program.unit))
    return ClassLimit(NAME, 1 / (rate * program.unit), f"a bound of it, after {MOST_PROGRAMS} programs")


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """How the class shares a machine at its best rate: bytes/s that each rank is the root of, and of each link in each
    phase."""

    roots: Floats
    gathers: Floats
    reduces: Floats


def best_shares(topology: Topology, worth: float = 0.0) -> Shares | None:
    """The solution behind `class_limit`, which is as good as its solver is; None where that knows none.

    Nor is there one where the best rate is not above `worth` bytes/s: as every program is a bound, the search ends
    there. Ranks of one vertex share what is that vertex's.
    """
    ranks, links = len(topology.ranks), len(topology.links)
    limited = np.isfinite(topology.links.bandwidth)
    prepared = graph(topology)
    if ranks > MOST_RANKS or links > MOST_LINKS or len(prepared.holders) < 2 or not limited.any():
        return None
    program = _program(prepared, float(topology.links.bandwidth[limited].max()))
    for _ in range(MOST_PROGRAMS):
        solution = program.solved()
        if solution is None or solution[: program.roots].sum() * program.unit <= worth * (1 + VIOLATED):
            return None
        if not program.add_violated(solution):
            gathers, reduces = np.split(solution[program.roots :] * program.unit, [links])
            of_vertex = np.zeros(topology.vertices)
            of_vertex[prepared.holders] = solution[: program.roots] * program.unit
            return Shares((of_vertex / np.maximum(1, prepared.weights))[topology.ranks], gathers, reduces)
    return None


@dataclass(slots=True)
class _Program:
    """The linear program over (ω, y, z), in units of the largest bandwidth, with the cuts so far."""

    graph: Graph
    unit: float
    equal: csr_array
    """Rows over the variables that are 0: what flows out of a switch and into it."""
    shared: csr_array
    """Rows of y + z on each limited link."""
    bandwidth: Floats
    """Of the limited links."""
    forward: Network
    backward: Network
    cuts: list[csr_array] = field(default_factory=list)
    """Rows that are at most 0: what must cross a cut, less what can."""
    known: set[bytes] = field(default_factory=set)

    @property
    def roots(self) -> int:
        return len(self.graph.holders)

    @property
    def variables(self) -> int:
        return self.roots + 2 * len(self.graph.topology.links)

    def solved(self) -> Floats | None:
        """The best (ω, y, z), or None."""
        used = self.variables - self.roots
        # A rate is at most that of all limited links together.
        bounds: list[tuple[float, float | None]] = [(0.0, float(self.bandwidth.sum()))] * self.roots
        bounds += [(0.0, None)] * used
        upper: Any = vstack((self.shared, *self.cuts)).tocsr()  # SciPy's stubs know dense matrices only
        equal: Any = self.equal if self.equal.shape[0] else None
        found = linprog(
            np.concatenate((-np.ones(self.roots), np.zeros(used))),
            A_ub=upper,
            b_ub=np.concatenate((self.bandwidth, np.zeros(len(self.cuts)))),
            A_eq=equal,
            b_eq=None if equal is None else np.zeros(self.equal.shape[0]),
            bounds=bounds,
            method="highs",
        )
        return np.asarray(found.x, np.float64) if found.status == 0 else None

    def add_cut(self, inside: Mask, *, reduces: bool) -> bool:
        """Add the condition of a cut, `inside` being what leaves a rank out; False where it was there already."""
        key = np.packbits(inside).tobytes() + bytes([reduces])
        if key in self.known:
            return False
        self.known.add(key)
        links = self.graph.topology.links
        crossing = self.graph.crossing(~inside if reduces else inside)
        first = self.roots + (len(links) if reduces else 0)
        roots = np.flatnonzero(inside[self.graph.holders])
        columns = np.concatenate((roots, first + crossing))
        values = np.concatenate((np.ones(len(roots)), -np.ones(len(crossing))))
        self.cuts.append(_rows(np.zeros_like(columns), columns, values, (1, self.variables)))
        return True

    def add_violated(self, solution: Floats) -> bool:
        """Add, for each rank, the cut that a solution violates most in each phase; False where there is no new one."""
        links = len(self.graph.topology.links)
        roots = solution[: self.roots]
        phases = np.split(solution[self.roots :], [links])
        added = False
        for reduces, net in ((False, self.forward), (True, self.backward)):
            whole, _ = whole_numbers(np.maximum(np.concatenate((phases[reduces], roots)), 1e-15), FINENESS)
            for target in range(self.roots):
                inside = _violated(net, whole[:links], whole[links:], target)
                if inside is not None:
                    added |= self.add_cut(inside, reduces=reduces)
        return added


def _violated(net: Network, capacity: Ints, shares: Ints, target: int) -> Mask | None:
    """The smallest cut before a target, where the shares of all other roots cannot flow there."""
    supply, demand = shares.copy(), np.zeros_like(shares)
    supply[target], demand[target] = 0, UNLIMITED
    flow = max_flow(net, capacity, supply, demand)
    return None if flow.value >= int(supply.sum()) - VIOLATED * int(shares.sum()) else flow.inside


def _program(graph: Graph, unit: float) -> _Program:
    topology = graph.topology
    links, count, first = topology.links, len(topology.links), len(graph.holders)
    variables = first + 2 * count
    passing = np.ones(topology.vertices, np.bool_)
    passing[graph.holders] = False
    passing[topology.reducing] = False
    row_of = np.cumsum(passing) - 1
    rows, columns, values = [], [], []
    for phase in range(2):
        for ends, sign in ((links.src, 1.0), (links.dst, -1.0)):
            kept = np.flatnonzero(passing[ends])
            rows.append(row_of[ends[kept]] + phase * int(passing.sum()))
            columns.append(first + phase * count + kept)
            values.append(np.full(len(kept), sign))
    row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
    equal = _rows(row, column, value, (2 * int(passing.sum()), variables))
    limited = np.flatnonzero(np.isfinite(links.bandwidth))
    row = np.arange(len(limited))
    both = np.concatenate((first + limited, first + count + limited))
    shared = _rows(np.tile(row, 2), both, np.ones(2 * len(row)), (len(row), variables))
    program = _Program(
        graph, unit, equal, shared, links.bandwidth[limited] / unit, graph.network(), graph.network(reverse=True)
    )
    for holder in graph.holders:
        inside = np.ones(topology.vertices, np.bool_)
        inside[holder] = False
        program.add_cut(inside, reduces=False)
        program.add_cut(inside, reduces=True)
    return program


def _rows(rows: Ints, columns: Ints, values: Floats, shape: tuple[int, int]) -> csr_array:
    return coo_array((values, (rows, columns)), shape=shape).tocsr()
