"""A SimGrid platform as a graph while it is read: vertices, links, and the walks that its lists of links make.

A route of SimGrid is a list of links, and links have no ends. Here a link leads from a vertex NAME.in to a vertex
NAME.out at its bandwidth, and what follows one another in a route is joined by links of infinite bandwidth and no
latency. So a link that both directions share, or that lies in many routes, has its bandwidth once for all of them. A
link whose ends are known leads from the one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from clusterbench.collectives.topology.graph import NO_HOST, Floats, Kind, Links, links

Walk = tuple[int, ...]
"""Numbers of links, each of which begins where the one before ends."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a link can do: bytes/s and seconds, and whether both directions share it, and all messages."""

    bandwidth: float
    latency_s: float
    policy: str
    """SHARED, SPLITDUPLEX (each direction has the bandwidth), or FATPIPE (each message has it)."""

    def times(self, number: int) -> Wire:
        """So many of it, as one."""
        return Wire(self.bandwidth * number, self.latency_s, self.policy)


@dataclass(slots=True)
class Plan:
    """Vertices and links so far, as parallel lists."""

    names: list[str] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    hosts: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)
    bandwidth: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    message_limit: list[float] = field(default_factory=list)
    """Bytes/s that a FATPIPE link gives to each message, whatever else is on it; infinite for others."""
    joints: dict[tuple[int, int], int] = field(default_factory=dict)

    def vertex(self, name: str, kind: Kind = Kind.SWITCH, host: int = NO_HOST) -> int:
        """A new vertex."""
        self.names.append(name)
        self.kinds.append(kind)
        self.hosts.append(host)
        return len(self.names) - 1

    def link(self, src: int, dst: int, wire: Wire) -> int:
        """A new link in one direction."""
        pipe = wire.policy == "FATPIPE"
        self.ends.append((src, dst))
        self.bandwidth.append(np.inf if pipe else wire.bandwidth)
        self.latency_s.append(wire.latency_s)
        self.message_limit.append(wire.bandwidth if pipe else np.inf)
        return len(self.ends) - 1

    def loose(self, name: str, wire: Wire) -> int:
        """A new link of which nobody says where it begins and ends."""
        return self.link(self.vertex(f"{name}.in"), self.vertex(f"{name}.out"), wire)

    def walk(self, start: int, over: Iterable[int], end: int) -> Walk:
        """From a vertex over links to a vertex, with joints where they do not meet."""
        found: list[int] = []
        at = start
        for link in over:
            self._join(at, self.ends[link][0], found)
            found.append(link)
            at = self.ends[link][1]
        self._join(at, end, found)
        return tuple(found)

    def _join(self, at: int, to: int, found: list[int]) -> None:
        if at == to:
            return
        joint = self.joints.get((at, to))
        if joint is None:
            joint = self.joints[at, to] = self.link(at, to, Wire(np.inf, 0.0, "SHARED"))
        found.append(joint)

    def cable(self, name: str, one: int, other: int, wire: Wire) -> tuple[Walk, Walk]:
        """A link between two vertices: the walks there and back."""
        if wire.policy == "SPLITDUPLEX":
            return (self.link(one, other, wire),), (self.link(other, one, wire),)
        shared = [self.loose(name, wire)]
        return self.walk(one, shared, other), self.walk(other, shared, one)

    def made(self) -> Links:
        """The links as arrays."""
        ends = np.array(self.ends, np.int64).reshape(-1, 2)
        return links(ends[:, 0], ends[:, 1], self.bandwidth, self.latency_s)

    def limits(self) -> Floats:
        """`message_limit` as an array."""
        return np.array(self.message_limit, np.float64)
