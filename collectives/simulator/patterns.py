"""Traffic patterns: who sends to whom at once, priced once for all sizes.

When all messages of a pattern grow alike, so does the time that their bytes take, and their latencies stay. So a
pattern keeps, of its messages, those that end last at some size: no other has both a higher latency and more time a
byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.checking.splitmix import mixed
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import drain_each
from clusterbench.collectives.topology.graph import Floats, Routes, Topology


@dataclass(frozen=True, slots=True)
class Last:
    """The message of a round that ends last."""

    latency_s: float = 0.0
    bandwidth_s: float = 0.0
    link: int = -1
    """That limits it; −1 where none does."""
    sharing: int = 0
    """Messages that the link limits."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Of the messages that may end last: latency, seconds for each unit of size, limiting link, how many share it."""

    latency_s: Floats
    unit_s: Floats
    link: Ints
    sharing: Ints

    @property
    def sends(self) -> bool:
        """Whether there is any message."""
        return len(self.link) > 0

    def last(self, units: int) -> Last:
        """The message that ends last where a unit is so many bytes."""
        if not self.sends:
            return Last()
        at = 0 if len(self.link) == 1 else int((self.latency_s + self.unit_s * units).argmax())
        bandwidth_s = float(self.unit_s[at]) * units
        return Last(float(self.latency_s[at]), bandwidth_s, int(self.link[at]), int(self.sharing[at]))


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Who sends to whom at once, over which route, and how much: parallel arrays of ranks, routes and sizes."""

    src: Ints
    dst: Ints
    route: Ints
    size: Ints

    def in_units(self) -> tuple[int, tuple[int, int, int]]:
        """The largest unit of which all sizes are whole, and a digest of 128 bits of the messages in that unit."""
        unit, first, second = _digest(self.src, self.dst, self.route, self.size)
        return unit, (len(self.src), first, second)


class Patterns:
    """The patterns met so far on a topology with costs: schedules and sizes that share some need them priced once."""

    def __init__(self, topology: Topology, costs: Costs | None = None) -> None:
        self.topology = topology
        self.costs = costs or Costs()
        self._ranks = len(topology.ranks)
        self._slow = self.costs.slow(self._ranks)
        self._capacity = topology.links.bandwidth * self.costs.share
        self._priced: dict[tuple[int, int, int], Pattern] = {}

    def priced(self, several: Sequence[Messages]) -> list[tuple[Pattern, int]]:
        """The pattern of each, and the unit that its sizes are whole in. Small ones are priced faster together."""
        units = [one.in_units() for one in several]
        new = {key: (one, unit) for one, (unit, key) in zip(several, units, strict=True) if key not in self._priced}
        self._priced.update(zip(new, self._price(list(new.values())), strict=True))
        return [(self._priced[key], unit) for unit, key in units]

    def _price(self, several: list[tuple[Messages, int]]) -> list[Pattern]:
        if not several:
            return []
        src, dst, route = (
            np.concatenate([getattr(one, name) for one, _ in several]) for name in ("src", "dst", "route")
        )
        size = np.concatenate([one.size / unit for one, unit in several])
        number = np.repeat(np.arange(len(several)), [len(one.src) for one, _ in several])
        # What goes between two ranks over one route goes as one message; those of a sender lie together.
        routes_between = int(route.max(initial=0)) + 1
        each = ((number * self._ranks + src) * self._ranks + dst) * routes_between + route
        if (each[1:] <= each[:-1]).any():
            each, message = np.unique(each, return_inverse=True)
            size = np.bincount(message, size, len(each))
            pair, route = np.divmod(each, routes_between)
            sender, dst = np.divmod(pair, self._ranks)
            number, src = np.divmod(sender, self._ranks)
        first = np.searchsorted(number, np.arange(len(several) + 1))
        routes = self.topology.routes(src, dst, route)
        latency_s = _latencies_s(
            number, src, dst, self._slow, self.costs.alpha_s, self.costs.overhead_s,
            routes.offsets, routes.links, self.topology.links.latency_s,
        )  # fmt: skip
        unit_s, link, sharing = drain_each(first, routes.offsets, routes.links, self._capacity, size)
        may = _may_be_last(first, latency_s, unit_s)
        made = []
        for start, end in pairwise(first.tolist()):
            kept = start + np.flatnonzero(may[start:end])
            if len(kept) > 1:
                kept = kept[np.lexsort((-latency_s[kept], -unit_s[kept]))]  # the most time a unit first
                highest = np.maximum.accumulate(latency_s[kept])
                kept = kept[np.concatenate(([True], latency_s[kept][1:] > highest[:-1]))]
            made.append(Pattern(latency_s[kept], unit_s[kept], link[kept], sharing[kept]))
        return made


@njit(cache=True)
def _digest(src: Ints, dst: Ints, route: Ints, size: Ints) -> Any:
    """The greatest common divisor of the sizes, at least 1, and two hashes of the columns with the sizes over it."""
    unit = 0
    for one in range(len(size)):
        a, b = unit, size[one]
        while b:
            a, b = b, a % b
        unit = a
    unit = max(1, unit)
    first, second = np.uint64(1), np.uint64(2)
    for one in range(len(src)):
        relative = size[one] // unit
        first = mixed(one, 0, first, mixed(src[one], dst[one], route[one], relative))
        second = mixed(one, 0, second, mixed(dst[one], src[one], relative, route[one]))
    return unit, first, second


@njit(cache=True)
def _latencies_s(
    number: Ints, src: Ints, dst: Ints, slow: Floats, alpha_s: float, overhead_s: float,
    offsets: Ints, links: Ints, link_s: Floats,
) -> Floats:  # fmt: skip
    """What each message costs its end points, where those of one sender in a pattern follow one another, and links."""
    cost = np.empty(len(src))
    turn = 0
    for message in range(len(src)):
        same = message > 0 and src[message] == src[message - 1] and number[message] == number[message - 1]
        turn = turn + 1 if same else 1
        over_links = 0.0
        for at in range(offsets[message], offsets[message + 1]):
            over_links += link_s[links[at]]
        cost[message] = max(slow[src[message]], slow[dst[message]]) * (alpha_s + turn * overhead_s) + over_links
    return cost


@njit(cache=True)
def _may_be_last(first: Ints, latency_s: Floats, unit_s: Floats) -> NDArray[np.bool_]:
    """Of each pattern the message of the most time a unit, and those of a higher latency; others never end last."""
    may = np.zeros(len(unit_s), np.bool_)
    for pattern in range(len(first) - 1):
        start, end = first[pattern], first[pattern + 1]
        if start == end:
            continue
        most = start
        for one in range(start + 1, end):
            if unit_s[one] > unit_s[most] or (unit_s[one] == unit_s[most] and latency_s[one] > latency_s[most]):
                most = one
        may[most] = True
        for one in range(start, end):
            if latency_s[one] > latency_s[most]:
                may[one] = True
    return may


def compacted(routes: Routes) -> tuple[Ints, Routes]:
    """The links that routes use, in ascending order, and the routes over them, numbered from 0."""
    used, number = np.unique(routes.links, return_inverse=True)
    return used, Routes(routes.offsets, number.astype(np.int64))
