"""What a topology looks like: the levels of its network, hosts that are alike, a host as a tree, links that are alike.

What is shown of a topology, as text and as a picture, is made of these, as a cluster has more links than lines.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Kind, Topology

MOST_ALIKE = 4
"""Parts of a host that are alike, of which more are left out where they are many."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Links outside hosts that are alike: between the same two levels, of one bandwidth and latency."""

    low: int
    high: int
    """Levels of their ends, see `levels`."""
    bandwidth: float
    latency_s: float
    up: int
    """Links from the lower level to the higher; in one level, from the vertex of the lower number."""
    down: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A vertex in a host's tree."""

    vertex: int
    parent: int
    """−1 of a root."""
    depth: int
    """Links to its root."""


def levels(topology: Topology) -> Ints:
    """The level of every vertex: 0 in a host, 1 where a link leads to one, and so on; −1 where no way leads to a host.

    Where no vertex lies in a host, those of the ranks are at level 0.
    """
    level = np.where(topology.hosts >= 0, 0, -1).astype(np.int64)
    if not (level == 0).any():
        level[topology.ranks] = 0
    src = np.concatenate((topology.links.src, topology.links.dst))
    dst = np.concatenate((topology.links.dst, topology.links.src))
    at = 0
    while True:
        near = dst[level[src] == at]
        near = near[level[near] < 0]
        if not len(near):
            return level
        at += 1
        level[near] = at


def outside(topology: Topology) -> NDArray[np.bool_]:
    """Which links are not inside a host."""
    src, dst = topology.hosts[topology.links.src], topology.hosts[topology.links.dst]
    return (src != dst) | (src < 0)


def bundles(topology: Topology) -> list[Bundle]:
    """The links outside hosts in bundles, the lowest levels first, then the widest links."""
    level, links, kept = levels(topology), topology.links, outside(topology)
    src, dst = links.src[kept], links.dst[kept]
    up = (level[src] < level[dst]) | ((level[src] == level[dst]) & (src < dst))
    low, high = np.where(up, level[src], level[dst]), np.where(up, level[dst], level[src])
    table = np.stack((low, high, -links.bandwidth[kept], links.latency_s[kept]), axis=1)
    rows, number = np.unique(table, axis=0, return_inverse=True)
    number = number.ravel()  # NumPy 2.0 gives it the shape of the table
    upward = np.bincount(number[up], minlength=len(rows)).tolist()
    downward = np.bincount(number[~up], minlength=len(rows)).tolist()
    return [
        Bundle(int(row[0]), int(row[1]), -row[2], row[3], upward[i], downward[i]) for i, row in enumerate(rows.tolist())
    ]


def alike_hosts(topology: Topology) -> list[Ints]:
    """The numbers of hosts, those together that are alike, in the order of the first of each.

    Alike are hosts with the same vertices in the same order, equal links inside, and equal links to the outside.
    """
    order = np.argsort(topology.hosts, kind="stable")
    numbers, first = np.unique(topology.hosts[order], return_index=True)
    ends = np.append(first[1:], len(order))
    place = np.empty(len(order), np.int64)  # of a vertex among those of its host
    place[order] = np.arange(len(order)) - np.repeat(first, ends - first)
    ranks = np.bincount(topology.ranks, minlength=topology.vertices)
    vertices = np.stack((topology.kinds, ranks, topology.reducing), axis=1).astype(np.int64)[order]
    rows, owner = _link_rows(topology, place)
    starts, stops = np.searchsorted(owner, numbers), np.searchsorted(owner, numbers, "right")
    found: dict[bytes, list[int]] = {}
    for i, host in enumerate(numbers.tolist()):
        if host >= 0:
            mine = vertices[first[i] : ends[i]].tobytes() + b"/" + rows[starts[i] : stops[i]].tobytes()
            found.setdefault(mine, []).append(host)
    return [np.array(hosts, np.int64) for hosts in found.values()]


def _link_rows(topology: Topology, place: Ints) -> tuple[Floats, Ints]:
    """A row for each link and host at one of its ends, in an order that only these rows decide; and the hosts.

    A row has the places of both ends in the host, −1 for one outside, and the link's bandwidth and latency.
    """
    links, crosses = topology.links, outside(topology)
    parts, owners = [], []
    for end, other, is_source in ((links.src, links.dst, True), (links.dst, links.src, False)):
        kept = topology.hosts[end] >= 0
        if not is_source:
            kept &= crosses  # a link inside a host is listed once
        far = np.where(crosses[kept], -1, place[other[kept]])
        near = place[end[kept]]
        both = (near, far) if is_source else (far, near)
        parts.append(np.stack((*both, links.bandwidth[kept], links.latency_s[kept]), axis=1))
        owners.append(topology.hosts[end[kept]])
    rows, owner = np.concatenate(parts), np.concatenate(owners)
    order = np.lexsort((*rows.T[::-1], owner))
    return rows[order], owner[order]


def neighbours(topology: Topology, vertices: Ints) -> dict[int, dict[int, list[int]]]:
    """For each of the vertices, in their order: the links to each other one of them."""
    found: dict[int, dict[int, list[int]]] = {int(vertex): {} for vertex in vertices}
    links = topology.links
    for link in np.flatnonzero(np.isin(links.src, vertices) & np.isin(links.dst, vertices)).tolist():
        found[int(links.src[link])].setdefault(int(links.dst[link]), []).append(link)
    return found


def host_tree(topology: Topology, vertices: Ints) -> list[Branch]:
    """The vertices of a host as a tree, or several, depth first: CPUs with what is linked to them below.

    The roots are CPUs with more than one neighbour; then, as far as these do not reach everything, the switch with the
    most neighbours, and so on; then other CPUs, GPUs, network cards. Only through CPUs and switches does a tree go on.
    """
    near = neighbours(topology, vertices)
    kinds = {vertex: int(topology.kinds[vertex]) for vertex in near}
    cpus = [vertex for vertex in near if kinds[vertex] == Kind.CPU and len(near[vertex]) > 1]
    order = {Kind.SWITCH: 0, Kind.CPU: 1, Kind.GPU: 2, Kind.NIC: 3}
    others = sorted(near, key=lambda vertex: (order[Kind(kinds[vertex])], -len(near[vertex]), vertex))
    children: dict[int, list[int]] = {vertex: [] for vertex in near}
    reached: set[int] = set()
    roots: list[int] = []
    for together in (cpus, *([vertex] for vertex in others)):
        waiting = deque(vertex for vertex in together if vertex not in reached)
        roots += waiting
        reached.update(waiting)
        while waiting:
            vertex = waiting.popleft()
            if kinds[vertex] not in (Kind.CPU, Kind.SWITCH):
                continue
            for other in near[vertex]:
                if other not in reached:
                    reached.add(other)
                    children[vertex].append(other)
                    waiting.append(other)
    found = []
    stack = [Branch(root, -1, 0) for root in reversed(roots)]
    while stack:
        branch = stack.pop()
        found.append(branch)
        stack += [Branch(child, branch.vertex, branch.depth + 1) for child in reversed(children[branch.vertex])]
    return found


def twins(topology: Topology, branches: list[Branch]) -> list[list[Branch]]:
    """The branches in their order, those in one list that stand side by side and differ in their names only.

    Together are three or more leaves under one parent, of one kind, whose links, inside the host and out of it, are
    equal.
    """
    parents = {branch.parent for branch in branches}
    same = _signatures(topology, branches)
    found: list[list[Branch]] = []
    keys = ((b.parent, -1, same[i]) if b.vertex not in parents else (b.parent, i, ()) for i, b in enumerate(branches))
    for _, run in groupby(zip(keys, branches, strict=True), key=itemgetter(0)):
        alike = [branch for _, branch in run]
        found += [alike] if len(alike) > 2 else [[branch] for branch in alike]
    return found


def pruned(topology: Topology, branches: list[Branch]) -> tuple[list[Branch], dict[int, int]]:
    """A tree without most of its parts that are alike, and how many are left out behind a vertex's part.

    A part is a vertex and what is below it, which is at least one. Of parts side by side that differ in their names
    only, with equal links inside, to the same vertices of the host, and out of it, `MOST_ALIKE` are kept, or one more
    where only one would be left out.
    """
    same = _signatures(topology, branches)
    siblings: dict[int, list[int]] = {}
    for number, branch in enumerate(branches):
        siblings.setdefault(branch.parent, []).append(number)
    left_out: set[int] = set()
    more: dict[int, int] = {}
    for numbers in siblings.values():
        for _, run in groupby(numbers, key=same.__getitem__):
            alike = list(run)
            if len(alike) > MOST_ALIKE + 1 and len(same[alike[0]]) > 1:
                left_out.update(alike[MOST_ALIKE:])
                more[branches[alike[MOST_ALIKE - 1]].vertex] = len(alike) - MOST_ALIKE
    kept, depth = [], len(branches)
    for number, branch in enumerate(branches):
        if branch.depth <= depth:  # not below what is left out
            depth = branch.depth if number in left_out else len(branches)
        if depth == len(branches):
            kept.append(branch)
    return kept, more


def _signatures(topology: Topology, branches: list[Branch]) -> list[tuple[object, ...]]:
    """For each branch what its part of the tree is but for names: equal of parts that are alike."""
    place = {branch.vertex: number for number, branch in enumerate(branches)}
    vertices, links = np.array(list(place), np.int64), topology.links
    ends: list[list[tuple[int, int, float, float]]] = [[] for _ in branches]
    for link in np.flatnonzero(np.isin(links.src, vertices) | np.isin(links.dst, vertices)).tolist():
        src, dst = int(links.src[link]), int(links.dst[link])
        figures = float(links.bandwidth[link]), float(links.latency_s[link])
        for direction, mine, other in ((0, src, dst), (1, dst, src)):
            if mine in place:
                ends[place[mine]].append((direction, place.get(other, -1), *figures))
    ranks = np.bincount(topology.ranks, minlength=topology.vertices)
    found: list[tuple[object, ...]] = []
    for number, branch in enumerate(branches):
        below = (i for i in range(number + 1, len(branches)) if branches[i].depth <= branch.depth)
        end = next(below, len(branches))
        part: list[object] = []
        for i in range(number, end):
            vertex = branches[i].vertex
            # Inside the part by its place in it, elsewhere in the host by itself.
            near = ((way, 0, to - number, *of) if number <= to < end else (way, 1, to, *of) for way, to, *of in ends[i])
            part.append((int(topology.kinds[vertex]), int(ranks[vertex]), bool(topology.reducing[vertex]),
                         branches[i].depth - branch.depth, tuple(sorted(near))))  # fmt: skip
        found.append(tuple(part))
    return found
