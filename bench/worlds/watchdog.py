"""A watchdog on every rank: it ends the rank where nothing goes on for too long, and on Ctrl-C or SIGTERM.

A rank that dies or hangs leaves the others waiting inside MPI for ever, unless the launcher notices; not all do, and
none notices a rank that is only stopped. Nor does an exception, and so Python's own Ctrl-C, reach a rank that is inside
MPI. The watchdog is a thread that sleeps: compiled loops and MPI calls release Python's lock while they wait, so it
wakes in time, and costs nothing meanwhile.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import SAID_BY
from clusterbench.bench.worlds.status_page import StatusPage

if TYPE_CHECKING:
    from clusterbench.bench.worlds.world import RankPlace

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
"""What ends a run: Ctrl-C, and what Open MPI's launcher makes of it for the ranks."""
GRACE_S = 2.0
"""Rank 0 ends first, as it still has something to write; a launcher ends the rest as soon as one has ended."""
LAST_WORDS_S = 30.0
FORWARDING_S = 0.5
"""Between a rank's last words and its end: launchers drop what they have not forwarded by then."""
_LONGEST_SLEEP_S = 3600.0

LastWords = Callable[[str, int], None]
"""Is told why the rank ends and with which exit code, and saves what there is."""


def silent(message: str, code: int) -> None:
    """There is nothing to save."""


class Watchdog:
    """Ends this process with exit code 124 after `timeout_s` seconds without a call of `feed` (0: never), or by signal.

    Entered before MPI is initialised, so that until `start` a Ctrl-C ends the process at once, wherever it is; from
    then on with exit code 1 and the last words. `page` is told the same as the watchdog, for a supervisor to read.
    """

    def __init__(self, timeout_s: float, page: StatusPage | None = None) -> None:
        self.page = page or StatusPage.private()
        self.places: Sequence[RankPlace] = ()
        """Where all ranks are, as soon as that is known."""
        self.last_words: LastWords = silent
        self.whole = threading.Lock()
        """What is done while it is held is done whole, or not at all: no last words are said meanwhile."""
        self.started = False
        self._timeout_s = timeout_s
        self._rank = 0
        self._doing = ""
        self._fed = time.monotonic()
        # Signals wake the thread through a socket, which Python's handler writes to wherever the main thread is.
        self._wakes, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._handlers: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.feed("joining the other ranks")

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
        return self

    def start(self, rank: int) -> None:
        """Begin to watch; called on the main thread as soon as MPI is initialised."""
        self._rank = rank
        self.started = True
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _left_to_the_thread)
        self.feed()
        self._thread.start()

    def feed(self, doing: str = "", longer_s: float = 0.0) -> None:
        """Something goes on; `doing` is what begins now, for the message, and may take so much longer than all else."""
        with self.whole:  # the main thread goes no further than here once the last words are being said
            self._doing = doing or self._doing
            self._fed = time.monotonic() + longer_s
            self.page.alive(doing, longer_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.page.end()
        if self.started:
            signal.set_wakeup_fd(-1)
        self._waker.close()
        if self.started:
            self._thread.join()
        self._wakes.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _watch(self) -> None:
        late_s = GRACE_S if self._rank else 0.0
        interrupted_s = math.inf
        while True:
            now_s = time.monotonic()
            silent_s = self._fed + self._timeout_s + late_s if self._timeout_s > 0 else math.inf
            if interrupted_s <= now_s:  # every rank gets the signal: that rank 0 says so is enough
                self._end("interrupted", exit_codes.FAILED, says=self._rank == 0)
            if silent_s <= now_s:
                self._end(self._silence(), exit_codes.TIMED_OUT)
            self._wakes.settimeout(min(interrupted_s - now_s, silent_s - now_s, _LONGEST_SLEEP_S))
            try:
                received = self._wakes.recv(64)
            except TimeoutError:
                continue
            if not received:
                return
            if not SIGNALS.isdisjoint(received):
                interrupted_s = min(interrupted_s, time.monotonic() + late_s)

    def _silence(self) -> str:
        missing = missing_ranks(self.places, self._rank)
        return "; ".join([f"nothing went on for {self._timeout_s:g} s in {self._doing}", *missing])

    def _end(self, message: str, code: int, says: bool = True) -> NoReturn:
        # What is still to be said may block, too: on a full pipe, or a disk that does not answer.
        limit = threading.Timer(LAST_WORDS_S, os._exit, (code,))
        limit.daemon = True
        limit.start()
        if code == exit_codes.TIMED_OUT:  # one that is interrupted is ended by others, who know why
            self.page.fail(message)
        try:
            if says:
                sys.stderr.write(f"{SAID_BY} rank {self._rank}: {message}\n")
                sys.stderr.flush()
            self.whole.acquire()  # and never released
            self.last_words(message, code)
            sys.stdout.flush()
            sys.stderr.flush()
            end_stopped(self.places, self._rank)
            time.sleep(FORWARDING_S)
        finally:
            os._exit(code)  # the main thread may be inside MPI, which no exception reaches


def _left_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Python writes the signal's number to the socket before it calls this."""


def end_stopped(places: Sequence[RankPlace], rank: int) -> None:
    """End the stopped ranks on the host of `rank`, which cannot end themselves; where it is not known who they are,
    the stopped processes that this one's launcher started.

    MPICH's launcher (5.0) ends the others only if it sees a rank's connection close before it sees that the rank has
    ended, and else waits for them: for one that is stopped, for ever.
    """
    import psutil

    found = [place.pid for place in places if place.host == places[rank].host]
    launcher = os.getppid()
    with suppress(psutil.Error):
        if not places and launcher != 1:  # which is whatever is left without a parent
            found = [child.pid for child in psutil.Process(launcher).children()]
    for pid in found:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_STOPPED:
                process.kill()


def missing_ranks(places: Sequence[RankPlace], rank: int) -> list[str]:
    """What has become of the ranks on the host of `rank` that are not running: gone, or stopped."""
    import psutil

    found = []
    for place in places:
        if place.rank == rank or place.host != places[rank].host:
            continue
        try:
            status = psutil.Process(place.pid).status()
        except psutil.Error:
            status = psutil.STATUS_DEAD
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            state = "stopped" if status == psutil.STATUS_STOPPED else "gone"
            found.append(f"rank {place.rank} (pid {place.pid} on {place.host}) is {state}")
    return found
