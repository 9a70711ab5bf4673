"""How an all_reduce shares the machine: what each rank reduces, and what each phase uses of each link.

The linear program of `bounds/classes.py` says what is best, in real numbers. Of whole trees as many are taken as come
nearest to it: for each number of trees, weights and capacities are rounded, and the rate is lowered until the trees of
both phases exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from clusterbench.collectives.bounds.capacities import graph
from clusterbench.collectives.bounds.classes import Shares
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.rate import shortfall
from clusterbench.collectives.topology.graph import Topology

MOST_TREES = 128
"""Of all roots together, of those numbers that are tried."""
SLACKS = (0.0, 0.01, 0.02, 0.05, 0.1)
"""By how much the rate is lowered until whole trees fit."""
ROUNDING = 1e-6
"""What the solver's numbers may be off, in trees."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Trees that each rank is the root of, in both phases, their rate, and the trees over each link in each phase."""

    supplies: Ints
    tree_rate: Fraction
    gathers: Ints
    reduces: Ints


def split(topology: Topology, shares: Shares, worth: Fraction) -> Split | None:
    """The best whole shares of the machine that have a rate above `worth` bytes/s; None where there are none."""
    prepared = graph(topology)
    forward, backward = prepared.network(), prepared.network(reverse=True)
    best: Split | None = None
    for trees in range(1, MOST_TREES + 1):
        supplies = np.rint(shares.roots * trees / shares.roots.sum()).astype(np.int64)
        if supplies.sum() != trees:
            continue
        for slack in SLACKS:
            tree_rate = float(shares.roots.sum()) * (1 - slack) / trees
            found = Fraction(tree_rate).limit_denominator(1 << 20)
            if found * trees <= worth or (best and found * trees <= best.tree_rate * int(best.supplies.sum())):
                break
            gathers, reduces = _whole(topology, shares, tree_rate)
            of_holder = np.bincount(topology.ranks, supplies, topology.vertices).astype(np.int64)[prepared.holders]
            if not shortfall(forward, gathers, of_holder) and not shortfall(backward, reduces, of_holder):
                best = Split(supplies, found, gathers, reduces)
                break
    return best


def _whole(topology: Topology, shares: Shares, tree_rate: float) -> tuple[Ints, Ints]:
    """Whole trees of both phases over each link; what rounding leaves of a link goes to the phase that lacks more."""
    wanted = np.stack((shares.gathers, shares.reduces)) / tree_rate
    whole = np.floor(wanted + ROUNDING).astype(np.int64)
    bandwidth = topology.links.bandwidth
    room = np.floor(np.where(np.isfinite(bandwidth), bandwidth, 2 * wanted.sum()) / tree_rate + ROUNDING)
    left = np.maximum(0, room.astype(np.int64) - whole.sum(axis=0))
    lacks = (wanted - whole).argmax(axis=0)
    whole[lacks, np.arange(len(left))] += np.minimum(left, 1)
    return whole[0], whole[1]
