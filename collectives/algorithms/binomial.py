"""Binomial tree: in each round everybody who has the data hands it on, so that the informed double.

Ranks are relabelled so that the root is 0. broadcast sends the whole vector in ⌈lg p⌉ rounds, to the farthest first;
reduce is its mirror image; all_reduce is a reduce to rank 0 and a broadcast from it. scatter sends to a subtree all its
parts in one message, and gather collects them: the fewest rounds and no part sent twice by the root. Any p: a tree of
p ranks is that of the next power of two, with what is beyond p left out.
The choice for small vectors: the root sends the whole vector ⌈lg p⌉ times, but nobody has to split it.

Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH",
Int. J. High Perform. Comput. Appl. 19(1), 2005, doi 10.1177/1094342005051521; scatter and gather: E. Chan,
M. Heimlich, A. Purkayastha and R. van de Geijn, "Collective communication: theory, practice, and experience",
Concurr. Comput. Pract. Exp. 19(13), 2007, doi 10.1002/cpe.1206.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.trees import tree_broadcast, tree_gather, tree_reduce, tree_scatter
from clusterbench.collectives.schedule import Phase, Schedule


def _phases(collective: str, ranks: int, root: int) -> Iterator[Phase]:
    place = np.arange(ranks, dtype=np.int64)
    rank = (place + root) % ranks
    if collective == "scatter":
        yield from tree_scatter(rank, first_chunk=root)
    elif collective == "gather":
        yield from tree_gather(rank, first_chunk=root)
    if collective in ("reduce", "all_reduce"):
        yield from tree_reduce(rank, place, ranks, chunks=1)
    if collective in ("broadcast", "all_reduce"):
        yield from tree_broadcast(rank, place, ranks, chunks=1)


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    return Schedule(
        collective,
        ranks,
        chunks=collective.parts(ranks),
        phases=lambda: _phases(collective.name, ranks, max(0, call.root)),
        root=call.root,
    )


ALGORITHM = Algorithm(
    name="binomial",
    summary="a tree in which the informed double each round",
    cost={
        "all_reduce": "2⌈lg p⌉(α + nβ) + ⌈lg p⌉nγ",
        "broadcast": "⌈lg p⌉(α + nβ)",
        "reduce": "⌈lg p⌉(α + nβ + nγ)",
        "scatter": "⌈lg p⌉α + (p−1)/p nβ",
        "gather": "⌈lg p⌉α + (p−1)/p nβ",
    },
    source="Thakur, Rabenseifner and Gropp 2005, doi 10.1177/1094342005051521",
    build=_build,
)
