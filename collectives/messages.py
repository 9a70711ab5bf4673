"""The messages of a rank: what a schedule has it send, receive and keep, round by round, as arrays.

Transfers of one rank pair in one round travel as one message. Messages stand in the order of rounds, and inside a round
in the order in which their first transfers are listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Phase, Schedule

IN, OUT, SELF = range(3)
"""Directions of a message."""

Columns = NDArray[np.int32]
"""Transfers in listed order, one a row: round, source, source chunk, destination, its chunk, count, reduces."""


def messages_of(schedule: Schedule, rank: int) -> tuple[Columns, Columns]:
    """The messages of one rank and their pieces.

    A message is (round, direction, peer, first piece, end), a piece (source chunk, destination chunk, count, reduces).
    """
    transfers = _expanded(schedule, lambda phase: np.flatnonzero((phase.src == rank) | (phase.dst == rank)))
    return _grouped(transfers, np.arange(len(transfers)), rank, schedule.ranks)


def all_messages(schedule: Schedule) -> Iterator[tuple[Columns, Columns]]:
    """The messages of every rank, in the order of ranks; needs all transfers in memory."""
    transfers = _expanded(schedule, lambda phase: np.arange(len(phase)))
    starts, mine = _by_rank(transfers, schedule.ranks)
    for rank in range(schedule.ranks):
        yield _grouped(transfers, mine[starts[rank] : starts[rank + 1]], rank, schedule.ranks)


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
    rows[:, :, 2] = (phase.src_chunk[which] + moved) % phase.modulus
    rows[:, :, 3] = phase.dst[which]
    rows[:, :, 4] = (phase.dst_chunk[which] + moved) % phase.modulus
    rows[:, :, 5] = phase.count[which]
    rows[:, :, 6] = phase.reduce[which]
    return rows.reshape(-1, 7)


@njit(cache=True)
def _by_rank(transfers: Any, ranks: int) -> Any:
    """For every rank the transfers that it is part of, in listed order: starts (ranks + 1) and their numbers."""
    starts = np.zeros(ranks + 1, np.int64)
    for t in range(len(transfers)):
        starts[transfers[t, 1] + 1] += 1
        if transfers[t, 1] != transfers[t, 3]:
            starts[transfers[t, 3] + 1] += 1
    for rank in range(ranks):
        starts[rank + 1] += starts[rank]
    at = starts[:-1].copy()
    mine = np.empty(starts[-1], np.int64)
    for t in range(len(transfers)):
        mine[at[transfers[t, 1]]] = t
        at[transfers[t, 1]] += 1
        if transfers[t, 1] != transfers[t, 3]:
            mine[at[transfers[t, 3]]] = t
            at[transfers[t, 3]] += 1
    return starts, mine


@njit(cache=True)
def _grouped(transfers: Any, mine: Any, rank: int, ranks: int) -> Any:
    """Messages and pieces of a rank, given the numbers of its transfers in listed order."""
    messages = np.zeros((len(mine), 5), np.int32)
    pieces = np.zeros((len(mine), 4), np.int32)
    belongs = np.empty(len(mine), np.int64)
    latest = np.full(3 * ranks, -1, np.int64)  # the last message of a direction and peer
    made = 0
    for i in range(len(mine)):
        t = mine[i]
        direction, peer = IN, transfers[t, 1]
        if transfers[t, 1] == rank:
            direction, peer = (SELF if transfers[t, 3] == rank else OUT), transfers[t, 3]
        key = direction * ranks + peer
        m = latest[key]
        if m < 0 or messages[m, 0] != transfers[t, 0]:
            m = latest[key] = made
            messages[m, 0], messages[m, 1], messages[m, 2] = transfers[t, 0], direction, peer
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
        pieces[p, 0], pieces[p, 1] = transfers[t, 2], transfers[t, 4]
        pieces[p, 2], pieces[p, 3] = transfers[t, 5], transfers[t, 6]
        messages[belongs[i], 4] += 1
    return messages[:made].copy(), pieces
