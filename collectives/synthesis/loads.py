"""What trees ask of links, exact: trees over each link, and the rate at which the busiest one carries them all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.trees_to_schedule import Edges
from clusterbench.collectives.topology.graph import Topology


def loads(topology: Topology, parts: list[Edges]) -> Ints:
    """Trees over each link, by the routes that transfers name."""
    found = np.zeros(len(topology.links), np.int64)
    for part in parts:
        routes = topology.routes(part.src, part.dst, part.route)
        np.add.at(found, routes.links, np.repeat(part.count, routes.lengths))
    return found


def carried_rate(topology: Topology, parts: list[Edges], trees: int) -> Fraction | None:
    """Bytes/s of the vector while a pipeline of these trees is full; None where no link limits it."""
    found = loads(topology, parts)
    limits = {
        Fraction(b) / int(found[topology.links.bandwidth == b].max())
        for b in np.unique(topology.links.bandwidth[found > 0]).tolist()
        if np.isfinite(b)
    }
    return trees * min(limits) if limits else None
