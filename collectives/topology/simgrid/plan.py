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
    limiters: dict[int, int] = field(default_factory=dict)
    """Of vertices whose traffic all goes over one link: that link."""

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

    def limit(self, vertex: int, name: str, wire: Wire) -> int:
        """Let all that a vertex sends, receives and passes on go over a new link. Cables are laid after that."""
        self.limiters[vertex] = self.loose(name, wire)
        return self.limiters[vertex]

    def switch(self, name: str, limiter: Wire | None) -> int:
        """A new switch, with or without a limit."""
        vertex = self.vertex(name)
        if limiter is not None:
            self.limit(vertex, f"{name}_limiter", limiter)
        return vertex

    def leave(self, vertex: int) -> Walk:
        """From a vertex to where its cables begin."""
        limiter = self.limiters.get(vertex)
        return () if limiter is None else self.walk(vertex, (limiter,), self.ends[limiter][1])

    def arrive(self, vertex: int) -> Walk:
        """From where the cables of a vertex begin, which is behind its limiter, to itself."""
        limiter = self.limiters.get(vertex)
        return () if limiter is None else self.walk(self.ends[limiter][1], (), vertex)

    def cable(self, name: str, one: int, other: int, wire: Wire) -> tuple[Walk, Walk]:
        """A link between two vertices: the walks there and back, each behind the limiter where it ends."""
        if wire.policy == "SPLITDUPLEX":
            there = self.link(self._begin(one), self._end(other), wire)
            back = self.link(self._begin(other), self._end(one), wire)
        else:
            there = back = self.loose(name, wire)
        return self.between(one, (there,), other), self.between(other, (back,), one)

    def between(self, one: int, over: Walk, other: int) -> Walk:
        """From where the cables of a vertex begin over links to where those of another do."""
        limiter = self.limiters.get(other)
        return self.walk(self._begin(one), over if limiter is None else (*over, limiter), self._begin(other))

    def _begin(self, vertex: int) -> int:
        return self.ends[self.limiters[vertex]][1] if vertex in self.limiters else vertex

    def _end(self, vertex: int) -> int:
        return self.ends[self.limiters[vertex]][0] if vertex in self.limiters else vertex

    def made(self) -> Links:
        """The links as arrays."""
        ends = np.array(self.ends, np.int64).reshape(-1, 2)
        return links(ends[:, 0], ends[:, 1], self.bandwidth, self.latency_s)

    def searchable(self) -> bool:
        """Whether every walk over links that meet is a way of the platform.

        It is not where links without ends of their own are joined for routes, as the joints of all routes meet; nor
        where a limit for each message could bind on a walk that no route takes.
        """
        widest = max((rate for rate in self.bandwidth if rate < np.inf), default=0.0)
        return not self.joints and widest <= min(self.message_limit, default=np.inf)

    def limits(self) -> Floats:
        """`message_limit` as an array."""
        return np.array(self.message_limit, np.float64)
