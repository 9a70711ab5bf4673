"""The buffers of a request on one rank: taken once for its largest size, and cut for every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clusterbench.collectives.checking.data import Problem
from clusterbench.collectives.transports.pages import page_aligned
from clusterbench.collectives.transports.prepared import Buffer, Buffers


@dataclass(frozen=True, slots=True)
class Arena:
    """Two pieces of memory: for the larger of what a rank brings and holds, and for the smaller out of place."""

    large: Buffer
    small: Buffer
    """Arrays of NumPy's, or of another module for buffers elsewhere."""

    def buffers(self, problem: Problem, rank: int, in_place: bool, result_first: bool = False) -> Buffers:
        """What a rank sends and receives in one call.

        In place the smaller of the two is the rank's own part of the larger, as NCCL has it. With `result_first` the
        result is afterwards at the start of the larger instead.
        """
        brings, holds = problem.brings(rank), problem.holds(rank)
        shorter = min(brings, holds)
        large = self.large[: max(brings, holds)]
        if not in_place:
            small = self.small[:shorter]
        elif 0 < shorter < len(large):
            small = large[rank * shorter : (rank + 1) * shorter]
        else:
            small = large[:shorter]
        send, receive = (large, small) if brings >= holds else (small, large)
        return Buffers(send, receive, large[:shorter] if result_first else receive)


def sizes(problems: Sequence[Problem], placements: Sequence[str], rank: int) -> tuple[int, int]:
    """The elements that the two pieces of an arena must have for all of `problems`."""
    sides = [(problem.brings(rank), problem.holds(rank)) for problem in problems]
    return max(map(max, sides)), max(map(min, sides)) if "out_of_place" in placements else 0


def take_arena(problems: Sequence[Problem], placements: Sequence[str], rank: int) -> Arena:
    """The memory of a rank for all of `problems`, which are of one type."""
    large, small = sizes(problems, placements, rank)
    dtype = problems[0].dtype
    return Arena(*(page_aligned(elements * dtype.itemsize).view(dtype) for elements in (large, small)))
