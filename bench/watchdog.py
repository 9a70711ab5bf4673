"""A watchdog on every rank: where nothing goes on for too long, it says so, names who is missing, and ends the rank.

A rank that dies or hangs leaves the others waiting inside MPI for ever, unless the launcher notices; not all do, and
none notices a rank that is only stopped. The watchdog is a thread that sleeps: compiled loops and MPI calls release
Python's lock while they wait, so it wakes in time, and costs nothing meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from clusterbench.bench import exit_codes
from clusterbench.bench.world import World

GRACE_S = 2.0
"""Rank 0 ends first, as it still has something to write; a launcher ends the rest as soon as one has ended."""

LAST_WORDS_S = 30.0


class Watchdog:
    """Ends this process with exit code 124 after `timeout_s` seconds without a call of `feed`; 0 never does."""

    def __init__(self, world: World, timeout_s: float, last_words: Callable[[str], None]) -> None:
        """`last_words` is called with the message before the end, to save what there is."""
        self._world = world
        self._timeout_s = timeout_s
        self._last_words = last_words
        self._doing = "starting"
        self._fed = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def feed(self, doing: str = "") -> None:
        """Something goes on; `doing` is what begins now, for the message."""
        self._doing = doing or self._doing
        self._fed = time.monotonic()

    def __enter__(self) -> Self:
        if self._timeout_s > 0:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        patience_s = self._timeout_s + (GRACE_S if self._world.rank else 0.0)
        while True:
            left_s = self._fed + patience_s - time.monotonic()
            if left_s <= 0:
                break
            if self._over.wait(left_s):
                return
        missing = missing_ranks(self._world)
        message = f"nothing went on for {self._timeout_s:g} s in {self._doing}" + (
            f"; {'; '.join(missing)}" if missing else ""
        )
        # What is still to be said may block, too: on a full pipe, or a disk that does not answer.
        threading.Timer(LAST_WORDS_S, os._exit, (exit_codes.TIMED_OUT,)).start()
        try:
            sys.stderr.write(f"clusterbench: rank {self._world.rank}: {message}\n")
            self._last_words(message)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(exit_codes.TIMED_OUT)  # the main thread is inside MPI, which no exception reaches


def missing_ranks(world: World) -> list[str]:
    """What has become of this host's ranks that are not running: gone, or stopped."""
    import psutil

    found = []
    mine = world.places[world.rank]
    for place in world.places:
        if place.host != mine.host or place.rank == mine.rank:
            continue
        try:
            status = psutil.Process(place.pid).status()
        except psutil.Error:
            status = psutil.STATUS_DEAD
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            state = "stopped" if status == psutil.STATUS_STOPPED else "gone"
            found.append(f"rank {place.rank} (pid {place.pid} on {place.host}) is {state}")
    return found
