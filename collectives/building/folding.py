"""Folding: how an algorithm for a power of two of ranks serves any number of them.

With p = c + e ranks, c the largest power of two in p, each of the e extra ranks hands its data to a neighbour before,
and gets its result from it after. Extra rank 2v + 1 folds into rank 2v, so that the parts a core rank stands for stay
neighbours in the vector (Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, section 4.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, phase


@dataclass(frozen=True, slots=True)
class Folding:
    """The core of `ranks` ranks: `rank[v]` is the rank that core member v is played by.

    Core member v stands for the parts first_part[v] to first_part[v + 1] of the vector.
    """

    ranks: int
    core: int
    extras: int
    rank: Ints
    first_part: Ints

    def before(self, chunks: int) -> Iterator[Phase]:
        """Extra ranks add their whole vector of `chunks` chunks to their neighbour's."""
        if self.extras:
            yield phase(src=self._extra(), dst=self._host(), chunk=0, count=chunks, reduce=True, modulus=chunks)

    def after(self, chunks: int) -> Iterator[Phase]:
        """Extra ranks get the whole result of `chunks` chunks."""
        if self.extras:
            yield phase(src=self._host(), dst=self._extra(), chunk=0, count=chunks, modulus=chunks)

    def give_own_part(self) -> Iterator[Phase]:
        """Extra ranks get their own part of a vector of one chunk a rank."""
        if self.extras:
            yield phase(src=self._host(), dst=self._extra(), chunk=self._extra(), modulus=self.ranks)

    def take_own_part(self) -> Iterator[Phase]:
        """Extra ranks hand over their own part of a vector of one chunk a rank."""
        if self.extras:
            yield phase(src=self._extra(), dst=self._host(), chunk=self._extra(), modulus=self.ranks)

    def give_other_parts(self) -> Iterator[Phase]:
        """Extra ranks get all parts but their own, of a vector of one chunk a rank."""
        if not self.extras:
            return
        extra, host = self._extra(), self._host()
        behind = self.ranks - 1 - extra
        some = behind > 0
        yield phase(
            src=np.concatenate([host, host[some]]),
            dst=np.concatenate([extra, extra[some]]),
            chunk=np.concatenate([np.zeros_like(extra), extra[some] + 1]),
            count=np.concatenate([extra, behind[some]]),
            modulus=self.ranks,
        )

    def _extra(self) -> Ints:
        return 2 * np.arange(self.extras, dtype=np.int64) + 1

    def _host(self) -> Ints:
        return 2 * np.arange(self.extras, dtype=np.int64)


def fold(ranks: int) -> Folding:
    """The folding of `ranks` ranks, at least 1."""
    core = 1 << (ranks.bit_length() - 1)
    extras = ranks - core
    members = np.arange(core + 1, dtype=np.int64)
    first_part = members + np.minimum(members, extras)
    return Folding(ranks, core, extras, first_part[:-1], first_part)
