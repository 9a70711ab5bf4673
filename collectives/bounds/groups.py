"""Natural groups of a topology: single ranks, hosts, the hosts under one switch, those under switches above, blocks.

A group is a set of vertices; those of one family have none in common. Families are found in the links alone: hosts that
are plugged into the same switches are one group, together with the switches that nobody else is plugged into, and so on
level by level as long as there are several groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Topology

BLOCKS = (2, 4, 8)
RANKS = "single ranks"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Groups of one kind."""

    name: str
    """In the plural, as in "cuts round single ranks"."""
    labels: Ints
    """The group of each vertex, from 0, or −1 for a vertex in none."""

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.labels.max(initial=-1)) + 1


def families(topology: Topology) -> list[Family]:
    """All families of at least two groups, from the smallest groups to the largest."""
    holders = np.unique(topology.ranks)
    alone = np.full(topology.vertices, -1, np.int64)
    alone[holders] = np.arange(len(holders))
    found = [Family(RANKS, alone)]
    # A rank that lies in no host is a host of its own.
    labels = np.where(topology.hosts >= 0, topology.hosts, -1).astype(np.int64)
    free = (labels < 0) & (alone >= 0)
    labels[free] = labels.max(initial=-1) + 1 + np.arange(int(free.sum()))
    hosts = _numbered(labels)
    if hosts.max(initial=-1) >= 1:
        found.append(Family("hosts", hosts))
        labels, level = hosts, 0
        while (merged := _merged(topology, labels)) is not None:
            labels, level = merged, level + 1
            found.append(Family(f"groups of hosts under the same switches (level {level})", labels))
    return found


def blocks(topology: Topology) -> list[Family]:
    """Halves, quarters and eighths of the hosts in the order of their numbers, or of the ranks of a single host."""
    of_rank = topology.hosts[topology.ranks]
    units, number = np.unique(of_rank, return_inverse=True)
    if len(units) < 2 or units[0] < 0:
        units = number = np.arange(len(topology.ranks))
    found = []
    for parts in BLOCKS:
        if parts <= len(units):
            labels = np.full(topology.vertices, -1, np.int64)
            labels[topology.ranks] = number * parts // len(units)
            found.append(Family(f"{parts} blocks of neighbours", _numbered(labels)))
    return found


def _numbered(labels: Ints) -> Ints:
    """The same groups, numbered from 0 without gaps."""
    used, number = np.unique(labels, return_inverse=True)
    return (number - int(used[0] < 0)).astype(np.int64)


def _merged(topology: Topology, labels: Ints) -> Ints | None:
    """The groups one level up, or None where that is one group only, or nothing new."""
    links = topology.links
    ends = np.concatenate((np.stack((links.src, links.dst)), np.stack((links.dst, links.src))), axis=1)
    touching = ends[:, (labels[ends[0]] >= 0) & (labels[ends[1]] < 0)]
    if not touching.size:
        return None
    above: dict[int, list[int]] = {}
    for pair in np.unique(labels[touching[0]] * topology.vertices + touching[1]).tolist():
        group, switch = divmod(pair, topology.vertices)
        above.setdefault(group, []).append(switch)
    number: dict[tuple[int, ...], int] = {}
    merged = np.arange(labels.max() + 1)
    for group, switches in above.items():
        merged[group] = number.setdefault(tuple(switches), group)
    groups = np.where(labels >= 0, merged[labels], -1)
    # A switch belongs to the only group that is plugged into it.
    lowest, highest = np.full(topology.vertices, len(merged)), np.full(topology.vertices, -1)
    np.minimum.at(lowest, touching[1], groups[touching[0]])
    np.maximum.at(highest, touching[1], groups[touching[0]])
    groups = np.where((labels < 0) & (lowest == highest), highest, groups)
    groups = _numbered(groups.astype(np.int64))
    return None if groups.max() < 1 or np.array_equal(groups, labels) else groups
