"""Finds what a folder of one file each holds: every module, by its one constant. There is no list."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Protocol, TypeVar


class Named(Protocol):
    """What a file of such a folder holds."""

    @property
    def name(self) -> str:
        """That of the file, with `-` for `_`."""


Entry = TypeVar("Entry", bound=Named)


def entries(folder: ModuleType, constant: str, kind: type[Entry]) -> dict[str, Entry]:
    """What the modules of a package hold in `constant`, by name, in alphabetical order; those with `_` first hold none.

    Raises `ImportError` for a file without it, or whose name is another.
    """
    found = {}
    for module_info in pkgutil.iter_modules(folder.__path__):
        if module_info.name.startswith("_"):
            continue
        module = import_module(f"{folder.__name__}.{module_info.name}")
        entry = getattr(module, constant, None)
        if not isinstance(entry, kind) or entry.name.replace("-", "_") != module_info.name:
            raise ImportError(
                f"{module.__file__}: expected a constant {constant} of type {kind.__name__}, named like the file"
            )
        found[entry.name] = entry
    return dict(sorted(found.items()))
