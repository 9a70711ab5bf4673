"""Packs spanning trees into a graph of ranks, as many from each root as it has to send, within whole capacities.

A bundle is some trees of one root that are alike so far: the ranks R that they reach, and how many they are, m. Trees
that reach everybody exist as long as for every set X of ranks

    capacity into X ≥ Σ m over the bundles that do not yet reach into X

(J. Edmonds, "Edge-disjoint branchings", 1973). So a bundle is grown edge by edge: over (x, y) it takes as many of its
trees as leave that true, which is the smallest, over all X with y and without x that the bundle reaches into, of the
capacity into X less what the other bundles have to bring there. That is one max-flow from x to y, with an edge from x
for each other bundle (K. Bérczi and A. Frank, "Packing arborescences", 2009). The trees that it does not take become a
bundle of their own. All bundles grow together, level by level from their roots and an edge at a time, so that trees
are shallow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.errors import SynthesisError

MOST_BUNDLES = 1 << 10
"""Of different trees: a max-flow takes time with the square of their number."""
_LARGE = 1 << 60


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Bundles of equal trees, one a row: root, how many, and the parent of every rank, −1 at the root."""

    root: Ints
    count: Ints
    parent: Ints
    """Of shape (bundles, ranks)."""

    def __len__(self) -> int:
        return len(self.root)

    def depths(self) -> Ints:
        """Edges from the root to each rank, of shape (bundles, ranks)."""
        depth = np.zeros_like(self.parent)
        at = self.parent.copy()
        rows = np.arange(len(self))[:, None]
        for _ in range(self.parent.shape[1]):
            going = at >= 0
            if not going.any():
                return depth
            depth += going
            at = np.where(going, self.parent[rows, np.maximum(at, 0)], -1)
        raise SynthesisError("a tree with a circle in it")

    def used(self) -> Ints:
        """Trees over each edge, of shape (ranks, ranks)."""
        ranks = self.parent.shape[1]
        used = np.zeros((ranks, ranks), np.int64)
        bundle, child = np.nonzero(self.parent >= 0)
        np.add.at(used, (self.parent[bundle, child], child), self.count[bundle])
        return used


def pack(capacity: Ints, supplies: Ints) -> Trees:
    """As many spanning trees from each rank as it supplies. `capacity` has shape (ranks, ranks).

    Raises `SynthesisError` where they do not exist, or too many different ones are needed.
    """
    roots = np.flatnonzero(supplies)
    done, root, count, parent = _pack(capacity.copy(), roots, supplies[roots].astype(np.int64))
    if done < 0:
        raise SynthesisError(f"more than {MOST_BUNDLES} different trees; expected fewer, by --trees")
    if not done:
        raise SynthesisError("capacities that do not hold so many trees")
    return Trees(root, count, parent)


@njit(cache=True)
def _pack(free: Ints, roots: Ints, counts: Ints) -> Any:
    """1, and the root, number and parents of each bundle; 0 where there is no packing, −1 where there are too many."""
    ranks = len(free)
    bundles = len(roots)
    room = 2 * bundles + 64
    root, count = np.empty(room, np.int64), np.zeros(room, np.int64)
    parent, depth = np.full((room, ranks), -2), np.zeros((room, ranks), np.int64)
    size = np.ones(room, np.int64)
    # What a bundle may not take it never may: neither other bundles nor itself leave a set more than they found.
    dead = np.zeros((room, ranks, ranks), np.bool_)
    for b in range(bundles):
        root[b], count[b] = roots[b], counts[b]
        parent[b, roots[b]] = -1
    for level in range(ranks):
        grown = True
        while grown:
            grown = False
            b = -1
            while b + 1 < bundles:  # an edge for each, so that none takes what all need
                b += 1
                while size[b] < ranks:
                    x, y = _widest_edge(free, dead[b], parent[b], depth[b], level)
                    if x < 0:
                        break
                    taken = _may_take(free, b, x, y, bundles, root, count, parent, size)
                    if taken == 0:
                        dead[b, x, y] = True
                        continue
                    if taken < count[b]:
                        if bundles == MOST_BUNDLES:
                            return -1, root[:0], count[:0], parent[:0]
                        if bundles == room:
                            root, count, size = _doubled(root), _doubled(count), _doubled(size)
                            parent, depth, dead = _doubled(parent), _doubled(depth), _doubled(dead)
                            room *= 2
                        root[bundles], count[bundles], size[bundles] = root[b], count[b] - taken, size[b]
                        parent[bundles], depth[bundles], dead[bundles] = parent[b], depth[b], dead[b]
                        dead[bundles, x, y] = True
                        bundles += 1
                        count[b] = taken
                    free[x, y] -= taken
                    parent[b, y], depth[b, y] = x, level + 1
                    size[b] += 1
                    grown = True
                    break
    done = 1
    for b in range(bundles):
        if size[b] < ranks:
            done = 0
    return done, root[:bundles], count[:bundles], parent[:bundles]


@njit(cache=True)
def _doubled(array: Any) -> Any:
    return np.concatenate((array, array))


@njit(cache=True)
def _widest_edge(free: Ints, dead: NDArray[np.bool_], parent: Ints, depth: Ints, level: int) -> Any:
    """The edge out of a bundle, from ranks of one depth, with the most capacity left; −1 where there is none."""
    best_x, best_y = -1, -1
    for x in range(len(free)):
        if parent[x] == -2 or depth[x] != level:
            continue
        for y in range(len(free)):
            if parent[y] == -2 and free[x, y] > 0 and not dead[x, y]:  # noqa: SIM102 - one condition is slower
                if best_x < 0 or free[x, y] > free[best_x, best_y]:
                    best_x, best_y = x, y
    return best_x, best_y


@njit(cache=True)
def _may_take(
    free: Ints, b: int, x: int, y: int, bundles: int, root: Ints, count: Ints, parent: Ints, size: Ints
) -> int:  # fmt: skip
    """How many trees of bundle b may go over (x, y)."""
    ranks, extra, others = len(free), 0, 0
    for i in range(bundles):
        if i != b and size[i] < ranks:  # those that reach everybody reach into every set
            extra += size[i] > 1
            others += count[i]
    left = np.zeros((ranks + extra, ranks + extra), np.int64)
    left[:ranks, :ranks] = free
    node = ranks
    for i in range(bundles):
        if i == b or size[i] == ranks:
            continue
        if size[i] == 1:
            if root[i] != x:
                left[x, root[i]] += count[i]
            continue
        left[x, node] = count[i]
        for v in range(ranks):
            if parent[i, v] != -2:
                left[node, v] = _LARGE
        node += 1
    most = min(free[x, y], count[b])
    return max(0, min(most, _flow(left, x, y, others + most) - others))


@njit(cache=True)
def _flow(left: Ints, source: int, sink: int, enough: int) -> int:
    """The largest flow, or at least `enough`, by Dinic's algorithm on a matrix of capacities, which it uses up."""
    size = len(left)
    level, queue = np.empty(size, np.int64), np.empty(size, np.int64)
    at, way = np.empty(size, np.int64), np.empty(size, np.int64)
    value = 0
    while value < enough:
        level[:] = -1
        level[source] = 0
        queue[0] = source
        head, tail = 0, 1
        while head < tail and level[sink] < 0:
            v = queue[head]
            head += 1
            for w in range(size):
                if left[v, w] > 0 and level[w] < 0:
                    level[w] = level[v] + 1
                    queue[tail] = w
                    tail += 1
        if level[sink] < 0:
            break
        at[:] = 0
        way[0] = source
        length = 0
        while value < enough:
            v = way[length]
            if v == sink:
                least = left[way[0], way[1]]
                for i in range(1, length):
                    least = min(least, left[way[i], way[i + 1]])
                value += least
                first = 0
                for i in range(length - 1, -1, -1):
                    left[way[i], way[i + 1]] -= least
                    left[way[i + 1], way[i]] += least
                    if left[way[i], way[i + 1]] == 0:
                        first = i
                length = first
                continue
            w = at[v]
            while w < size and not (left[v, w] > 0 and level[w] == level[v] + 1):
                w += 1
            at[v] = w
            if w < size:
                length += 1
                way[length] = w
            elif v == source:
                break
            else:
                length -= 1
                at[way[length]] += 1
    return value
