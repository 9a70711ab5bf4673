"""What a collective is: which chunks a rank starts with, which it must end with, and what they are made of.

The vector of a collective is the whole of its data: the vector that all ranks reduce, or all ranks' parts behind one
another. It is cut into chunks; a collective with parts has the same number of chunks in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Extent = Literal["whole", "part"]


class UnknownCollectiveError(ValueError):
    """A collective that nobody here knows."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective operation.

    `takes` is what a rank brings: the whole vector, or its own part of it; `gives` is what it must hold at the end.
    `reduces` tells whether a result is the combination of all ranks' contributions or one rank's data.
    """

    name: str
    reduces: bool
    takes: Extent
    gives: Extent
    aliases: tuple[str, ...] = ()
    """Other spellings that the command line takes."""

    @property
    def has_parts(self) -> bool:
        """Whether the vector consists of one part for each rank."""
        return "part" in (self.takes, self.gives)

    def parts(self, ranks: int) -> int:
        """Into how many parts the vector falls: one for each rank, or just one."""
        return ranks if self.has_parts else 1

    def owned(self, extent: Extent, rank: int, ranks: int, chunks: int) -> tuple[int, int]:
        """The chunks [first, last) that `extent` means for `rank`, of a vector of `chunks` chunks."""
        if extent == "whole":
            return 0, chunks
        size = chunks // ranks
        return rank * size, (rank + 1) * size


COLLECTIVES: dict[str, Collective] = {
    c.name: c
    for c in (
        Collective("all_reduce", reduces=True, takes="whole", gives="whole", aliases=("allreduce",)),
        Collective("reduce_scatter", reduces=True, takes="whole", gives="part", aliases=("reducescatter",)),
        Collective("all_gather", reduces=False, takes="part", gives="whole", aliases=("allgather",)),
    )
}


def collective(name: str) -> Collective:
    """The collective by its name or another spelling of it.

    Raises `UnknownCollectiveError`, which names the known ones.
    """
    wanted = name.lower().replace("-", "_")
    for known in COLLECTIVES.values():
        if wanted == known.name or wanted in known.aliases:
            return known
    raise UnknownCollectiveError(f"unknown collective {name!r}; expected one of {', '.join(COLLECTIVES)}")
