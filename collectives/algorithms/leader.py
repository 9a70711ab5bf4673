"""Leader-based: inside each group of ranks to its leader, among the leaders, and inside each group again.

all_reduce reduces every group to its leader by a binomial tree, reduces among the leaders by halving-doubling, and
broadcasts inside the groups by the same trees; broadcast goes from the root to the leaders, then inside the groups, and
reduce comes back that way. A group is `group` neighbouring ranks, by default those of one host, else about sqrt(p) of
them; the last group may be smaller. The leader is a group's first rank; the root leads its own group.
The whole vector passes through the leaders and nothing else leaves the group: right where a host has one network
adapter and fast memory, and for small vectors. Where every rank has an adapter, two-level is better.

Source: T. Kielmann et al., "MagPIe: MPI's collective communication operations for clustered wide area systems", PPoPP
1999, doi 10.1145/301104.301116; among the leaders: R. Rabenseifner, ICCS 2004, doi 10.1007/978-3-540-24685-5_1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from clusterbench.collectives.algorithm import AUTO, Algorithm, Call, Option
from clusterbench.collectives.algorithms import halving_doubling
from clusterbench.collectives.building.trees import tree_broadcast, tree_reduce
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.schedule import Ints, Phase, Schedule


def _group(call: Call) -> int:
    """Ranks in a group."""
    if call.options["group"] != AUTO:
        return call.integer("group", 1, call.ranks)
    return call.host_ranks if 1 < call.host_ranks < call.ranks else max(1, math.isqrt(call.ranks))


def _all_reduce(leaders: Ints, rank: Ints, place: Ints, size: Ints, among: Schedule) -> Iterator[Phase]:
    yield from tree_reduce(rank, place, size, among.chunks)
    for part in among.phases():
        yield replace(part, src=leaders[part.src], dst=leaders[part.dst])
    yield from tree_broadcast(rank, place, size, among.chunks)


def _build(call: Call) -> Schedule:
    collective, ranks, group = call.collective, call.ranks, _group(call)
    rank = np.arange(ranks, dtype=np.int64)
    place = rank % group
    size = np.minimum(group, ranks - (rank - place))
    if collective.is_rooted:  # the root changes places with its group's first rank
        first = call.root // group * group
        rank[[first, call.root]] = call.root, first
    leaders = rank[::group]
    if collective.name == "all_reduce":
        among = halving_doubling.ALGORITHM.schedule(Call(COLLECTIVES["all_reduce"], len(leaders)))
        return Schedule(collective, ranks, among.chunks, lambda: _all_reduce(leaders, rank, place, size, among))
    chain = np.arange(len(leaders), dtype=np.int64)
    by_distance = np.roll(leaders, -(call.root // group))  # the root's own group first

    def phases() -> Iterator[Phase]:
        if collective.reduces:
            yield from tree_reduce(rank, place, size, chunks=1)
            yield from tree_reduce(by_distance, chain, len(leaders), chunks=1)
        else:
            yield from tree_broadcast(by_distance, chain, len(leaders), chunks=1)
            yield from tree_broadcast(rank, place, size, chunks=1)

    return Schedule(collective, ranks, chunks=1, phases=phases, root=call.root)


ALGORITHM = Algorithm(
    name="leader",
    summary="inside each group to its leader, among the leaders, and inside each group again",
    cost={
        "all_reduce": "2⌈lg g⌉(α + nβ) + ⌈lg g⌉nγ + that of halving-doubling over ⌈p/g⌉ leaders, g ranks in a group",
        "broadcast": "(⌈lg⌈p/g⌉⌉ + ⌈lg g⌉)(α + nβ), g ranks in a group",
        "reduce": "(⌈lg⌈p/g⌉⌉ + ⌈lg g⌉)(α + nβ + nγ), g ranks in a group",
    },
    source="Kielmann et al. 1999, doi 10.1145/301104.301116",
    build=_build,
    options={"group": Option("ranks in a group, or auto: those of a host, else about sqrt(p)", AUTO)},
)
