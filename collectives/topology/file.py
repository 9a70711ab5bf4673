"""Files that describe topologies: formats are found by discovery, and recognised from what a file holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clusterbench.collectives import formats as catalogue
from clusterbench.collectives.catalogue import entries
from clusterbench.collectives.topology.graph import Topology, TopologyError

MOST_BYTES = 256 << 20
"""Of a file: the fabric of 100,000 ports written by `ibnetdiscover` is some 40 MB."""

_WHOLE = re.compile(r"-?[0-9]{1,15}", re.ASCII)
"""What a double has exactly."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format of files.

    `recognises` is given the text of a file, and tells whether it is of this format; no two formats claim the same
    text. `read` is given the text and the name of the file, which its errors begin with and add the line to; `write`
    gives the text of a file, and is None where the format is only read.
    """

    name: str
    summary: str
    source: str
    """The manual, the source code or the standard that the format was read in."""
    recognises: Callable[[str], bool]
    read: Callable[[str, str], Topology]
    write: Callable[[Topology], str] | None = None


def formats() -> dict[str, Format]:
    """All formats by name, in alphabetical order: every module of `collectives/formats/`, by its constant `FORMAT`.

    Raises `ImportError` for a file without it.
    """
    return entries(catalogue, "FORMAT", Format)


def format_key(name: str) -> str:
    """The name of a format as `formats` has it; it may be written with underscores and capitals."""
    return name.lower().replace("_", "-")


def whole_number(text: str, where: str, what: str, low: int = 0) -> int:
    """A whole number in a file, of at most 15 digits and at least `low`.

    Raises `TopologyError`, which begins with `where`, the file and line, and says `what` the number is.
    """
    digits = text.strip()
    if not _WHOLE.fullmatch(digits) or int(digits) < low:
        raise TopologyError(f"{where}: {what} {text[:40]!r}; expected a whole number from {low}")
    return int(digits)


def read_topology(path: Path, name: str | None = None) -> Topology:
    """The topology in a file of any known format, which is recognised from what the file holds, unless it is named.

    Raises `TopologyError` for a file that cannot be read, is larger than `MOST_BYTES`, is not UTF-8 text, is of no
    known format, or is not what its format demands.
    """
    text = _text(path)
    known = formats()
    if name is not None:
        if format_key(name) not in known:
            raise TopologyError(f"unknown format {name!r}; expected one of {', '.join(known)}")
        return known[format_key(name)].read(text, str(path))
    for format_ in known.values():
        if format_.recognises(text):
            return format_.read(text, str(path))
    raise TopologyError(f"{path}: of no known format; expected one of {', '.join(known)}")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)  # no more than is allowed, whatever kind of file it is
    except OSError as error:
        raise TopologyError(f"{path}: {error.strerror}; expected a file that describes a topology") from None
    if len(raw) > MOST_BYTES:
        raise TopologyError(f"{path}: over {MOST_BYTES} bytes; expected at most that")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TopologyError(f"{path}, line {line}: not UTF-8 text; expected a file that describes a topology") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
