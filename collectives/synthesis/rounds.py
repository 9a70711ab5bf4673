"""In which round a tree's edges send: as early as may be, while no link runs ahead of the others.

While a pipeline fills and drains, some links idle. Of a link that is full once the pipeline is, all that it does for a
segment before round r it does while filling, and the rest while draining; so nothing is lost where at every r all busy
links have done the same share of their work. With R rounds a segment, edges are put into rounds in order of what
depends on them, and an edge waits while one of its links would have done more than the share (r + 1) / R of what it
can carry. Several R are tried.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats, Routes

STRETCH = (1.0, 1.25, 1.5, 2.0, 3.0)
"""Rounds that are tried, as multiples of the depth."""
PARTS = (1.0, 0.5, 0.0)
"""How much of a transfer must fit below the share that its links may have done; links of few trees are coarse."""
KEPT = 4
SHARES = 8
_EPS = 1e-9


def candidates(
    before: Ints, height: Ints, turn: Ints, count: Ints, routes: Routes, second_per_tree: Floats
) -> list[Ints]:  # fmt: skip
    """The round of each transfer, in some ways that lose least, the best first.

    What transfer t sends is brought by the transfers before[t, 0] to before[t, 1] − 1; none at a root. `height` is how
    many rounds at least come after it; of equal ones lower `turn`s come first. `count` is its trees, `routes` its
    links, and `second_per_tree` what these take for each tree, in any unit.
    """
    depth = int(height.max()) + 1
    busiest = np.zeros(len(second_per_tree))
    np.add.at(busiest, routes.links, np.repeat(count, routes.lengths) * second_per_tree[routes.links])
    period = float(busiest.max())
    order = np.lexsort((turn, -height))
    found: list[tuple[float, int, Ints]] = []
    for number in sorted({max(1, round(depth * factor)) for factor in STRETCH}):
        for part in PARTS:
            made = _placed(
                before[:, 0], before[:, 1], order, count, routes.offsets, routes.links, second_per_tree, period, number,
                part,
            )  # fmt: skip
            made = np.unique(made, return_inverse=True)[1].astype(np.int64)
            found.append((_lost(made, count, routes, second_per_tree, period), len(found), made))
    return [made for _, _, made in sorted(found)[:KEPT]]


def _lost(made: Ints, count: Ints, routes: Routes, second_per_tree: Floats, period: float) -> float:
    """Seconds a tree's chunk by which filling and draining take longer than if all links were busy."""
    table = np.zeros((int(made.max()) + 1, len(second_per_tree)))
    row = np.repeat(made, routes.lengths)
    np.add.at(table, (row, routes.links), np.repeat(count, routes.lengths) * second_per_tree[routes.links])
    filled = table.cumsum(axis=0)[:-1]
    drained = table.sum(axis=0) - filled
    return float((filled.max(axis=1) + drained.max(axis=1) - period).sum())


@njit(cache=True)
def _placed(
    first: Ints, last: Ints, order: Ints, count: Ints, offsets: Ints, links: Ints, second_per_tree: Floats,
    period: float, rounds: int, part: float,
) -> Any:  # fmt: skip
    total = len(count)
    made = np.full(total, -1)
    done = np.zeros(len(second_per_tree))
    left = total
    step = 0
    while left > 0:
        r = step // SHARES  # shares of a round, so that no link gets ahead of others inside it
        limit = period * min(1.0, (step + 1) / (rounds * SHARES)) * (1 + _EPS)
        for t in order:
            if made[t] >= 0:
                continue
            ready = True
            for b in range(first[t], last[t]):
                if made[b] < 0 or made[b] == r:
                    ready = False
                    break
            if not ready:
                continue
            fits = True
            for hop in range(offsets[t], offsets[t + 1]):
                if done[links[hop]] + part * count[t] * second_per_tree[links[hop]] > limit and r < rounds:
                    fits = False
                    break
            if fits:
                for hop in range(offsets[t], offsets[t + 1]):
                    done[links[hop]] += count[t] * second_per_tree[links[hop]]
                made[t] = r
                left -= 1
        step += 1
    return made
