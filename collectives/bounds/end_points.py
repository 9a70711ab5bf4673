"""What end points must send where nothing on the way between them reduces or copies.

Let k groups of vertices hold all ranks, and all that reduces or copies lie inside them. Of each byte of the vector

    all_reduce                                               2 (k − 1)
    reduce_scatter, all_gather, broadcast, reduce            k − 1

messages go from group to group. For an all_reduce: whichever group first has the whole sum got it by k − 1 messages at
least, as each tells one group about others; then nobody else has it, and each of the other k − 1 groups gets one more
(F. Harary and A. J. Schwenk, "The communication problem on graphs and digraphs", Journal of the Franklin Institute 297,
1974; P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69, 2009).
As every message leaves one group and enters another, all of them together take that over the bandwidth out of all
groups, and into all. With one rank a group it is 2 (p − 1) n / ΣB, with one host a group the bound between hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from clusterbench.collectives.bounds.capacities import Graph, bandwidth_of
from clusterbench.collectives.bounds.groups import Family
from clusterbench.collectives.bounds.needs import Need

MESSAGES = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1, "broadcast": 1, "reduce": 1}
"""Of each byte, for each group but one."""


@dataclass(frozen=True, slots=True, eq=False)
class EndPoints:
    """Groups that together limit a collective."""

    groups: str
    """In words."""
    count: int
    messages: int
    """How often each byte leaves a group."""
    bandwidth: Fraction
    """Of all of them together, in bytes/s: out of them or into them, whichever is less."""

    @property
    def seconds_per_byte(self) -> Fraction:
        """How long it takes, for each byte of the size."""
        return self.messages / self.bandwidth


def end_points(graph: Graph, need: Need, natural: list[Family], *, plain: bool = False) -> EndPoints | None:
    """The family that limits most, or None: where the collective has none, or switches between all groups reduce.

    With `plain`, as if no switch reduced.
    """
    if need.name not in MESSAGES:
        return None
    worst: EndPoints | None = None
    for family in natural:
        found = _of_family(graph, MESSAGES[need.name], family, plain=plain)
        if found is not None and (worst is None or found.seconds_per_byte > worst.seconds_per_byte):
            worst = found
    return worst


def _of_family(graph: Graph, messages: int, family: Family, *, plain: bool) -> EndPoints | None:
    links, labels = graph.topology.links, family.labels
    if (labels[graph.holders] < 0).any() or not (plain or (labels[graph.topology.reducing] >= 0).all()):
        return None
    a, b = labels[links.src], labels[links.dst]
    sums = [bandwidth_of(graph.topology, np.flatnonzero((a != b) & (group >= 0))) for group in (a, b)]
    limited = [total for total in sums if total is not None]
    count = len(np.unique(labels[graph.holders]))
    if count < 2 or not limited:
        return None
    return EndPoints(family.name, count, messages * (count - 1), min(limited))
