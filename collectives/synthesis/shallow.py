"""Makes packed trees shallower where links have capacity left.

A rank of a tree moves, with all below it, to a parent nearer to the root, if an edge from there has room for all trees
of the bundle. Moves that shorten the deepest ranks come first; each gives back the capacity of the edge that it
leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.packing import Trees


def shallower(trees: Trees, capacity: Ints) -> Trees:
    """The same numbers of trees from the same roots within the same capacities, none of them deeper."""
    parent = trees.parent.copy()
    _move(parent, trees.depths(), trees.count, capacity - trees.used())
    return Trees(trees.root, trees.count, parent)


@njit(cache=True)
def _move(parent: Any, depth: Any, count: Ints, free: Any) -> None:
    bundles, ranks = parent.shape
    moved = True
    while moved:
        moved = False
        for b in range(bundles):
            for y in np.argsort(-depth[b]):
                if parent[b, y] < 0:
                    continue
                best, old = parent[b, y], parent[b, y]
                for x in range(ranks):
                    # A rank below y is deeper than y, so that no circle is made.
                    if x != y and free[x, y] >= count[b] and depth[b, x] < depth[b, best]:
                        best = x
                if best != old:
                    free[old, y] += count[b]
                    free[best, y] -= count[b]
                    parent[b, y] = best
                    _set_depths(parent[b], depth[b])
                    moved = True


@njit(cache=True)
def _set_depths(parent: Any, depth: Any) -> None:
    for v in range(len(parent)):
        steps, at = 0, v
        while parent[at] >= 0:
            at = parent[at]
            steps += 1
        depth[v] = steps
