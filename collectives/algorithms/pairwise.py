"""Pairwise: every block goes straight from its sender to its receiver, one pair of ranks after the other.

Both ranks of a pair send in the same round, so a slot is read in the round that overwrites it, not later: the exchange
works in place too. With an even number of ranks each round is a perfect matching: rank r meets r XOR k where p is a
power of two, so that near ranks meet first; otherwise the ranks but the last meet by r + s = k mod (p − 1), as players
do in a tournament, and who would meet itself meets the last. No rank has two partners at a time, and p − 1 rounds are
all that there are. An odd number of ranks has no perfect matching: round k is then rank r with r + k and r − k.

The least that any all_to_all sends, in p − 1 messages: the choice for large blocks, and, as a block never lies anywhere
else, the one for blocks of uneven length (all_to_all_v).

Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH",
Int. J. High Perform. Comput. Appl. 19(1), 2005, section 3.4, doi 10.1177/1094342005051521.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def _partners(ranks: int) -> Iterator[list[Ints]]:
    """The partners of every rank, round by round; one or, with an odd number of ranks, two."""
    rank = np.arange(ranks, dtype=np.int64)
    if ranks % 2:
        for k in range(1, ranks // 2 + 1):
            yield [(rank + k) % ranks, (rank - k) % ranks]
    elif ranks & (ranks - 1) == 0:
        for k in range(1, ranks):
            yield [rank ^ k]
    else:
        last = ranks - 1
        for k in range(last):
            partner = (k - rank) % last
            alone = int(np.flatnonzero(partner[:last] == rank[:last])[0])
            partner[alone], partner[last] = last, alone
            yield [partner]


def _phases(ranks: int) -> Iterator[Phase]:
    rank = np.arange(ranks, dtype=np.int64)
    for partners in _partners(ranks):
        src, dst = np.tile(rank, len(partners)), np.concatenate(partners)
        yield phase(src=src, dst=dst, chunk=dst, dst_chunk=src, modulus=ranks)


def _build(call: Call) -> Schedule:
    return Schedule(call.collective, call.ranks, call.ranks, phases=lambda: _phases(call.ranks))


ALGORITHM = Algorithm(
    name="pairwise",
    summary="p − 1 exchanges, one partner at a time; every block goes straight to its receiver",
    cost={
        "all_to_all": "(p−1)α + (p−1)/p nβ",
        "all_to_all_v": "(p−1)α + nβ (n: the most that a rank sends or receives)",
    },
    source="Thakur, Rabenseifner and Gropp 2005, doi 10.1177/1094342005051521",
    build=_build,
)
