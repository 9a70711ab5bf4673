"""What each rank is at, in a page of memory that outlives it: written by the rank, read by whoever supervises it.

A page is a file of a folder in memory, mapped by the rank: what is written there is seen at once by another process of
the host, and stays where the rank is killed or stopped. Compiled loops write to it too, one store a step of a call, so
that it says where a rank is that no Python of its own can ask any more.

Layout: sixteen 64-bit integers (`VERSION` to `STEPS`), then texts of fixed length in UTF-8, filled up with zeros.
"""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import monotonic_ns
from typing import Self

from clusterbench.bench.launching.process_ends import hold_lifeline
from clusterbench.results.columns import checked_row, spelled
from clusterbench.results.record import Measurement, RecordError

PAGE_BYTES = 4096
SUFFIX = ".rank"
LAYOUT = 1
"""Of this file; a page with another number is not read."""

VERSION, PID, RANK, RANKS, STATE, ROWS, ALIVE_NS, CALLS, STEP, STEPS = range(10)
"""The numbers. ROWS: rows begun. ALIVE_NS: the monotonic clock at the last sign of life, or later where what began then
may take longer. CALLS, STEP, STEPS, next to each other: calls begun, and in which step of how many the rank is
(`AT_BARRIER` before a call, 0 outside of compiled loops); see `collectives.transports.whereabouts`."""
AT_BARRIER = -1
RUNNING, RAISED, ENDED = range(3)
"""Values of STATE: RAISED where the rank ends because of an error, which it says itself; ENDED where it is done."""

_HOST, _DEVICE, _DOING, _ERROR, _ROW = (128, 128), (256, 128), (384, 384), (768, 768), (1536, PAGE_BYTES - 1536)
"""Where each text starts, and for how many bytes there is room."""


class StatusPage:
    """The page of this rank. One that nobody reads is like any other, so that nothing that writes has to ask."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory)[:128].cast("q")
        self._numbers[PID] = os.getpid()
        self._numbers[RANK] = -1
        self._numbers[ALIVE_NS] = monotonic_ns()
        self._text(_HOST, socket.gethostname())
        self._numbers[VERSION] = LAYOUT

    @classmethod
    def private(cls) -> Self:
        """A page that no other process sees."""
        return cls(mmap.mmap(-1, PAGE_BYTES))

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A page in `folder`. Raises `OSError` where there is no room for it, or it cannot be made."""
        path = folder / f"{os.getpid()}{SUFFIX}"
        with suppress(OSError):  # no named pipes on this file system
            hold_lifeline(lifeline_of(folder, os.getpid()))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Memory that is not there would end the process at the first store (SIGBUS) and not here.
            os.posix_fallocate(descriptor, 0, PAGE_BYTES)
            return cls(mmap.mmap(descriptor, PAGE_BYTES))
        finally:
            os.close(descriptor)

    @property
    def progress_address(self) -> int:
        """Where compiled loops write what they are at: the address of CALLS."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + 8 * CALLS

    def join(self, rank: int, ranks: int, device: str) -> None:
        """Say which rank of how many this is, and on what it runs."""
        self._numbers[RANK], self._numbers[RANKS] = rank, ranks
        self._text(_DEVICE, device)

    def alive(self, doing: str, longer_s: float) -> None:
        """A sign of life; `doing`, unless it is empty, is what begins now and may take so much longer than all else."""
        if doing:
            self._text(_DOING, doing)
        self._numbers[ALIVE_NS] = monotonic_ns() + int(longer_s * 1e9)

    def begin_row(self, row: Measurement) -> None:
        """A row begins, of which this much is known; a supervisor can finish it where this rank cannot."""
        known = {f.name: value for f in fields(row) if (value := getattr(row, f.name)) != f.default}
        text = json.dumps(spelled(known))
        self._text(_ROW, text if len(text.encode()) < _ROW[1] else "")
        self._numbers[ROWS] += 1

    def end_row(self) -> None:
        """The row is measured: what goes wrong now does not concern it."""
        self._text(_ROW, "")

    def fail(self, error: str) -> None:
        """The rank ends because of an error."""
        self._text(_ERROR, error)
        self._numbers[STATE] = RAISED

    def end(self) -> None:
        """The rank is done, and is to end."""
        self.alive("ending", 0.0)
        if self._numbers[STATE] == RUNNING:
            self._numbers[STATE] = ENDED

    def _text(self, where: tuple[int, int], text: str) -> None:
        start, room = where
        self._memory[start : start + room] = text.encode(errors="replace")[: room - 1].ljust(room, b"\0")


@dataclass(frozen=True, slots=True)
class RankStatus:
    """What a page says of its rank, at one moment."""

    rank: int
    """−1 where it has not joined the others yet."""
    ranks: int
    """0 where it has not joined the others yet."""
    pid: int
    host: str
    device: str
    state: int
    rows: int
    silent_s: float
    """Seconds since it was due to give a sign of life; negative before."""
    calls: int
    step: int
    steps: int
    doing: str
    error: str
    content: bytes = field(repr=False)
    """The page itself."""
    process: str = ""
    """What has become of its process, see `host_watch`; empty where it runs, or nobody has looked."""
    ended_s: float = math.inf
    """When its process was seen to have ended, Unix time of its host."""

    @property
    def row(self) -> Measurement | None:
        """What is known of the row that it measures; None between two, and where that is too long for the page."""
        try:
            return Measurement.from_row(checked_row(Measurement, json.loads(_text_of(self.content, _ROW))))
        except (ValueError, RecordError):  # a rank that was ended while it wrote
            return None

    @property
    def place(self) -> tuple[int, int, int]:
        """How far it is; ranks that make the same calls can be told apart by this. Larger is farther."""
        done = {0: 1 << 62, AT_BARRIER: (1 << 62) + 1}
        return self.rows, self.calls, done.get(self.step, self.step)

    def where(self) -> str:
        """The same in words."""
        if self.step == AT_BARRIER:
            return f"at the barrier before call {self.calls + 1}"
        if self.step == 0:
            return f"in Python after {self.calls} calls" if self.calls else "in Python before the first call"
        return f"in step {self.step} of {self.steps} of call {self.calls}"


def lifeline_of(folder: Path, pid: int) -> Path:
    """Where a process that has its page in a folder holds its lifeline."""
    return folder / f"{pid}.lifeline"


def read_pages(folder: Path) -> list[RankStatus]:
    """What the pages of a folder say, by rank; a page that is being made is left out."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            status = parsed(path.read_bytes())
            if status is not None:
                found.append(status)
    return sorted(found, key=lambda status: (status.rank, status.pid))


def parsed(content: bytes) -> RankStatus | None:
    """What a page says; None where it is none, or is being made."""
    if len(content) != PAGE_BYTES:
        return None
    numbers = memoryview(content)[:128].cast("q")
    if numbers[VERSION] != LAYOUT:
        return None
    return RankStatus(
        rank=numbers[RANK],
        ranks=numbers[RANKS],
        pid=numbers[PID],
        host=_text_of(content, _HOST),
        device=_text_of(content, _DEVICE),
        state=numbers[STATE],
        rows=numbers[ROWS],
        silent_s=(monotonic_ns() - numbers[ALIVE_NS]) * 1e-9,
        calls=numbers[CALLS],
        step=numbers[STEP],
        steps=numbers[STEPS],
        doing=_text_of(content, _DOING),
        error=_text_of(content, _ERROR),
        content=content,
    )


def _text_of(content: bytes, where: tuple[int, int]) -> str:
    start, room = where
    return content[start : start + room].partition(b"\0")[0].decode(errors="replace")
