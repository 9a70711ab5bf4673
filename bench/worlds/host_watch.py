"""What has become of the ranks of a host, and a process that tells it to a supervisor on another host.

A supervisor reads the pages of its own host. On every other host the first rank starts a watcher: a process of its own
outside of MPI, so that it goes on where ranks are stopped or killed. It looks once a second and is silent while all is
well. Where a rank has ended before its time, or gives no sign of life, it writes the pages of its host to standard
error, which launchers forward: no file system has to be shared. It ends when the ranks have ended.

Line: MARK, what has become of the process, seconds without a sign of life, Unix time of its end, and the page
compressed by zlib and spelled in base64. It is shorter than what a pipe takes at once (pipe(7): PIPE_BUF).
"""

from __future__ import annotations

import base64
import math
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from clusterbench.bench.launching.process_ends import ProcessEnds
from clusterbench.bench.worlds.page_folders import held
from clusterbench.bench.worlds.status_page import ENDED, PAGE_BYTES, RAISED, RankStatus, lifeline_of, parsed, read_pages

GONE, STOPPED = "gone", "stopped"
"""Values of `RankStatus.process`, which is empty where it runs."""
MARK = "clusterbench-rank:"

_LOOK_S, _AMISS_S = 1.0, 0.2
"""Between two looks, where all is well and where it is not: then nothing is being measured any more."""
_STARTED = "watcher"
"""File that whoever starts the watcher makes."""


def look(folder: Path, ends: ProcessEnds) -> list[RankStatus]:
    """What the pages of a folder say, by rank, and what has become of their processes, which `ends` is to watch."""
    pages = _watched(folder, ends)
    return [replace(page, process=_process(page, ends), ended_s=ends.times.get(page.pid, math.inf)) for page in pages]


def _watched(folder: Path, ends: ProcessEnds) -> list[RankStatus]:
    pages = read_pages(folder)
    for page in pages:
        ends.watch(page.pid, lifeline_of(folder, page.pid))
    return pages


def _process(page: RankStatus, ends: ProcessEnds) -> str:
    import psutil

    if page.state == ENDED:
        return ""
    if page.pid in ends.times:
        return GONE
    try:
        status = psutil.Process(page.pid).status()
    except psutil.Error:
        return GONE
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return GONE
    return STOPPED if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP) else ""


def is_amiss(page: RankStatus, silence_s: float) -> bool:
    """Whether something is wrong with a rank: gone before its time, raised, or silent for longer (0: as it likes)."""
    ended = page.state == RAISED or page.process == GONE
    return ended or (silence_s > 0 and page.silent_s > silence_s)


# on the ranks' side


def start_watcher(folder: Path, silence_s: float) -> None:
    """Start the watcher of a host, unless another rank has; once the page of this one is there. Raises `OSError`."""
    with suppress(FileExistsError):
        (folder / _STARTED).touch(exist_ok=False)
        subprocess.Popen(
            [sys.executable, "-P", "-m", "clusterbench.bench.worlds.host_watch", str(folder), f"{silence_s:g}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a launcher ends the groups of its ranks, and this has still to tell of them
        )


def watch(folder: Path, silence_s: float) -> None:
    """What the watcher does."""
    told: dict[int, tuple[int, str, bool]] = {}
    parents: dict[int, int] = {}
    with held(folder), ProcessEnds() as ends:
        while True:
            pages = _watched(folder, ends)
            there = [page.pid for page in pages if _is_there(page.pid, ends)]
            for pid in there:
                parents.setdefault(pid, _parent(pid))
            now: dict[int, tuple[int, str, bool]] = {}
            if len(there) < len(pages) or any(is_amiss(page, silence_s) for page in pages):
                pages = look(folder, ends)
                if any(is_amiss(page, silence_s) for page in pages):
                    now = {page.pid: (page.state, page.process, is_amiss(page, silence_s)) for page in pages}
                _end_left_behind(there, parents)
            if now != told:  # also where all is well again
                _tell(pages)
            told = now
            if not there:
                break
            ends.news.wait(_AMISS_S if now else _LOOK_S)
            ends.news.clear()


def _end_left_behind(pids: Sequence[int], parents: Mapping[int, int]) -> None:
    """End the ranks whose launcher has gone: one that is stopped cannot end itself, and nobody else will."""
    for pid in pids:
        if _parent(pid) not in (parents[pid], -1):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _tell(pages: Sequence[RankStatus]) -> None:
    with suppress(OSError):  # nobody listens any more
        for page in pages:
            os.write(2, line_of(page).encode())


def _is_there(pid: int, ends: ProcessEnds) -> bool:
    if pid in ends.times:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _parent(pid: int) -> int:
    """The parent of a process; −1 where it has ended."""
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return -1


# what is told


def line_of(page: RankStatus) -> str:
    """A page and what has become of its process as a line."""
    packed = base64.b64encode(zlib.compress(page.content)).decode()
    return f"{MARK} {page.process or '-'} {page.silent_s:.3f} {page.ended_s:.6f} {packed}\n"


def status_of(line: str) -> RankStatus | None:
    """What such a line tells; None where it is none, or was mixed up with another on its way."""
    try:
        mark, process, silent, ended, packed = line.split()
        content = zlib.decompressobj().decompress(base64.b64decode(packed, validate=True), PAGE_BYTES)
        page = parsed(content)
        if mark != MARK or process not in ("-", GONE, STOPPED) or page is None:
            return None
        return replace(page, process=process.strip("-"), silent_s=float(silent), ended_s=float(ended))
    except (ValueError, zlib.error):
        return None


if __name__ == "__main__":
    watch(Path(sys.argv[1]), float(sys.argv[2]))
