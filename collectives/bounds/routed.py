"""What end points alone take over the links by which their messages go: a yardstick, and no bound.

A bound counts every link that there is, as in `end_points`: out of a GPU those of NVLink and of PCIe together. Messages
take the topology's default routes, which leave PCIe aside where NVLink leads there. What is faster than end points over
these links had help from switches that reduce and copy, or spread its messages over further ways.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterbench.collectives.bounds.capacities import graph
from clusterbench.collectives.bounds.end_points import EndPoints, end_points
from clusterbench.collectives.bounds.groups import families
from clusterbench.collectives.bounds.needs import need
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Links, Topology

ALL_PAIRS = 256
"""Ranks up to which the routes of all pairs are looked at; of more, those at distances that are powers of two."""


def routed_end_points(topology: Topology, collective: str, root: int = -1) -> EndPoints | None:
    """What limits a collective where no switch reduces and messages take the default routes; None where nothing does.

    Raises what `needs.need` does, and `TopologyError` where there is no way between two ranks.
    """
    ranks = len(topology.ranks)
    if ranks < 2:
        return None
    src, dst = _pairs(ranks)
    used = np.unique(topology.routes(src, dst).links)
    links = topology.links
    part = Links(links.src[used], links.dst[used], links.bandwidth[used], links.latency_s[used])
    plain = replace(topology, links=part, reducing=np.zeros_like(topology.reducing))
    return end_points(graph(plain), need(collective, ranks, root), families(plain))


def _pairs(ranks: int) -> tuple[Ints, Ints]:
    distances = np.arange(1, ranks)
    if ranks > ALL_PAIRS:
        powers = 1 << np.arange((ranks - 1).bit_length())
        distances = np.unique(np.concatenate((powers, ranks - powers)))
    src = np.repeat(np.arange(ranks), len(distances))
    return src, (src + np.tile(distances, ranks)) % ranks
