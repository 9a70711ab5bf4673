"""Ring: every rank sends to its right neighbour and receives from its left one, p − 1 rounds a pass.

In the reduce-scatter pass a chunk travels round the ring and collects every rank's contribution; in the all-gather
pass the finished chunk travels round once more. Each link carries 2(p−1)/p of the vector, which no algorithm that
reduces at the end points beats, and only neighbours talk: the choice for large vectors, on any network that has a
Hamiltonian ring. Its p − 1 messages in a row make it slow for small ones.

Source: P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
J. Parallel Distrib. Comput. 69(2), 2009, doi 10.1016/j.jpdc.2008.09.002.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.schedule import Phase, Schedule, phase


def _pass(ranks: int, first: int, reduce: bool) -> Phase:
    """p − 1 rounds in which rank r sends chunk r + first − k in round k."""
    rank = np.arange(ranks, dtype=np.int64)
    return phase(
        src=rank,
        dst=(rank + 1) % ranks,
        chunk=(rank + first) % ranks,
        reduce=reduce,
        step=-1,
        modulus=ranks,
        repetitions=ranks - 1,
    )


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks

    def phases() -> Iterator[Phase]:
        if collective.name == "all_gather":
            yield _pass(ranks, 0, reduce=False)
        elif collective.name == "reduce_scatter":
            yield _pass(ranks, -1, reduce=True)  # the chunk that arrives last is the rank's own
        else:
            yield _pass(ranks, 0, reduce=True)
            yield _pass(ranks, 1, reduce=False)

    return Schedule(collective, ranks, chunks=ranks, phases=phases)


ALGORITHM = Algorithm(
    name="ring",
    summary="neighbours only, p − 1 rounds a pass; every link carries the least that it must",
    cost={
        "all_reduce": "2(p−1)α + 2(p−1)/p nβ + (p−1)/p nγ",
        "reduce_scatter": "(p−1)α + (p−1)/p nβ + (p−1)/p nγ",
        "all_gather": "(p−1)α + (p−1)/p nβ",
    },
    source="Patarasuk and Yuan 2009, doi 10.1016/j.jpdc.2008.09.002",
    build=_build,
)
