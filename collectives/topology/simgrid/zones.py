"""Routes through SimGrid's zones: each zone knows the ways between its elements, which are vertices and inner zones.

A route between vertices of different zones is found as SimGrid finds it (NetZoneImpl::get_global_route): the innermost
zone that holds both says how to get from the element that holds the one to the element that holds the other, which is
a way between two gateways; what is missing before the first gateway and after the last is found in the same manner.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Routes, TopologyError
from clusterbench.collectives.topology.simgrid.plan import Walk


@dataclass(frozen=True, slots=True)
class Way:
    """A walk over links from one vertex to another."""

    start: int
    walk: Walk
    end: int
    length: int = 0
    """Links of SimGrid, which the shortest way is chosen by; joints do not count."""


Paths = Callable[[int, int], Sequence[Way] | None]
"""The ways, one after the other, that lead from an element of a zone to another; None where nothing does.

An element is the number of a vertex, or −1 minus the number of an inner zone.
"""


def explicit(ways: Mapping[tuple[int, int], Way]) -> Paths:
    """Routing `Full`: every pair has its own way."""

    def paths(a: int, b: int) -> Sequence[Way] | None:
        way = ways.get((a, b))
        return None if way is None else (way,)

    return paths


def floyd(ways: Mapping[tuple[int, int], Way], elements: Sequence[int]) -> Paths:
    """Routing `Floyd`: the fewest links; of equals the one that SimGrid's order of search finds first (FloydZone)."""
    number = {element: k for k, element in enumerate(elements)}
    size = len(elements)
    cost = np.full((size, size), np.inf)
    before = np.full((size, size), -1, np.int64)
    for (a, b), way in ways.items():
        cost[number[a], number[b]] = way.length
        before[number[a], number[b]] = number[a]
    for k in range(size):
        through = cost[:, k, None] + cost[None, k, :]
        better = through < cost
        cost[better] = through[better]
        before[better] = np.broadcast_to(before[k], (size, size))[better]

    def paths(a: int, b: int) -> Sequence[Way] | None:
        found: list[Way] = []
        at = number[b]
        while at != number[a]:
            previous = int(before[number[a], at])
            if previous < 0:
                return None
            found.append(ways[elements[previous], elements[at]])
            at = previous
        return found[::-1]

    return paths


def dijkstra(ways: Mapping[tuple[int, int], Way]) -> Paths:
    """Routing `Dijkstra`: the fewest links; of equals as SimGrid's queue has it (DijkstraZone).

    The queue is ordered by cost, then by when an element was first named in a route.
    """
    number: dict[int, int] = {}
    out: dict[int, list[tuple[int, Way]]] = {}
    for (a, b), way in ways.items():
        for element in (a, b):
            number.setdefault(element, len(number))
        out.setdefault(a, []).append((b, way))
    cache: dict[int, dict[int, int]] = {}

    def tree(root: int) -> dict[int, int]:
        cost, before = {root: 0}, {}
        queue = [(0, number[root], root)]
        while queue:
            spent, _, at = heapq.heappop(queue)
            if spent > cost[at]:
                continue
            for to, way in out.get(at, ()):
                if to not in cost or spent + way.length < cost[to]:
                    cost[to], before[to] = spent + way.length, at
                    heapq.heappush(queue, (cost[to], number[to], to))
        return before

    def paths(a: int, b: int) -> Sequence[Way] | None:
        if a not in number or b not in number:
            return None
        before = cache.get(a)
        if before is None:
            before = cache[a] = tree(a)
        found: list[Way] = []
        at = b
        while at != a:
            if at not in before:
                return None
            found.append(ways[before[at], at])
            at = before[at]
        return found[::-1]

    return paths


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone: the numbers of the zones that it lies in, from the outermost to itself, and its paths."""

    name: str
    where: str
    """File and line, for messages."""
    chain: tuple[int, ...]
    paths: Paths


class ZoneRouter:
    """Routes through zones; it has no alternatives to them.

    `zone_of` has the number of the zone of each vertex that is a host or router. A link with a limit for each message
    (`Plan.message_limit`) is taken for one without, so a route over it must have another link as narrow.
    """

    def __init__(
        self, zones: Sequence[Zone], zone_of: Mapping[int, int], names: Sequence[str], bandwidth: Floats, limits: Floats
    ) -> None:
        self._zones = zones
        self._zone_of = zone_of
        self._names = names
        self._bandwidth = bandwidth
        self._limits = limits if np.isfinite(limits).any() else None

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        offsets, found = [0], list[int]()
        for one, other in zip(src.tolist(), dst.tolist(), strict=True):
            self._route(one, other, found)
            offsets.append(len(found))
        routes = Routes(np.array(offsets, np.int64), np.array(found, np.int64))
        if self._limits is not None:
            self._refuse_limited(routes, src, dst, self._limits)
        return routes

    def _route(self, src: int, dst: int, found: list[int]) -> None:
        if src == dst:
            return
        ours, theirs = self._zone_of.get(src), self._zone_of.get(dst)
        if ours is None or theirs is None:
            nameless = self._names[src if ours is None else dst]
            raise TopologyError(f"no route from or to {nameless}, which is part of a link; expected a host or router")
        if ours == theirs:
            zone, a, b = self._zones[ours], src, dst
        else:
            zone, a, b = self._common(src, self._zones[ours].chain, dst, self._zones[theirs].chain)
        ways = zone.paths(a, b)
        if ways is None:
            raise TopologyError(
                f"{zone.where}: zone {zone.name!r} has no route from {self._named(a)} to {self._named(b)}; "
                "expected one, or others that lead there"
            )
        for way in ways:
            self._route(src, way.start, found)
            found.extend(way.walk)
            src = way.end
        self._route(src, dst, found)

    def _common(self, src: int, ours: tuple[int, ...], dst: int, theirs: tuple[int, ...]) -> tuple[Zone, int, int]:
        """The innermost zone that holds both vertices, and its elements that hold them."""
        depth = 0
        while depth < len(ours) and depth < len(theirs) and ours[depth] == theirs[depth]:
            depth += 1
        a = -1 - ours[depth] if depth < len(ours) else src
        b = -1 - theirs[depth] if depth < len(theirs) else dst
        return self._zones[ours[depth - 1]], a, b

    def _named(self, element: int) -> str:
        return self._names[element] if element >= 0 else f"zone {self._zones[-1 - element].name!r}"

    def _refuse_limited(self, routes: Routes, src: Ints, dst: Ints, limits: Floats) -> None:
        owners = routes.owners()
        narrowest, limit = np.full(len(routes), np.inf), np.full(len(routes), np.inf)
        np.minimum.at(narrowest, owners, self._bandwidth[routes.links])
        np.minimum.at(limit, owners, limits[routes.links])
        bad = np.flatnonzero(narrowest > limit)
        if len(bad):
            one, other = self._names[int(src[bad[0]])], self._names[int(dst[bad[0]])]
            raise TopologyError(
                f"{self._zones[0].where}: the route from {one} to {other} goes over a link of sharing policy FATPIPE, "
                f"which gives {limit[bad[0]]:g} bytes/s to every message; expected another link on it that is as "
                "narrow, as links here have a bandwidth for all messages together"
            )
