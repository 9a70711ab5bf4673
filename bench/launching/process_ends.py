"""In which order processes end: a launcher that sees one of its ranks end kills the others a moment later."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterable
from time import time
from types import TracebackType
from typing import Self


class ProcessEnds:
    """Watches processes, which need not be its own children, on a thread that sleeps; see pidfd_open(2).

    Where the kernel has none of it (before 5.3) nothing is found out.
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

    def watch(self, pids: Iterable[int]) -> None:
        """Watch these too; those that are watched, or have ended before they could be, are passed over."""
        for pid in pids:
            if pid in self._seen:
                continue
            self._seen.add(pid)
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                continue
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
