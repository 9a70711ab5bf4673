"""Bidirectional ring: two opposite rings at once, each with half of every part.

Ring (`ring.py`) with both directions of every link in use: in each round a rank sends half a part to its right and half
a part to its left neighbour. Where links are separate, as in a torus, each one carries half of what it carries in a
ring: (p−1)/p of the vector for all_reduce. Where a rank has one port for all its traffic, it gains nothing and sends
twice as many messages.

Source: P. Sack and W. Gropp, "Collective algorithms for multiported torus networks", ACM Trans. Parallel Comput. 1(2),
2015, doi 10.1145/2686882; the ring itself: P. Patarasuk and X. Yuan, 2009, doi 10.1016/j.jpdc.2008.09.002.
"""

from __future__ import annotations

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.rings import ring_passes
from clusterbench.collectives.schedule import Schedule

_BOTH_WAYS = (1, -1)


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    chunks = ranks * len(_BOTH_WAYS)
    return Schedule(collective, ranks, chunks, phases=lambda: ring_passes(collective.name, ranks, _BOTH_WAYS))


ALGORITHM = Algorithm(
    name="bidirectional-ring",
    summary="two opposite rings, each with half of the vector: both directions of every link are in use",
    cost={
        "all_reduce": "2(p−1)α + (p−1)/p nβ + (p−1)/p nγ, β of a link in one direction",
        "reduce_scatter": "(p−1)α + (p−1)/p n/2 β + (p−1)/p nγ, β of a link in one direction",
        "all_gather": "(p−1)α + (p−1)/p n/2 β, β of a link in one direction",
    },
    source="Sack and Gropp 2015, doi 10.1145/2686882",
    build=_build,
)
