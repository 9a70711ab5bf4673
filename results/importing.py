"""Results of other tools: importers are found by discovery, and recognise their files by what these hold.

An importer is one file in `results/importers/`, named like it, that ends in the constant `IMPORTER`. What it reads
becomes a run and its rows, with origin `imported`, as if this suite had written them: sizes, rates and names are ours
(`record.Measurement`, `rates`), whatever the tool's are.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterbench.results import importers as catalogue
from clusterbench.results.record import Measurement, Run

MOST_BYTES = 64 << 20
"""Of a file: the log of a day of tests on a thousand GPUs has a few MB."""
Samples = NDArray[np.float64]


class ImportedFileError(ValueError):
    """A file that cannot be imported: the message names the file, the line if there is one, and what was expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """What a file holds. `samples[i]` are the raw samples of `measurements[i]` in seconds, or None.

    `run.failures` names, with their lines, what failed there, was cut off, or could not be taken over.
    """

    run: Run
    measurements: tuple[Measurement, ...]
    samples: tuple[Samples | None, ...]


@dataclass(frozen=True, slots=True)
class Importer:
    """One format of one tool.

    `recognises` is given the text of a file and tells whether it is of this format; no two importers claim the same
    text. `read` is given the text and the name of the file, with which its errors begin, and raises
    `ImportedFileError`: where a file holds no result, and where a figure is there but not to be understood.
    """

    name: str
    summary: str
    source: str
    """The manual or the source code that the format was read in."""
    recognises: Callable[[str], bool]
    read: Callable[[str, str], Imported]


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


def import_file(path: Path, name: str | None = None) -> Imported:
    """The results in a file of any known tool, recognised from what the file holds unless the importer is named.

    Raises `ImportedFileError` for a file that cannot be read, is larger than `MOST_BYTES`, is of no known tool, or is
    not what its importer expects.
    """
    known = known_importers()
    if name is not None and name not in known:
        raise ImportedFileError(f"unknown importer {name!r}; expected one of {', '.join(known)}")
    text = _text(path)
    for importer in known.values() if name is None else [known[name]]:
        if name is not None or importer.recognises(text):
            return importer.read(text, str(path))
    raise ImportedFileError(f"{path}: the output of no known tool; expected one of {', '.join(known)}")


def content_id(tool: str, text: str) -> str:
    """A run id that follows from what a file holds, so that importing it twice changes nothing."""
    return f"{tool}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _text(path: Path) -> str:
    """The file's text; bytes that are no UTF-8, as noise in logs may be, become replacement characters."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)  # no more than is allowed, whatever kind of file it is
    except OSError as error:
        raise ImportedFileError(f"{path}: {error.strerror}; expected the output of a benchmark") from None
    if len(raw) > MOST_BYTES:
        raise ImportedFileError(f"{path}: over {MOST_BYTES} bytes; expected at most that")
    return raw.decode("utf-8-sig", errors="replace")
