"""Traffic patterns: who sends to whom at once, priced once for all sizes.

When all messages of a pattern grow alike, so does the time that their bytes take, and their latencies stay. So a
pattern keeps, of its messages, those that end last at some size: no other has both a higher latency and more time a
byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import drain
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
        bandwidth_s = self.unit_s * units
        at = int((self.latency_s + bandwidth_s).argmax())
        return Last(float(self.latency_s[at]), float(bandwidth_s[at]), int(self.link[at]), int(self.sharing[at]))


_NOTHING = Pattern(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))


class Patterns:
    """The patterns met so far on a topology with costs: schedules and sizes that share some need them priced once."""

    def __init__(self, topology: Topology, costs: Costs | None = None) -> None:
        self.topology = topology
        self.costs = costs or Costs()
        self._ranks = len(topology.ranks)
        self._slow = self.costs.slow(self._ranks)
        self._priced: dict[bytes, Pattern] = {}

    def priced(self, src: Ints, dst: Ints, route: Ints, size: Ints) -> tuple[Pattern, int]:
        """The pattern of messages from ranks to ranks, all of some size, and the unit that their sizes are whole in."""
        if not len(src):
            return _NOTHING, 1
        units = int(np.gcd.reduce(size))
        relative = size // units
        digest = hashlib.blake2b(digest_size=16)
        for column in (src, dst, route, relative):
            digest.update(np.ascontiguousarray(column).data)
        key = digest.digest()
        if key not in self._priced:
            self._priced[key] = self._price(src, dst, route, relative)
        return self._priced[key], units

    def _price(self, src: Ints, dst: Ints, route: Ints, length: Ints) -> Pattern:
        # What goes between two ranks over one route goes as one message.
        routes_between = int(route.max()) + 1
        pair, message = np.unique((src * self._ranks + dst) * routes_between + route, return_inverse=True)
        size = np.bincount(message, length, len(pair))
        pair, route = np.divmod(pair, routes_between)
        src, dst = np.divmod(pair, self._ranks)
        routes = self.topology.routes(src, dst, route)
        latency_s = routes.sums(self.topology.links.latency_s) + self._messages_s(src, dst)
        used, routes = compacted(routes)
        capacity = self.topology.links.bandwidth[used] * self.costs.share
        unit_s, limit, shared = drain(routes.offsets, routes.links, capacity, size)
        link = np.where(limit >= 0, used[limit], -1) if len(used) else limit
        order = np.lexsort((-latency_s, -unit_s))  # the most time a unit first
        highest = np.maximum.accumulate(latency_s[order])
        kept = order[np.concatenate(([True], latency_s[order][1:] > highest[:-1]))]
        return Pattern(latency_s[kept], unit_s[kept], link[kept], shared[kept])

    def _messages_s(self, src: Ints, dst: Ints) -> Floats:
        """What each message costs its end points: those of one sender follow one another."""
        order = np.argsort(src, kind="stable")
        turn = np.empty(len(src))
        turn[order] = 1 + np.arange(len(src)) - np.searchsorted(src[order], src[order])
        slow = np.maximum(self._slow[src], self._slow[dst])
        cost: Floats = slow * (self.costs.alpha_s + turn * self.costs.overhead_s)
        return cost


def compacted(routes: Routes) -> tuple[Ints, Routes]:
    """The links that routes use, in ascending order, and the routes over them, numbered from 0."""
    used, number = np.unique(routes.links, return_inverse=True)
    return used, Routes(routes.offsets, number.astype(np.int64))
