"""Groups of ranks that are nearer to one another than to the others, found in matrices of times: pure functions.

Ranks are joined one after the other, those of the least mean distance first (average linkage: R. R. Sokal and C. D.
Michener, "A statistical method for evaluating systematic relationships", 1958). A distance is the logarithm of a time,
so that a step from one level to the next is a factor. A joined set is a group where the next larger set is farther by

    more than log 1.2   and   more than 5·1.4826·MAD

of what single pairs lie off the mean of theirs: neither a difference that nobody would act on nor one that noise makes
is a level. Groups by latency and by bandwidth are put together, and held against the names of the hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.pairs.outliers import DEVIATIONS, NORMAL, WORSE, Matrix

Members = frozenset[int]

HOST, LATENCY, BANDWIDTH = "host", "latency", "bandwidth"


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks that belong together, and by what: `host`, `latency`, `bandwidth`."""

    ranks: tuple[int, ...]
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of which any two are nested or disjoint, the largest first, and what does not fit together in words."""

    groups: tuple[Group, ...]
    doubts: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    """A joined set: the mean distance of its two parts, and these."""

    members: list[int]
    height: float
    parts: tuple[_Node, ...] = ()


def rank_groups(latency_s: Matrix, message_s: Matrix, hosts: Sequence[str]) -> Groups:
    """The groups of all ranks, by seconds of a small message and of a large one, and by the hosts' names.

    Both matrices have shape (ranks, ranks), with NaN for pairs that were not measured. Hosts are known, so a group that
    they cross is left out and told of; one by bandwidth gives way to one by latency. All ranks are a group as well.
    """
    everyone = frozenset(range(len(hosts)))
    named = {name: frozenset(r for r in everyone if hosts[r] == name) for name in hosts}
    by: dict[Members, list[str]] = {everyone: []}
    for members in named.values():
        if len(members) > 1:
            by.setdefault(members, []).append(HOST)
    crossed: dict[str, int] = {}
    found: set[Members] = set()
    for quantity, times_s in ((LATENCY, latency_s), (BANDWIDTH, message_s)):
        for members in near_groups(times_s):
            found.add(members)
            if all(_nested(members, other) for other in by):
                by.setdefault(members, []).append(quantity)
            elif members in by:
                by[members].append(quantity)
            else:
                crossed[quantity] = crossed.get(quantity, 0) + 1
    return Groups(
        tuple(Group(tuple(sorted(m)), tuple(by[m])) for m in sorted(by, key=lambda m: (-len(m), min(m)))),
        tuple(_doubts(named, found, crossed)),
    )


def _doubts(named: dict[str, Members], found: set[Members], crossed: dict[str, int]) -> list[str]:
    doubts = [
        f"{count} of the groups by {quantity} cross hosts or other groups and are left out"
        for quantity, count in crossed.items()
    ]
    unseen = [name for name, members in named.items() if len(named) > 1 and len(members) > 1 and members not in found]
    if unseen:
        shown = ", ".join(unseen[:3]) + (f" and {len(unseen) - 3} more" if len(unseen) > 3 else "")
        doubts.append(f"neither latency nor bandwidth shows that the ranks of {shown} share a host")
    return doubts


def _nested(a: Members, b: Members) -> bool:
    return a <= b or b <= a or not a & b


def near_groups(times_s: Matrix) -> list[Members]:
    """The sets of ranks, without that of all, that are nearer to one another than to the next, as above.

    `times_s` has shape (ranks, ranks); a pair's distance is the mean of both directions, NaN where it was not measured.
    """
    distance = _both_ways(np.log(times_s))
    root = _joined(distance)
    if not root.parts:
        return []
    step = max(log(WORSE), DEVIATIONS * _noise(root, distance))
    found = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        for part in node.parts:
            if part.parts:
                waiting.append(part)
                if node.height - part.height > step:
                    found.append(frozenset(part.members))
    return found


def _both_ways(distance: Matrix) -> Matrix:
    """The mean of both directions, or the one that was measured; NaN on the diagonal."""
    turned = distance.T
    mean = np.where(np.isnan(distance), turned, np.where(np.isnan(turned), distance, (distance + turned) / 2))
    np.fill_diagonal(mean, np.nan)
    return mean


def _joined(distance: Matrix) -> _Node:
    """All ranks, joined by the least mean distance, one pair of sets after the other."""
    count = (~np.isnan(distance)).astype(np.int64)
    total = np.nan_to_num(distance)
    nodes = {rank: _Node([rank], -inf) for rank in range(len(distance))}
    while len(nodes) > 1:
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count > 0, total / count, inf)
        a, b = sorted(divmod(int(mean.argmin()), len(mean)))
        if not np.isfinite(mean[a, b]):  # no pair between what is left was measured
            top = max(node.height for node in nodes.values())
            return _Node(list(range(len(distance))), top, tuple(nodes.values()))
        parts = nodes[a], nodes.pop(b)
        height = max(float(mean[a, b]), *(part.height for part in parts))
        nodes[a] = _Node(parts[0].members + parts[1].members, height, parts)
        for table in (total, count):
            table[a] += table[b]
            table[:, a] = table[a]
            table[a, a] = table[b] = table[:, b] = 0
    return nodes[0]


def _noise(root: _Node, distance: Matrix) -> float:
    """Standard deviation of what single pairs lie off the mean of theirs; 0 where no two are of one kind."""
    off: list[NDArray[np.float64]] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting += node.parts
        if len(node.parts) == 2:
            between = np.ix_(node.parts[0].members, node.parts[1].members)
            pairs = distance[between]
            pairs = pairs[~np.isnan(pairs)]
            if len(pairs) > 1:
                off.append(pairs - pairs.mean())
    return float(NORMAL * np.median(np.abs(np.concatenate(off)))) if off else 0.0
