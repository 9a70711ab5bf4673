"""One exchange of messages between ranks, checked and timed: what `pingpong`, `sendrecv` and `pairs` are made of.

The ranks that take part decide together when to stop, and without the others, so that many pairs measure at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.measuring.sampling import Block, Rules, Samples, in_pieces, sample
from clusterbench.bench.worlds.memory import refuse_too_large
from clusterbench.bench.worlds.world import World
from clusterbench.collectives.transports import point_to_point
from clusterbench.collectives.transports.native import NativeMpi
from clusterbench.collectives.transports.pages import page_aligned
from clusterbench.collectives.transports.point_to_point import WrongBits

CHECKED_BYTES = 1 << 26
"""Messages of a window that are checked in places of their own: as many as fit in here, at least one."""
_FIGURES_TAG, _WORD_TAG, _WRONG_TAG = 11, 12, 13

SAMPLE_UNITS = {
    "latency": "half of a round trip, mean of `batch`, as the rank that starts it sees it",
    "one-way": "one message of a window in flight, mean of `batch` windows, each until the empty answer is back",
    "two-way": "one message each way of two windows in flight, mean of `batch` windows, the later rank",
    "sendrecv": "maximum over ranks of one call after a barrier, or of the mean of `batch` calls in a row",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange as one rank sees it."""

    kind: str
    """One of `point_to_point.KINDS`."""
    to: int
    source: int
    leads: bool
    size_bytes: int
    itemsize: int
    window: int

    @property
    def checked(self) -> int:
        """Messages in flight while the data are checked."""
        return min(self.window, max(1, CHECKED_BYTES // self.size_bytes))

    @property
    def messages(self) -> int:
        """What the time of a call is divided by: the messages that follow one another in it."""
        return 2 if self.kind == "latency" else self.window

    @property
    def receives(self) -> bool:
        """Whether messages come to this rank."""
        return self.kind != "one-way" or not self.leads


@dataclass(frozen=True, slots=True)
class Room:
    """A rank's buffers; `send` and `receive` of the same size."""

    send: NDArray[np.uint8]
    receive: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Found:
    """What an exchange took, a message, and what was wrong; the same on all ranks that took part."""

    samples: Samples
    wrong: int | None
    """None where it was not checked."""
    reason: str = ""
    culprit: str = ""


def room_for(world: World, exchanges: Sequence[Exchange], flag: str) -> Room:
    """Buffers for any one of this rank's exchanges; all ranks call it, those without any exchange too.

    Raises `AgreedError` on every rank where a host cannot hold them; `flag` is the option to choose smaller.
    """
    needed = max((e.size_bytes * e.checked for e in exchanges), default=0)
    refuse_too_large(world, 2 * needed, flag)
    world.begin("taking buffers")
    return Room(page_aligned(needed), page_aligned(needed))


def measure(
    world: World,
    mpi: NativeMpi,
    exchange: Exchange,
    room: Room,
    rules: Rules,
    overhead_s: float,
    check_seed: int | None,
    alive: Callable[[], None],
) -> Found:
    """Check an exchange, time it, and check it again. All ranks in it call this together, and only they.

    `check_seed` is the seed of the data, None where it is not to be checked; `alive` is called from time to time.
    Raises `MpiError`.
    """
    e = exchange
    call = _prepared(mpi, e, room, e.window, apart=False)
    wrong: list[tuple[int, int, WrongBits]] = []
    if check_seed is not None:
        with world.account.checking():
            apart = _prepared(mpi, e, room, e.checked, apart=True)
            point_to_point.fill(room.send[: e.size_bytes * e.checked], e.itemsize, world.rank, check_seed)
            _spoil(e, room, e.checked, check_seed)
            apart.run()
            wrong = _wrong(world, e, room, e.checked, check_seed)
            _spoil(e, room, 1, check_seed)

    def block(samples: int, batch: int) -> Block:
        return _together(world, e, *call.time(samples, batch))

    taken = sample(in_pieces(block, alive), rules, overhead_s, lambda done: _agree(world, e, done))
    world.account.loops_s += taken.spent_s
    taken = replace(taken, seconds=taken.seconds / e.messages)
    if check_seed is None:
        return Found(taken, None)
    before, when = any(found.count for _, _, found in wrong), ""
    if not before:  # what was sent is unchanged, so what arrived last must still be right
        with world.account.checking():
            wrong, when = _wrong(world, e, room, 1, check_seed), "after timing, "
    return Found(taken, sum(found.count for _, _, found in wrong), *_said(wrong, e, when))


def _prepared(mpi: NativeMpi, e: Exchange, room: Room, window: int, apart: bool) -> point_to_point.Exchange:
    return point_to_point.prepare(
        mpi,
        e.kind,
        room.send,
        room.receive,
        e.size_bytes,
        to=e.to,
        source=e.source,
        leads=e.leads,
        window=window,
        apart=apart,
    )


def _spoil(e: Exchange, room: Room, messages: int, seed: int) -> None:
    if e.receives:
        point_to_point.spoil(room.receive[: e.size_bytes * messages], e.itemsize, e.source, seed)


def _together(world: World, e: Exchange, seconds: NDArray[np.float64], elapsed_s: float) -> Block:
    """The samples as all ranks of the exchange take them: those of the rank that leads, or of the last one."""
    figures = np.append(seconds, elapsed_s)
    if e.kind == "sendrecv":
        from mpi4py import MPI

        world.comm.Allreduce(MPI.IN_PLACE, figures, MPI.MAX)
        return Block(figures[:-1], float(figures[-1]))
    theirs = np.empty_like(figures)
    world.comm.Sendrecv(figures, e.to, _FIGURES_TAG, theirs, e.source, _FIGURES_TAG)
    taken = figures[:-1] if e.leads else theirs[:-1]
    if e.kind == "two-way":
        taken = np.maximum(figures[:-1], theirs[:-1])
    return Block(taken, float(max(figures[-1], theirs[-1])))


def _agree(world: World, e: Exchange, done: bool) -> bool:
    if e.kind == "sendrecv":
        return bool(world.comm.bcast(done))
    word = np.array([done], np.uint8)
    if e.leads:
        world.comm.Send(word, e.to, _WORD_TAG)
    else:
        world.comm.Recv(word, e.source, _WORD_TAG)
    return bool(word[0])


def _wrong(world: World, e: Exchange, room: Room, messages: int, seed: int) -> list[tuple[int, int, WrongBits]]:
    """What each rank of the exchange received wrong: the rank, the sender, and the elements."""
    mine = WrongBits(0)
    if e.receives:
        mine = point_to_point.check(room.receive[: e.size_bytes * messages], e.itemsize, e.source, seed)
    own: tuple[int, int, WrongBits] = (world.rank, e.source, mine)
    if e.kind == "sendrecv":
        return list(world.comm.allgather(own))
    theirs: Any = world.comm.sendrecv(own, e.to, _WRONG_TAG, None, e.source, _WRONG_TAG)
    return sorted((own, theirs), key=lambda found: found[0])


def _said(wrong: list[tuple[int, int, WrongBits]], e: Exchange, when: str) -> tuple[str, str]:
    """What is wrong on the first rank that received anything wrong, in words, and that rank; empty where nothing is."""
    for rank, sender, found in wrong:
        if found.count:
            message, index = divmod(found.index, e.size_bytes // e.itemsize)
            where = f"index {index}" + (f" of message {message}" if message else "")
            digits = 2 * e.itemsize
            return (
                f"{when}rank {rank}: {found.count} elements from rank {sender} wrong, first at {where}: "
                f"expected bits {found.expected:#0{digits + 2}x}, found {found.found:#0{digits + 2}x}",
                f"rank {rank}",
            )
    return "", ""
