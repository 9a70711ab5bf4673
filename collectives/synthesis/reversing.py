"""The same machine with every link turned round: what reduces towards a root is packed as if it came from there."""

from __future__ import annotations

from dataclasses import replace

from clusterbench.collectives.synthesis.splitting import Logical
from clusterbench.collectives.topology.graph import Topology


def turned(topology: Topology) -> Topology:
    """The topology with links of the same numbers, reversed. Its router still knows the ways of the original."""
    links = topology.links
    return replace(topology, links=replace(links, src=links.dst, dst=links.src))


def turned_ways(logical: Logical) -> Logical:
    """The same for a graph between ranks."""
    ways = {(b, a): [(most, way[::-1]) for most, way in found] for (a, b), found in logical.ways.items()}
    return Logical(logical.capacity.T.copy(), ways)
