"""What a schedule sends, as messages, and which of them waits for which: the graph that events are played over.

What goes from one rank to another in a round over one route is one message. By `data` order a message waits only for
what touches its chunks: it reads what was written, and writes where all has been read and written before. By `blocking`
order a rank takes part in a round when it is through with its earlier ones, as a program does that calls
MPI_Sendrecv in a loop. Messages of a pair of ranks over one route follow one another in either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.transfers import Sizes
from clusterbench.collectives.topology.graph import Floats, TopologyError

Order = Literal["data", "blocking"]
ORDERS: tuple[Order, ...] = ("data", "blocking")
MOST_MESSAGES = 1 << 25
"""Of some 200 bytes each with what waits for them: 6 GiB."""
MOST_CELLS = 1 << 28
"""Chunks of all ranks together: 16 bytes each."""
MOST_IN_A_LIST = 4
"""Messages that a chunk's next reader waits for one by one; more are joined, or their number would be multiplied by
that of its readers."""


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Messages in the order of their rounds, and the graph of what waits for what.

    `pair` numbers what they go over: from rank `pair_src[pair]` to `pair_dst[pair]` by choice `pair_route[pair]`.
    Messages that wait for message m are successors[offsets[m] : offsets[m + 1]]; each waits for `awaited` others. Those
    behind the messages of the schedule join several: they are local, move nothing, and are done when those are.
    """

    pair: Ints
    size_bytes: Floats
    reduced_bytes: Floats
    pair_src: Ints
    pair_dst: Ints
    pair_route: Ints
    offsets: Ints
    successors: Ints
    awaited: Ints
    rounds: int

    def __len__(self) -> int:
        return len(self.pair)


def messages(schedule: Schedule, sizes: Sizes, order: Order = "data") -> Messages:
    """The messages of a schedule. Raises `TopologyError` where there are more than `MOST_MESSAGES`."""
    space = schedule.chunks + schedule.scratch_chunks
    if schedule.ranks * space > MOST_CELLS:
        raise TopologyError(
            f"{schedule.ranks} ranks of {space} chunks are too many to play by events; expected at most {MOST_CELLS} "
            "chunks of all ranks together: price it by phases"
        )
    keys, lengths, reduced, pieces, first_piece, count, rounds = [], [], [], [], [0], 0, 0
    for part in schedule.rounds():
        rounds += 1
        key = (part.route << 48) + part.src * schedule.ranks + part.dst
        length = sizes.exact(part)
        unique, number = np.unique(key, return_inverse=True)
        keys.append(unique)
        lengths.append(np.bincount(number, length * (part.src != part.dst), len(unique)))
        reduced.append(np.bincount(number, length * part.reduce, len(unique)))
        pieces.append(np.stack((number + count, part.src, part.src_chunk, part.dst, part.dst_chunk, part.count), 1))
        count += len(unique)
        first_piece.append(first_piece[-1] + len(part))
        if count > MOST_MESSAGES:
            raise TopologyError(
                f"{schedule.collective.name} over {schedule.ranks} ranks has more than {MOST_MESSAGES} messages; "
                "expected at most that: price it by phases"
            )
    rows = np.concatenate(pieces) if pieces else np.zeros((0, 6), np.int64)
    if order == "data":
        edges, joins = _by_data(rows, np.array(first_piece), schedule.ranks * space, space, count)
    else:
        edges, joins = _by_rank(rows, np.array(first_piece), schedule.ranks, count)
    nothing = np.zeros(len(joins))
    pair_key, pair = np.unique(np.concatenate([*keys, joins * (schedule.ranks + 1)]), return_inverse=True)
    at = pair_key & ((1 << 48) - 1)
    before, after = _with_pairs(edges, pair, count)
    count += len(joins)
    by_before = np.argsort(before, kind="stable")
    return Messages(
        pair=pair,
        size_bytes=np.concatenate([*lengths, nothing]),
        reduced_bytes=np.concatenate([*reduced, nothing]),
        pair_src=at // schedule.ranks,
        pair_dst=at % schedule.ranks,
        pair_route=pair_key >> 48,
        offsets=np.searchsorted(before[by_before], np.arange(count + 1)),
        successors=after[by_before],
        awaited=np.bincount(after, minlength=count),
        rounds=rounds,
    )


def _with_pairs(edges: Ints, pair: Ints, count: int) -> tuple[Ints, Ints]:
    """The edges, and those from each of the first `count` messages to the next of its pair, each once."""
    by_pair = np.argsort(pair[:count], kind="stable")
    same = pair[by_pair][1:] == pair[by_pair][:-1]
    before = np.concatenate((edges[:, 0], by_pair[:-1][same]))
    after = np.concatenate((edges[:, 1], by_pair[1:][same]))
    once = np.unique(before * (len(pair) + 1) + after)
    return np.divmod(once, len(pair) + 1)


@njit(cache=True)
def _add(pool: Any, head: Any, cell: int, message: int, used: int) -> Any:
    """Put a message into the list of a cell, but not twice in a row; the pool, doubled where full, and its use."""
    if head[cell] >= 0 and pool[head[cell], 0] == message:
        return pool, used
    if used == len(pool):
        larger = np.empty((2 * used, 2), np.int32)
        larger[:used] = pool
        pool = larger
    pool[used, 0], pool[used, 1] = message, head[cell]
    head[cell] = used
    return pool, used + 1


@njit(cache=True)
def _await(edges: Any, filled: int, pool: Any, head: int, message: int, awaits: Any) -> Any:
    """Edges from all messages of a list to the message, each once; the edges, doubled where full, and how many."""
    at = head
    while at >= 0:
        before = pool[at, 0]
        if before != message and awaits[before] != message:
            awaits[before] = message
            if filled == len(edges):
                larger = np.empty((2 * filled, 2), np.int64)
                larger[:filled] = edges
                edges = larger
            edges[filled, 0], edges[filled, 1] = before, message
            filled += 1
        at = pool[at, 1]
    return edges, filled


@njit(cache=True)
def _by_data(pieces: Ints, first: Ints, cells: int, space: int, count: int) -> Any:
    """Edges by read-after-write, write-after-read and write-after-write of each chunk of each rank; of joins, which are
    numbered behind the messages, their ranks.

    The value that a round writes is there when its writers are done, and those that read the old value in that round.
    """
    written, read = np.full(cells, -1, np.int32), np.full(cells, -1, np.int32)  # heads of lists in the pool
    written_in = np.full(cells, -1, np.int32)
    pool, used = np.empty((4 * count + 64, 2), np.int32), 0
    edges, filled = np.empty((4 * count + 64, 2), np.int64), 0
    awaits = np.full(count, -1, np.int64)
    joins, joined = np.empty(64, np.int64), 0
    for number in range(len(first) - 1):
        for p in range(first[number], first[number + 1]):
            message, src, src_chunk, dst, dst_chunk, length = pieces[p]
            for k in range(length):
                edges, filled = _await(edges, filled, pool, written[src * space + src_chunk + k], message, awaits)
                cell = dst * space + dst_chunk + k
                edges, filled = _await(edges, filled, pool, written[cell], message, awaits)
                edges, filled = _await(edges, filled, pool, read[cell], message, awaits)
        for p in range(first[number], first[number + 1]):
            message, _, _, dst, dst_chunk, length = pieces[p]
            for k in range(length):
                cell = dst * space + dst_chunk + k
                if written_in[cell] != number:
                    written_in[cell], written[cell], read[cell] = number, -1, -1
                pool, used = _add(pool, written, cell, message, used)
        for p in range(first[number], first[number + 1]):
            message, src, src_chunk, _, _, length = pieces[p]
            for k in range(length):
                cell = src * space + src_chunk + k
                if written_in[cell] == number:
                    pool, used = _add(pool, written, cell, message, used)
                else:
                    pool, used = _add(pool, read, cell, message, used)
        for p in range(first[number], first[number + 1]):
            for end in range(2):
                cell = pieces[p, 1 + 2 * end] * space + pieces[p, 2 + 2 * end]
                for k in range(pieces[p, 5]):
                    head = read if end == 0 and written_in[cell + k] != number else written
                    if not _is_long(pool, head[cell + k]):
                        continue
                    if joined == len(joins):
                        joins = np.concatenate((joins, joins))
                    if count + joined == len(awaits):
                        awaits = np.concatenate((awaits, np.full(joined + 64, -1)))
                    edges, filled = _await(edges, filled, pool, head[cell + k], count + joined, awaits)
                    head[cell + k] = -1
                    pool, used = _add(pool, head, cell + k, count + joined, used)
                    joins[joined] = (cell + k) // space
                    joined += 1
    return edges[:filled], joins[:joined]


@njit(cache=True)
def _is_long(pool: Any, head: int) -> bool:
    length = 0
    while head >= 0 and length <= MOST_IN_A_LIST:
        head = pool[head, 1]
        length += 1
    return length > MOST_IN_A_LIST


@njit(cache=True)
def _by_rank(pieces: Ints, first: Ints, ranks: int, count: int) -> Any:
    """Edges from all messages of a rank's last round to those of its next; no joins."""
    last, taken_in = np.full(ranks, -1, np.int32), np.full(ranks, -1, np.int32)
    pool, used = np.empty((2 * count + 64, 2), np.int32), 0
    edges, filled = np.empty((4 * count + 64, 2), np.int64), 0
    awaits = np.full(count, -1, np.int64)
    for number in range(len(first) - 1):
        for p in range(first[number], first[number + 1]):
            for rank in (pieces[p, 1], pieces[p, 3]):
                edges, filled = _await(edges, filled, pool, last[rank], pieces[p, 0], awaits)
        for p in range(first[number], first[number + 1]):
            for rank in (pieces[p, 1], pieces[p, 3]):
                if taken_in[rank] != number:
                    taken_in[rank], last[rank] = number, -1
                pool, used = _add(pool, last, rank, pieces[p, 0], used)
    return edges[:filled], np.zeros(0, np.int64)
