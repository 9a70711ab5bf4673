"""Hostlists, as Slurm writes many names as one: `rack[0-1]n[01-16,20],login`."""

from __future__ import annotations

import re
from itertools import product

from clusterbench.collectives.topology.graph import TopologyError

MOST_NAMES = 1 << 20
"""More hosts than any cluster has."""
LONGEST_NAME = 255
"""Characters; as many as the names of the Internet have (RFC 1035, 2.3.4)."""

_PIECE = re.compile(r"(?:[^\s,\[]|\[[^\]]*\]?)+")
"""What lies between separators, which inside of brackets are none."""
_NAME = re.compile(r"(?:[^\s,\[\]{}]|\[[0-9,-]+\])+")
_GROUP = re.compile(r"\[([0-9,-]+)\]")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


def expanded(text: str, where: str, most: int = MOST_NAMES) -> list[str]:
    """The names that a hostlist stands for, in its order; of several groups in brackets the last counts fastest.

    A number is written as wide as the first of its range: `n[08-10]` is n08, n09, n10. `where` is the file and line,
    with which errors begin. Raises `TopologyError`, also for ranges of more than `most` names and names longer than
    `LONGEST_NAME`. Source: scontrol(1), `show hostnames`.
    """
    names: list[str] = []
    for piece in _PIECE.findall(text):
        if _NAME.fullmatch(piece) is None:
            raise TopologyError(f"{where}: {piece[:60]!r}; expected a name, with numbers such as n[01-16,20]")
        names += _product(piece, where, most - len(names))
    if not names:
        raise TopologyError(f"{where}: an empty list of names; expected at least one")
    return names


def _product(name: str, where: str, most: int) -> list[str]:
    """The names that one name with groups in brackets stands for."""
    literals_and_groups = _GROUP.split(name)
    ranges = [[_bounds(part, where) for part in group.split(",")] for group in literals_and_groups[1::2]]
    count, length = 1, sum(map(len, literals_and_groups[::2]))
    for group in ranges:
        count *= sum(high - low + 1 for low, high, _ in group)
        length += max(max(width, len(str(high))) for _, high, width in group)
        if count > most:
            break
    if count > most:
        raise TopologyError(f"{where}: with {name[:60]!r} more than {MOST_NAMES} names; expected at most that in all")
    if length > LONGEST_NAME:
        raise TopologyError(f"{where}: {name[:60]!r} has {length} characters; expected at most {LONGEST_NAME}")
    choices = [[part] for part in literals_and_groups]
    choices[1::2] = [
        [f"{number:0{width}d}" for low, high, width in group for number in range(low, high + 1)] for group in ranges
    ]
    return ["".join(parts) for parts in product(*choices)]


def _bounds(text: str, where: str) -> tuple[int, int, int]:
    """First and last number of a range, and how wide its numbers are written."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise TopologyError(f"{where}: {text[:40]!r} in brackets; expected a number, or a range such as 01-16")
    return int(found[1]), int(found[2] or found[1]), len(found[1])
