"""Lines of logs: what launchers and collectors of logs put before each of them, and what is left of a damaged row.

    [1,0]<stdout>: ...                      Open MPI's --tag-output, with --timestamp-output a moment before it
    0: ...                                  srun's --label
    [0] ...                                 MPICH's and Intel MPI's -prepend-rank
    2026-03-01T10:00:00.123456789Z ...      kubectl logs --timestamps, docker logs -t, logs of GitHub's actions
    Mar 01 10:00:00 node01 slurmd[12]: ...  journalctl

A moment differs from line to line, and the rest is the same on all lines of one process: so moments are taken off, and
the rest is learned from a line that is known.
"""

from __future__ import annotations

import re

from clusterbench.results.imported_values import number

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_MOMENT = re.compile(
    rf"\[?(?:\d{{4}}[-/]\d\d[-/]\d\d[T ]{_CLOCK} ?(?:Z|[+-]\d\d:?\d\d)?"
    rf"|(?:[A-Z][a-z][a-z] )?{_MONTH} {{1,2}}\d{{1,2}} {_CLOCK}(?: \d{{4}}(?!\d))?|{_CLOCK})\]?"
    r"|(?<!\S)\[?\d{9,10}\.\d{3,9}\]?(?!\S)"  # seconds since 1970
)
_HINT = re.compile(r"\d\d:\d\d:\d\d|\d{9}\.\d")
"""In every moment, and quick to look for in a log of a gigabyte."""
_LONGEST_PREFIX = 100
_PREFIX = re.compile(r"^\s*(?:\[(?:\S*@)?\d{1,9},\d{1,9}\]<std\w+>:|\[\d{1,6}\](?=[#\s\d])|\d{1,6}: ?(?=[#\s\d]))\s*")
_BETWEEN = re.compile(r"[\s\x00-\x1f\x7f\ufffd]+")
_DAMAGE = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
"""What is in no text: bytes 0 where a file was damaged, and what was no character. ESC begins colours."""


def without_moment(prefix: str) -> str:
    """What stands before lines, without the time of day, which differs from line to line."""
    return _MOMENT.sub("", prefix, count=1).strip() if _HINT.search(prefix) else prefix.strip()


def unprefixed(line: str, learned: str = "") -> str:
    """A line without what was put before it; `learned` is what was found before another line of the same process.

    A moment counts as put before it where no `#` precedes it.
    """
    place = line.find("#")
    end = min(_LONGEST_PREFIX, len(line) if place < 0 else place)
    if _HINT.search(line, 0, end):
        line = _MOMENT.sub("", line[:end], count=1) + line[end:]
    text = line.strip().removeprefix(learned).lstrip()
    return _PREFIX.sub("", text) if text[:1] == "[" or text[:1].isdigit() else text


def is_damaged_row(line: str, columns: int) -> bool:
    """Whether a line that is no row of a table has the figures of one: behind other words, or with damage between.

    `columns` are those of the table, all of numbers, and not all of them whole.
    """
    damaged = "\ufffd" in line or (not line.isprintable() and _DAMAGE.search(line) is not None)
    if "." not in line or not (damaged or line[-1].isdigit()):
        return False
    fields = _BETWEEN.split(line.strip())
    if damaged:
        return sum(number(field) is not None for field in fields) >= min(2, columns)
    return len(fields) > columns > 1 and all(number(field) is not None for field in fields[-columns:])
