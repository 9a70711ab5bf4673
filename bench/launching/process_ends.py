"""In which order processes end: a launcher that sees one of its ranks end kills the others a moment later.

A launcher sees it by a socket to the rank that closes, which the kernel does before it says that the process has ended:
on a busy host those that the launcher kills then may have ended before. So a process holds a lifeline, a named pipe
that nothing else has open for writing, under the highest number that a descriptor may have. Of a process that ends the
kernel closes the last descriptor first (task_work_add(), since Linux 4.4), so that it is seen before the launcher sees
anything.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import threading
from contextlib import suppress
from pathlib import Path
from time import time
from types import TracebackType
from typing import Self

_HIGHEST = 1023
"""Descriptor of a lifeline, unless fewer are allowed: what may be open by default (getrlimit(2))."""


def hold_lifeline(path: Path) -> None:
    """Make the lifeline of this process, which is let go when it ends. Raises `OSError` where it cannot be made."""
    os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # to write alone waits for a reader
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError):  # that one, or a higher one, is taken: the number that it has serves nearly as well
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(_HIGHEST, allowed - 1))
        os.close(descriptor)


class ProcessEnds:
    """Watches processes, which need not be its own children, on a thread that sleeps.

    By their lifelines; where one has none by pidfd_open(2), and where the kernel has none of that (before 5.3) not.
    """

    def __init__(self) -> None:
        self.times: dict[int, float] = {}
        """Who has ended, the first one first, and when, Unix time: an epoll hands out what is ready in that order."""
        self.news = threading.Event()
        """Set where one has ended; for whoever waits to clear."""
        self._epoll = select.epoll()
        self._closing = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._closing, select.EPOLLIN)
        self._pids: dict[int, int] = {}
        self._seen: set[int] = set()
        self._thread = threading.Thread(target=self._wait, name="process-ends", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.eventfd_write(self._closing, 1)
        self._thread.join()
        for descriptor in (self._closing, *self._pids):
            os.close(descriptor)
        self._epoll.close()

    def watch(self, pid: int, lifeline: Path) -> None:
        """Watch this one too, unless it is watched, or has ended before it could be."""
        if pid in self._seen:
            return
        self._seen.add(pid)
        try:
            descriptor = _opened(pid, lifeline)
        except OSError:
            return
        self._pids[descriptor] = pid
        self._epoll.register(descriptor, select.EPOLLIN)

    def _wait(self) -> None:
        while True:
            ready = [descriptor for descriptor, _ in self._epoll.poll()]
            ended = [descriptor for descriptor in ready if descriptor != self._closing]
            for descriptor in ended:
                self._epoll.unregister(descriptor)
                self.times.setdefault(self._pids[descriptor], time())
            if ended:
                self.news.set()
            if len(ended) < len(ready):
                return


def _opened(pid: int, lifeline: Path) -> int:
    """A descriptor that is ready once the process has ended."""
    how = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Fails where nobody has the pipe open: one that had no writer when it was opened is never ready.
        held = os.open(lifeline, os.O_WRONLY | how)
    except OSError:
        return os.pidfd_open(pid)
    try:
        return os.open(lifeline, os.O_RDONLY | how)
    finally:
        os.close(held)
