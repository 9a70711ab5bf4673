"""The largest flow through directed links, and the cut that limits it, in whole numbers.

Flow starts at the vertices that have a supply and ends at those that have a demand. The largest flow equals the
capacity of the smallest cut (L. R. Ford and D. R. Fulkerson, "Maximal flow through a network", 1956), where what is not
supplied and not demanded counts as cut too. It is found by Dinic's algorithm: shortest ways only, in phases
(E. A. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power estimation", Soviet
Mathematics Doklady 11, 1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints

Mask = NDArray[np.bool_]

MOST_FLOW = (1 << 62) - 1
"""Of all supplies together, so that no sum of flows leaves 64 bits."""
UNLIMITED = (1 << 63) - 1
"""Capacity of a link that holds more than everything."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Links made ready for flows, as arcs: each has a twin in the opposite direction, over which flow is taken back.

    Two vertices are added, a source behind all supplies and a sink behind all demands. The arcs out of vertex v are
    first[v] : first[v + 1].
    """

    vertices: int
    first: Ints
    to: Ints
    twin: Ints
    forward: Ints
    """The arcs of the links, then those of the supplies and of the demands, one a vertex that may have them."""
    terminals: Ints
    """The vertices that may have a supply or a demand."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """The largest flow, and the side of a smallest cut on which it starts: a flag a vertex."""

    value: int
    inside: Mask


def network(vertices: int, src: Ints, dst: Ints, terminals: Ints) -> Network:
    """The links from `src` to `dst` made ready for flows between `terminals`."""
    source, sink, count = vertices, vertices + 1, len(terminals)
    tail = np.concatenate((src, np.full(count, source), terminals))
    head = np.concatenate((dst, terminals, np.full(count, sink)))
    arcs = len(tail)
    order = np.argsort(np.concatenate((tail, head)), kind="stable")
    where = np.empty_like(order)
    where[order] = np.arange(2 * arcs)
    return Network(
        vertices=vertices,
        first=np.searchsorted(np.concatenate((tail, head))[order], np.arange(vertices + 3)).astype(np.int64),
        to=np.concatenate((head, tail))[order].astype(np.int64),
        twin=where[(order + arcs) % (2 * arcs)].astype(np.int64),
        forward=where[:arcs].astype(np.int64),
        terminals=np.asarray(terminals, np.int64),
    )


def max_flow(network: Network, capacity: Ints, supply: Ints, demand: Ints) -> Flow:
    """The largest flow; `capacity` is one number a link, `supply` and `demand` are one a terminal, all at least 0.

    Raises `OverflowError` where the supplies together exceed `MOST_FLOW`.
    """
    total = sum(supply.tolist())
    if total > MOST_FLOW:
        raise OverflowError(f"supplies of {total}; expected at most {MOST_FLOW} together")
    left = np.zeros(len(network.to), np.int64)
    left[network.forward] = np.minimum(np.concatenate((capacity, supply, demand)), total)
    value, level = _dinic(network.first, network.to, network.twin, left, network.vertices, network.vertices + 1)
    return Flow(int(value), level[: network.vertices] >= 0)


@njit(cache=True)
def _dinic(first: Ints, to: Ints, twin: Ints, left: Ints, source: int, sink: int) -> tuple[int, Ints]:
    """The value of the flow, and for each vertex its distance from the source over what is `left`, or −1."""
    vertices = len(first) - 1
    level = np.empty(vertices, np.int64)
    queue = np.empty(vertices, np.int64)
    at = np.empty(vertices, np.int64)
    way = np.empty(vertices, np.int64)
    value = 0
    while _reaches(first, to, left, source, sink, level, queue):
        at[:] = first[:vertices]
        length, vertex = 0, source
        while True:
            if vertex == sink:
                # The way is full as far as its narrowest arc, and the search goes on from there.
                least = left[way[0]]
                for i in range(1, length):
                    least = min(least, left[way[i]])
                value += least
                for i in range(length - 1, -1, -1):
                    left[way[i]] -= least
                    left[twin[way[i]]] += least
                    if left[way[i]] == 0:
                        length = i
                vertex = to[twin[way[length]]]
            arc, end = at[vertex], first[vertex + 1]
            while arc < end and not (left[arc] > 0 and level[to[arc]] == level[vertex] + 1):
                arc += 1
            at[vertex] = arc
            if arc < end:
                way[length] = arc
                length += 1
                vertex = to[arc]
            elif vertex == source:
                break
            else:
                length -= 1
                vertex = to[twin[way[length]]]
                at[vertex] += 1
    return value, level


@njit(cache=True)
def _reaches(first: Ints, to: Ints, left: Ints, source: int, sink: int, level: Ints, queue: Ints) -> bool:
    """Whether anything more can flow; sets the distances from the source, as far as that of the sink."""
    level[:] = -1
    level[source] = 0
    queue[0] = source
    head, tail = 0, 1
    while head < tail:
        vertex = queue[head]
        head += 1
        if level[sink] >= 0 and level[vertex] >= level[sink]:
            break
        for arc in range(first[vertex], first[vertex + 1]):
            if left[arc] > 0 and level[to[arc]] < 0:
                level[to[arc]] = level[vertex] + 1
                queue[tail] = to[arc]
                tail += 1
    return level[sink] >= 0
