"""The proof of a schedule: it computes its collective, and its compiled programs cannot deadlock, race or go astray.

What a chunk is worth is its provenance: which chunk of the vector it is a part of (its origin), and the set of ranks
whose contributions are in it. A reduction requires equal origins and disjoint sets; a result requires the right origin
and the full set. So a chunk that went to the wrong place, a contribution that was added twice, and a transfer that was
forgotten are all found, which the presence of a value alone would not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.collective import NOTHING
from clusterbench.collectives.messages import transfers_of
from clusterbench.collectives.programs.check import check_compiled
from clusterbench.collectives.programs.walk import ProgramFaultError
from clusterbench.collectives.schedule import Schedule

_OK, _RANK, _RANGE, _UNDEFINED, _ORIGIN, _TWICE, _CLASH, _LENGTH, _REDUCES = range(9)
_READ, _COPIED, _REDUCED = range(3)


class ProofError(ValueError):
    """A schedule that is wrong: the message names round, rank and chunk, what was found and what was expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Proof:
    """What the proof of a schedule found out on the way."""

    rounds: int
    transfers: int
    chunks_moved: int
    """Chunks that crossed from one rank to another, over all rounds."""
    additions: int
    """Reductions on the longest path from an input to a result: the m of an error bound of m roundings."""
    window: int
    """Messages in flight at once on the busiest rank."""


def prove(schedule: Schedule, programs: bool = True) -> Proof:
    """Prove a schedule by replaying it on provenances; with `programs`, its compiled per-rank programs too.

    Time and memory grow as ranks × chunks × ranks / 64. Raises `ProofError`.
    """
    rounds, transfers, moved, additions = _replay(schedule)
    window = 0
    if programs:
        every = transfers_of(schedule)
        try:
            for in_place in (False,) if schedule.collective.uneven else (False, True):
                window = max(window, check_compiled(schedule, every, in_place))
        except ProgramFaultError as fault:
            raise ProofError(str(fault)) from None
    return Proof(rounds, transfers, moved, additions, window)


def _replay(schedule: Schedule) -> tuple[int, int, int, int]:
    """Replay the rounds; returns how many there are, and the other numbers of a `Proof` but the window."""
    origin, members, depth = _initial(schedule)
    stamp = np.full(origin.shape, -1, dtype=np.int64)
    kind = np.zeros(origin.shape, dtype=np.int8)
    per_part = schedule.chunks_per_part
    rounds = transfers = moved = 0
    for phase in schedule.phases():
        for part in phase.rounds():
            columns = (part.src, part.src_chunk, part.dst, part.dst_chunk, part.count, part.reduce)
            fault = _replay_round(rounds, columns, schedule.chunks, per_part, origin, members, depth, stamp, kind)
            if fault[0] != _OK:
                raise ProofError(_explain(schedule, rounds, columns, fault, origin))
            rounds += 1
            transfers += len(part)
            moved += int(part.count[part.src != part.dst].sum())
    _check_result(schedule, origin, members)
    return rounds, transfers, moved, int(depth[:, : schedule.chunks].max())


def _initial(schedule: Schedule) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]:
    """Provenance of what every rank brings: origin, members as bit sets, and additions, per rank and chunk.

    Only a collective that reduces has members: elsewhere the origin says whose data a chunk holds.
    """
    ranks, chunks, what = schedule.ranks, schedule.chunks, schedule.collective
    space = chunks + schedule.scratch_chunks
    origin = np.full((ranks, space), NOTHING, dtype=np.int32)
    members = np.zeros((ranks, space, -(-ranks // 64) if what.reduces else 0), dtype=np.uint64)
    for rank in range(ranks):
        origin[rank, :chunks] = what.brought(rank, ranks, chunks, schedule.root)
        if what.reduces:
            first, end = schedule.takes(rank)
            members[rank, first:end, rank // 64] = np.uint64(1) << np.uint64(rank % 64)
    return origin, members, np.zeros((ranks, space), dtype=np.int32)


@njit(cache=True, nogil=True)
def _replay_round(
    number: int, columns: Any, chunks: int, per_part: int, origin: Any, members: Any, depth: Any, stamp: Any, kind: Any
) -> tuple[int, int, int]:
    """Apply one round in place. Returns the fault (or _OK), the transfer it lies in, and the chunk within that."""
    src, src_chunk, dst, dst_chunk, count, reduce = columns
    ranks, space = origin.shape
    words = members.shape[2]
    total = 0
    for t in range(len(src)):
        if src[t] < 0 or src[t] >= ranks or dst[t] < 0 or dst[t] >= ranks:
            return _RANK, t, 0
        if (
            count[t] < 1
            or src_chunk[t] < 0
            or dst_chunk[t] < 0
            or src_chunk[t] + count[t] > space
            or dst_chunk[t] + count[t] > space
        ):
            return _RANGE, t, 0
        total += count[t]
    # Every read sees the values before the round: take them all before the first write.
    read_origin = np.empty(total, np.int32)
    read_depth = np.empty(total, np.int32)
    read_members = np.empty((total, words), np.uint64)
    at = 0
    for t in range(len(src)):
        for i in range(count[t]):
            chunk = src_chunk[t] + i
            if origin[src[t], chunk] < 0:
                return _UNDEFINED, t, i
            read_origin[at] = origin[src[t], chunk]
            read_depth[at] = depth[src[t], chunk]
            for w in range(words):
                read_members[at, w] = members[src[t], chunk, w]
            at += 1
    at = 0
    for t in range(len(src)):
        rank = dst[t]
        for i in range(count[t]):
            chunk = dst_chunk[t] + i
            if stamp[rank, chunk] == number and (not reduce[t] or kind[rank, chunk] == _COPIED):
                return _CLASH, t, i
            stamp[rank, chunk] = number
            kind[rank, chunk] = _REDUCED if reduce[t] else _COPIED
            if reduce[t]:
                if words == 0:
                    return _REDUCES, t, i
                if origin[rank, chunk] != read_origin[at]:
                    return _ORIGIN, t, i
                for w in range(words):
                    if members[rank, chunk, w] & read_members[at, w] != np.uint64(0):
                        return _TWICE, t, i
                for w in range(words):
                    members[rank, chunk, w] |= read_members[at, w]
                depth[rank, chunk] = max(depth[rank, chunk], read_depth[at]) + 1
            else:
                if chunk < chunks and chunk % per_part != read_origin[at] % per_part:
                    return _LENGTH, t, i
                origin[rank, chunk] = read_origin[at]
                depth[rank, chunk] = read_depth[at]
                for w in range(words):
                    members[rank, chunk, w] = read_members[at, w]
            at += 1
    return _OK, 0, 0


def _explain(schedule: Schedule, number: int, columns: Any, fault: tuple[int, int, int], origin: Any) -> str:
    code, t, i = fault
    src, src_chunk, dst, dst_chunk, count = (int(column[t]) for column in columns[:5])
    verb = "reduces" if columns[5][t] else "copies"
    where = f"round {number}: rank {src} {verb} chunk {src_chunk + i} into chunk {dst_chunk + i} of rank {dst}"
    space = schedule.chunks + schedule.scratch_chunks
    found = int(origin[dst, dst_chunk + i]) if code == _ORIGIN else NOTHING
    return {
        _RANK: f"{where}: there are ranks 0 to {schedule.ranks - 1} only",
        _RANGE: f"{where}, {count} chunks from there: expected at least 1 chunk within 0 to {space - 1}",
        _UNDEFINED: f"{where}: chunk {src_chunk + i} of rank {src} has no value yet",
        _ORIGIN: f"{where}: chunk {dst_chunk + i} of rank {dst} holds {_origin_name(schedule, found)}, "
        "expected the same as the sender's",
        _TWICE: f"{where}: a rank's contribution to chunk {dst_chunk + i} would be added twice",
        _LENGTH: f"{where}: chunks at different places of a part differ in length; use scratch chunks to put one aside",
        _REDUCES: f"{where}: {schedule.collective.name} reduces nothing",
        _CLASH: f"{where}: a copy and another write to that chunk in one round",
    }[code]


def _check_result(schedule: Schedule, origin: Any, members: Any) -> None:
    what, ranks, chunks = schedule.collective, schedule.ranks, schedule.chunks
    everyone = np.zeros(members.shape[2], dtype=np.uint64)
    for rank in range(ranks if what.reduces else 0):
        everyone[rank // 64] |= np.uint64(1) << np.uint64(rank % 64)
    for rank in range(ranks):
        expected = what.expected(rank, ranks, chunks, schedule.root)
        wrong = np.flatnonzero((expected != NOTHING) & (origin[rank, :chunks] != expected))
        if len(wrong):
            held, wanted = int(origin[rank, wrong[0]]), int(expected[wrong[0]])
            raise ProofError(
                f"at the end: chunk {wrong[0]} of rank {rank} holds {_origin_name(schedule, held)}, "
                f"expected {_origin_name(schedule, wanted)}"
            )
        first, end = schedule.gives(rank)
        lacking = np.flatnonzero((members[rank, first:end] != everyone).any(axis=1))
        if len(lacking):
            chunk = first + int(lacking[0])
            missing = _names(everyone & ~members[rank, chunk])
            raise ProofError(f"at the end: chunk {chunk} of rank {rank} lacks the contribution of rank {missing}")


def _origin_name(schedule: Schedule, origin: int) -> str:
    if origin == NOTHING:
        return "no value"
    if schedule.collective.exchanges:
        return f"chunk {origin % schedule.chunks} of rank {origin // schedule.chunks}"
    return f"chunk {origin}"


def _names(words: NDArray[np.uint64]) -> str:
    """The first few ranks of a bit set, in words."""
    ranks = [64 * w + bit for w, word in enumerate(words) for bit in range(64) if int(word) >> bit & 1]
    return ", ".join(map(str, ranks[:4])) + (f" and {len(ranks) - 4} more" if len(ranks) > 4 else "")
