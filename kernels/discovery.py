"""Finds kernels: every module of the catalogue's folder without a leading underscore ends in `KERNEL = Kernel(...)`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha1
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import ClassVar

from clusterbench.kernels.kernel import Kernel, KernelError

CATALOGUE = Path(__file__).resolve().parent / "catalog"


class CatalogueError(KernelError):
    """A file of the catalogue that cannot be used; the message names it, and the line where one is at fault."""

    exit_code: ClassVar[int] = 1


def discover(folder: Path | None = None) -> dict[str, Kernel]:
    """All kernels of a folder, by name in alphabetical order; the suite's own catalogue unless another is given.

    Raises `CatalogueError`, naming the file, where one does not import, has no `KERNEL`, or is not named as its kernel.
    """
    where = (folder or CATALOGUE).resolve()
    if not where.is_dir():
        raise CatalogueError(f"{where} is no folder of kernels")
    return {path.stem: load(path) for path in sorted(where.glob("*.py")) if not path.stem.startswith("_")}


def load(path: Path) -> Kernel:
    """The kernel in one file. Raises `CatalogueError` as `discover` does."""
    if not path.is_file():
        raise CatalogueError(f"{path}: there is no such file")
    try:
        module = _import(path.resolve())
    except (Exception, SystemExit) as error:
        where = f"{path}{_line_text(path, error)}"
        raise CatalogueError(f"{where}: {type(error).__name__} while importing it: {error}") from error
    kernel = getattr(module, "KERNEL", None)
    if not isinstance(kernel, Kernel):
        raise CatalogueError(
            f"{path}: KERNEL is {type(kernel).__name__}; expected the file to end in KERNEL = Kernel(...)"
        )
    if kernel.name != path.stem:
        raise CatalogueError(f"{path}: KERNEL is named {kernel.name!r}; expected the file's name, {path.stem!r}")
    return replace(kernel, file=str(path.resolve()))


def _line_text(path: Path, error: BaseException) -> str:
    """`, line N`: where in this file the import stopped; empty where no line of it was reached."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == path.resolve():
        return f", line {error.lineno}"
    lines = [f.lineno for f in extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
    return f", line {lines[-1]}" if lines else ""


def _import(path: Path) -> ModuleType:
    if path.parent == CATALOGUE:
        return import_module(f"clusterbench.kernels.catalog.{path.stem}")
    # A folder of its own gets names of its own, so that two catalogues with a `triad` do not meet in sys.modules.
    name = f"_catalogue_{sha1(str(path.parent).encode(), usedforsecurity=False).hexdigest()[:8]}_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def choose(kernels: dict[str, Kernel], names: Sequence[str]) -> list[Kernel]:
    """The kernels by these names, all where there are none. Raises `KernelError` with the nearest name."""
    for name in names:
        if name not in kernels:
            raise KernelError(f"unknown kernel {name!r}{_nearest(name, list(kernels))}")
    return [kernels[name] for name in dict.fromkeys(names or kernels)]


def choose_dtypes(kernels: Sequence[Kernel], asked: Sequence[str]) -> list[str]:
    """The dtypes asked for, or all that any of the kernels has. Raises `KernelError` with the nearest name."""
    known = list(dict.fromkeys(dtype for kernel in kernels for dtype in kernel.dtypes))
    aliases = {"float": "float32", "double": "float64", "fp32": "float32", "fp64": "float64"}
    chosen = [aliases.get(dtype, dtype) for dtype in asked]
    for dtype in chosen:
        if dtype not in known:
            raise KernelError(f"unknown dtype {dtype!r}{_nearest(dtype, known)}")
    return list(dict.fromkeys(chosen or known))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"
