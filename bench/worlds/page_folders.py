"""Folders of status pages, in memory where the host has such a file system.

Whoever looks at the pages of a folder holds a lock in it. The kernel gives the lock back however its holder ends, so
that what a killed one left is known, in whatever container it ran, and removed by the next one on the host.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
PREFIX = "clusterbench-"
_HELD = "held"
"""The file with the lock."""


@contextmanager
def page_folder() -> Iterator[Path]:
    """A new folder, held, and removed at the end. Raises `OSError` where none can be made."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    with held(folder):
        yield folder


def page_folder_elsewhere(folder: Path) -> Path:
    """The folder of pages on this host, where that of the supervisor is not; made where it is not there yet.

    Raises `OSError` where it cannot be made, or belongs to somebody else.
    """
    own = _place() / folder.name
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise PermissionError(f"{own} belongs to somebody else")
    return own


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, and remove it at the end; those beside it that were held once and are no more, now."""
    descriptor = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for lock in folder.parent.glob(f"{PREFIX}*/{_HELD}"):
            _remove_left(lock)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_left(lock: Path) -> None:
    with suppress(OSError):  # held, gone by now, or somebody else's
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        finally:
            os.close(descriptor)


def _place() -> Path:
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
