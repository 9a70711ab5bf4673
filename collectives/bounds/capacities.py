"""A topology as a graph of capacities in whole numbers, in which cuts are looked for, and cuts of it, exact.

A bandwidth is a binary fraction, so all of them are whole multiples of one unit; searches compare whole numbers only.
Where these would need more than 64 bits, capacities are rounded up for the search. A cut that was found is always
worth what its own bandwidths say, as rationals: it is a bound however it was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd, lcm

import numpy as np

from clusterbench.collectives.bounds.max_flow import UNLIMITED, Mask, Network, network
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Topology

MOST_TOTAL = 1 << 60
"""All capacities together, times all ranks: flows are multiplied by up to both, and stay below `MOST_FLOW`."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A topology made ready for searches."""

    topology: Topology
    weights: Ints
    """Ranks on each vertex."""
    holders: Ints
    """The vertices with ranks."""
    capacity: Ints
    """Of each link in whole units, or `UNLIMITED`."""
    exact: bool
    """Whether no capacity was rounded up."""

    @property
    def everything(self) -> int:
        """More than all limited links together hold."""
        return int(self.capacity[self.capacity < UNLIMITED].sum()) + 1

    def network(self, *, reverse: bool = False) -> Network:
        """The links made ready for flows between vertices with ranks, maybe all of them reversed."""
        links = self.topology.links
        ends = (links.dst, links.src) if reverse else (links.src, links.dst)
        return network(self.topology.vertices, *ends, self.holders)

    def times(self, factor: int) -> Ints:
        """The capacities, multiplied; what is unlimited stays so."""
        limited = self.capacity < UNLIMITED
        return np.where(limited, np.where(limited, self.capacity, 0) * factor, UNLIMITED)

    def out_of(self, inside: Mask) -> int:
        """The capacity of all links out of some vertices; `UNLIMITED` if that of one is."""
        capacity = self.capacity[self.crossing(inside)]
        return UNLIMITED if (capacity == UNLIMITED).any() else int(capacity.sum())

    def crossing(self, inside: Mask) -> Ints:
        """The numbers of the links that lead out of some vertices."""
        links = self.topology.links
        return np.flatnonzero(inside[links.src] & ~inside[links.dst])

    def ranks_in(self, inside: Mask) -> int:
        """How many ranks are on some vertices."""
        return int(self.weights[inside].sum())


def graph(topology: Topology) -> Graph:
    """The graph of a topology."""
    links = topology.links
    weights = np.bincount(topology.ranks, minlength=topology.vertices).astype(np.int64)
    holders = np.flatnonzero(weights)
    limited = np.isfinite(links.bandwidth)
    whole, exact = whole_numbers(links.bandwidth[limited], MOST_TOTAL // len(topology.ranks))
    capacity = np.full(len(links), UNLIMITED, np.int64)
    capacity[limited] = whole
    return Graph(
        topology=topology,
        weights=weights,
        holders=holders,
        capacity=capacity,
        exact=exact,
    )


def whole_numbers(values: Floats, most: int) -> tuple[Ints, bool]:
    """Finite positive numbers in units that make them whole, with a sum of at most `most`, and whether they are exact.

    Exact ones have no common divisor; otherwise they are rounded up.
    """
    distinct, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    fractions = [Fraction(value) for value in distinct.tolist()]
    if not fractions:
        return np.zeros(0, np.int64), True
    denominator = lcm(*(f.denominator for f in fractions))
    unit = Fraction(gcd(*(int(f * denominator) for f in fractions)), denominator)
    total = sum(f * count for f, count in zip(fractions, counts.tolist(), strict=True))
    exact = total / unit <= most
    if not exact:
        unit = total / (most - len(values))  # rounding up adds less than one unit a number
    return np.array([ceil(f / unit) for f in fractions], np.int64)[number], exact


def bandwidth_of(topology: Topology, links: Ints) -> Fraction | None:
    """The bandwidth of some links together in bytes/s, exact; None where that of one is infinite."""
    values, counts = np.unique(topology.links.bandwidth[links], return_counts=True)
    if len(values) and np.isinf(values[-1]):
        return None
    return sum((Fraction(v) * n for v, n in zip(values.tolist(), counts.tolist(), strict=True)), Fraction(0))
