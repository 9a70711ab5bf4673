"""Natural groups of a topology: single ranks, hosts, the hosts under one switch, those under switches above, blocks.

A group is a set of vertices; those of one family have none in common. Families are found in the links alone: hosts that
have most of their bandwidth to the same switch are one group, together with the switches of which most leads to it, and
so on level by level as long as there are several groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Topology

RANKS = "single ranks"
BLOCKS = (2, 4, 8, 16, 32, 64)
"""Into how many blocks of neighbours hosts are divided."""


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
    """All families of at least two groups but blocks, from the smallest groups to the largest."""
    holders = np.unique(topology.ranks)
    alone = np.full(topology.vertices, -1, np.int64)
    alone[holders] = np.arange(len(holders))
    found = [Family(RANKS, alone)]
    # A rank that lies in no host is a host of its own.
    labels = np.where(topology.hosts >= 0, topology.hosts, -1).astype(np.int64)
    free = (labels < 0) & (alone >= 0)
    labels[free] = labels.max(initial=-1) + 1 + np.arange(int(free.sum()))
    level, name = _numbered(labels), "hosts"
    while level.max(initial=-1) >= 1:
        found.append(Family(name, level))
        above = _level_above(topology, level)
        if above is None:
            break
        level, name = above, "groups of hosts under the same switches"
    return found


def blocks(topology: Topology) -> list[Family]:
    """Halves, quarters and so on of the hosts in the order of their numbers, or of the ranks of a single host."""
    hosts = np.unique(topology.hosts[topology.ranks])
    labels = np.full(topology.vertices, -1, np.int64)
    if len(hosts) > 1 and hosts[0] >= 0:
        of_host = np.isin(topology.hosts, hosts)
        units, labels[of_host] = len(hosts), np.searchsorted(hosts, topology.hosts[of_host])
    else:
        units, labels[topology.ranks] = len(topology.ranks), np.arange(len(topology.ranks))
    found = []
    for parts in BLOCKS:
        if parts < units:
            divided = _numbered(np.where(labels >= 0, labels * parts // units, -1))
            while (spread := _with_switches(topology, divided)) is not None:
                divided = spread
            found.append(Family("blocks of neighbours", divided))
    return found


def _numbered(labels: Ints) -> Ints:
    """The same groups, numbered from 0 without gaps."""
    used, number = np.unique(labels, return_inverse=True)
    return (number - int(used[0] < 0)).astype(np.int64)


def _level_above(topology: Topology, labels: Ints) -> Ints | None:
    """The groups joined by the switch that each has most bandwidth to, with switches; None where no switch is left."""
    group, switch, bandwidth = _touching(topology, labels)
    if not len(group):
        return None
    own, main = _strongest(group, switch, bandwidth, topology.vertices)
    _, first, number = np.unique(main, return_index=True, return_inverse=True)
    joined = np.arange(labels.max() + 1)
    joined[own] = own[first][number]
    return _with_switches(topology, _numbered(np.where(labels >= 0, joined[labels], -1)))


def _with_switches(topology: Topology, labels: Ints) -> Ints | None:
    """The groups with the switches next to them, each in the group that most of its bandwidth leads to; None where
    there are none."""
    group, switch, bandwidth = _touching(topology, labels)
    if not len(group):
        return None
    own, main = _strongest(switch, group, bandwidth, topology.vertices)
    wider = labels.copy()
    wider[own] = main
    return wider


def _touching(topology: Topology, labels: Ints) -> tuple[Ints, Ints, Floats]:
    """Of each link between a group and a vertex in none, either way: the group, the vertex and the bandwidth."""
    links = topology.links
    near, far = np.concatenate((links.src, links.dst)), np.concatenate((links.dst, links.src))
    kept = np.flatnonzero((labels[near] >= 0) & (labels[far] < 0))
    return labels[near[kept]], far[kept], links.bandwidth[kept % len(links)]


def _strongest(of: Ints, to: Ints, bandwidth: Floats, size: int) -> tuple[Ints, Ints]:
    """The different numbers in `of`, and for each that in `to` which it has most bandwidth to, the lowest of equals.

    All numbers in `to` are below `size`.
    """
    pair, number = np.unique(of * size + to, return_inverse=True)
    a, b = np.divmod(pair, size)
    order = np.lexsort((b, -np.bincount(number, bandwidth), a))
    first = order[np.flatnonzero(np.diff(a[order], prepend=-1))]
    return a[first], b[first]
