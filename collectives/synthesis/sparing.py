"""Leaves slow links idle where they can be: no more trees over them than the rate needs.

A link that all trees together could do without is not free to use. While a pipeline fills and drains, links that are
full must all do the same share of their work at any time, and a chunk that crosses a slow link late keeps all that come
after it waiting. So the links of one bandwidth after the other, from the slowest up to those that limit the rate, carry
as few trees as still exist.
"""

from __future__ import annotations

import numpy as np

from clusterbench.collectives.bounds.capacities import graph
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.rate import shortfall
from clusterbench.collectives.topology.graph import Topology


def spared(topology: Topology, capacity: Ints, supplies: Ints) -> Ints:
    """Trees a link, at most `capacity`, such that as many of each root as `supplies` says exist."""
    prepared = graph(topology)
    net = prepared.network()
    of_holder = np.bincount(topology.ranks, supplies, topology.vertices).astype(np.int64)[prepared.holders]
    bandwidth = topology.links.bandwidth
    least = capacity.copy()
    for one in np.unique(bandwidth[np.isfinite(bandwidth)]):
        alike = bandwidth == one
        most = int(capacity[alike][0])
        low, high = -1, most
        while high - low > 1:
            middle = (low + high) // 2
            least[alike] = middle
            low, high = (low, middle) if shortfall(net, least, of_holder) == 0 else (middle, high)
        least[alike] = high
        if high == most > 0:
            break
    return least
