"""Routes by search, for topologies that have no arithmetic of their own: least time of a message, ties by a hash.

The cost of a link is its latency plus the time of 1 MiB, so that a route over few fast links wins. Devices do not
forward what is not for them, wherever there is a way round them. Where several routes cost the same, one of them is
drawn for each pair by a seeded hash, as routers do by equal-cost multipath (RFC 2992): always the same for a pair, and
another for another choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from clusterbench.collectives.checking.splitmix import mixed
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import (
    Floats,
    Kind,
    Links,
    Routes,
    TopologyError,
    positions,
    routes_of_lengths,
)

MESSAGE_BYTES = 1 << 20
"""Of the message whose time a route is chosen by."""
PICOSECONDS = 1e12
"""Costs are whole picoseconds, so that equal costs are equal to the bit."""
FORWARDING = {Kind.CPU: 1e11, Kind.GPU: 1e13}
"""Cost of passing through a processor, 0.1 s and 10 s: beyond that of any route which does not; through the CPUs of a
host rather than through a GPU, which forwards nothing by itself."""
DEAREST = 1e15
"""Of a link: a thousand seconds."""
AT_ONCE = 1 << 24
"""Distances held at a time: 128 MiB of them."""


class SearchRouter:
    """Routes of least cost, found when they are asked for."""

    def __init__(self, kinds: NDArray[np.int8], links: Links, names: Sequence[str] = (), seed: int = 0) -> None:
        self._names = names
        self._seed = seed
        self._vertices = len(kinds)
        self._first_rail = np.zeros(len(kinds), np.bool_)
        cost = np.rint((links.latency_s + MESSAGE_BYTES / links.bandwidth) * PICOSECONDS)
        # Of a link of infinite bandwidth and no latency as well: zero stands for "no link" in a sparse matrix, and
        # round trips that cost nothing would make ways without end.
        cost = np.minimum(cost, DEAREST)  # beyond, what a normal link costs is lost in the sum
        through = np.array([FORWARDING.get(kind, 0.0) for kind in Kind])
        self._cost = np.maximum(cost, 1.0) + through[kinds[links.dst]]
        order = np.argsort(links.src, kind="stable")
        self._out = order.astype(np.int64)
        self._first = np.searchsorted(links.src[order], np.arange(len(kinds) + 1)).astype(np.int64)
        self._to = links.dst
        self._reverse = cheapest(links.dst, links.src, self._cost, len(kinds))

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        targets, number = np.unique(dst, return_inverse=True)
        order = np.argsort(number, kind="stable")
        block = max(1, AT_ONCE // max(1, self._vertices))
        lengths = np.zeros(len(src), np.int64)
        found = []
        for first in range(0, len(targets), block):
            distance = np.atleast_2d(dijkstra(self._reverse, indices=targets[first : first + block]))
            flows = order[np.searchsorted(number[order], first) : np.searchsorted(number[order], first + block)]
            row = number[flows] - first
            cut = np.flatnonzero(np.isinf(distance[row, src[flows]]))
            if len(cut):
                raise self._no_way(int(src[flows[cut[0]]]), int(dst[flows[cut[0]]]))
            lengths[flows], links = _walk(
                src[flows], dst[flows], choice[flows], row, distance, self._first, self._out, self._to, self._cost,
                self._seed, self._first_rail,
            )  # fmt: skip
            found.append(links)
        return _in_order(order, lengths, np.concatenate(found) if found else np.zeros(0, np.int64))

    def by_first_rail(self, vertices: Ints) -> SearchRouter:
        """One that draws no link out of these vertices, but takes the first of those that cost the same."""
        other = copy(self)
        other._first_rail = self._first_rail.copy()
        other._first_rail[vertices] = True
        return other

    def _no_way(self, src: int, dst: int) -> TopologyError:
        named = [self._names[v] if self._names else f"vertex {v}" for v in (src, dst)]
        return TopologyError(f"no way from {named[0]} to {named[1]}; expected links between them, or between others")


def cheapest(src: Ints, dst: Ints, cost: Floats, vertices: int) -> csr_array:
    """The matrix of costs; of parallel links that of the cheapest."""
    order = np.lexsort((cost, dst, src))
    pair = src[order] * vertices + dst[order]
    kept = order[np.concatenate(([True], pair[1:] != pair[:-1]))] if len(order) else order
    return csr_array((cost[kept], (src[kept], dst[kept])), shape=(vertices, vertices))


def _in_order(order: Ints, lengths: Ints, found: Ints) -> Routes:
    """Routes found in the order `order`, back in that of their numbers."""
    routes = routes_of_lengths(lengths, np.empty_like(found))
    routes.links[positions(routes.offsets[order], lengths[order])] = found
    return routes


@njit(cache=True)
def draw(src: int, dst: int, at: int, seed: int) -> Any:
    """A number of 31 bits for a pair and a place, by a hash of a seed."""
    return np.int64(mixed(src, dst, at, seed) >> np.uint64(33))


@njit(cache=True)
def _walk(
    src: Ints, dst: Ints, choice: Ints, row: Ints, distance: Floats, first: Ints, out: Ints, to: Ints, cost: Floats,
    seed: int, first_rail: NDArray[np.bool_],
) -> tuple[Ints, Ints]:  # fmt: skip
    """From each source along links that bring it nearer by what they cost: lengths, and the links one route behind
    the other."""
    lengths = np.zeros(len(src), np.int64)
    links = np.empty(4 * len(src) + 16, np.int64)
    filled = 0
    for flow in range(len(src)):
        at = src[flow]
        while at != dst[flow]:
            ways = 0
            for k in range(first[at], first[at + 1]):
                if distance[row[flow], at] == distance[row[flow], to[out[k]]] + cost[out[k]]:
                    ways += 1
            chosen = 0
            if ways > 1:
                drawn = 0 if first_rail[at] else draw(src[flow], dst[flow], at, seed)
                chosen = (drawn + choice[flow]) % ways
            for k in range(first[at], first[at + 1]):
                if distance[row[flow], at] == distance[row[flow], to[out[k]]] + cost[out[k]]:
                    if chosen == 0:
                        if filled == len(links):
                            grown = np.empty(2 * filled, np.int64)
                            grown[:filled] = links
                            links = grown
                        links[filled] = out[k]
                        filled += 1
                        at = to[out[k]]
                        lengths[flow] += 1
                        break
                    chosen -= 1
    return lengths, links[:filled]
