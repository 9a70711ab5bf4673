"""Reads and writes a schedule as a file, so that one can be written by hand, kept, or made by another tool.

The file is one JSON object. This broadcasts two chunks from rank 0 down a chain of three ranks::

    {
      "format": "clusterbench-schedule", "version": 1, "name": "my-chain",
      "collective": "broadcast", "ranks": 3, "chunks": 2, "root": 0,
      "phases": [
        {"transfers": [[0, 0, 1, 0, 1, "copy"]]},
        {"transfers": [[0, 1, 1, 1, 1, "copy"], [1, 0, 2, 0, 1, "copy"]]},
        {"transfers": [[1, 1, 2, 1, 1, "copy"]]}
      ]
    }

`name` is letters, digits and `._:,=-`; `collective` as on the command line; `chunks` how many chunks the vector is cut
into; `scratch_chunks` (0 unless given) how many more there are to put values aside in, numbered from `chunks` up;
`root` the root of a rooted collective, −1 or left out for the others.

A phase is a round, or several of one traffic pattern: `repetitions` (1 unless given) rounds, in the k-th of which, from
0, the chunks of a transfer are moved on by k times its step, round and round in windows of `modulus` chunks (all
chunks, scratch included, unless given). A transfer is [source, source chunk, destination, destination chunk, count,
"copy" or "reduce", step, route]: `count` neighbouring chunks go from one rank to another, or are copied inside one;
step and route are 0 where they are left out. All transfers of a round read the values before it. What the collective
requires of chunks is in `collectives/collective.py`, the rules of rounds in `collectives/schedule.py`.

Files are not trusted: what is read has the right types and lies in range, and what it takes to prove and compile it is
bounded. Whether it computes its collective is for the proof to say (`collectives/proof.py`).
"""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from clusterbench.collectives.collective import UnknownCollectiveError, collective
from clusterbench.collectives.schedule import Phase, Schedule, ScheduleError, phase

FORMAT = "clusterbench-schedule"
VERSION = 1
MOST_FILE_BYTES = 64 << 20
"""A file at most; as Python objects it takes up to about thirty times as much."""
MOST_RANKS = 4096
"""Of more, a proof takes minutes."""
MOST_CHUNKS = 1 << 24
"""Chunks of all ranks together, scratch included: a proof keeps about 100 bytes of each."""
MOST_CONTRIBUTIONS = 1 << 33
"""Ranks times the chunks of all ranks: a proof keeps a bit of each, 1 GiB."""
MOST_ROUNDS = 1 << 16
MOST_MOVES = 1 << 22
"""Chunks moved in all rounds together: compiled programs keep about 200 bytes of each."""

_LARGEST = 2**31 - 1
_REQUIRED = ("format", "version", "name", "collective", "ranks", "chunks", "phases")
_OPTIONAL = ("scratch_chunks", "root")
_COLUMNS = ("source", "source chunk", "destination", "destination chunk", "count", "operation", "step", "route")
_OPERATION = 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:,=-]{0,99}")  # so that an algorithm with its options is one


class ScheduleFileError(ScheduleError):
    """A schedule file that cannot be read: the message names the file and the place, what was found and expected."""


def read_schedule(path: Path | str) -> Schedule:
    """The schedule in a file. Raises `ScheduleFileError`; what it gives is well formed, but not proven."""
    return read_named_schedule(path)[1]


def read_named_schedule(path: Path | str) -> tuple[str, Schedule]:
    """The name of the schedule in a file, and the schedule. Raises `ScheduleFileError`."""
    try:
        return _named_schedule(_document(Path(path)))
    except OSError as error:
        raise ScheduleFileError(f"{path}: {error.strerror or error}") from None
    except (ScheduleError, UnknownCollectiveError) as error:
        raise ScheduleFileError(f"{path}: {error}") from None


def write_schedule(schedule: Schedule, path: Path | str, name: str) -> None:
    """Write a schedule to a file, one line a transfer; reading it back gives the same phases.

    Raises `ScheduleFileError` where the file cannot be written, or could not be read.
    """
    try:
        Path(path).write_text(_text(schedule, name), encoding="utf-8")
    except OSError as error:
        raise ScheduleFileError(f"{path}: {error.strerror or error}") from None
    except ScheduleError as error:
        raise ScheduleFileError(f"{path}: {error}") from None


def _text(schedule: Schedule, name: str) -> str:
    _check_name(name)
    check_size(schedule.ranks, schedule.chunks, schedule.scratch_chunks)
    head = {
        "format": FORMAT, "version": VERSION, "name": name, "collective": schedule.collective.name,
        "ranks": schedule.ranks, "chunks": schedule.chunks, "scratch_chunks": schedule.scratch_chunks,
        "root": schedule.root,
    }  # fmt: skip
    texts: list[str] = []
    length = 0
    for number, part in enumerate(_checked(schedule, schedule.phases())):
        texts.append(_phase_text(part))
        length += len(texts[-1]) + 1
        if length > MOST_FILE_BYTES - 1000:  # what stands around the phases is shorter
            raise ScheduleError(f"phase {number}: the file would be longer than {MOST_FILE_BYTES} bytes")
    return json.dumps(head, indent=1).removesuffix("\n}") + ',\n "phases": [' + ",".join(texts) + "]\n}\n"


def _phase_text(part: Phase) -> str:
    numbers = (part.src, part.src_chunk, part.dst, part.dst_chunk, part.count, part.step, part.route)
    rows = zip(*(column.tolist() for column in numbers), part.reduce.tolist(), strict=True)
    transfers = ",\n   ".join(
        f'[{src}, {chunk}, {dst}, {dst_chunk}, {count}, "{"reduce" if reduces else "copy"}", {step}, {route}]'
        for src, chunk, dst, dst_chunk, count, step, route, reduces in rows
    )
    return f'\n  {{"repetitions": {part.repetitions}, "modulus": {part.modulus}, "transfers": [\n   {transfers}]}}'


def _document(path: Path) -> Any:
    with path.open("rb") as file:
        data = file.read(MOST_FILE_BYTES + 1)
    if len(data) > MOST_FILE_BYTES:
        raise ScheduleError(f"longer than {MOST_FILE_BYTES} bytes, the most that is read")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise ScheduleError(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ScheduleError(f"byte {error.start}: {error.reason}; expected JSON in UTF-8") from None
    except RecursionError:
        raise ScheduleError("lists too deep inside one another; expected a schedule") from None
    except ScheduleError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise ScheduleError(f"JSON that cannot be read: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ScheduleError(f"an object has the key {reprlib.repr(twice)} twice")
    return found


def _constant(name: str) -> None:
    raise ScheduleError(f"{name} is no number of JSON")


def _named_schedule(document: Any) -> tuple[str, Schedule]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format", "nothing") if isinstance(document, dict) else document
        raise ScheduleError(f"found {reprlib.repr(found)}; expected a JSON object with the format {FORMAT!r}")
    _check_keys(document, _REQUIRED, _OPTIONAL)
    version = _integer(document["version"], "version", 1)
    if version != VERSION:
        raise ScheduleError(f"version {version}; this clusterbench reads version {VERSION}")
    _check_name(document["name"])
    if not isinstance(document["collective"], str):
        raise ScheduleError(f"collective: found {reprlib.repr(document['collective'])}; expected a name")
    what = collective(document["collective"][:100])
    ranks = _integer(document["ranks"], "ranks", 1)
    chunks = _integer(document["chunks"], "chunks", 1)
    scratch_chunks = _integer(document.get("scratch_chunks", 0), "scratch_chunks", 0)
    root = _integer(document.get("root", -1), "root", -1)
    check_size(ranks, chunks, scratch_chunks)
    if not isinstance(document["phases"], list):
        raise ScheduleError(f"phases: found {reprlib.repr(document['phases'])}; expected a list")
    made: list[Phase] = []
    # A method of the list, unlike a lambda, can be sent to other ranks.
    schedule = Schedule(what, ranks, chunks, made.copy, scratch_chunks, root)
    space = chunks + scratch_chunks
    made.extend(_checked(schedule, (_phase(number, part, space) for number, part in enumerate(document["phases"]))))
    return document["name"], schedule


def _phase(number: int, found: Any, space: int) -> Phase:
    where = f"phase {number}"
    if not isinstance(found, dict):
        raise ScheduleError(f"{where}: found {reprlib.repr(found)}; expected an object")
    _check_keys(found, ("transfers",), ("repetitions", "modulus"), f"{where}: ")
    rows = found["transfers"]
    if not isinstance(rows, list):
        raise ScheduleError(f"{where}: transfers: found {reprlib.repr(rows)}; expected a list")
    for t, row in enumerate(rows):
        if not isinstance(row, list) or not _OPERATION < len(row) <= len(_COLUMNS):
            raise ScheduleError(
                f"{where}, transfer {t}: found {reprlib.repr(row)}; expected a list [{', '.join(_COLUMNS)}], of which "
                "step and route may be left out"
            )
    # Column by column, so that checks run over whole columns; where one fails, the transfer is looked for.
    full = (row if len(row) == len(_COLUMNS) else [*row, 0, 0][: len(_COLUMNS)] for row in rows)
    columns: list[tuple[Any, ...]] = list(zip(*full, strict=True)) or [()] * len(_COLUMNS)
    for name, column in zip(_COLUMNS, columns, strict=True):
        _check_column(where, name, column)
    src, src_chunk, dst, dst_chunk, count, operation, step, route = columns
    modulus = _integer(found.get("modulus", space), f"{where}: modulus", 1)
    repetitions = _integer(found.get("repetitions", 1), f"{where}: repetitions", 0)
    for name, column in (("source chunk", src_chunk), ("destination chunk", dst_chunk)):
        _check_range(where, name, np.array(column, np.int64), 0, space - 1)
    return phase(
        src=src, dst=dst, chunk=src_chunk, dst_chunk=dst_chunk, count=count,
        reduce=[text == "reduce" for text in operation], step=step, route=route, modulus=modulus,
        repetitions=repetitions,
    )  # fmt: skip


def _check_column(where: str, name: str, column: tuple[Any, ...]) -> None:
    types = set(map(type, column))
    if name == "operation":
        expected = '"copy" or "reduce"'
        is_fine = types <= {str} and set(column) <= {"copy", "reduce"}
        wrong = (value not in ("copy", "reduce") for value in column)
    else:
        expected = f"a whole number of at most {_LARGEST}"
        is_fine = types <= {int} and -_LARGEST <= min(column, default=0) <= max(column, default=0) <= _LARGEST
        wrong = (type(value) is not int or abs(value) > _LARGEST for value in column)
    if not is_fine:
        t = list(wrong).index(True)
        raise ScheduleError(f"{where}, transfer {t}: {name}: found {reprlib.repr(column[t])}; expected {expected}")


def _checked(schedule: Schedule, phases: Iterable[Phase]) -> Iterator[Phase]:
    """The phases again. Raises `ScheduleError` where one names what is not there, or they become too many."""
    rounds = moves = 0
    space = schedule.chunks + schedule.scratch_chunks
    for number, part in enumerate(phases):
        where = f"phase {number}"
        for name, column, low, high in (
            ("source", part.src, 0, schedule.ranks - 1),
            ("destination", part.dst, 0, schedule.ranks - 1),
            ("count", part.count, 1, space),
            ("step", part.step, -_LARGEST, _LARGEST),
            ("route", part.route, 0, _LARGEST),
        ):
            _check_range(where, name, column, low, high)
        rounds += max(1, part.repetitions)  # a phase takes memory even if nobody runs it
        moves += part.repetitions * int(part.count.sum())
        if rounds > MOST_ROUNDS:
            raise ScheduleError(f"{where}: {rounds} rounds up to here; at most {MOST_ROUNDS} can be handled")
        if moves > MOST_MOVES:
            raise ScheduleError(f"{where}: {moves} chunks are moved up to here; at most {MOST_MOVES} can be handled")
        # Of shape (repetitions, transfers): no more than is moved.
        ends = zip(("source", "destination"), part.chunks_at(np.arange(part.repetitions)), strict=True)
        for name, first in ends:
            repetition, transfer = np.nonzero(first + part.count > space)
            if len(transfer):
                r, t = int(repetition[0]), int(transfer[0])
                raise ScheduleError(
                    f"{where}, transfer {t}: {part.count[t]} chunks from {name} chunk {first[r, t]} in repetition {r}; "
                    f"expected chunks 0 to {space - 1}"
                )
        yield part


def _check_range(where: str, name: str, column: Any, low: int, high: int) -> None:
    wrong = np.flatnonzero((column < low) | (column > high))
    if len(wrong):
        raise ScheduleError(f"{where}, transfer {wrong[0]}: {name} {int(column[wrong[0]])}; expected {low} to {high}")


def check_size(ranks: int, chunks: int, scratch_chunks: int) -> None:
    if ranks > MOST_RANKS:
        raise ScheduleError(f"{ranks} ranks; at most {MOST_RANKS} can be handled")
    total = ranks * (chunks + scratch_chunks)
    cut = f"{chunks} chunks, {scratch_chunks} scratch chunks and {ranks} ranks"
    if total > MOST_CHUNKS:
        raise ScheduleError(f"{cut} make {total} chunks in all; at most {MOST_CHUNKS} can be handled")
    if total * ranks > MOST_CONTRIBUTIONS:
        raise ScheduleError(
            f"{cut} make {total * ranks} contributions to chunks; at most {MOST_CONTRIBUTIONS} can be handled"
        )


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ScheduleError(f"name: found {reprlib.repr(name)}; expected at most 100 letters, digits and . _ : , = -")


def _check_keys(found: dict[str, Any], required: tuple[str, ...], optional: tuple[str, ...], where: str = "") -> None:
    for key in found:
        if key not in required and key not in optional:
            known = ", ".join(chain(required, optional))
            raise ScheduleError(f"{where}unknown key {reprlib.repr(key)}; expected {known}")
    for key in required:
        if key not in found:
            raise ScheduleError(f"{where}no key {key!r}; expected {', '.join(required)}")


def _integer(value: Any, name: str, low: int) -> int:
    if type(value) is not int or not low <= value <= _LARGEST:
        raise ScheduleError(f"{name}: found {reprlib.repr(value)}; expected a whole number from {low} to {_LARGEST}")
    return value
