"""What was compiled before, kept on disk: a row by everything that it can depend on.

That is the text of the kernel's file, of kernels that it builds on and of this package, the versions of all compilers,
back end, type and target. A damaged entry, or one of another version, is none.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clusterbench.kernels.compiled.compiling import Compiled
from clusterbench.kernels.compiled.targets import Target
from clusterbench.kernels.discovery import CATALOGUE
from clusterbench.kernels.kernel import Kernel

COMPILERS = ("triton", "numba", "numba-cuda", "llvmlite", "cuda-bindings", "nvidia-nvvm", "nvidia-nvjitlink", "numpy")
"""The packages whose version changes what comes out."""
_KEPT = ("compiled", "failed", "nothing")
_IMPORTED = re.compile(r"^\s*(?:from|import) clusterbench\.kernels\.catalog(.*)$", re.MULTILINE)
_WORD = re.compile(r"\w+")


def cache_folder() -> Path:
    """Where rows are kept (XDG Base Directory Specification 0.8: $XDG_CACHE_HOME, else ~/.cache)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "clusterbench" / "compiled"


def versions() -> dict[str, str]:
    """The versions of all compilers that are installed."""
    found = {}
    for package in COMPILERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def key(kernel: Kernel, backend: str, dtype: str, target: Target) -> str:
    """What an entry is found by."""
    sources = [path.read_text(encoding="utf-8") for path in _sources(Path(kernel.file))]
    return sha256("\0".join((*sources, _machinery(), backend, dtype, target.name)).encode()).hexdigest()


def _sources(file: Path) -> list[Path]:
    """A kernel's file, and what it imports from the catalogue, where a kernel may build on another."""
    found = [file]
    for path in found:
        for line in _IMPORTED.findall(path.read_text(encoding="utf-8")):
            others = (CATALOGUE / f"{name}.py" for name in _WORD.findall(line))
            found += [other for other in others if other.is_file() and other not in found]
    return found


@lru_cache(maxsize=1)
def _machinery() -> str:
    here = Path(__file__).parent
    files = [*sorted(here.parent.glob("*.py")), *sorted(here.glob("*.py")), here / "targets.toml"]
    texts = (path.read_text(encoding="utf-8") for path in files)
    return "\0".join((*texts, json.dumps(versions()), sys.version))


def load(folder: Path, name: str) -> Compiled | None:
    """The entry of this key, or None."""
    try:
        return Compiled.from_row(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(folder: Path, name: str, row: Compiled) -> None:
    """Keep a row; one that a missing package left is not kept. A folder that cannot be written to costs time only."""
    if row.status not in _KEPT:
        return
    partial = folder / f"{name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(row.as_row()), encoding="utf-8")
        partial.replace(folder / f"{name}.json")
    except OSError:
        partial.unlink(missing_ok=True)
