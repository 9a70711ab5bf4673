"""How many bytes the transfers of a schedule move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, Schedule, ScheduleError, layout

ELEMENT_BYTES = 4
"""Of float32, as collectives are measured with unless another type is named."""


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Bytes of the chunks of a schedule, whose vector has so many bytes.

    `ends` has chunks + 1 numbers: where each chunk begins in the vector, and where the last ends; for a collective with
    uneven parts one row a rank. `longest` is the size of the longest chunk, which scratch chunks have.
    """

    ends: Ints
    longest: int
    chunks: int

    def exact(self, part: Phase) -> Ints:
        """Bytes of each transfer of a phase of one round."""
        first, last = part.src_chunk, part.src_chunk + part.count
        inside = np.minimum(first, self.chunks), np.minimum(last, self.chunks)
        if self.ends.ndim == 2:
            held = self.ends[part.src, inside[1]] - self.ends[part.src, inside[0]]
        else:
            held = self.ends[inside[1]] - self.ends[inside[0]]
        return held + (last - inside[1] - (first - inside[0])) * self.longest


def sizes(schedule: Schedule, size_bytes: int, matrix: Ints | None = None, element_bytes: int = ELEMENT_BYTES) -> Sizes:
    """Sizes for a vector of so many bytes, whole elements, or for the elements that a matrix gives from rank to rank.

    `size_bytes` is nccl-tests' size: the vector that is reduced or sent, or all ranks' parts together. Raises
    `ScheduleError` for a matrix where none is expected, and the other way round.
    """
    if schedule.collective.uneven:
        if matrix is None:
            raise ScheduleError(f"{schedule.collective.name} needs a matrix of what each rank sends to each")
        rows = np.stack([layout(schedule, rank, matrix).taken for rank in range(schedule.ranks)]) * element_bytes
        return Sizes(rows, int(np.diff(rows, axis=1).max(initial=0)), schedule.chunks)
    if matrix is not None:
        raise ScheduleError(f"{schedule.collective.name} has parts of one size; found a matrix")
    ends = layout(schedule, 0, _count(schedule, size_bytes, element_bytes)).taken * element_bytes
    return Sizes(ends, longest(schedule, size_bytes, element_bytes), schedule.chunks)


def longest(schedule: Schedule, size_bytes: int, element_bytes: int = ELEMENT_BYTES) -> int:
    """Bytes of the longest chunk of a vector that is cut evenly: of the first, as no other is longer."""
    return -(-_count(schedule, size_bytes, element_bytes) // schedule.chunks_per_part) * element_bytes


def _count(schedule: Schedule, size_bytes: int, element_bytes: int) -> int:
    """Elements a rank as nccl-tests counts them."""
    return -(-size_bytes // (element_bytes * schedule.collective.parts(schedule.ranks)))
