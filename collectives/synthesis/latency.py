"""Trees of least latency, for sizes that links carry in no time: one from each root, without segments."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.packing import Trees
from clusterbench.collectives.synthesis.splitting import Logical
from clusterbench.collectives.topology.graph import Floats, Topology

LEAST_S = 1e-12
"""Of a hop, beside its latency: of ways of one latency the one of fewest hops is taken, and none costs nothing."""


def latencies(topology: Topology) -> tuple[Floats, Logical]:
    """Seconds from each rank straight to each other, infinite where that leads through a third; and these edges."""
    ranks = len(topology.ranks)
    src, dst = np.nonzero(~np.eye(ranks, dtype=np.bool_))
    routes = topology.routes(src, dst)
    seconds = routes.sums(topology.links.latency_s)
    holders = np.zeros(topology.vertices, np.bool_)
    holders[topology.ranks] = True
    passed = routes.sums(holders[topology.links.dst].astype(np.float64))
    straight = passed == 1  # the last link ends at a rank, and no other does
    found = np.full((ranks, ranks), np.inf)
    found[src[straight], dst[straight]] = seconds[straight]
    ways = {
        (int(src[i]), int(dst[i])): [(ranks * ranks, tuple(routes.of(int(i)).tolist()))]
        for i in np.flatnonzero(straight)
    }
    return found, Logical(np.isfinite(found).astype(np.int64), ways)


def shortest_trees(seconds: Floats, roots: Ints) -> Trees:
    """A tree of least latency from each root. `seconds` has shape (ranks, ranks)."""
    src, dst = np.nonzero(np.isfinite(seconds))
    graph = csr_array((seconds[src, dst] + LEAST_S, (src, dst)), shape=seconds.shape)
    _, before = dijkstra(graph, indices=roots, return_predecessors=True)
    parent = np.where(before < 0, -1, before).astype(np.int64)
    return Trees(np.asarray(roots, np.int64), np.ones(len(roots), np.int64), parent)


def center(seconds: Floats) -> int:
    """The rank whose farthest other, there and back, is nearest."""
    src, dst = np.nonzero(np.isfinite(seconds))
    graph = csr_array((seconds[src, dst] + LEAST_S, (src, dst)), shape=seconds.shape)
    far = dijkstra(graph)
    return int((far.max(axis=1) + far.max(axis=0)).argmin())
