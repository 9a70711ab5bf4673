"""The file of a sweep: TOML, read strictly. What it does not know it refuses, and names the nearest that it does know.

    seed = 7                         # the order of launches and points, and the data; drawn unless given
    launches = 4                     # fresh worlds for each point; the unit of the statistics
    timeout_s = 300                  # from when ranks on which nothing goes on are ended

    [launcher]
    kind = "mpiexec"                 # or "srun"
    hosts = "node[01-04]"

    [[measure]]
    collectives = ["all_reduce", "all_gather"]
    algorithms = ["library", "ring"]
    sizes = { min = "8", max = "64M", factor = 8 }
    ranks = [2, 4]

Every table `measure` stands for all combinations of what it lists. `docs/sweeps.md` has all keys.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.names import DTYPE, OPERATIONS
from clusterbench.bench.sizes import SIZE, sweep
from clusterbench.bench.toml_file import read_toml, unknown_key
from clusterbench.bench.worlds.launchers import KINDS, MPIEXEC, RANK_PLACEMENTS, HostsError, host_names
from clusterbench.collectives.algorithm import parse_specs
from clusterbench.collectives.collective import collective

PLACEMENTS = ("both", "out-of-place", "in-place")
TRANSPORTS = ("auto", "mpi", "shared", "hybrid", "nccl")
BUFFERS = ("host", "registered", "device")
_MISSING = object()


class SweepFileError(ValueError):
    """A file that is no sweep: the message names the file, the key, what was found and what was expected."""

    exit_code: ClassVar[int] = exit_codes.USAGE


@dataclass(frozen=True, slots=True)
class Block:
    """One table `measure`: all combinations of what it lists."""

    collectives: tuple[str, ...]
    algorithms: tuple[str, ...]
    sizes: tuple[int, ...]
    """Bytes."""
    types: tuple[str, ...]
    op: str
    ranks: tuple[int, ...]
    rank_placements: tuple[str, ...]
    placement: str
    transports: tuple[str, ...]
    buffers: tuple[str, ...]
    root: int
    traffic: str
    topology: str
    launches: int
    precision: float
    budget_s: float
    samples: int
    """A fixed number of samples a point; 0 for as many as the precision asks."""
    warmup: int
    """A fixed number of warm-up calls; −1 where it is to be detected."""
    check: bool


@dataclass(frozen=True, slots=True)
class LauncherChoice:
    """The table `launcher`."""

    kind: str
    command: str
    hosts: tuple[str, ...]
    ranks_per_host: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a file asks for."""

    path: Path
    seed: int | None
    timeout_s: float
    strict: bool
    launcher: LauncherChoice
    blocks: tuple[Block, ...]
    content: Mapping[str, Any]
    """The file as it was parsed, by which a sweep that goes on is held against the one that began."""


def read_sweep(path: Path) -> Sweep:
    """Read a file. Raises `SweepFileError`."""
    return sweep_of(path, read_toml(path, "a sweep", SweepFileError))


def sweep_of(path: Path, content: Mapping[str, Any]) -> Sweep:
    """The sweep of a file that was parsed. Raises `SweepFileError`."""
    top = _Table(path, "", content)
    launches = top.take("launches", _whole(1, 1000), 4)
    seed = top.take("seed", _whole(0, 2**32 - 1), None)
    timeout_s = top.take("timeout_s", _number(1.0, 1e7), 300.0)
    strict = top.take("strict", _flag, False)
    launcher = _launcher(_Table(path, "launcher", top.take("launcher", _table, {})))
    measures = top.take("measure", _tables)
    top.finish()
    blocks = tuple(_block(_Table(path, f"measure {n}", one), launches) for n, one in enumerate(measures, 1))
    return Sweep(path, seed, timeout_s, strict, launcher, blocks, content)


def _launcher(table: _Table) -> LauncherChoice:
    choice = LauncherChoice(
        kind=table.take("kind", _one_of(KINDS), MPIEXEC),
        command=table.take("command", _text, ""),
        hosts=table.take("hosts", _hosts, ()),
        ranks_per_host=table.take("ranks_per_host", _whole(1, 1 << 20), 0),
        arguments=table.take("arguments", _list_of(_text), ()),
    )
    table.finish()
    return choice


def _block(table: _Table, launches: int) -> Block:
    block = Block(
        collectives=table.take("collectives", _list_of(_collective)),
        algorithms=table.take("algorithms", _list_of(_algorithm), ("library",)),
        sizes=table.take("sizes", _sizes),
        types=table.take("types", _list_of(_dtype), ("float32",)),
        op=table.take("op", _one_of(OPERATIONS), "sum"),
        ranks=table.take("ranks", _list_of(_whole(1, 1 << 20))),
        rank_placements=table.take("rank_placements", _list_of(_one_of(RANK_PLACEMENTS)), RANK_PLACEMENTS[:1]),
        placement=table.take("placement", _one_of(PLACEMENTS), PLACEMENTS[0]),
        transports=table.take("transports", _list_of(_one_of(TRANSPORTS)), ("mpi",)),
        buffers=table.take("buffers", _list_of(_one_of(BUFFERS)), ("host",)),
        root=table.take("root", _whole(0, 1 << 20), 0),
        traffic=table.take("traffic", _text, ""),
        topology=table.take("topology", _text, ""),
        launches=table.take("launches", _whole(1, 1000), launches),
        precision=table.take("precision", _number(1e-4, 1.0), 0.02),
        budget_s=table.take("budget_s", _number(1e-3, 86400.0), 1.0),
        samples=table.take("samples", _whole(1, 1_000_000), 0),
        warmup=table.take("warmup", _whole(0, 1_000_000_000), -1),
        check=table.take("check", _flag, True),
    )
    table.finish()
    if block.root >= min(block.ranks):
        raise table.error("root", f"{block.root}; expected a rank of the fewest, {min(block.ranks)}")
    return block


class _Table:
    """A table of the file from which keys are taken one by one; what is left at the end is unknown."""

    def __init__(self, path: Path, name: str, content: Mapping[str, Any]) -> None:
        self._path = path
        self._name = name
        self._content = content
        self._known: list[str] = []

    def take(self, key: str, read: Callable[[Any], Any], default: Any = _MISSING) -> Any:
        """The value of a key as `read` takes it, which raises `ValueError` with what was found and expected."""
        self._known.append(key)
        if key not in self._content:
            if default is _MISSING:
                unknown = [name for name in self._content if difflib.get_close_matches(name, [key])]
                seems = f"; it has {unknown[0]!r}" if unknown else ""
                raise self.error(key, f"missing; expected a value{seems}")
            return default
        try:
            return read(self._content[key])
        except (ValueError, click.UsageError) as error:
            text = error.message if isinstance(error, click.UsageError) else str(error)
            raise self.error(key, text) from None

    def finish(self) -> None:
        """Refuse what was not taken."""
        unknown = unknown_key(self._content, self._known)
        if unknown:
            raise self.error("", unknown)

    def error(self, key: str, text: str) -> SweepFileError:
        """An error about a key, or where that is empty about the table."""
        where = "".join(f"{name}: " for name in (self._name, key) if name)
        return SweepFileError(f"{self._path}: {where}{text}")


_KINDS = {bool: "a truth value", int: "an integer", float: "a number", str: "a text", list: "a list", dict: "a table"}


def _found(value: Any) -> str:
    shown = repr(value)
    return f"{_KINDS.get(type(value), 'a time')} ({shown if len(shown) <= 40 else shown[:37] + '...'})"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{_found(value)}; expected a text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_found(value)}; expected true or false")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_found(value)}; expected a table")
    return value


def _tables(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{_found(value)}; expected tables, each headed [[measure]]")
    return value


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{_found(value)}; expected an integer from {least} to {most}")
        return value

    return read


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{_found(value)}; expected a number from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"{value:g}; expected a number from {least:g} to {most:g}")
        return float(value)

    return read


def _one_of(known: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            near = difflib.get_close_matches(value, known, 1) if isinstance(value, str) else []
            seems = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(f"{_found(value)}; expected one of {', '.join(known)}{seems}")
        return str(value)

    return read


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A list of such values, each once, or one of them in the place of a list of one."""

    def read_all(value: Any) -> tuple[Any, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("an empty list; expected at least one value")
        return tuple(dict.fromkeys(read(one) for one in values))

    return read_all


def _collective(value: Any) -> str:
    return collective(_text(value)).name


def _algorithm(value: Any) -> str:
    specs = parse_specs(_text(value))
    if len(specs) != 1:
        raise ValueError(f"{value!r}; expected one algorithm")
    return str(specs[0])


def _dtype(value: Any) -> str:
    return DTYPE.convert(_text(value), None, None)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{_found(value)}; expected a size, as 4096 or '64M'")
    size = SIZE.convert(value, None, None)
    if size < 1:
        raise ValueError(f"{size}; expected at least 1 byte")
    return size


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, dict):
        sizes: tuple[int, ...] = _list_of(_size)(value)
        return sizes
    known = ("min", "max", "factor", "step")
    unknown = unknown_key(value, known)
    if unknown:
        raise ValueError(unknown)
    if "min" not in value:
        raise ValueError("min is missing; expected a size")
    first = _size(value["min"])
    last = _size(value.get("max", first))
    factor = _number(1.0, 1e12)(value["factor"]) if "factor" in value else None
    step = _size(value["step"]) if "step" in value else None
    return tuple(sweep(first, last, factor, step, known))


def _hosts(value: Any) -> tuple[str, ...]:
    try:
        return host_names(",".join(_list_of(_text)(value)), "in it")
    except HostsError as error:
        raise ValueError(str(error)) from None
