"""Halving-doubling: half of the rest is exchanged each round, so that volume and rounds are both near the least.

all_reduce is Rabenseifner's: a reduce-scatter in which the distance doubles while the vector halves, so that the large
messages stay near, then an all-gather that goes the same way back. reduce_scatter alone is recursive halving: it starts
with the rank at distance p/2, so that what it sends is one block. all_gather alone is its mirror image: the distance
halves while the vector doubles, and the largest message goes to the nearest rank.
Ranks beyond the largest power of two fold into a neighbour before and unfold after (`collectives/building/folding.py`).

Source: R. Rabenseifner, "Optimization of collective reduction operations", ICCS 2004, doi 10.1007/978-3-540-24685-5_1;
R. Thakur, R. Rabenseifner and W. Gropp, Int. J. High Perform. Comput. Appl. 19(1), 2005, doi 10.1177/1094342005051521.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.folding import Folding, fold
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def _kept(core: int) -> list[Ints]:
    """For each round k of halving, of each member, the first of the core / 2^(k+1) chunks that it works on after it."""
    member, first = np.arange(core), np.zeros(core, np.int64)
    return [first := first + (member >> k & 1) * (core >> (k + 1)) for k in range(core.bit_length() - 1)]


def _all_reduce(folding: Folding) -> Iterator[Phase]:
    core = folding.core
    member = np.arange(core, dtype=np.int64)
    yield from folding.before(core)
    kept = _kept(core)
    for k in range(len(kept)):
        partner = member ^ (1 << k)
        yield phase(
            src=folding.rank,
            dst=folding.rank[partner],
            chunk=kept[k][partner],
            count=core >> (k + 1),
            reduce=True,
            modulus=core,
        )
    for k in reversed(range(len(kept))):
        partner = member ^ (1 << k)
        yield phase(
            src=folding.rank,
            dst=folding.rank[partner],
            chunk=kept[k],
            count=core >> (k + 1),
            modulus=core,
        )
    yield from folding.after(core)


def _reduce_scatter(folding: Folding) -> Iterator[Phase]:
    member = np.arange(folding.core, dtype=np.int64)
    yield from folding.before(folding.ranks)
    for k in reversed(range(folding.core.bit_length() - 1)):
        partner = member ^ (1 << k)
        block = partner >> k << k  # the members whose sums the partner keeps
        first, end = folding.first_part[block], folding.first_part[block + (1 << k)]
        yield phase(
            src=folding.rank,
            dst=folding.rank[partner],
            chunk=first,
            count=end - first,
            reduce=True,
            modulus=folding.ranks,
        )
    yield from folding.give_own_part()


def _all_gather(folding: Folding) -> Iterator[Phase]:
    yield from folding.take_own_part()
    for k in reversed(range(folding.core.bit_length() - 1)):
        period = 2 << k
        member, nth = np.divmod(np.arange(folding.core * (folding.core // period)), folding.core // period)
        held = member % period + nth * period  # whose parts are here by now
        first, end = folding.first_part[held], folding.first_part[held + 1]
        yield phase(
            src=folding.rank[member],
            dst=folding.rank[member ^ (1 << k)],
            chunk=first,
            count=end - first,
            modulus=folding.ranks,
        )
    yield from folding.give_other_parts()


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    folding = fold(ranks)
    rounds = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter}
    chunks = folding.core if collective.name == "all_reduce" else ranks
    return Schedule(collective, ranks, chunks, phases=lambda: rounds[collective.name](folding))


ALGORITHM = Algorithm(
    name="halving-doubling",
    summary="Rabenseifner: halve what is exchanged each round, then double it back",
    cost={
        "all_reduce": "2⌊lg p⌋α + 2(p−1)/p nβ + (p−1)/p nγ; p not a power of two: + 2(α + nβ) + nγ",
        "reduce_scatter": "⌊lg p⌋α + (p−1)/p n(β + γ); p not a power of two: + (α + nβ + nγ) + α + n/p β",
        "all_gather": "⌊lg p⌋α + (p−1)/p nβ; p not a power of two: + α + n/p β + (α + nβ)",
    },
    source="Rabenseifner 2004, doi 10.1007/978-3-540-24685-5_1",
    build=_build,
)
