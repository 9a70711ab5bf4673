"""Scatter and all-gather: van de Geijn's broadcast for large vectors, and its mirror image for reduce.

broadcast scatters the vector down a binomial tree, one chunk a rank, then collects it everywhere by a ring all-gather:
the root sends the vector twice at most, however many ranks there are. The ring sends nothing to the root, which has all
of it. reduce is a ring reduce-scatter, then a binomial gather to the root. Ranks are relabelled so that the root is 0,
and chunks are numbered by the new labels, so that what goes to a subtree lies together.

Source: M. Barnett, L. Shuler, R. van de Geijn, S. Gupta, D. Payne and J. Watts, "Interprocessor collective
communication library (InterCom)", Scalable High Performance Computing Conf. 1994, doi 10.1109/SHPCC.1994.296665;
R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19(1), 2005,
doi 10.1177/1094342005051521.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.trees import tree_gather, tree_scatter
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def _all_gather(rank: Ints) -> Phase:
    """Round the ring, but for the way into the root at place 0."""
    ranks = len(rank)
    place = np.arange(ranks - 1, dtype=np.int64)
    return phase(src=rank[place], dst=rank[place + 1], chunk=place, step=-1, modulus=ranks, repetitions=ranks - 1)


def _reduce_scatter(rank: Ints) -> Phase:
    """Round the ring, so that the chunk that arrives last is that of the rank's place."""
    ranks = len(rank)
    place = np.arange(ranks, dtype=np.int64)
    return phase(
        src=rank,
        dst=np.roll(rank, -1),
        chunk=(place - 1) % ranks,
        reduce=True,
        step=-1,
        modulus=ranks,
        repetitions=ranks - 1,
    )


def _phases(ranks: int, root: int, reduces: bool) -> Iterator[Phase]:
    if ranks == 1:
        return
    rank = (root + np.arange(ranks, dtype=np.int64)) % ranks
    if reduces:
        yield _reduce_scatter(rank)
        yield from tree_gather(rank)
    else:
        yield from tree_scatter(rank)
        yield _all_gather(rank)


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    return Schedule(
        collective,
        ranks,
        chunks=ranks,
        phases=lambda: _phases(ranks, call.root, collective.reduces),
        root=call.root,
    )


ALGORITHM = Algorithm(
    name="scatter-allgather",
    summary="van de Geijn: scatter down a tree, then all-gather round a ring; reduce the other way round",
    cost={
        "broadcast": "(⌈lg p⌉+p−1)α + 2(p−1)/p nβ",
        "reduce": "(p−1+⌈lg p⌉)α + 2(p−1)/p nβ + (p−1)/p nγ",
    },
    source="Barnett et al. 1994, doi 10.1109/SHPCC.1994.296665",
    build=_build,
)
