"""What a collective is: which chunks a rank starts with, which it must end with, and what they are made of.

The vector of a collective is the whole of its data: the vector that all ranks reduce, or all ranks' parts behind one
another. It is cut into chunks; a collective with parts has the same number of chunks in each. In an exchange every
rank has a vector of its own, in which part i is for rank i before and from rank i after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Extent = Literal["whole", "part", "root"]
"""The whole vector; a rank's own part of it; or the whole vector at the root and nothing elsewhere."""

NOTHING = -1
"""Origin of a chunk that holds no value."""


class UnknownCollectiveError(ValueError):
    """A collective that nobody here knows."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective operation.

    `takes` is what a rank brings, `gives` what it must hold at the end. `reduces` tells whether a result is the
    combination of all ranks' contributions or one rank's data.
    """

    name: str
    reduces: bool
    takes: Extent
    gives: Extent
    exchanges: bool = False
    """Whether every rank brings a vector of its own, of one part for each rank."""
    uneven: bool = False
    """Whether parts differ in length, as a matrix of ranks by ranks says."""
    aliases: tuple[str, ...] = ()
    """Other spellings that the command line takes."""

    @property
    def has_parts(self) -> bool:
        """Whether the vector consists of one part for each rank."""
        return self.exchanges or "part" in (self.takes, self.gives)

    @property
    def is_rooted(self) -> bool:
        """Whether one rank has another part in it than the others."""
        return "root" in (self.takes, self.gives)

    def parts(self, ranks: int) -> int:
        """Into how many parts the vector falls: one for each rank, or just one."""
        return ranks if self.has_parts else 1

    def owned(self, extent: Extent, rank: int, ranks: int, chunks: int, root: int) -> tuple[int, int]:
        """The chunks [first, last) that `extent` means for `rank`, of a vector of `chunks` chunks."""
        if extent == "whole" or (extent == "root" and rank == root):
            return 0, chunks
        if extent == "root":
            return 0, 0
        size = chunks // ranks
        return rank * size, (rank + 1) * size

    def brought(self, rank: int, ranks: int, chunks: int, root: int) -> NDArray[np.int64]:
        """The origin of each chunk of a rank before: what it is a part of, or `NOTHING`; shape (chunks,).

        Origins are chunks of the one vector, or in an exchange rank · chunks + chunk of the rank that brings it.
        """
        if self.exchanges:
            return rank * chunks + np.arange(chunks, dtype=np.int64)
        return _numbered(chunks, *self.owned(self.takes, rank, ranks, chunks, root))

    def expected(self, rank: int, ranks: int, chunks: int, root: int) -> NDArray[np.int64]:
        """The origin that each chunk of a rank must have at the end, or `NOTHING`; shape (chunks,)."""
        if self.exchanges:
            size = chunks // ranks
            source, inside = np.divmod(np.arange(chunks, dtype=np.int64), size)
            return source * chunks + rank * size + inside
        return _numbered(chunks, *self.owned(self.gives, rank, ranks, chunks, root))


def _numbered(chunks: int, first: int, end: int) -> NDArray[np.int64]:
    numbers = np.full(chunks, NOTHING, np.int64)
    numbers[first:end] = np.arange(first, end)
    return numbers


COLLECTIVES: dict[str, Collective] = {
    c.name: c
    for c in (
        Collective("all_reduce", reduces=True, takes="whole", gives="whole", aliases=("allreduce",)),
        Collective("reduce_scatter", reduces=True, takes="whole", gives="part", aliases=("reducescatter",)),
        Collective("all_gather", reduces=False, takes="part", gives="whole", aliases=("allgather",)),
        Collective("broadcast", reduces=False, takes="root", gives="whole", aliases=("bcast",)),
        Collective("reduce", reduces=True, takes="whole", gives="root"),
        Collective("all_to_all", reduces=False, takes="whole", gives="whole", exchanges=True, aliases=("alltoall",)),
        Collective("all_to_all_v", reduces=False, takes="whole", gives="whole", exchanges=True, uneven=True,
                   aliases=("alltoallv", "all_to_allv")),
        Collective("scatter", reduces=False, takes="root", gives="part"),
        Collective("gather", reduces=False, takes="part", gives="root"),
    )
}  # fmt: skip


def collective(name: str) -> Collective:
    """The collective by its name or another spelling of it.

    Raises `UnknownCollectiveError`, which names the known ones.
    """
    wanted = name.lower().replace("-", "_")
    for known in COLLECTIVES.values():
        if wanted == known.name or wanted in known.aliases:
            return known
    raise UnknownCollectiveError(f"unknown collective {name!r}; expected one of {', '.join(COLLECTIVES)}")
