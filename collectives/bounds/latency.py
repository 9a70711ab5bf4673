"""How long the first byte takes where it takes longest: the least latency between ranks that must hear of each other.

That is a bound for any algorithm. The ⌈lg p⌉ messages in a row that are often named are none here: they suppose that a
rank sends to one other at a time, while over links a message to all others at once takes one latency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import dijkstra

from clusterbench.collectives.bounds.needs import Need
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Topology
from clusterbench.collectives.topology.routing import cheapest

MOST_DISTANCES = 1 << 21
"""Sources times vertices: beyond that only some sources are looked at, evenly chosen, which is a bound as well."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The longest of the shortest ways, and between which ranks."""

    seconds: float
    src: int
    dst: int


def longest(topology: Topology, need: Need) -> Latency:
    """The largest least latency from a rank to one that needs something of it."""
    ranks, everyone = topology.ranks, np.arange(len(topology.ranks))
    if need.src is not None and need.dst is not None:
        return _of_messages(topology, need.src, need.dst)
    if need.name in ("reduce", "gather"):
        seconds = _from(topology, ranks[need.root : need.root + 1], backwards=True)[0, ranks]
        return Latency(float(seconds.max()), int(seconds.argmax()), need.root)
    sources = np.array([need.root]) if need.root >= 0 else everyone[:: _stride(topology, len(everyone))]
    seconds = _from(topology, ranks[sources])[:, ranks]
    source, target = np.unravel_index(int(seconds.argmax()), seconds.shape)
    return Latency(float(seconds.max()), int(sources[source]), int(target))


def least_of_messages(topology: Topology, src: Ints, dst: Ints) -> float:
    """The least latency of any of some messages between ranks; 0, which it is at least, where they are very many."""
    if not len(src) or _stride(topology, len(np.unique(src))) > 1:
        return 0.0
    return float(_of_each_message(topology, src, dst).min())


def _of_messages(topology: Topology, src: Ints, dst: Ints) -> Latency:
    sources = np.unique(src)
    kept = np.isin(src, sources[:: _stride(topology, len(sources))])
    seconds = _of_each_message(topology, src[kept], dst[kept])
    worst = int(seconds.argmax())
    return Latency(float(seconds[worst]), int(src[kept][worst]), int(dst[kept][worst]))


def _of_each_message(topology: Topology, src: Ints, dst: Ints) -> Floats:
    sources, number = np.unique(src, return_inverse=True)
    return _from(topology, topology.ranks[sources])[number, topology.ranks[dst]]


def _stride(topology: Topology, sources: int) -> int:
    return max(1, -(-sources * topology.vertices // MOST_DISTANCES))


def _from(topology: Topology, sources: Ints, *, backwards: bool = False) -> Floats:
    """The least latency from some vertices to all, or from all to them: of shape (sources, vertices)."""
    links = topology.links
    ends = (links.dst, links.src) if backwards else (links.src, links.dst)
    table: Floats = dijkstra(cheapest(*ends, links.latency_s, topology.vertices), indices=sources)
    return np.atleast_2d(table)
