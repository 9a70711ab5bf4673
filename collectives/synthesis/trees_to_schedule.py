"""Trees as a schedule: every tree carries its own chunks of each segment, and segments follow one another.

The part that a rank has to send, or the whole vector, is cut into segments, and each of these into as many chunks as
there are trees. A transfer is one edge of a bundle, so that its trees' chunks, which are neighbours, go together. An
edge between ranks has the ways that were found for it through switches; where the topology has a choice of routes that
is such a way, the transfer names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from clusterbench.collectives.building.pipelining import pipelined
from clusterbench.collectives.collective import Collective, collective
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase
from clusterbench.collectives.simulator.phases import price
from clusterbench.collectives.synthesis.packing import Trees
from clusterbench.collectives.synthesis.rounds import candidates
from clusterbench.collectives.synthesis.routed import choices
from clusterbench.collectives.synthesis.splitting import Logical, Way
from clusterbench.collectives.topology.graph import Topology

TRIED, LARGE_BYTES = 64, 1 << 30
"""Segments and size that rounds are compared at."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """What the trees of one phase of a collective send: parallel arrays, one number a transfer of a segment."""

    src: Ints
    dst: Ints
    tree: Ints
    """The first of its trees, numbered over all roots."""
    count: Ints
    round: Ints
    """In which it takes place, from 0."""
    route: Ints
    reduces: bool
    depth: int
    """Of the deepest tree."""


def edges(
    trees: Trees, logical: Logical, topology: Topology, first: Ints, *, reduces: bool = False, early: bool = False
) -> Edges:  # fmt: skip
    """The transfers of trees from their roots, or towards them where they reduce.

    Trees that reduce were packed in the reversed graph. `first` is, for each rank, the number of its first tree. With
    `early` everything is sent as soon as it is there, else in rounds that suit a pipeline.
    """
    depth = trees.depths()
    bundle, child = np.nonzero(trees.parent >= 0)
    parent = trees.parent[bundle, child]
    before = np.zeros(len(trees), np.int64)
    for root in np.unique(trees.root):
        mine = np.flatnonzero(trees.root == root)
        before[mine] = first[root] + np.cumsum(trees.count[mine]) - trees.count[mine]
    number, amount, ways = _over_ways(logical, parent, child, trees.count[bundle])
    offset = _behind_one_another(number, amount)
    src, dst = parent[number], child[number]
    if reduces:
        ways = [way[::-1] for way in ways]
        src, dst = dst, src
    route = choices(topology, src, dst, amount, ways)
    # Rounds of trees that reduce are those of the same trees from their roots, backwards.
    brought = _brought(bundle * trees.parent.shape[1], parent, child, number)
    fastest = topology.links.bandwidth.max(initial=1.0, where=np.isfinite(topology.links.bandwidth))
    heights = _heights(trees)[bundle, child][number]
    routes = topology.routes(src, dst, route)
    rounds = (
        [depth[bundle, parent][number]]
        if early
        else candidates(
            brought, heights, (dst - src) % len(topology.ranks), amount, routes, fastest / topology.links.bandwidth
        )
    )
    found = [
        Edges(
            src=src,
            dst=dst,
            tree=before[bundle[number]] + offset,
            count=amount,
            round=made.max() - made if reduces else made,
            route=route,
            reduces=reduces,
            depth=int(depth.max()),
        )
        for made in rounds
    ]
    if early:
        return found[0]
    return min(found, key=lambda one: _seconds(topology, one, int(trees.count.sum())))


def _seconds(topology: Topology, one: Edges, trees: int) -> float:
    """What the transfers take, by rounds, in `TRIED` segments of a large vector."""
    made = schedule(collective("all_reduce"), len(topology.ranks), [one], trees, TRIED)  # which one does not matter
    return price(made, topology, LARGE_BYTES).bandwidth_s


def schedule(
    what: Collective, ranks: int, parts: list[Edges], trees: int, segments: int, *, root: int = -1
) -> Schedule:  # fmt: skip
    """The schedule of phases of trees that follow one another, segment by segment.

    `trees` is how many there are in all. For a collective with parts each rank has as many of them.
    """
    per_part = trees // what.parts(ranks)
    columns = []
    start = 0
    for part in parts:
        owner, inside = np.divmod(part.tree, per_part)
        chunk = owner * per_part * segments + inside
        columns.append((part.src, part.dst, chunk, part.count, np.full(len(chunk), part.reduces), part.route,
                        part.round + start))  # fmt: skip
        start += int(part.round.max(initial=-1)) + 1
    src, dst, chunk, count, reduces, route, first_round = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    chunks = trees * segments
    one = phase(src=src, dst=dst, chunk=chunk, count=count, reduce=reduces, step=per_part, route=route, modulus=chunks)
    return Schedule(what, ranks, chunks, partial(_phases, one, first_round, segments), 0, root)


def _phases(one: Phase, first_round: Ints, segments: int) -> Iterable[Phase]:
    return (replace(part) for part in pipelined(one, first_round, segments))


def _brought(base: Ints, parent: Ints, child: Ints, number: Ints) -> Ints:
    """For each transfer the range of those that bring what it sends, of shape (transfers, 2)."""
    first = np.searchsorted(number, np.arange(len(child) + 1))  # the transfers of each tree edge
    edge = np.searchsorted(base + child, base + parent)  # edges are in ascending order of bundle and child
    edge = np.minimum(edge, len(child) - 1)
    at_root = (base + child)[edge] != base + parent
    ranges = np.stack((first[edge], first[edge + 1]), axis=1)
    ranges[at_root] = 0
    return ranges[number]


def _heights(trees: Trees) -> Ints:
    """Edges from each rank down to its deepest descendant, of shape (bundles, ranks)."""
    depth = trees.depths()
    height = np.zeros_like(depth)
    for level in range(int(depth.max()), 0, -1):
        bundle, child = np.nonzero(depth == level)
        np.maximum.at(height, (bundle, trees.parent[bundle, child]), height[bundle, child] + 1)
    return height


def _over_ways(logical: Logical, src: Ints, dst: Ints, count: Ints) -> tuple[Ints, Ints, list[Way]]:
    """Each tree edge spread over the ways of its edge: number of the tree edge, trees, and way, way by way."""
    left = {pair: [most for most, _ in ways] for pair, ways in logical.ways.items()}
    number: list[int] = []
    amount: list[int] = []
    ways: list[Way] = []
    for at, (a, b, trees) in enumerate(zip(src.tolist(), dst.tolist(), count.tolist(), strict=True)):
        over = left[a, b]
        while trees:
            widest = over.index(max(over))
            taken = min(trees, over[widest])
            over[widest] -= taken
            trees -= taken
            number.append(at)
            amount.append(taken)
            ways.append(logical.ways[a, b][widest][1])
    return np.array(number, np.int64), np.array(amount, np.int64), ways


def _behind_one_another(number: Ints, amount: Ints) -> Ints:
    """Of pieces that lie one behind the other, the start of each in what it is a piece of."""
    before = np.cumsum(amount) - amount
    return before - before[np.searchsorted(number, number)]
