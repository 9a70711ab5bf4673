"""Swing: halving and doubling with partners that lie now on one side and now on the other, nearer than powers of two.

In round s an even rank r talks to r + ρ(s), an odd one to r − ρ(s) (mod p), with ρ(s) = Σ_{i≤s} (−2)^i = 1, −1, 3, −5,
11, …: distances of about 2/3 of those of recursive halving, so that on a ring or a torus fewer messages share a link.
reduce_scatter sends to the partner what it, or whoever it still talks to, is to own: half of the rest each round, the
most to the nearest; all_gather goes the same way back; all_reduce is one after the other. In all_reduce nobody cares
which chunk is whose, and chunks are numbered so that what goes to a partner lies together; in the other two it is
several pieces of one message, half as many as there are parts in it.
Ranks beyond the largest power of two fold into a neighbour before and unfold after (`building/folding.py`), where
the paper treats even numbers of ranks by themselves. The copies of it that the paper runs on the dimensions of a torus
at once are not part of this.

Source: D. De Sensi, T. Bonato, D. Saam and T. Hoefler, "Swing: short-cutting rings for higher bandwidth allreduce",
NSDI 2024, doi 10.48550/arXiv.2401.09356.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call
from clusterbench.collectives.building.folding import Folding, fold
from clusterbench.collectives.building.limits import refuse_large_rounds
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def partner(member: Ints, core: int, step: int) -> Ints:
    """Whom the members of a core of `core` ranks talk to in a round of the reduce-scatter."""
    distance = (1 - (-2) ** (step + 1)) // 3
    return (member + np.where(member % 2 == 0, distance, -distance)) % core


def groups(core: int) -> list[Ints]:
    """For each round the group that a member is in after it, named by its lowest member.

    A group is who can be reached in the rounds still to come: all who work on the same chunks. A member and its partner
    of round s are in one group before it, and in different ones after it.
    """
    member = np.arange(core, dtype=np.int64)
    after = [member]
    for step in reversed(range(1, core.bit_length() - 1)):
        after.append(np.minimum(after[-1], after[-1][partner(member, core, step)]))
    return after[::-1][: core.bit_length() - 1]


def _numbered(core: int) -> list[Ints]:
    """For each round the first of the core / 2^(s+1) chunks that a member still works on after it."""
    first, before = np.zeros(core, np.int64), np.zeros(core, np.int64)
    firsts = []
    for step, group in enumerate(groups(core)):
        first = first + (group != before) * (core >> (step + 1))
        before = group
        firsts.append(first)
    return firsts


def _all_reduce(folding: Folding) -> Iterator[Phase]:
    core = folding.core
    member = np.arange(core, dtype=np.int64)
    firsts = _numbered(core)
    yield from folding.before(core)
    for step, first in enumerate(firsts):
        other = partner(member, core, step)
        yield phase(
            src=folding.rank,
            dst=folding.rank[other],
            chunk=first[other],
            count=core >> (step + 1),
            reduce=True,
            modulus=core,
        )
    for step, first in reversed(list(enumerate(firsts))):
        other = partner(member, core, step)
        yield phase(src=folding.rank, dst=folding.rank[other], chunk=first, count=core >> (step + 1), modulus=core)
    yield from folding.after(core)


def _exchange(folding: Folding, step: int, group: Ints, reduce: bool) -> Phase:
    """One round: a member sends the parts of its partner's group (to be reduced), or those of its own group."""
    core = folding.core
    member = np.arange(core, dtype=np.int64)
    other = partner(member, core, step)
    members_of = np.argsort(group, kind="stable").reshape(1 << (step + 1), -1)
    names = group[members_of[:, 0]]
    held = members_of[np.searchsorted(names, group[other] if reduce else group)]  # a row for each member, in order
    starts = np.ones(held.shape, np.bool_)
    starts[:, 1:] = np.diff(held, axis=1) != 1  # neighbours go as one piece
    begin = np.flatnonzero(starts)
    end = np.append(begin[1:], held.size) - 1
    first, last = held.ravel()[begin], held.ravel()[end]
    sender = begin // held.shape[1]
    return phase(
        src=folding.rank[sender],
        dst=folding.rank[other[sender]],
        chunk=folding.first_part[first],
        count=folding.first_part[last + 1] - folding.first_part[first],
        reduce=reduce,
        modulus=folding.ranks,
    )


def _reduce_scatter(folding: Folding) -> Iterator[Phase]:
    yield from folding.before(folding.ranks)
    for step, group in enumerate(groups(folding.core)):
        yield _exchange(folding, step, group, reduce=True)
    yield from folding.give_own_part()


def _all_gather(folding: Folding) -> Iterator[Phase]:
    yield from folding.take_own_part()
    for step, group in reversed(list(enumerate(groups(folding.core)))):
        yield _exchange(folding, step, group, reduce=False)
    yield from folding.give_other_parts()


def _build(call: Call) -> Schedule:
    collective, ranks = call.collective, call.ranks
    folding = fold(ranks)
    rounds = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter}
    chunks = folding.core if collective.name == "all_reduce" else ranks
    if collective.name != "all_reduce":
        refuse_large_rounds(call, folding.core**2 // 4)  # pieces of about two parts, of half of the vector
    return Schedule(collective, ranks, chunks, phases=lambda: rounds[collective.name](folding))


ALGORITHM = Algorithm(
    name="swing",
    summary="halving and doubling with partners on alternating sides, nearer than powers of two",
    cost={
        "all_reduce": "2⌊lg p⌋α + 2(p−1)/p nβ + (p−1)/p nγ; p not a power of two: + 2(α + nβ) + nγ",
        "reduce_scatter": "⌊lg p⌋α + (p−1)/p n(β + γ); p not a power of two: + (α + nβ + nγ) + α + n/p β",
        "all_gather": "⌊lg p⌋α + (p−1)/p nβ; p not a power of two: + α + n/p β + (α + nβ)",
    },
    source="De Sensi et al. 2024, doi 10.48550/arXiv.2401.09356",
    build=_build,
)
