"""The machine as its routes use it: without the links that none of them takes, as those of PCIe beside NVLink."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterbench.collectives.synthesis.trees_to_schedule import CHOICES
from clusterbench.collectives.topology.graph import Topology


def routed(topology: Topology) -> Topology:
    """The topology with links of the same numbers, of which those that no route between ranks takes lead nowhere."""
    ranks = len(topology.ranks)
    src, dst = np.nonzero(~np.eye(ranks, dtype=np.bool_))
    used = np.zeros(len(topology.links), np.bool_)
    for choice in range(CHOICES):
        used[topology.routes(src, dst, choice).links] = True
    links = topology.links
    return replace(topology, links=replace(links, dst=np.where(used, links.dst, links.src)))
