"""The store: a database of every run that was loaded, SQLite by default, PostgreSQL by URL.

It is only ever filled from journals, and can be made again from them: a lost, locked or broken database costs nothing
that was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from clusterbench.results.columns import checked_row, columns_of, spelled, typed
from clusterbench.results.databases import LOCK_SCHEMA, StoreError, engine, refusal
from clusterbench.results.journal import JournalContents, merge_runs, read_journal
from clusterbench.results.migrations import STORE_VERSION, lacks_columns, migrate
from clusterbench.results.record import Measurement, RecordError, Run, instant
from clusterbench.results.tables import JOURNALS, LINE_BITS, MEASUREMENTS, METADATA, RUNS, SAMPLES, SCHEMA_VERSIONS

if TYPE_CHECKING:
    from pandas import DataFrame

_ROWS_AT_ONCE = 5_000
_IDS_AT_ONCE = 500
"""Databases limit the parameters of one statement."""


class Store:
    """An open store. Use it as a context manager, or call `close`."""

    def __init__(self, connected: sa.Engine) -> None:
        self._engine = connected
        shown = connected.url.set(drivername=connected.url.get_backend_name())  # without the name of the driver
        self.url = shown.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url: str, *, create: bool = True, writable: bool = False, lock_wait_s: float = 10.0) -> Self:
        """Open the store at an SQLAlchemy URL, and make its tables where there are none.

        Parameters
        ----------
        create: False refuses an SQLite file that does not exist, for commands that only read.
        writable: True tries to write now, and changes nothing, for commands that measure first and load at the end.
        lock_wait_s: how long to wait for another process that is writing.

        Raises `StoreError` for a URL that is none, a file that cannot be opened or is no database, a lock that is not
        given up, a server that does not answer, and a schema newer than this version knows; with `writable`, for a
        store that can only be read, too.
        """
        store = cls(engine(url, create, lock_wait_s))
        try:
            with store._errors("cannot be opened"):
                store._prepare()
            if writable:
                with store._errors("cannot be written"):
                    store._try_to_write()
        except StoreError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # writing

    def load(self, journal: Path | JournalContents) -> int:
        """Load a journal and return how many rows were new; loading again, or more of the same journal, is harmless.

        Raises `StoreError`, in which case nothing of the journal was loaded, and `JournalError` for an unreadable file.
        """
        contents = read_journal(journal) if isinstance(journal, Path) else journal
        with self._errors("cannot be written"), self._engine.begin() as connection:
            # The first statement writes, so that two loaders queue here instead of meeting half-way.
            self._upsert(connection, RUNS, "run_id", _run_row(contents.run), update={"run_id"})
            journal_row = {
                "journal": contents.journal_id,
                "run_id": contents.run.run_id,
                "run": json.dumps(spelled(contents.run.as_row())),
            }
            self._upsert(connection, JOURNALS, "journal", journal_row, update={"run"})
            key = connection.scalar(sa.select(JOURNALS.c.journal_key).where(JOURNALS.c.journal == contents.journal_id))
            new = self._load_rows(connection, contents, int(key or 0))
            parts = connection.scalars(sa.select(JOURNALS.c.run).where(JOURNALS.c.run_id == contents.run.run_id))
            merged = merge_runs([self._part_of(contents.run.run_id, text) for text in parts])
            connection.execute(sa.update(RUNS).where(RUNS.c.run_id == merged.run_id).values(_run_row(merged)))
        return new

    def _load_rows(self, connection: sa.Connection, contents: JournalContents, key: int) -> int:
        base = key << LINE_BITS
        row_id = MEASUREMENTS.c.row_id
        inside = row_id.between(base, base + (1 << LINE_BITS) - 1)
        last = connection.scalar(sa.select(sa.func.max(row_id)).where(inside)) or base
        loaded = last - base  # a journal only grows, so everything up to its last line loaded is there
        first = next((i for i, line in enumerate(contents.lines) if line > loaded), len(contents.lines))
        for start in range(first, len(contents.lines), _ROWS_AT_ONCE):
            chunk = range(start, min(start + _ROWS_AT_ONCE, len(contents.lines)))
            rows = [{"row_id": base + contents.lines[i], **_plain_row(contents.measurements[i])} for i in chunk]
            connection.execute(sa.insert(MEASUREMENTS), rows)
            packed = [
                {"row_id": base + contents.lines[i], "seconds": samples.astype("<f8").tobytes()}
                for i in chunk
                if (samples := contents.samples[i]) is not None
            ]
            if packed:
                connection.execute(sa.insert(SAMPLES), packed)
        return len(contents.lines) - first

    def _upsert(
        self, connection: sa.Connection, table: sa.Table, key: str, row: dict[str, Any], update: set[str]
    ) -> None:
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(table).values(row)
        changed = {name: statement.excluded[name] for name in update}
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed))

    # reading

    def runs(self) -> tuple[Run, ...]:
        """All runs, the one that started last first; those whose start is unknown at the end.

        Raises `StoreError` with the run and the field where the record of one is damaged.
        """
        with self._reading() as connection:
            found = [self._run_of(dict(row)) for row in connection.execute(sa.select(RUNS)).mappings()]
        # By the instant and not by the database: times of older journals have local offsets.
        found.sort(key=lambda run: (instant(run.started_at) or 0.0, run.started_at, run.run_id), reverse=True)
        return tuple(found)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many rows each run has in each suite."""
        columns = (MEASUREMENTS.c.run_id, MEASUREMENTS.c.suite)
        statement = sa.select(*columns, sa.func.count()).group_by(*columns).order_by(*columns)
        result: dict[str, dict[str, int]] = {}
        with self._reading() as connection:
            for run_id, suite, count in connection.execute(statement):
                result.setdefault(run_id, {})[suite] = count
        return result

    def find_run(self, text: str) -> Run:
        """The run named by its id, by a beginning that only one id has, or by `latest` or `previous`.

        Raises `StoreError` where there is none, or more than one.
        """
        runs = self.runs()
        if text in ("latest", "previous"):
            place = ("latest", "previous").index(text)
            if len(runs) <= place:
                raise StoreError(f"{self.url}: no {text} run; the store holds {len(runs)}")
            return runs[place]
        matching = [run for run in runs if run.run_id == text] or [run for run in runs if run.run_id.startswith(text)]
        if len(matching) != 1 or not text:
            found = ", ".join(run.run_id for run in matching[:5]) or f"none of {len(runs)} runs"
            raise StoreError(f"{self.url}: run {text!r} matches {found}; expected one (`clusterbench results list`)")
        return matching[0]

    def frame(
        self,
        run_id: str | Sequence[str] | None = None,
        suite: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        **where: Any,
    ) -> DataFrame:
        """The measurements as a tidy pandas frame: one row each, the fields as columns, `row_id` as the index.

        Every further keyword is a field of `Measurement`, with the value it must have or a list of them:
        `store.frame(suite="collectives", name="all_reduce", algorithm=["ring", "library"])`. `columns` are the fields
        to read, by default all; `limit` is the number of rows at most, those loaded first.
        Times are in seconds, sizes in bytes, rates in bytes/s and flop/s. Raises `StoreError` for an unknown field, and
        with the row and the field where a value is damaged.
        """
        import pandas as pd

        names = [column.name for column in columns_of(Measurement)]
        if columns is not None:
            names = [_known(name) for name in columns]
        statement = sa.select(MEASUREMENTS.c.row_id, *(MEASUREMENTS.c[name] for name in names))
        statement = _filtered(statement, {"run_id": run_id, "suite": suite, **where})
        statement = statement.order_by(MEASUREMENTS.c.row_id).limit(limit)
        with self._reading() as connection:
            rows = [tuple(row) for row in connection.execute(statement)]  # a Row has fields that pandas stumbles over
        frame = pd.DataFrame(rows, columns=["row_id", *names])
        try:
            return typed(frame.astype({"row_id": "int64"}).set_index("row_id"))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged_row(names, rows, error) from error

    def count(self, run_id: str | Sequence[str] | None = None, suite: str | None = None, **where: Any) -> int:
        """How many rows `frame` would have without a limit. Raises `StoreError` for an unknown field."""
        statement = _filtered(
            sa.select(sa.func.count()).select_from(MEASUREMENTS), {"run_id": run_id, "suite": suite, **where}
        )
        with self._reading() as connection:
            return int(connection.scalar(statement) or 0)

    def samples(self, row_ids: Iterable[int]) -> dict[int, NDArray[np.float64]]:
        """Raw samples in seconds by row id, in the order taken; rows without raw samples are left out."""
        wanted = [int(row_id) for row_id in row_ids]
        result: dict[int, NDArray[np.float64]] = {}
        with self._reading() as connection:
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                ids = wanted[start : start + _IDS_AT_ONCE]
                statement = sa.select(SAMPLES.c.row_id, SAMPLES.c.seconds).where(SAMPLES.c.row_id.in_(ids))
                result |= self._unpacked(connection.execute(statement))
        return result

    def samples_of(self, run_ids: Sequence[str]) -> dict[int, NDArray[np.float64]]:
        """The same of all rows of some runs, in one query."""
        statement = (
            sa.select(SAMPLES.c.row_id, SAMPLES.c.seconds)
            .join(MEASUREMENTS, MEASUREMENTS.c.row_id == SAMPLES.c.row_id)
            .where(MEASUREMENTS.c.run_id.in_(run_ids))
        )
        with self._reading() as connection:
            return self._unpacked(connection.execute(statement))

    # what comes from the database may have been damaged there

    def _unpacked(self, rows: Iterable[Any]) -> dict[int, NDArray[np.float64]]:
        result: dict[int, NDArray[np.float64]] = {}
        for row_id, packed in rows:
            try:
                result[row_id] = np.frombuffer(packed, dtype="<f8").astype(np.float64)
            except (TypeError, ValueError) as error:
                raise self._damaged(f"samples of row {row_id}", f"seconds: {error}") from error
        return result

    def _run_of(self, row: dict[str, Any]) -> Run:
        where = f"run {row['run_id']!r}"
        for name, kind in (("environment", dict), ("failures", list)):
            row[name] = self._parsed(where, name, row[name], kind)
        return self._checked_run(where, row)

    def _part_of(self, run_id: str, text: str) -> Run:
        where = f"a journal of run {run_id!r}"
        return self._checked_run(where, self._parsed(where, "run", text, dict))

    def _parsed(self, where: str, name: str, text: Any, kind: type) -> Any:
        try:
            value = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged(where, f"{name} is no JSON: {error}") from error
        if not isinstance(value, kind):
            raise self._damaged(where, f"{name} is a JSON {type(value).__name__}; expected a {kind.__name__}")
        return value

    def _checked_run(self, where: str, row: dict[str, Any]) -> Run:
        try:
            return Run.from_row(checked_row(Run, row))
        except (RecordError, TypeError) as error:
            raise self._damaged(where, str(error)) from error

    def _damaged_row(self, names: Sequence[str], rows: Iterable[Sequence[Any]], error: Exception) -> StoreError:
        """The error for a frame that could not be made: names the first value that is not of its field's type."""
        for row_id, *values in rows:
            try:
                checked_row(Measurement, dict(zip(names, values, strict=True)))
            except RecordError as found:
                return self._damaged(f"row {row_id}", str(found))
        return self._damaged("a row", str(error))

    def _damaged(self, where: str, what: str) -> StoreError:
        return StoreError(
            f"{self.url}: {where} is damaged: {what}. Journals are not touched; make a new store of them with "
            "`clusterbench results load JOURNAL... --store URL`"
        )

    # connections and errors

    def _prepare(self) -> None:
        with self._engine.begin() as connection:
            if not sa.inspect(connection).has_table(SCHEMA_VERSIONS.name):
                self._create(connection)
            is_old = self._version(connection) < STORE_VERSION or lacks_columns(connection)
        if is_old:
            self._migrate()

    def _version(self, connection: sa.Connection) -> int:
        version = connection.scalar(sa.select(SCHEMA_VERSIONS.c.version))
        if not isinstance(version, int) or not 1 <= version <= STORE_VERSION:
            raise StoreError(
                f"{self.url}: the store has schema version {version!r}; this clusterbench knows up to "
                f"{STORE_VERSION}: update it, or name another --store"
            )
        return version

    def _migrate(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(LOCK_SCHEMA[self._engine.dialect.name])
                migrate(connection, self._version(connection))  # another process may have done it by now
        except DatabaseError:
            with self._engine.connect() as connection:
                if lacks_columns(connection):
                    raise
            # An old store that can only be read: what it lacks is indices, so it is slower, and says the same.

    def _create(self, connection: sa.Connection) -> None:
        """Make the tables; of several processes that open a new store at once, one does."""
        connection.exec_driver_sql(LOCK_SCHEMA[self._engine.dialect.name])
        if not sa.inspect(connection).has_table(SCHEMA_VERSIONS.name):
            METADATA.create_all(connection)
            connection.execute(sa.insert(SCHEMA_VERSIONS).values(version=STORE_VERSION))

    def _try_to_write(self) -> None:
        # Databases and folders that can only be read are opened without a word: only a write finds out.
        with self._engine.connect() as connection:
            connection.execute(sa.update(SCHEMA_VERSIONS).values(version=SCHEMA_VERSIONS.c.version))
            connection.rollback()

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._errors("cannot be read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            kind, reason = refusal(error)
            raise kind(
                f"{self.url}: the store {what}: {reason}. Journals are not touched; load them again with "
                "`clusterbench results load JOURNAL... --store URL`"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(f"{self.url}: the store {what}: {error}") from error


def _known(name: str) -> str:
    """`name`, where it is a field of a measurement."""
    names = [column.name for column in columns_of(Measurement)]
    if name not in names:
        raise StoreError(f"no field {name!r} to filter by; expected one of {', '.join(names)}")
    return name


def _filtered(statement: sa.Select[Any], where: dict[str, Any]) -> sa.Select[Any]:
    for name, value in where.items():
        column = MEASUREMENTS.c[_known(name)]
        if value is None:
            continue
        several = isinstance(value, Iterable) and not isinstance(value, str)
        statement = statement.where(column.in_(list(value)) if several else column == value)
    return statement


def _plain_row(measurement: Measurement) -> dict[str, Any]:
    return {column.name: getattr(measurement, column.name) for column in columns_of(Measurement)}


def _run_row(run: Run) -> dict[str, Any]:
    row = run.as_row()
    return {**row, **{name: json.dumps(spelled(row[name])) for name in ("environment", "failures")}}


def load_all(store: Store, journals: Sequence[Path]) -> tuple[int, tuple[str, ...]]:
    """Load journals in order; returns the number of new rows, and a line in words for each damaged line."""
    new, damaged = 0, []
    for path in journals:
        contents = read_journal(path)
        new += store.load(contents)
        damaged += [f"{path}, line {line.line}: skipped, {line.reason}" for line in contents.damaged_lines]
    return new, tuple(damaged)
