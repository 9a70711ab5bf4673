"""Results of other tools: importers are found by discovery, and recognise their files by what these hold.

An importer is one file in `results/importers/`, named like it, that ends in the constant `IMPORTER`. What it reads
becomes a run and its rows, with origin `imported`, as if this suite had written them: sizes, rates and names are ours
(`record.Measurement`, `rates`), whatever the tool's are.

A log is read line by line, however long it is; a document, such as a JSON file, as a whole, up to `MOST_BYTES`.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import pkgutil
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterbench.results import importers as catalogue
from clusterbench.results.record import Measurement, Run

MOST_BYTES = 64 << 20
"""Of a document: that of a day of tests on a thousand GPUs has a few MB."""
LONGEST_LINE = 4096
"""Characters; a longer line of a log is no line of a table, and is passed over."""
MOST_FAILURES = 50
"""Lines that are named, of more that could not be taken over."""
_HEAD_BYTES = 4096
_PIECE_BYTES = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Samples = NDArray[np.float64]


class ImportedFileError(ValueError):
    """A file that cannot be imported: the message names the file, the line if there is one, and what was expected."""

    exit_code: ClassVar[int] = 2


class Line(NamedTuple):
    """A line of a log, without its end."""

    number: int
    """From 1."""
    text: str
    whole: bool
    """False for a last line that nothing ends: it may have been cut off."""


class Source:
    """A file of another tool as text. Bytes that are none in its encoding, as in noise, become U+FFFD.

    The encoding is that of the mark at the beginning, UTF-16 where every second byte is 0, and UTF-8 else.
    """

    def __init__(self, file: str, raw: BinaryIO, ranks: int | None = None, written_at: str = "") -> None:
        """`raw` is open, and can be read from its beginning again and again."""
        self.file = file
        self.ranks = ranks
        """How many ranks ran, for a format that does not say."""
        self.written_at = written_at
        """When the file was last written, as ISO 8601; empty where that is unknown."""
        self._raw = raw

    def lines(self) -> Iterator[Line]:
        """The lines in their order, but for those longer than `LONGEST_LINE`."""
        with self._decoded() as text:
            number = 0
            while piece := text.readline(LONGEST_LINE):
                number += 1
                if len(piece) < LONGEST_LINE or piece[-1] == "\n":
                    yield Line(number, piece.rstrip("\r\n"), piece[-1] == "\n")
                    continue
                while piece and piece[-1] != "\n":
                    piece = text.readline(LONGEST_LINE)

    def text(self) -> str:
        """All of it. Raises `ImportedFileError` where that is over `MOST_BYTES`."""
        self._raw.seek(0, io.SEEK_END)
        if self._raw.tell() > MOST_BYTES:
            raise ImportedFileError(f"{self.file}: over {MOST_BYTES} bytes; expected at most that of such a file")
        return self.beginning(MOST_BYTES)

    def beginning(self, characters: int) -> str:
        """At most so many characters from the beginning."""
        with self._decoded() as text:
            return text.read(characters)

    def run_id(self, tool: str) -> str:
        """A run id that follows from what the file holds, so that importing it twice changes nothing."""
        self._raw.seek(0)
        digest = hashlib.sha256()
        while piece := self._raw.read(_PIECE_BYTES):
            digest.update(piece)
        return f"{tool}-{digest.hexdigest()[:16]}"

    def run(
        self, tool: str, *, failures: Iterable[str] = (), versions: Mapping[str, str] | None = None,
        started_at: str = "", finished_at: str = "", command: str = "",
    ) -> Run:  # fmt: skip
        """The record of the run that the file is of: it failed where anything in it did, or could not be taken over.

        Where the tool does not say when it ran, that is when the file was last written.
        """
        failed = tuple(failures)
        return Run(
            run_id=self.run_id(tool),
            started_at=started_at or self.written_at,
            finished_at=finished_at,
            command=command,
            status="failed" if failed else "finished",
            environment={"imported": {"file": Path(self.file).name, "tool": tool}, "versions": dict(versions or {})},
            failures=failed,
        )

    @contextmanager
    def _decoded(self) -> Iterator[io.TextIOWrapper]:
        self._raw.seek(0)
        head = self._raw.read(_HEAD_BYTES)
        self._raw.seek(0)
        text = io.TextIOWrapper(self._raw, _encoding(head), errors="replace", newline="\n")
        try:
            yield text
        finally:
            text.detach()  # or the file would be closed with it


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """What a file holds. `samples[i]` are the raw samples of `measurements[i]` in seconds, or None.

    `run.failures` names, with their lines, what failed there, was cut off, or could not be taken over.
    """

    run: Run
    measurements: tuple[Measurement, ...]
    samples: tuple[Samples | None, ...]
    ranks_from: Mapping[int, str] = field(default_factory=dict)
    """By a number of ranks, what in the file says so first, in words: `line 8`."""


@dataclass(frozen=True, slots=True)
class Importer:
    """One format of one tool.

    `recognises` is given a line of a log, and tells whether such a line is found in no other format; of a document it
    is given the text, or as much of it as a document may have. `read` raises `ImportedFileError`, whose message begins
    with the name of the file: where it holds no result, and where a figure is there but not to be understood.
    """

    name: str
    summary: str
    source: str
    """The manual or the source code that the format was read in."""
    recognises: Callable[[str], bool]
    read: Callable[[Source], Imported]
    form: Literal["log", "document"] = "log"


class Failures:
    """What in a file cannot be taken over, each with its place; of very many only the first ones."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._more = 0

    def add(self, place: int | str, reason: str) -> None:
        """`place` is the number of a line, or words."""
        if len(self.listed) < MOST_FAILURES:
            self.listed.append(f"{f'line {place}' if isinstance(place, int) else place}: {reason}")
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        """Those noted, and how many more there were."""
        return (*self.listed, *([f"{self._more} more"] if self._more else []))


def no_result(source: Source, failures: Failures, expected: str) -> ImportedFileError:
    """The error of a file that holds nothing to take over, with the first reasons for it."""
    reasons = "; ".join(failures.listed[:3])
    return ImportedFileError(f"{source.file}: no result in it{': ' + reasons if reasons else ''}; expected {expected}")


def known_importers() -> dict[str, Importer]:
    """All importers by name, in alphabetical order. Raises `ImportError` for a file without `IMPORTER`."""
    found = {}
    for module_info in pkgutil.iter_modules(catalogue.__path__):
        if module_info.name.startswith("_"):
            continue
        module = import_module(f"{catalogue.__name__}.{module_info.name}")
        importer = getattr(module, "IMPORTER", None)
        if not isinstance(importer, Importer) or importer.name.replace("-", "_") != module_info.name:
            raise ImportError(f"{module.__file__}: expected a constant IMPORTER of type Importer, named like the file")
        found[importer.name] = importer
    return dict(sorted(found.items()))


def import_file(path: Path, name: str | None = None, ranks: int | None = None) -> Imported:
    """The results in a file of any known tool, recognised from what the file holds unless the importer is named.

    `ranks` is how many ran, for a file that does not say. Raises `ImportedFileError` for a file that cannot be read,
    is of no known tool or of several, or is not what its importer expects.
    """
    known = known_importers()
    if name is not None and name not in known:
        raise ImportedFileError(f"unknown importer {name!r}; expected one of {', '.join(known)}")
    with _opened(path, ranks) as source:
        importer = known[name] if name is not None else recognised(source, known.values())
        return importer.read(source)


def recognised(source: Source, known: Iterable[Importer]) -> Importer:
    """The importer whose format a file has. Raises `ImportedFileError` where there is none, or more than one."""
    listed = list(known)
    beginning = source.beginning(MOST_BYTES)
    found = {one.name: 1 for one in listed if one.form == "document" and one.recognises(beginning)}
    del beginning
    if not found:
        logs = [one for one in listed if one.form == "log"]
        for line in source.lines():
            for one in logs:
                if one.recognises(line.text):
                    found.setdefault(one.name, line.number)
    if len(found) > 1:
        places = " and ".join(f"{name} (line {number})" for name, number in found.items())
        raise ImportedFileError(f"{source.file}: the output of several tools, {places}; expected --importer with one")
    if not found:
        names = ", ".join(one.name for one in listed)
        raise ImportedFileError(f"{source.file}: the output of no known tool; expected one of {names}")
    return next(one for one in listed if one.name in found)


@contextmanager
def _opened(path: Path, ranks: int | None) -> Iterator[Source]:
    """The file at `path`, or a copy of what comes out of a pipe."""
    try:
        with path.open("rb") as file, tempfile.TemporaryFile() as copy:
            status = path.stat()
            if stat.S_ISFIFO(status.st_mode):
                shutil.copyfileobj(file, copy)
                yield Source(str(path), copy, ranks)
            elif stat.S_ISREG(status.st_mode):
                written_at = datetime.fromtimestamp(int(status.st_mtime), UTC).isoformat()
                yield Source(str(path), file, ranks, written_at)
            else:
                raise ImportedFileError(f"{path}: no file; expected the output of a benchmark")
    except OSError as error:
        raise ImportedFileError(f"{path}: {error.strerror or error}; expected the output of a benchmark") from None


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    evens, odds = head[0::2], head[1::2]
    if odds and odds.count(0) > len(odds) * 0.75 > evens.count(0):
        return "utf-16-le"
    if evens and evens.count(0) > len(evens) * 0.75 > odds.count(0):
        return "utf-16-be"
    return "utf-8"
