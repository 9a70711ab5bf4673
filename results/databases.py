"""Connections to the two kinds of database that a store can be: a file of SQLite, or a server of PostgreSQL by URL."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError

LOCK_SCHEMA = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7101989)"}
"""What lets one process alone make tables, until its transaction ends; the number only has to be always the same."""

_SILENT_S = 30
"""Seconds without a word from a server after which it is asked whether it is there, and again without an answer after
which it is given up. Without this a server whose host went down would be waited for for hours."""

_DISK_FULL = "53100"
"""SQLSTATE of PostgreSQL (manual, appendix A, "PostgreSQL Error Codes")."""


class StoreError(RuntimeError):
    """A store that cannot be opened, read or written: the message names it, what was found and what to do."""

    exit_code: ClassVar[int] = 2


class StoreFailedError(StoreError):
    """A store that failed while it was in use: no room is left for it, or its server went away."""

    exit_code: ClassVar[int] = 1


def refusal(error: DatabaseError) -> tuple[type[StoreError], str]:
    """What an error of a database is for whoever uses a store, and why it is one, in a line."""
    cause = error.orig
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return StoreFailedError, os.strerror(errno.ENOSPC)
    lines = str(cause).strip().splitlines()
    failed = error.connection_invalidated or getattr(cause, "sqlstate", None) == _DISK_FULL
    return StoreFailedError if failed else StoreError, lines[0] if lines else type(error).__name__


def engine(url: str, create: bool, lock_wait_s: float) -> sa.Engine:
    """The engine of a store's URL; nothing is connected yet.

    Raises `StoreError` for a URL that is none or of another database, for an SQLite file that is not there while
    `create` is False, and where the driver of PostgreSQL is not installed.
    """
    try:
        address = sa.make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise StoreError("--store: not a URL; expected sqlite:///FILE or postgresql://USER@HOST/DATABASE") from error
    backend = address.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"--store: database {backend!r}; expected sqlite or postgresql")
    try:
        if backend == "postgresql":
            return _postgresql(address, lock_wait_s)
        _prepare_file(address, create)
        return sa.create_engine(address, connect_args={"timeout": lock_wait_s})
    except NoSuchModuleError as error:
        raise StoreError(f"--store: {error}") from error
    except ModuleNotFoundError as error:
        raise StoreError(f"--store: PostgreSQL needs {error.name}: install clusterbench's extra `postgres`") from error


def _postgresql(address: sa.URL, lock_wait_s: float) -> sa.Engine:
    settings = {
        "application_name": "clusterbench",
        "connect_timeout": max(2, round(lock_wait_s)),
        "keepalives_idle": _SILENT_S,
        "keepalives_interval": _SILENT_S // 3,
        "keepalives_count": 3,
        "tcp_user_timeout": _SILENT_S * 1000,
        "options": f"-c lock_timeout={round(lock_wait_s * 1000)}",
    }
    told = {name: value for name, value in settings.items() if name not in address.query}
    # A connection that was left open is tried before it is used again: the server may have been restarted meanwhile.
    return sa.create_engine(address.set(drivername="postgresql+psycopg"), connect_args=told, pool_pre_ping=True)


def _prepare_file(address: sa.URL, create: bool) -> None:
    if address.query:
        options = ", ".join(address.query)
        raise StoreError(f"--store: an SQLite URL takes no options, found {options}; expected sqlite:///FILE")
    if address.database in (None, "", ":memory:"):
        raise StoreError("--store: an SQLite store in memory would be lost at the end; expected sqlite:///FILE")
    file = Path(str(address.database))
    if not file.exists() and not create:
        raise StoreError(
            f"{file}: there is no store; `clusterbench run` makes one, `clusterbench results load JOURNAL...` too"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{file}: cannot make the folder of the store: {error.strerror or error}") from error
