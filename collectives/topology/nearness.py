"""Which ranks are near each other: the order in which neighbours in number are neighbours in the network.

Ranks are grouped by the links between them, nearest first (average linkage: R. R. Sokal and C. D. Michener, "A
statistical method for evaluating systematic relationships", Univ. Kansas Sci. Bull. 38, 1958), and listed group by
group, so that a host's ranks come together, then those of its rack, and so on, wherever the placement put them. The
order is that of the network and not of the placement: two placements of the same topology visit its places alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Topology

MOST_DISTANCES = 1 << 25
"""Ranks times vertices: more are taken in the order in which the topology lists its places, host by host."""


@dataclass(frozen=True, slots=True)
class Nearness:
    """The ranks in an order that has near ones together."""

    order: Ints
    """order[i] is the rank at place i."""
    together: int
    """Of how many places, one after the other, the nearest groups consist; 0 where they differ, or there is one."""


def nearness(topology: Topology) -> Nearness:
    """The order of a topology's ranks."""
    places = topology.ranks
    listed = np.argsort(places, kind="stable")
    if len(places) < 3 or len(places) * topology.vertices > MOST_DISTANCES:
        return Nearness(listed, _regular(topology.hosts[places[listed]]))
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    merged = linkage(squareform(_links_between(topology, places[listed]), checks=False), "average")
    leaves = leaves_list(merged)
    nearest = fcluster(merged, merged[0, 2], "distance")[leaves].astype(np.int64)
    return Nearness(listed[leaves], _regular(nearest))


def _links_between(topology: Topology, places: Ints) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """How many links are between each two places, by the shortest way there and back."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import shortest_path

    links = topology.links
    graph = csr_array((np.ones(len(links)), (links.src, links.dst)), shape=(topology.vertices, topology.vertices))
    ways = shortest_path(graph, unweighted=True, indices=places)[:, places]
    return np.where(np.eye(len(places), dtype=bool), 0.0, (ways + ways.T) / 2)


def _regular(groups: Ints) -> int:
    """The size of groups that lie one after the other; 0 where they differ in size, or there is one."""
    begins = np.flatnonzero(np.concatenate(([True], np.diff(groups) != 0)))
    sizes = np.unique(np.diff(np.append(begins, len(groups))))
    return int(sizes[0]) if len(sizes) == 1 and len(begins) > 1 else 0
