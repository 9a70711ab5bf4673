"""Cuts moves in order into rounds: as early as what they read and write allows.

All moves of a round read before any of them writes. So a move comes in a later round than one that wrote what it
reads or writes, and in no earlier one than one that read what it writes. A move whose value left long before it is
written may find these at odds; it goes through a scratch chunk of the receiver, as it went through a channel.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clusterbench.collectives.plans.memory import Memory, Move
from clusterbench.collectives.schedule import Phase, phase


def phases_of(memory: Memory, chunks: int) -> list[Phase]:
    """The rounds of the moves over a vector of `chunks` chunks. Scratch chunks may be added to the memory."""
    moves = list(memory.moves)
    while True:
        before, after, later = _edges(moves)
        matrix = coo_array((np.ones(len(before), np.int8), (before, after)), shape=(len(moves), len(moves)))
        _, group = connected_components(matrix, connection="strong") if moves else (0, np.zeros(0, np.int32))
        stuck = set(group[before[later & (group[before] == group[after])]].tolist())
        if not stuck:
            break
        parts = [_staged(memory, move) if group[n] in stuck else (move,) for n, move in enumerate(moves)]
        moves = [move for staged in parts for move in staged]
    rounds: dict[int, list[Move]] = defaultdict(list)
    for number, at in enumerate(_levels(group, before, after, later)):
        rounds[at].append(moves[number])
    modulus = max(memory.ends, default=1)
    return [_phase(rounds[at], chunks, modulus) for at in sorted(rounds)]


def _staged(memory: Memory, move: Move) -> tuple[Move, ...]:
    if move.read_at == move.written_at:
        return (move,)
    kept = memory.add_chunk(move.target_rank)
    return (
        move._replace(target=kept, reduces=False, written_at=move.read_at),
        move._replace(source_rank=move.target_rank, source=kept, read_at=move.written_at),
    )


def _edges(moves: list[Move]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of moves of which the second is in no earlier round than the first, and whether in a later one."""
    touched: dict[tuple[int, int], list[tuple[int, bool, int]]] = defaultdict(list)
    for number, move in enumerate(moves):
        touched[move.source_rank, move.source].append((move.read_at, False, number))
        touched[move.target_rank, move.target].append((move.written_at, True, number))
    edges: list[tuple[int, int, bool]] = []
    for accesses in touched.values():
        accesses.sort()
        written, read = -1, list[int]()
        for _, writes, number in accesses:
            if written >= 0:
                edges.append((written, number, True))
            if writes:
                edges += [(each, number, False) for each in read if each != number]
                written, read = number, []
            else:
                read.append(number)
    columns = np.array(edges, np.int64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2].astype(np.bool_)


def _levels(
    group: NDArray[np.int32], before: NDArray[np.int64], after: NDArray[np.int64], later: NDArray[np.bool_]
) -> list[int]:
    """The round of each move; moves of one group share one."""
    across = group[before] != group[after]
    following: dict[int, list[tuple[int, int]]] = defaultdict(list)
    missing = np.zeros(int(group.max(initial=-1)) + 1, np.int64).tolist()
    for first, second, apart in zip(
        group[before[across]].tolist(), group[after[across]].tolist(), later[across].tolist(), strict=True
    ):
        following[first].append((second, int(apart)))
        missing[second] += 1
    level = [0] * len(missing)
    free = [number for number, count in enumerate(missing) if not count]
    while free:
        first = free.pop()
        for second, apart in following[first]:
            level[second] = max(level[second], level[first] + apart)
            missing[second] -= 1
            if not missing[second]:
                free.append(second)
    return [level[each] for each in group.tolist()]


def _phase(moves: list[Move], chunks: int, modulus: int) -> Phase:
    """A round, neighbouring chunks of one step together; the vector and the scratch behind it are no neighbours."""
    runs: list[list[int]] = []
    for move in sorted(moves, key=lambda move: (move.written_at, move.target_rank)):
        run = runs[-1] if runs else [-1] * 6
        ends = [move.source_rank, move.target_rank, move.reduces, move.source - run[5], move.target - run[5]]
        if ends == run[:5] and chunks not in (move.source, move.target):
            run[5] += 1
        else:
            runs.append([move.source_rank, move.target_rank, move.reduces, move.source, move.target, 1])
    source_rank, target_rank, reduces, source, target, count = zip(*runs, strict=True)
    return phase(
        src=source_rank, dst=target_rank, chunk=source, dst_chunk=target, count=count,
        reduce=[bool(each) for each in reduces], modulus=modulus,
    )  # fmt: skip
