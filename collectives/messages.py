"""The messages of a rank: what a schedule has it send, receive and keep, round by round, as arrays.

Transfers of one rank pair in one round travel as one message. Messages stand in the order of rounds, and inside a round
in the order in which their first transfers are listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Phase, Schedule, moved_on

IN, OUT, SELF = range(3)
"""Directions of a message."""

Columns = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Transfers:
    """All transfers of a schedule, every repetition written out, and whose they are."""

    ranks: int
    rows: Columns
    """In listed order, one a row: round, source, source chunk, destination, its chunk, count, reduces."""
    starts: NDArray[np.int64]
    """Where the transfers of each rank begin in `numbers`, and the end."""
    numbers: Columns
    """The transfers that a rank is part of, in listed order, for one rank after the other."""

    def messages(self, rank: int) -> tuple[Columns, Columns]:
        """The messages of a rank and their pieces, as `messages_of` makes them; lets other threads run meanwhile."""
        mine = self.numbers[self.starts[rank] : self.starts[rank + 1]]
        messages, pieces = _grouped(self.rows, mine, rank, self.ranks)
        return messages, pieces


def messages_of(schedule: Schedule, rank: int) -> tuple[Columns, Columns]:
    """The messages of one rank and their pieces.

    A message is (round, direction, peer, first piece, end), a piece (source chunk, destination chunk, count, reduces).
    """
    rows = _expanded(schedule, lambda phase: np.flatnonzero((phase.src == rank) | (phase.dst == rank)))
    messages, pieces = _grouped(rows, np.arange(len(rows), dtype=np.int32), rank, schedule.ranks)
    return messages, pieces


def transfers_of(schedule: Schedule) -> Transfers:
    """All transfers of a schedule, from which the messages of every rank are made; 28 bytes each and 4 for each end."""
    rows = _expanded(schedule, lambda phase: np.arange(len(phase)))
    return Transfers(schedule.ranks, rows, *_by_rank(rows, schedule.ranks))


def _expanded(schedule: Schedule, chosen: Any) -> Columns:
    """The chosen transfers of all phases, every repetition written out."""
    made, number = [np.zeros((0, 7), np.int32)], 0
    for phase in schedule.phases():
        which = chosen(phase)
        made.append(_repeated(phase, which, number))
        number += phase.repetitions
    return np.concatenate(made)


def _repeated(phase: Phase, which: Any, number: int) -> Columns:
    """The transfers `which` of a phase in all its repetitions, the first being round `number`."""
    repetition = np.arange(phase.repetitions, dtype=np.int64)[:, None]
    moved = repetition * phase.step[which]
    rows = np.empty((phase.repetitions, len(which), 7), np.int32)
    rows[:, :, 0] = number + repetition
    rows[:, :, 1] = phase.src[which]
    rows[:, :, 2] = moved_on(phase.src_chunk[which], moved, phase.modulus)
    rows[:, :, 3] = phase.dst[which]
    rows[:, :, 4] = moved_on(phase.dst_chunk[which], moved, phase.modulus)
    rows[:, :, 5] = phase.count[which]
    rows[:, :, 6] = phase.reduce[which]
    return rows.reshape(-1, 7)


@njit(cache=True, nogil=True)
def _by_rank(rows: Any, ranks: int) -> Any:
    """`starts` and `numbers` of `Transfers`."""
    starts = np.zeros(ranks + 1, np.int64)
    for t in range(len(rows)):
        starts[rows[t, 1] + 1] += 1
        if rows[t, 1] != rows[t, 3]:
            starts[rows[t, 3] + 1] += 1
    for rank in range(ranks):
        starts[rank + 1] += starts[rank]
    at = starts[:-1].copy()
    numbers = np.empty(starts[-1], np.int32)
    for t in range(len(rows)):
        numbers[at[rows[t, 1]]] = t
        at[rows[t, 1]] += 1
        if rows[t, 1] != rows[t, 3]:
            numbers[at[rows[t, 3]]] = t
            at[rows[t, 3]] += 1
    return starts, numbers


@njit(cache=True, nogil=True)
def _grouped(rows: Any, mine: Any, rank: int, ranks: int) -> Any:
    """Messages and pieces of a rank, given the numbers of its transfers in listed order."""
    messages = np.zeros((len(mine), 5), np.int32)
    pieces = np.zeros((len(mine), 4), np.int32)
    belongs = np.empty(len(mine), np.int64)
    latest = np.full(3 * ranks, -1, np.int64)  # the last message of a direction and peer
    made = 0
    for i in range(len(mine)):
        t = mine[i]
        direction, peer = IN, rows[t, 1]
        if rows[t, 1] == rank:
            direction, peer = (SELF if rows[t, 3] == rank else OUT), rows[t, 3]
        key = direction * ranks + peer
        m = latest[key]
        if m < 0 or messages[m, 0] != rows[t, 0]:
            m = latest[key] = made
            messages[m, 0], messages[m, 1], messages[m, 2] = rows[t, 0], direction, peer
            made += 1
        messages[m, 4] += 1  # counts its pieces for now
        belongs[i] = m
    at = 0
    for m in range(made):
        messages[m, 3] = at
        at += messages[m, 4]
        messages[m, 4] = messages[m, 3]
    for i in range(len(mine)):
        t = mine[i]
        p = messages[belongs[i], 4]
        pieces[p, 0], pieces[p, 1] = rows[t, 2], rows[t, 4]
        pieces[p, 2], pieces[p, 3] = rows[t, 5], rows[t, 6]
        messages[belongs[i], 4] += 1
    return messages[:made].copy(), pieces
