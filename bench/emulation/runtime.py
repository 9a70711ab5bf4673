"""The runtime folder of this machine: who emulates, what it has made, and what a rank finds out about its network.

There is one emulation a machine at a time, as a second would take the cores that the first counts on. It holds a lock,
which the kernel lets go when it ends, however it ends, and with it the programs that make its network; so a record that
is found under the lock is of one that was killed, and all that it made is there. A lock that is held when the record's
process has ended is held by one that cleans. A process finds itself in the
emulation if its network namespace is one of the record's hosts: nothing is handed down to COMMAND, neither by options
nor by variables.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from clusterbench.bench.emulation.plan import EmulationError

FOLDER = Path("/run/clusterbench")
_LOCK, _RECORD = "emulation.lock", "emulation.json"
_OWN_NETWORK = Path("/proc/self/ns/net")
VERSION = 1
CLEANING_S = 30.0
"""For what is left of a killed emulation to be removed by another process."""


@dataclass(frozen=True, slots=True)
class Record:
    """An emulation: what there is to remove, and what it emulates."""

    pid: int
    topology: str
    """As it was written."""
    folder: str
    """In which it was, if it is a file."""
    scale: float
    """Emulated rates over those of the topology."""
    rate: float
    """Bytes/s of the fastest link of a host."""
    hosts: dict[str, int]
    """Inode of the network namespace of each; 0 where it is not made yet."""
    namespaces: tuple[str, ...]
    """All that it makes."""
    faults: tuple[str, ...] = ()
    links: tuple[dict[str, Any], ...] = ()
    """Of each direction from and to which node, bytes/s, and the bytes of its bucket."""
    header_factor: float = 1.0
    places: tuple[str, ...] = ()
    """The host of every rank."""
    version: int = VERSION


@contextmanager
def sole(folder: Path = FOLDER) -> Iterator[tuple[Path, int]]:
    """Be the only emulation here, and wait for one that cleans: the folder, and the lock's descriptor.

    A child that keeps the descriptor holds the lock, too. Raises `EmulationError` where there is an emulation already,
    or no right.
    """
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EmulationError(f"{folder}: {error.strerror}; expected a folder that can be written") from None
    try:
        until = monotonic() + CLEANING_S
        while not _locked(lock):
            by = read_record(folder)
            if by is not None and runs(by.pid):
                raise EmulationError(
                    f"process {by.pid} emulates {by.topology[:80]} on this machine; expected one emulation at a time"
                )
            if monotonic() > until:
                what = f"what process {by.pid} has left is not removed" if by else "nobody says what for"
                raise EmulationError(
                    f"{folder / _LOCK} is held, and after {CLEANING_S:g} s {what}; expected one emulation at a time"
                )
            sleep(0.05)
        yield folder, lock
    finally:
        os.close(lock)


def runs(pid: int) -> bool:
    """Whether a process is there that has not ended: one that its parent has not waited for yet has."""
    import psutil

    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_record(record: Record, folder: Path = FOLDER) -> None:
    """Replace the record at once."""
    new = folder / f"{_RECORD}.new"
    new.write_text(json.dumps(asdict(record)), "utf-8")
    new.replace(folder / _RECORD)


def read_record(folder: Path = FOLDER) -> Record | None:
    """The record, or None where there is none that this version can read."""
    try:
        values = json.loads((folder / _RECORD).read_text("utf-8"))
        values |= {name: tuple(values[name]) for name in ("namespaces", "faults", "links")}
        values["places"] = tuple(values.get("places", ()))
        return Record(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(folder: Path = FOLDER) -> None:
    """Remove the record, and all that lies beside it but the lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def current(folder: Path = FOLDER) -> Record | None:
    """The emulation that this process is on a host of, or None."""
    record = read_record(folder)
    if record is None:
        return None
    try:
        own = _OWN_NETWORK.stat().st_ino
    except OSError:
        return None
    return record if own in record.hosts.values() else None
