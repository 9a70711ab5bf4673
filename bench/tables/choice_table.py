"""The file of choices: measured once a machine by `collectives calibrate`, read by `--algorithm best` and `auto`.

One JSON object: the machine's fingerprint, and an entry for every call that was calibrated. Each machine, with each MPI
library, has a file of its own in the user's cache directory, as homes may be shared between machines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar

from clusterbench.bench import exit_codes
from clusterbench.bench.measuring.choices import Cell, Entry
from clusterbench.bench.measuring.collective_request import HOST, MPI, OVER_WINDOWS, REGISTERED
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms

FORMAT, VERSION = "clusterbench-choices", 1
LARGEST_BYTES = 16 << 20
"""Of a file that is read; nine collectives over ten numbers of ranks take about a quarter of a MiB."""

Fingerprint = dict[str, Any]


class ChoiceTableError(ValueError):
    """A table that cannot be used: the message names the file, what was found and what was expected."""

    exit_code: ClassVar[int] = exit_codes.USAGE


@dataclass(frozen=True, slots=True)
class ChoiceTable:
    """The choices for one machine."""

    path: Path
    machine: Fingerprint
    entries: tuple[Entry, ...] = ()

    def entry(self, collective: str, ranks: int, hosts: int, buffers: str) -> Entry | None:
        """The choices for a call, where it was calibrated."""
        key = collective, ranks, hosts, buffers
        return next((entry for entry in self.entries if entry.key == key), None)


def fingerprint() -> Fingerprint:
    """What times depend on: the processor, the cores that may be used, the caches, and the MPI library, once loaded.

    On an emulated network it, too: no table of the machine itself is read or written there.
    """
    from clusterbench.bench.emulation.runtime import current
    from clusterbench.bench.hosts.environment import loaded_mpi
    from clusterbench.bench.hosts.hardware import describe_cpu

    cpu, mpi = describe_cpu(), loaded_mpi()
    caches = [" ".join(str(value) for value in cache.values()) for cache in cpu["caches"]]
    library = f"{mpi.get('family', 'unknown')} {mpi.get('version', '')}".strip()
    own = {"cpu": cpu["model"] or "unknown", "cores": cpu["logical_cores"], "caches": caches, "mpi": library}
    emulation = current()
    if emulation is None:
        return own
    network = {"topology": emulation.topology, "rate": emulation.rate, "faults": list(emulation.faults)}
    return {**own, "emulated": network}


def default_path(machine: Fingerprint) -> Path:
    """Where the table of a machine is kept (XDG Base Directory Specification 0.8: $XDG_CACHE_HOME, else ~/.cache)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the specification has such a path ignored
        cache = Path.home() / ".cache"
    mark = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]
    return cache / "clusterbench" / f"collectives-{mark}.json"


def read_table(path: Path) -> ChoiceTable | None:
    """The table in a file; None where there is no file. Raises `ChoiceTableError` for anything else than a table."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ChoiceTableError(f"{path} has {path.stat().st_size} bytes; expected a table of choices, {_MADE}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ChoiceTableError(f"{path}: {error.strerror}; expected a table that can be read") from None
    except UnicodeDecodeError:
        raise ChoiceTableError(f"{path} is no text; expected a table of choices, {_MADE}") from None
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ChoiceTableError(f"{path}: {error}; expected a table of choices, {_MADE}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        has = repr(found.get("format"))[:60] if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ChoiceTableError(f"{path}: its format is {has}; expected {FORMAT!r}, {_MADE}")
    if found.get("version") != VERSION:
        raise ChoiceTableError(f"{path}: its version is {found.get('version')!r:.60}; expected {VERSION}, {_MADE}")
    machine = _field(path, found, "machine", dict)
    entries = [_entry(path, f"entry {i}", entry) for i, entry in enumerate(_field(path, found, "entries", list))]
    return ChoiceTable(path, machine, tuple(entries))


def own_table(path: Path, machine: Fingerprint) -> ChoiceTable:
    """The table in a file, which is to be that of this machine; an empty one where there is no file.

    Raises `ChoiceTableError` for the table of another machine or MPI library.
    """
    table = read_table(path)
    if table is None:
        return ChoiceTable(path, machine)
    for name in {**machine, **table.machine}:
        own = machine.get(name)
        if table.machine.get(name) != own:
            raise ChoiceTableError(
                f"{path} was measured with {name} {table.machine.get(name)!r:.200}; here it is {own!r}: take another "
                "file by --table, or calibrate again"
            )
    return table


def write_entries(path: Path, machine: Fingerprint, entries: Iterable[Entry]) -> ChoiceTable:
    """Put entries into a table in the place of those for the same calls; others in the file stay.

    The file is replaced whole, so that nobody reads half of it. Raises `ChoiceTableError`.
    """
    kept = {entry.key: entry for entry in own_table(path, machine).entries}
    kept |= {entry.key: entry for entry in entries}
    table = ChoiceTable(path, machine, tuple(kept[key] for key in sorted(kept)))
    document = {"format": FORMAT, "version": VERSION, "machine": machine}
    document["entries"] = [asdict(entry) for entry in table.entries]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False) as file:
            json.dump(document, file, indent=1)
        Path(file.name).replace(path)
    except OSError as error:
        raise ChoiceTableError(f"{path}: {error.strerror}; expected a file that can be written, as --table") from None
    return table


_MADE = "as `collectives calibrate` writes it; take another file by --table, or remove it and calibrate again"


_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def _field(where: Path | str, found: Any, name: str, kind: type) -> Any:
    value = found.get(name) if isinstance(found, dict) else None
    # A bool is an int to Python, and no number to anybody.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ChoiceTableError(f"{where}: {name} is {value!r:.60}; expected {_KINDS[kind]}, {_MADE}")
    return value


def _one_of(where: str, name: str, value: Any, known: Iterable[str]) -> str:
    if value not in (expected := list(known)):
        raise ChoiceTableError(f"{where}: {name} is {value!r:.60}; expected one of {', '.join(expected)}")
    return str(value)


def _positive(where: str, found: Any, name: str) -> int:
    value: int = _field(where, found, name, int)
    if value < 1:
        raise ChoiceTableError(f"{where}: {name} is {value}; expected at least 1")
    return value


def _entry(path: Path, which: str, found: Any) -> Entry:
    where = f"{path}, {which}"
    collective = _one_of(where, "collective", _field(where, found, "collective", str), COLLECTIVES)
    served = [name for name, algorithm in algorithms().items() if collective in algorithm.cost]
    cells = [_cell(f"{where}, cell {i}", cell, served) for i, cell in enumerate(_field(where, found, "cells", list))]
    if not cells:
        raise ChoiceTableError(f"{where}: cells is empty; expected a cell for every size, {_MADE}")
    return Entry(
        collective,
        _positive(where, found, "ranks"),
        _positive(where, found, "hosts"),
        _one_of(where, "buffers", _field(where, found, "buffers", str), (HOST, REGISTERED)),
        tuple(cells),
    )


def _cell(where: str, found: Any, served: list[str]) -> Cell:
    best, over = _field(where, found, "best", dict), _field(where, found, "over", dict)
    transport = _one_of(where, "transport", _field(where, found, "transport", str), (MPI, *OVER_WINDOWS))
    for key, value in best.items():
        _one_of(where, "a transport of best", key, (MPI, *OVER_WINDOWS))
        _one_of(where, f"best over {key}", value, served)
    for key, value in over.items():
        _one_of(where, "an algorithm of over", key, served)
        _one_of(where, f"over of {key}", value, (MPI, *OVER_WINDOWS))
    if transport not in best:
        raise ChoiceTableError(f"{where}: best has no algorithm over {transport}, the transport that it names")
    return Cell(_positive(where, found, "size_bytes"), transport, best, over)
