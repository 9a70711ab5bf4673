"""Extended generalised fat trees: leaf and spine, fat trees of any depth and taper, and a single switch.

XGFT(h; m1..mh; w1..wh) has h levels of switches. A vertex of level l has m_l children below it and w_(l+1) parents
above; vertex (a, b) of level l is the b-th of the W_l = w1···wl switches that stand over the a-th group of
M_l = m1···ml ports. Its c-th parent is (a div m_(l+1), b·w_(l+1) + c), so that the way down to a port is given by the
choices made on the way up.

S. R. Öhring, M. Ibel, S. K. Das and M. J. Kumar, "On generalized fat trees", IPPS 1995. Which parent: by default the
digit of the destination (d-mod-k; E. Zahavi, "Fat-tree routing and node ordering providing contention free traffic for
MPI global collectives", JPDC 72 (2012)), so that all traffic to one port goes one way and shifts do not collide; or by
a hash of the pair with a seed, as equal-cost multipath does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Network, refuse_too_many
from clusterbench.collectives.topology.graph import Links, Routes, both_ways, joined, links
from clusterbench.collectives.topology.routing import draw


@dataclass(frozen=True, slots=True)
class Level:
    """One level of switches, and the links from the vertices below up to it."""

    down: int
    """Children of each switch."""
    parents: int
    """Switches of this level above each vertex of the level below."""
    bandwidth: float
    """Bytes/s of each of those links, one way."""
    latency_s: float
    name: str
    """What a switch is called: `leaf` gives leaf0, leaf1 and so on."""


def xgft(ports: int, levels: Sequence[Level], ecmp: int | None, place: Ints | None = None) -> Network:
    """The network of so many ports under the levels, the lowest first; of its last groups only what is needed.

    `place` puts port i in place i of the tree, unless given: see `rails`. The lowest level has one parent a port.
    """
    places = np.arange(ports) if place is None else place
    below = tuple(accumulate((level.down for level in levels), mul))  # M_1 .. M_h
    above = tuple(accumulate((level.parents for level in levels), mul))  # W_1 .. W_h
    groups = [int(places.max()) // m + 1 for m in below]
    between = zip(groups, above, levels[1:], strict=False)
    refuse_too_many(2 * (ports + sum(group * width * level.parents for group, width, level in between)))
    names: list[str] = []
    firsts = []
    for level, width, count in zip(levels, above, groups, strict=True):
        firsts.append(ports + len(names))
        names += [f"{level.name}{i}" for i in range(count * width)]
    ups = [links(np.arange(ports), firsts[0] + places // below[0], levels[0].bandwidth, levels[0].latency_s)]
    for number in range(1, len(levels)):
        ups.append(_between(levels[number], above[number - 1], groups[number - 1], firsts[number - 1], firsts[number]))
    bases = np.concatenate(([0], np.cumsum([len(up) for up in ups])))
    parents = np.array([level.parents for level in levels])
    router = _Router(places, np.array(below), np.array((1, *above)), parents, bases, ecmp)
    return Network(ports, names, both_ways(joined(ups)), router)


def _between(level: Level, width: int, groups: int, first_below: int, first_above: int) -> Links:
    """The links from the switches (a, b) of one level, a-th of `groups` and b-th of `width`, up to the next level."""
    a, b, c = (grid.ravel() for grid in np.indices((groups, width, level.parents)))
    parent = (a // level.down) * (width * level.parents) + b * level.parents + c
    return links(first_below + a * width + b, first_above + parent, level.bandwidth, level.latency_s)


def rails(nodes: int, ports_per_node: int, down: int) -> Ints:
    """Places in the tree that put port k of `down` neighbouring nodes under one leaf: a leaf a rail (rail-optimised).

    NVIDIA, "DGX SuperPOD: next generation scalable infrastructure for AI leadership", reference architecture.
    """
    node, rail = np.divmod(np.arange(nodes * ports_per_node), ports_per_node)
    unit, inside = np.divmod(node, down)
    return (unit * ports_per_node + rail) * down + inside


@dataclass(frozen=True, slots=True, eq=False)
class _Router:
    places: Ints
    below: Ints
    """M_1 .. M_h."""
    width: Ints
    """W_0 .. W_h."""
    parents: Ints
    """w_1 .. w_h."""
    bases: Ints
    """The first link up from each level; behind all of them the same links down."""
    ecmp: int | None

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        seed = 0 if self.ecmp is None else self.ecmp
        return Routes(*_ways(src, dst, choice, self.places, self.below, self.width, self.parents, self.bases,
                             self.ecmp is not None, seed))  # fmt: skip


@njit(cache=True)
def _ways(
    src: Ints, dst: Ints, choice: Ints, places: Ints, below: Ints, width: Ints, parents: Ints, bases: Ints,
    hashed: bool, seed: int,
) -> tuple[Ints, Ints]:  # fmt: skip
    """Up to the lowest switch over both ends, and down from there: offsets and links."""
    levels = len(parents)
    offsets = np.zeros(len(src) + 1, np.int64)
    links, filled = np.empty(2 * levels * len(src), np.int64), 0
    down = np.empty(levels, np.int64)
    for flow in range(len(src)):
        src_place, dst_place = places[src[flow]], places[dst[flow]]
        src_at, dst_at, b, height = src[flow], dst[flow], 0, 0
        while height < levels and src_at != dst_at:
            by = draw(src[flow], dst[flow], height, seed) if hashed else dst_place // width[height]
            c = (by + choice[flow]) % parents[height]
            links[filled] = bases[height] + (src_at * width[height] + b) * parents[height] + c
            down[height] = bases[levels] + bases[height] + (dst_at * width[height] + b) * parents[height] + c
            b = b * parents[height] + c
            src_at, dst_at = src_place // below[height], dst_place // below[height]
            filled += 1
            height += 1
        for level in range(height - 1, -1, -1):
            links[filled] = down[level]
            filled += 1
        offsets[flow + 1] = filled
    return offsets, links[:filled].copy()
