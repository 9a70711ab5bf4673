"""Direct: everybody talks to everybody at once, in one round.

all_gather sends every rank's part to all others; reduce_scatter sends every rank the others' contributions to its part,
which it reduces; all_reduce is one after the other; all_to_all and all_to_all_v send each part straight from where it
lies to where it belongs. A rank lists first the rank after it, then the one after that, so that not all write to the
same one first. The rooted collectives are the linear ones: the root talks to all others.
Nothing is forwarded, so the volume is the least there is, and the latency is that of one or two messages where a
network carries p − 1 at once, as a switch inside a host does: the choice there, and for all_to_all of few ranks. It has
p − 1 messages a rank, all of them in flight, and a round in which all talk to all is held whole, as p(p−1) transfers:
thousands of ranks are refused.

Source: E. Chan, M. Heimlich, A. Purkayastha and R. van de Geijn, "Collective communication: theory, practice, and
experience", Concurr. Comput. Pract. Exp. 19(13), 2007, doi 10.1002/cpe.1206 (fully connected nodes, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.limits import refuse_large_rounds
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def _all_pairs(ranks: int) -> tuple[Ints, Ints]:
    """Sender and receiver of all pairs, sorted by how far apart they are."""
    src = np.tile(np.arange(ranks, dtype=np.int64), ranks - 1)
    distance = np.repeat(np.arange(1, ranks, dtype=np.int64), ranks)
    return src, (src + distance) % ranks


def _unrooted(collective: str, ranks: int) -> Iterator[Phase]:
    if ranks == 1:
        return
    src, dst = _all_pairs(ranks)
    if collective in ("all_to_all", "all_to_all_v"):
        yield phase(src=src, dst=dst, chunk=dst, dst_chunk=src, modulus=ranks)
    if collective in ("reduce_scatter", "all_reduce"):
        yield phase(src=src, dst=dst, chunk=dst, reduce=True, modulus=ranks)
    if collective in ("all_gather", "all_reduce"):
        yield phase(src=src, dst=dst, chunk=src, modulus=ranks)


def _rooted(collective: str, ranks: int, root: int) -> Iterator[Phase]:
    if ranks == 1:
        return
    other = (root + np.arange(1, ranks, dtype=np.int64)) % ranks
    if collective in ("scatter", "broadcast"):
        src, dst = np.full_like(other, root), other
    else:
        src, dst = other, np.full_like(other, root)
    has_parts = collective in ("scatter", "gather")
    yield phase(
        src=src,
        dst=dst,
        chunk=other if has_parts else 0,
        reduce=collective == "reduce",
        modulus=ranks if has_parts else 1,
    )


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    if collective.is_rooted:
        chunks = collective.parts(ranks)
        return Schedule(
            collective, ranks, chunks, phases=lambda: _rooted(collective.name, ranks, call.root), root=call.root
        )
    refuse_large_rounds(call, ranks * (ranks - 1))
    return Schedule(collective, ranks, ranks, phases=lambda: _unrooted(collective.name, ranks))


ALGORITHM = Algorithm(
    name="direct",
    summary="everybody talks to everybody at once, or the root to all",
    cost={
        "all_reduce": "2(p−1)α + 2(p−1)/p nβ + (p−1)/p nγ; 2α + … with p−1 ports",
        "reduce_scatter": "(p−1)α + (p−1)/p n(β + γ); α + … with p−1 ports",
        "all_gather": "(p−1)α + (p−1)/p nβ; α + … with p−1 ports",
        "all_to_all": "(p−1)α + (p−1)/p nβ, n bytes of a rank; α + … with p−1 ports",
        "all_to_all_v": "(p−1)α + nβ, n the most bytes that a rank sends or receives; α + … with p−1 ports",
        "broadcast": "(p−1)(α + nβ)",
        "reduce": "(p−1)(α + nβ + nγ)",
        "scatter": "(p−1)α + (p−1)/p nβ",
        "gather": "(p−1)α + (p−1)/p nβ",
    },
    source="Chan et al. 2007, doi 10.1002/cpe.1206",
    build=_build,
)
