"""The journal of a run: JSON lines, each flushed to the disk before the next measurement starts.

It is what a run leaves behind whatever happens to it, to its database or to its host. Each process that measures writes
a journal of its own; journals of one run carry the same run id, and `merge_runs` and the store put them together.

Format, one JSON object a line:

    {"kind": "run", "schema_version": 1, "journal": ID, "run": {fields of Run}}
    {"kind": "measurement", "schema_version": 1, "row": {fields of Measurement}, "samples_s": [seconds, ...] or null}

The first line is a `run`; a later one replaces it (the state at the end). ID names the journal, so that loading it
twice, or under another file name, changes nothing. A line that was cut off, or none of these, is reported and skipped.
Numbers that JSON cannot spell are the strings "Infinity", "-Infinity" and "NaN".

History: version 1 is the first.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.columns import checked_row, real, spelled
from clusterbench.results.export import ExportError, write_whole
from clusterbench.results.record import SCHEMA_VERSION, Measurement, RecordError, Run, instant, status_of

_ROW_START = b'{"kind":"measurement"'
"""How `Journal` begins the line of a row."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAMES_TRIED = 1000


class JournalError(ValueError):
    """A journal that cannot be created or read: the message names the file, what was found and what was expected."""

    exit_code: ClassVar[int] = 2


class JournalWriteError(OSError):
    """What could not be written to the disk; everything before it is safe."""

    exit_code: ClassVar[int] = 1


def now_iso() -> str:
    """The present time as ISO 8601 in UTC, to the millisecond: `2026-03-14T15:00:00.000+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def ended(run: Run, exit_code: int, failures: Iterable[str] = ()) -> Run:
    """`run` as it stands at its end, now: its status follows from the exit code (see `record.status_of`).

    `failures` are added to those known before.
    """
    known = tuple(dict.fromkeys((*run.failures, *failures)))
    return replace(run, finished_at=now_iso(), status=status_of([exit_code]), exit_code=exit_code, failures=known)


class Journal:
    """A journal being written by one process. Use it as a context manager, or call `close`."""

    def __init__(self, path: Path, descriptor: int, run: Run, journal_id: str) -> None:
        self.path = path
        self.run = run
        self._id = journal_id
        self._descriptor = descriptor
        self._size = 0

    @classmethod
    def create(cls, folder: Path, run: Run, part: str = "") -> Self:
        """Start `folder/<run_id>[.part].jsonl`; a number is added where that file exists, as nothing is overwritten.

        Raises `JournalError` where the run id or the part is no file name, or the folder cannot be written, and
        `JournalWriteError` where there is no room for the first line: then there is no journal.
        """
        for text in (run.run_id, *([part] if part else [])):
            if not _RUN_ID.fullmatch(text):
                raise JournalError(f"run id or part {text!r}: expected letters, digits, '.', '_' and '-', at most 128")
        stem = f"{run.run_id}.{part}" if part else run.run_id
        names = [f"{stem}.jsonl", *(f"{stem}.{i}.jsonl" for i in range(2, _NAMES_TRIED))]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                try:
                    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                except FileExistsError:
                    continue
                _lock(folder / name, descriptor)
                journal = cls(folder / name, descriptor, run, uuid.uuid4().hex)
                journal._begin()
                _sync_folder(folder)
                return journal
        except JournalWriteError:
            raise
        except OSError as error:
            kind = _kind(error)
            raise kind(f"{folder}: cannot write a journal there: {error.strerror or error}") from error
        raise JournalError(f"{folder}: {_NAMES_TRIED} journals of run {run.run_id} are there already")

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Go on with a journal; half a line at its end is dropped.

        Raises `JournalError` where it cannot be read or written, or another process writes to it.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError(f"{path}: cannot go on with this journal: {error.strerror or error}") from error
        try:
            _lock(path, descriptor)
            contents = read_journal(path)
            journal = cls(path, descriptor, contents.run, contents.journal_id)
            journal._size = rows_since(path)[1]
            journal._cut_back()
        except JournalError:
            os.close(descriptor)
            raise
        return journal

    def append(self, measurement: Measurement, samples_s: Sequence[float] | NDArray[np.float64] | None = None) -> None:
        """Write one row, and its raw samples in seconds, through to the disk. Raises `JournalWriteError`."""
        if measurement.run_id != self.run.run_id:
            raise RecordError(f"run_id is {measurement.run_id!r}; the journal belongs to {self.run.run_id!r}")
        self._write(_row_record(measurement, samples_s))

    def update(self, run: Run) -> None:
        """Replace the run's record, for what is learned after its start. Raises `JournalWriteError`."""
        if run.run_id != self.run.run_id:
            raise RecordError(f"run_id is {run.run_id!r}; the journal belongs to {self.run.run_id!r}")
        self.run = run
        self._write_run()

    def finish(self, exit_code: int, failures: Iterable[str] = ()) -> None:
        """Record how the run ended (see `ended`; `run` is then what was recorded), and close."""
        self.update(ended(self.run, exit_code, failures))
        self.close()

    def close(self) -> None:
        """Close the file; what was written stays. Closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _begin(self) -> None:
        try:
            self._write_run()
        except JournalWriteError:
            self.path.unlink(missing_ok=True)
            self.close()
            raise

    def _write_run(self) -> None:
        self._write(_run_record(self.run, self._id))

    def _write(self, record: dict[str, Any]) -> None:
        line = _line(record)
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fdatasync(self._descriptor)  # the data and their length: no time stamps, which cost as much again
        except OSError as error:
            self._cut_back()
            raise JournalWriteError(f"{self.path}: cannot write: {error.strerror or error}") from error
        self._size += len(line)

    def _cut_back(self) -> None:
        """Drop the half of a line, so that the next one does not grow on to it."""
        try:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
        except OSError:
            return  # the reader skips the half line; the first error is the one to report


def _kind(error: BaseException | None) -> type[JournalError | JournalWriteError]:
    """A folder that no journal can be written to is a mistake of whoever named it; one that is full is none."""
    return JournalWriteError if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) else JournalError


def _lock(path: Path, descriptor: int) -> None:
    """Keep other processes from going on with a journal while this one has it open."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalError(f"{path}: another process is writing to this journal; wait until it has ended") from None
    except OSError:
        return  # some network file systems have no locks


def write_journal(
    folder: Path, run: Run, rows: Iterable[tuple[Measurement, Sequence[float] | NDArray[np.float64] | None]]
) -> Path:
    """Write a journal at once, of rows with their samples in seconds, for what was measured elsewhere.

    The run id must follow from the rows: it is also the journal's, and `folder/<run_id>.jsonl` is replaced. Raises
    `JournalError` where that cannot be written, and `JournalWriteError` where there is no room for it.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(_line(_run_record(run, run.run_id)))
            file.writelines(_line(_row_record(measurement, samples_s)) for measurement, samples_s in rows)
            file.flush()
            os.fsync(file.fileno())

    path = folder / f"{run.run_id}.jsonl"
    try:
        write_whole(path, write)
    except ExportError as error:
        kind = _kind(error.__cause__)
        raise kind(str(error)) from error
    return path


def _run_record(run: Run, journal_id: str) -> dict[str, Any]:
    return {"kind": "run", "schema_version": SCHEMA_VERSION, "journal": journal_id, "run": run.as_row()}


def _row_record(
    measurement: Measurement, samples_s: Sequence[float] | NDArray[np.float64] | None
) -> dict[str, Any]:  # fmt: skip
    samples = None if samples_s is None else np.asarray(samples_s, dtype=np.float64).tolist()
    row = measurement.as_row()
    return {"kind": "measurement", "schema_version": SCHEMA_VERSION, "row": row, "samples_s": samples}


def _line(record: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    except ValueError:  # numbers that JSON cannot spell, which are rare, and samples are many
        text = json.dumps(spelled(record), separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        return  # some network file systems refuse it; the lines themselves are synced
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line of a journal that was skipped: its number, from 1, and what is wrong with it."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a journal holds. `samples[i]` are the raw samples of `measurements[i]`, `lines[i]` its line, from 1."""

    path: Path
    journal_id: str
    run: Run
    measurements: tuple[Measurement, ...]
    samples: tuple[NDArray[np.float64] | None, ...]
    lines: tuple[int, ...]
    damaged_lines: tuple[DamagedLine, ...]


def read_journal(path: Path) -> JournalContents:
    """Read a journal of this or an older version; a cut-off or damaged line is reported, every whole one is kept.

    Raises `JournalError` where the file cannot be read, was written by a newer version, or is no journal.
    """
    run: Run | None = None
    journal_id = ""
    rows: list[tuple[int, Measurement, NDArray[np.float64] | None]] = []
    damaged: list[DamagedLine] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    record = _parsed(path, number, line)
                    if record["kind"] == "run":
                        run, journal_id = _run_of(record, run, journal_id)
                    else:
                        rows.append((number, *_row_of(record, run)))
                except RecordError as error:
                    damaged.append(DamagedLine(number, str(error)))
    except OSError as error:
        raise JournalError(f"{path}: cannot read the journal: {error.strerror or error}") from error
    if run is None:
        if not rows:
            raise JournalError(f"{path}: no line of a journal in it; expected a file written by clusterbench")
        run = Run(run_id=rows[0][1].run_id, started_at="", failures=("the journal's run record is damaged",))
        journal_id = path.name
        rows = [row for row in rows if row[1].run_id == run.run_id]
    lines, measurements, samples = zip(*rows, strict=True) if rows else ((), (), ())
    return JournalContents(path, journal_id, run, measurements, samples, lines, tuple(damaged))


def rows_since(path: Path, offset: int = 0) -> tuple[int, int]:
    """How many rows a journal has from byte `offset` on, and the offset from which to look next time.

    For a look at a journal that is still being written: only what was appended since the last look is read. A line that
    is not complete yet counts next time. Raises `JournalError` where the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            new = file.read()
    except OSError as error:
        raise JournalError(f"{path}: cannot read the journal: {error.strerror or error}") from error
    lines = new[: new.rfind(b"\n") + 1]
    return lines.startswith(_ROW_START) + lines.count(b"\n" + _ROW_START), offset + len(lines)


def start_order(run: Run) -> tuple[bool, float, str]:
    """What runs and their parts are ordered by: when they started; where that is unknown, last."""
    started = instant(run.started_at)
    return started is None, started or 0.0, run.started_at


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise RecordError("cut off")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"no JSON: {str(error)[:80]}") from error
    if not isinstance(record, dict) or record.get("kind") not in ("run", "measurement"):
        raise RecordError("neither a run nor a measurement")
    version = record.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RecordError(f"schema_version is {version!r}; expected 1 or more")
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path}, line {number}: schema version {version}; this clusterbench reads up to {SCHEMA_VERSION}"
        )
    return record


def _run_of(record: dict[str, Any], before: Run | None, journal_id: str) -> tuple[Run, str]:
    row = checked_row(Run, record.get("run"))
    failures = row.get("failures", [])
    if not isinstance(row.get("environment", {}), dict):
        raise RecordError("environment is no object")
    if not isinstance(failures, list) or not all(isinstance(text, str) for text in failures):
        raise RecordError("failures is no list of texts")
    run = Run.from_row(row)
    identity = record.get("journal")
    if not run.run_id or not isinstance(identity, str) or not identity:
        raise RecordError("the run has no id, or the journal has none")
    if before is not None and (before.run_id, journal_id) != (run.run_id, identity):
        raise RecordError(f"belongs to run {run.run_id!r}; the journal began with {before.run_id!r}")
    return run, identity


def _row_of(record: dict[str, Any], run: Run | None) -> tuple[Measurement, NDArray[np.float64] | None]:
    measurement = Measurement.from_row(checked_row(Measurement, record.get("row")))
    if run is not None and measurement.run_id != run.run_id:
        raise RecordError(f"belongs to run {measurement.run_id!r}; the journal began with {run.run_id!r}")
    raw = record.get("samples_s")
    if raw is None:
        return measurement, None
    seconds = [real(value) for value in raw] if isinstance(raw, list) else [None]
    if None in seconds:
        raise RecordError("samples_s is no list of numbers")
    return measurement, np.array(seconds, dtype=np.float64)


def merge_runs(parts: Sequence[Run]) -> Run:
    """The run that several journals of one run id describe; the order of `parts` does not matter.

    The command, the seed and the status are those of the part that started first, the one that knows of the others; the
    run failed where any part failed. Failures and environments are put together (the first part's value where two
    differ). The exit code is the first one that is not 0, in the order in which the parts started.
    """
    ordered = sorted(parts, key=lambda run: (start_order(run), json.dumps(spelled(run.as_row()), sort_keys=True)))
    first = ordered[0]
    codes = [run.exit_code for run in ordered if run.exit_code is not None]
    environment: dict[str, Any] = {}
    for run in ordered:
        environment = _merged(environment, run.environment)
    return replace(
        first,
        finished_at=max((run.finished_at for run in ordered), key=lambda text: (instant(text) or 0.0, text)),
        status="failed" if any(run.status == "failed" for run in ordered) else first.status,
        exit_code=next((code for code in codes if code), codes[0] if codes else None),
        seed=next((run.seed for run in ordered if run.seed is not None), None),
        environment=environment,
        failures=tuple(dict.fromkeys(text for run in ordered for text in run.failures)),
    )


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    result = {**second, **first}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            result[key] = _merged(first[key], second[key])
    order = [*first, *(key for key in second if key not in first)]
    return {key: result[key] for key in order}
