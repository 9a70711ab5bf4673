"""Recursive doubling: in round k a rank exchanges with the rank at distance 2^k, so the known doubles each round.

all_reduce exchanges whole vectors: the fewest rounds that are possible, ⌈lg p⌉, at lg p times the volume: the choice
for small vectors. all_gather sends in round k the 2^k neighbouring parts it has. reduce_scatter starts with the nearest
rank too, and halves what it sends: in round k the parts of all ranks that agree with the partner in their last k + 1
bits.
Ranks beyond the largest power of two fold into a neighbour before and unfold after (`collectives/building/folding.py`).

Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH",
Int. J. High Perform. Comput. Appl. 19(1), 2005, doi 10.1177/1094342005051521.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.folding import Folding, fold
from clusterbench.collectives.schedule import Phase, Schedule, phase


def _all_reduce(folding: Folding) -> Iterator[Phase]:
    member = np.arange(folding.core, dtype=np.int64)
    yield from folding.before(1)
    for k in range(folding.core.bit_length() - 1):
        partner = member ^ (1 << k)
        yield phase(src=folding.rank, dst=folding.rank[partner], chunk=0, reduce=True, modulus=1)
    yield from folding.after(1)


def _all_gather(folding: Folding) -> Iterator[Phase]:
    member = np.arange(folding.core, dtype=np.int64)
    yield from folding.take_own_part()
    for k in range(folding.core.bit_length() - 1):
        block = member >> k << k  # the 2^k members whose parts are here by now
        first, end = folding.first_part[block], folding.first_part[block + (1 << k)]
        partner = folding.rank[member ^ (1 << k)]
        yield phase(src=folding.rank, dst=partner, chunk=first, count=end - first, modulus=folding.ranks)
    yield from folding.give_other_parts()


def _reduce_scatter(folding: Folding) -> Iterator[Phase]:
    yield from folding.before(folding.ranks)
    for k in range(folding.core.bit_length() - 1):
        period = 1 << (k + 1)
        member, nth = np.divmod(np.arange(folding.core * (folding.core // period)), folding.core // period)
        partner = member ^ (1 << k)
        reached = partner % period + nth * period  # whose sums the partner can still hand on or keep
        first, end = folding.first_part[reached], folding.first_part[reached + 1]
        yield phase(
            src=folding.rank[member],
            dst=folding.rank[partner],
            chunk=first,
            count=end - first,
            reduce=True,
            modulus=folding.ranks,
        )
    yield from folding.give_own_part()


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    folding = fold(ranks)
    rounds = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter}
    chunks = 1 if collective.name == "all_reduce" else ranks
    return Schedule(collective, ranks, chunks, phases=lambda: rounds[collective.name](folding))


ALGORITHM = Algorithm(
    name="recursive-doubling",
    summary="exchange at distance 1, 2, 4, …: the fewest rounds",
    cost={
        "all_reduce": "⌊lg p⌋(α + nβ + nγ); p not a power of two: + 2(α + nβ) + nγ",
        "reduce_scatter": "⌊lg p⌋α + (p−1)/p n(β + γ); p not a power of two: + (α + nβ + nγ) + α + n/p β",
        "all_gather": "⌊lg p⌋α + (p−1)/p nβ; p not a power of two: + α + n/p β + (α + nβ)",
    },
    source="Thakur, Rabenseifner and Gropp 2005, doi 10.1177/1094342005051521",
    build=_build,
)
