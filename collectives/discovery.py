"""Finds the algorithms: every module of `collectives/algorithms/`, by its constant `ALGORITHM`. There is no list."""

from __future__ import annotations

import difflib
import pkgutil
from dataclasses import replace
from importlib import import_module
from typing import ClassVar

from clusterbench.collectives import algorithms as catalogue
from clusterbench.collectives.algorithm import Algorithm, Call, Spec, UnsuitableAlgorithmError
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.schedule import Schedule


class CatalogueError(ImportError):
    """A file of the catalogue that is not what it should be; the message names it."""

    exit_code: ClassVar[int] = 1


def algorithms() -> dict[str, Algorithm]:
    """All algorithms by name, in alphabetical order.

    A file whose name begins with `_` is none. Raises `CatalogueError` for a file that cannot be imported, has no
    `ALGORITHM`, or has one whose name is not that of the file.
    """
    found = {}
    for module_info in pkgutil.iter_modules(catalogue.__path__):
        if module_info.name.startswith("_"):
            continue
        try:
            module = import_module(f"{catalogue.__name__}.{module_info.name}")
        except Exception as error:
            folder = getattr(module_info.module_finder, "path", "")
            raise CatalogueError(f"{folder}/{module_info.name}.py: {type(error).__name__}: {error}") from error
        algorithm = getattr(module, "ALGORITHM", None)
        if not isinstance(algorithm, Algorithm):
            raise CatalogueError(f"{module.__file__}: expected a constant ALGORITHM of type Algorithm")
        if algorithm.name.replace("-", "_") != module_info.name:
            raise CatalogueError(f"{module.__file__}: its algorithm is named {algorithm.name!r}, unlike the file")
        found[algorithm.name] = algorithm
    return dict(sorted(found.items()))


def suitable(collective: Collective, ranks: int) -> dict[str, Algorithm]:
    """The algorithms that serve the collective over so many ranks."""
    return {name: a for name, a in algorithms().items() if a.refusal(collective, ranks) is None}


def algorithm(name: str, collective: Collective, ranks: int) -> Algorithm:
    """The algorithm by its name.

    Raises `UnsuitableAlgorithmError` where there is none of that name, or it does not serve the call; the message says
    which do.
    """
    served = f"{collective.name} over {ranks} ranks is served by {', '.join(['library', *suitable(collective, ranks)])}"
    found = algorithms()
    chosen = found.get(name.lower().replace("_", "-"))
    if chosen is None:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"; did you mean {near[0]!r}? " if near else "; "
        raise UnsuitableAlgorithmError(f"unknown algorithm {name!r}{hint}{served}")
    refusal = chosen.refusal(collective, ranks)
    if refusal is not None:
        raise UnsuitableAlgorithmError(f"{refusal}; {served}")
    return chosen


def schedule(spec: Spec, call: Call) -> Schedule:
    """The schedule of an algorithm for a call, with the spec's options. Raises `UnsuitableAlgorithmError`."""
    chosen = algorithm(spec.name, call.collective, call.ranks)
    return chosen.schedule(replace(call, options={**call.options, **dict(spec.options)}))
