"""A schedule: who sends which chunks to whom, in which order, and whether the receiver copies or reduces.

A schedule holds no code and knows no transport. It is a sequence of rounds; a round is a set of transfers that read the
values before the round. Rounds are not barriers when run: a transfer waits only for what touches its chunks. As a ring
over 100,000 ranks has 2·10^10 transfers, a schedule yields phases: a phase is one traffic pattern, repeated while the
chunks move on, and is plain data.

Chunks are numbered over the vector of the collective; numbers from `chunks` up are scratch chunks, each as large as the
largest chunk. Several reductions into one (rank, chunk) in a round are applied in the order in which their senders are
first listed, so that results repeat bit for bit; a copy beside any other write to that chunk in the round is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterbench.collectives.collective import Collective

Ints = NDArray[np.int64]


class ScheduleError(ValueError):
    """A schedule that is malformed: the message says where, what was found, and what was expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Phase:
    """`repetitions` rounds of one traffic pattern, as parallel arrays over its transfers.

    In repetition k a transfer moves `count` neighbouring chunks from chunk src_chunk + k·step of rank `src` to chunk
    dst_chunk + k·step of rank `dst`, each round and round in its window of `modulus` chunks: windows lie one behind the
    other from chunk 0, and most phases have one. Equal ranks mean a local copy. Route 0 is the
    topology's default route; others are alternatives that a synthesised schedule may name.
    """

    src: Ints
    src_chunk: Ints
    dst: Ints
    dst_chunk: Ints
    count: Ints
    reduce: NDArray[np.bool_]
    step: Ints
    route: Ints
    modulus: int
    repetitions: int

    def __len__(self) -> int:
        return len(self.src)

    def chunks_at(self, repetition: int | Ints) -> tuple[Ints, Ints]:
        """Source and destination chunks in a repetition, or in several: then of shape (repetitions, transfers)."""
        moved = np.multiply.outer(repetition, self.step)
        return moved_on(self.src_chunk, moved, self.modulus), moved_on(self.dst_chunk, moved, self.modulus)

    def rounds(self) -> Iterator[Phase]:
        """The repetitions, one by one, each as a phase of one round."""
        for repetition in range(self.repetitions):
            src_chunk, dst_chunk = self.chunks_at(repetition)
            yield replace(self, src_chunk=src_chunk, dst_chunk=dst_chunk, repetitions=1)


def moved_on(chunk: Ints, by: Ints, modulus: int) -> Ints:
    """The chunks moved on by so many, round and round in their windows of `modulus` chunks."""
    return chunk - chunk % modulus + (chunk + by) % modulus


def phase(
    *,
    src: ArrayLike,
    dst: ArrayLike,
    chunk: ArrayLike,
    dst_chunk: ArrayLike | None = None,
    count: ArrayLike = 1,
    reduce: ArrayLike = False,
    step: ArrayLike = 0,
    route: ArrayLike = 0,
    modulus: int,
    repetitions: int = 1,
) -> Phase:
    """Make a phase; numbers stand for all transfers, and `dst_chunk` is `chunk` unless given.

    Raises `ScheduleError` where the arrays differ in length, or a chunk, the modulus or the repetitions are out of
    range.
    """
    dst_chunk = chunk if dst_chunk is None else dst_chunk
    given = [np.asarray(each) for each in (src, chunk, dst, dst_chunk, count, reduce, step, route)]
    lengths = {each.size for each in given if each.size != 1}
    if len(lengths) > 1 or any(each.ndim > 1 for each in given):
        shapes = [each.shape for each in given]
        raise ScheduleError(f"the columns of a phase differ in length: their shapes are {shapes}")
    if modulus < 1 or repetitions < 0:
        raise ScheduleError(f"modulus {modulus} and repetitions {repetitions}; expected at least 1 and at least 0")
    for named, column in (("chunk", given[1]), ("dst_chunk", given[3])):
        if column.size and column.min() < 0:
            raise ScheduleError(f"{named} {int(column[column < 0][0])} of a phase; expected at least 0")
    length = lengths.pop() if lengths else 1
    a, b, c, d, e, f, g, h = (_column(each, length, np.bool_ if each is given[5] else np.int64) for each in given)
    return Phase(a, b, c, d, e, f, g, h, modulus, repetitions)


def _column(given: NDArray[Any], length: int, kind: type[np.generic]) -> NDArray[Any]:
    """A column of its own of so many numbers, from as many or from one."""
    column = np.empty(length, kind)
    column[...] = given
    return column


@dataclass(frozen=True, slots=True)
class Schedule:
    """A collective over `ranks` ranks, its vector cut into `chunks` chunks.

    `phases` gives the phases anew at each call, so that they need not be in memory at once.
    """

    collective: Collective
    ranks: int
    chunks: int
    phases: Callable[[], Iterable[Phase]]
    scratch_chunks: int = 0
    root: int = -1
    """The root of a rooted collective; −1 for the others."""

    def __post_init__(self) -> None:
        parts = self.collective.parts(self.ranks)
        if self.ranks < 1 or self.chunks < 1 or self.scratch_chunks < 0:
            raise ScheduleError(f"{self.ranks} ranks and {self.chunks} chunks; expected at least one of each")
        if self.collective.is_rooted != (0 <= self.root < self.ranks):
            expected = f"a rank from 0 to {self.ranks - 1}" if self.collective.is_rooted else "-1, as it has none"
            raise ScheduleError(f"root {self.root} of {self.collective.name}; expected {expected}")
        if self.chunks % parts:
            raise ScheduleError(
                f"{self.chunks} chunks for {self.collective.name} over {self.ranks} ranks; "
                f"expected a multiple of {parts}"
            )

    @property
    def chunks_per_part(self) -> int:
        """Chunks in a part, or in the whole vector where it has no parts."""
        return self.chunks // self.collective.parts(self.ranks)

    def takes(self, rank: int) -> tuple[int, int]:
        """The chunks [first, end) that a rank brings."""
        return self.collective.owned(self.collective.takes, rank, self.ranks, self.chunks, self.root)

    def gives(self, rank: int) -> tuple[int, int]:
        """The chunks [first, end) that a rank must hold at the end."""
        return self.collective.owned(self.collective.gives, rank, self.ranks, self.chunks, self.root)

    def rounds(self) -> Iterator[Phase]:
        """All rounds in order, each as a phase of one repetition."""
        for phase_ in self.phases():
            yield from phase_.rounds()


Count = int | Ints
"""Elements a rank as nccl-tests counts them (of the vector where it has no parts, of a part otherwise); for a
collective with uneven parts the matrix of elements that rank i sends to rank j, of shape (ranks, ranks)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the chunks of one rank lie: first element of every chunk and the end, `chunks` + 1 numbers each.

    `taken` counts from the start of the vector that the rank brings, `given` of that which it holds at the end; they
    differ only where parts are uneven.
    """

    taken: Ints
    given: Ints


def layout(schedule: Schedule, rank: int, count: Count) -> Layout:
    """The layout of a rank.

    A part is cut into equal chunks of ceil(length / chunks) elements, of which the last may be short or empty; nothing
    is padded. Raises `ScheduleError` for a matrix where one number is expected, and the other way round.
    """
    parts, per_part = schedule.collective.parts(schedule.ranks), schedule.chunks_per_part
    lengths = np.asarray(count, dtype=np.int64)
    shape = (schedule.ranks, schedule.ranks) if schedule.collective.uneven else ()
    if lengths.shape != shape:
        raise ScheduleError(f"{schedule.collective.name} over {schedule.ranks} ranks has counts of shape {shape}; "
                            f"found {lengths.shape}")  # fmt: skip
    if not schedule.collective.uneven:
        even = _offsets(np.full(parts, lengths), per_part)
        return Layout(even, even)
    return Layout(_offsets(lengths[rank], per_part), _offsets(lengths[:, rank], per_part))


def _offsets(lengths: Ints, per_part: int) -> Ints:
    inside = np.minimum(np.arange(per_part) * -(-lengths[:, None] // per_part), lengths[:, None])
    starts = np.cumsum(lengths) - lengths
    return np.append((starts[:, None] + inside).ravel(), lengths.sum())
