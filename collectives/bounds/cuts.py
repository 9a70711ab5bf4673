"""The cut that limits a collective most: what must cross it, over the bandwidth of the links out of it.

Natural cuts come first: out of and into each natural group, and for exchanges each block of neighbours. From the best
of them, searches go on to all cuts where a flow can tell whether there is a worse one:

    all_gather       for a target rank t, whether in time θ a byte of every other rank can flow to t: by max-flow with
                     all capacities times θ. Where it cannot, the smallest cut S is worse, and θ becomes |S| / B(S),
                     until it can (W. Dinkelbach, "On nonlinear fractional programming", Management Science 13, 1967).
                     As θ only grows, each target is dealt with once.
    reduce_scatter   the same on the reversed graph
    scatter, gather  the same with one source, the root, and all other ranks as targets, or reversed
    all_reduce       the smallest cut between one rank and each other, either way
    broadcast        the smallest cut between the root and each other rank; reduce, the other way
    pingpong         the smallest cut between the two

They compare whole numbers only, so they are exact. For exchanges no flow tells which cut is the worst: tried are the
smallest cuts between each natural group of ranks and all others, and between blocks of neighbours and all others, and
for sendrecv between the ranks of each message. Any cut is a valid bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from clusterbench.collectives.bounds.capacities import Graph, bandwidth_of
from clusterbench.collectives.bounds.groups import Family, blocks
from clusterbench.collectives.bounds.max_flow import UNLIMITED, Mask, max_flow
from clusterbench.collectives.bounds.needs import Need, crossings
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats

MOST_WORK = 1 << 27
"""Flows times links: about ten seconds of one core."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A cut: the vertices inside, the bytes that must get out for each byte of the size, and the bandwidth out."""

    inside: Mask
    crossing: Fraction
    bandwidth: Fraction
    """In bytes/s."""

    @property
    def seconds_per_byte(self) -> Fraction:
        """How long it takes, for each byte of the size."""
        return self.crossing / self.bandwidth


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """The worst cut that was found, if any limits at all, and among which."""

    cut: Cut | None
    among: str
    complete: bool
    """Whether there is none worse."""


def worst_cut(graph: Graph, need: Need, natural: list[Family]) -> Search:
    """The cut that limits a collective most, among all cuts or, where that would take too long, among natural ones."""
    exchange = need.name in ("all_to_all", "all_to_all_v", "sendrecv")
    tried = [*natural, *blocks(graph.topology)] if exchange else natural
    kinds = ", ".join(dict.fromkeys(family.name for family in tried))
    best = _worst_natural(graph, need, tried)
    flows = 2 * (sum(family.count for family in tried) if exchange else len(graph.holders))
    if flows * len(graph.topology.links) > MOST_WORK:
        return Search(_exact(graph, need, best), f"cuts round {kinds}", complete=False)
    if exchange:
        best = _worst(graph, need, [best, *_round_groups(graph, tried)])
        if need.name == "sendrecv":
            best = _worst(graph, need, [best, _between(graph, *_pairs(graph, need))])
        return Search(_exact(graph, need, best), f"smallest cuts round {kinds}", complete=False)
    best = _worst(graph, need, [best, _searched(graph, need, best)])
    among = "all cuts" if graph.exact else "all cuts, compared at bandwidths rounded up"
    return Search(_exact(graph, need, best), among, complete=graph.exact)


def _searched(graph: Graph, need: Need, best: Mask | None) -> Mask | None:
    """The worst of all cuts, or None where no cut is worse than `best`."""
    others = graph.holders[1:]
    match need.name:
        case "all_gather" | "reduce_scatter":
            return _many_to_one(graph, best, reverse=need.name == "reduce_scatter")
        case "scatter" | "gather":
            return _one_to_many(graph, int(graph.topology.ranks[need.root]), reverse=need.name == "gather")
        case "all_reduce":
            first = np.full(len(others), graph.holders[0])
            return _between(graph, np.concatenate((first, others)), np.concatenate((others, first)))
        case "broadcast" | "reduce":
            root = graph.topology.ranks[need.root]
            others = graph.holders[graph.holders != root]
            ends = np.full(len(others), root), others
            return _between(graph, *(ends if need.name == "broadcast" else reversed(ends)))
    return _between(graph, *_pairs(graph, need))


def _many_to_one(graph: Graph, best: Mask | None, reverse: bool) -> Mask | None:
    """The largest |S| / B(S) over all S without one rank at least; reversed, |S'| / B(S) of the other side S'."""
    weights, net = graph.weights[graph.holders], graph.network(reverse=reverse)
    worst, ratio = None, Fraction(0)
    if best is not None:
        ratio = Fraction(graph.ranks_in(~best if reverse else best), graph.out_of(best))
    for target in range(len(graph.holders)):
        while True:
            supply = weights * ratio.denominator
            supply[target] = 0
            demand = np.zeros_like(weights)
            demand[target] = UNLIMITED
            flow = max_flow(net, graph.times(ratio.numerator), supply, demand)
            if flow.value == supply.sum():
                break
            worst = ~flow.inside if reverse else flow.inside
            ratio = Fraction(graph.ranks_in(flow.inside), graph.out_of(worst))
    return worst


def _one_to_many(graph: Graph, root: int, reverse: bool) -> Mask | None:
    """The largest |S'| / B(S) over all S with the root, S' being the other side; reversed, over all S' with it."""
    net, at_root = graph.network(reverse=reverse), graph.holders == root
    wanted = np.where(at_root, 0, graph.weights[graph.holders])
    worst, ratio = None, Fraction(0)
    while True:
        demand = wanted * ratio.denominator
        flow = max_flow(net, graph.times(ratio.numerator), np.where(at_root, demand.sum(), 0), demand)
        if flow.value == demand.sum():
            return worst
        worst = ~flow.inside if reverse else flow.inside
        ratio = Fraction(graph.ranks_in(~flow.inside), graph.out_of(worst))


def _between(graph: Graph, sources: Ints, targets: Ints) -> Mask | None:
    """The smallest of the smallest cuts between vertices with ranks, pair by pair; None where none is limited."""
    net, worst, least, capacity = graph.network(), None, graph.everything, graph.times(1)
    for source, target in zip(sources, targets, strict=True):
        supply = np.where(graph.holders == source, least, 0)
        demand = np.where(graph.holders == target, UNLIMITED, 0)
        flow = max_flow(net, capacity, supply, demand)
        if flow.value < least:
            worst, least = flow.inside, flow.value
    return worst


def _pairs(graph: Graph, need: Need) -> tuple[Ints, Ints]:
    """The vertices of the messages that a collective consists of."""
    if need.src is None or need.dst is None:
        return graph.holders[:0], graph.holders[:0]
    ends = graph.topology.ranks[need.src], graph.topology.ranks[need.dst]
    apart = ends[0] != ends[1]
    return ends[0][apart], ends[1][apart]


def _round_groups(graph: Graph, tried: list[Family]) -> Iterator[Mask]:
    """The smallest cuts between the ranks of each group and all others, either way."""
    forward, backward = graph.network(), graph.network(reverse=True)
    everything, capacity = graph.everything, graph.times(1)
    for family in tried:
        of_holder = family.labels[graph.holders]
        for group in np.unique(of_holder[of_holder >= 0]):
            supply, demand = (np.where(of_holder == group, *ends) for ends in ((everything, 0), (0, everything)))
            if not supply.any() or not demand.any():
                continue
            yield max_flow(forward, capacity, supply, demand).inside
            yield ~max_flow(backward, capacity, supply, demand).inside


def _worst_natural(graph: Graph, need: Need, natural: list[Family]) -> Mask | None:
    """The worst cut out of or into a natural group as it is."""
    found = []
    for family in natural:
        leaving, entering = group_bandwidths(graph, family)
        out, into = crossings(need, family.labels[graph.topology.ranks], family.count)
        for amount, bandwidth, inwards in ((out, leaving, False), (into, entering, True)):
            seconds = amount / bandwidth
            if seconds.max(initial=0) > 0:
                inside = family.labels == int(seconds.argmax())
                found.append(~inside if inwards else inside)
    return _worst(graph, need, found)


def group_bandwidths(graph: Graph, family: Family) -> tuple[Floats, Floats]:
    """The bandwidth out of each group, and into it, in bytes/s; infinite where no link leads there."""
    links = graph.topology.links
    a, b = family.labels[links.src], family.labels[links.dst]
    both = []
    for group in (a, b):
        crosses = (a != b) & (group >= 0)
        total = np.bincount(group[crosses], links.bandwidth[crosses], minlength=family.count)
        both.append(np.where(total > 0, total, np.inf))
    return both[0], both[1]


def _worst(graph: Graph, need: Need, candidates: Iterable[Mask | None]) -> Mask | None:
    """The one of several cuts that limits most, by whole units; None where none limits."""
    worst, most = None, Fraction(0)
    for inside in candidates:
        if inside is None:
            continue
        amount, bandwidth = _amount(graph, need, inside), graph.out_of(inside)
        if amount and bandwidth < UNLIMITED and Fraction(amount, bandwidth) > most:
            worst, most = inside, Fraction(amount, bandwidth)
    return worst


def _amount(graph: Graph, need: Need, inside: Mask) -> int:
    labels = np.where(inside[graph.topology.ranks], 0, -1)
    return int(crossings(need, labels, 1)[0][0])


def _exact(graph: Graph, need: Need, inside: Mask | None) -> Cut | None:
    """A cut with its true bandwidth."""
    if inside is None:
        return None
    bandwidth = bandwidth_of(graph.topology, graph.crossing(inside))
    return None if bandwidth is None else Cut(inside, _amount(graph, need, inside) * need.unit, bandwidth)
