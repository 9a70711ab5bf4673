"""How fast trees can be, and how many of what rate: exact, from the cuts of the topology.

Every root has a number of trees, its weight times `trees`, and all trees have one rate, in bytes/s. A link of
bandwidth b carries ⌊b / rate⌋ of them. They exist where from all roots together, each with a supply of its number of
trees, everything flows to every rank (J. Edmonds, "Edge-disjoint branchings", 1973). The rate of all trees together is
best where it equals the worst cut (`collectives/bounds/cuts.py`); with few trees a root the links' remainders may cost
some of it, as in L. Zhao et al., "ForestColl", 2024, arXiv 2402.06787, section on fixed numbers of trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, gcd, lcm

import numpy as np

from clusterbench.collectives.bounds.capacities import Graph, graph
from clusterbench.collectives.bounds.max_flow import UNLIMITED, Network, max_flow
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Topology

FEW = 8
"""Trees a root up to which fewer are looked for than the exact rate needs in whole numbers."""
MOST_TREES = 1024
"""A root at most: the part of a rank is cut into as many chunks, times segments."""
MOST_EXACT = 128
"""A root, for the exact rate; where it needs more, the best rate of a few is taken."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What trees are to be packed: `weights[rank]` · `trees` of them from each rank, of `tree_rate` bytes/s each."""

    weights: Ints
    trees: int
    tree_rate: Fraction

    @property
    def supplies(self) -> Ints:
        """Trees from each rank."""
        return self.weights * self.trees

    @property
    def rate(self) -> Fraction:
        """Bytes/s of all trees together: of the vector, or of all ranks' parts."""
        return self.tree_rate * int(self.supplies.sum())


def best_packing(topology: Topology, weights: Ints, rate: Fraction, most_trees: int | None = None) -> Packing:
    """The packing of the highest rate, at most `rate` bytes/s in all, with the fewest trees that reach it.

    `weights` are whole numbers of shape (ranks,). With `most_trees` a root of weight 1 has at most so many.
    """
    prepared = graph(topology)
    net = prepared.network()
    per_weight = rate / int(weights.sum())
    best: Packing | None = None
    for trees in range(1, min(most_trees or FEW, MOST_TREES) + 1):
        found = Packing(weights, trees, _tree_rate(prepared, net, weights * trees, per_weight / trees))
        if best is None or found.rate > best.rate:
            best = found
        if found.rate == rate:
            return found
    if most_trees is not None and best is not None:
        return best
    bandwidth = topology.links.bandwidth
    limited = {Fraction(b) for b in np.unique(bandwidth[np.isfinite(bandwidth)]).tolist()}
    tree_rate = _common_divisor([per_weight, *limited])
    trees = int(per_weight / tree_rate)
    if trees > MOST_EXACT and best is not None:
        return best
    return Packing(weights, trees, tree_rate)


def capacities(topology: Topology, tree_rate: Fraction) -> Ints:
    """Trees that each link carries; `UNLIMITED` where its bandwidth is."""
    values, number = np.unique(topology.links.bandwidth, return_inverse=True)
    whole = [floor(Fraction(b) / tree_rate) if np.isfinite(b) else UNLIMITED for b in values.tolist()]
    return np.array([min(UNLIMITED, w) for w in whole], np.int64)[number]


def shortfall(net: Network, capacity: Ints, supplies: Ints) -> int:
    """By how many trees the worst-served terminal gets fewer than there are of others: 0 where all trees exist.

    `supplies` has one number a terminal of the network.
    """
    worst, total = 0, int(supplies.sum())
    demand = np.zeros_like(supplies)
    for target in range(len(supplies)):
        supply = supplies.copy()
        supply[target] = 0
        demand[:] = 0
        demand[target] = UNLIMITED
        worst = max(worst, total - int(supplies[target]) - max_flow(net, capacity, supply, demand).value)
    return worst


def _tree_rate(prepared: Graph, net: Network, supplies: Ints, most: Fraction) -> Fraction:
    """The highest rate, at most `most`, at which trees exist: by bisection over those where a capacity changes."""
    topology = prepared.topology
    of_holder = np.bincount(topology.ranks, supplies, topology.vertices).astype(np.int64)[prepared.holders]
    # Each end of a link beyond which nothing but `most` limits: capacities change at b / 1, b / 2, ...
    bandwidths = [Fraction(b) for b in np.unique(topology.links.bandwidth).tolist() if np.isfinite(b)]

    def reached(rate: Fraction) -> bool:
        return shortfall(net, capacities(topology, rate), of_holder) == 0

    if reached(most):
        return most
    least = most / 2
    while not reached(least):
        least /= 2
    steps = sorted(
        {b / j for b in bandwidths for j in range(ceil(b / most), floor(b / least) + 1) if least <= b / j < most}
        | {least}
    )
    low, high = 0, len(steps)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(steps[middle]) else (low, middle)
    return steps[low]


def _common_divisor(values: list[Fraction]) -> Fraction:
    """The largest number of which all are whole multiples."""
    denominator = lcm(*(value.denominator for value in values))
    return Fraction(gcd(*(int(value * denominator) for value in values)), denominator)
