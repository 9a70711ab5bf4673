"""The gate: rules that compiled kernels must keep, each with its reason, in a file.

    [[rule]]
    kernels = ["copy", "triad"]     # names or shell patterns; every kernel unless given
    backends = ["triton"]           # also targets, dtypes, products; all unless given
    load_bytes = 16                 # and, or instead: the other limits
    reason = "a narrower load needs more instructions for the same bytes"

Limits are `compiles` (true), at most `spills`, `fp64`, `registers`; at least `load_bytes`, `store_bytes`,
`occupancy`; `path` (the matrix units' way in, empty for none), and `bytes` and `flops` as the model's
(`"model"`), which hold where a launch could be followed. A row that could not be compiled, as its compiler is not
installed, breaks no rule. `products` narrows a rule to kernels whose matrix products multiply these types.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from clusterbench.kernels.compiled.compiling import Compiled

BASELINE = Path(__file__).parent / "baseline.toml"
"""The rules of the suite's own catalogue."""
LARGEST_BYTES = 1 << 20


class BaselineError(ValueError):
    """A file of rules that cannot be used: the message names the file and the rule, what was found and expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """One kind of limit: the type of its value, and how a row meets it."""

    kind: type
    met: Callable[[Any, Any], bool]
    expected: str
    """`at least {}`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits on some rows. A field that is empty holds for all."""

    where: str
    """File and number: `baseline.toml: rule 3`."""
    reason: str
    limits: Mapping[str, Any]
    kernels: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    products: tuple[str, ...] = ()

    def applies(self, row: Compiled) -> bool:
        """Whether a row is one of those that it limits."""
        return (
            (not self.kernels or any(fnmatchcase(row.kernel, pattern) for pattern in self.kernels))
            and (not self.backends or row.backend in self.backends)
            and (not self.targets or row.target in self.targets)
            and (not self.dtypes or row.dtype in self.dtypes)
            and (not self.products or bool(set(self.products) & set(row.products)))
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """A limit that a row does not keep."""

    row: Compiled
    rule: Rule
    limit: str
    found: str
    expected: str

    def __str__(self) -> str:
        row = self.row
        what = f"{row.kernel} {row.dtype} {row.backend} {row.target}"
        return f"{what}: {self.limit} is {self.found}; expected {self.expected}: {self.rule.reason} ({self.rule.where})"


_LIMITS = {
    "compiles": Limit(bool, lambda found, limit: found == limit, "{}"),
    "spills": Limit(int, lambda found, limit: found <= limit, "at most {}"),
    "fp64": Limit(int, lambda found, limit: found <= limit, "at most {}"),
    "registers": Limit(int, lambda found, limit: found <= limit, "at most {}"),
    "load_bytes": Limit(int, lambda found, limit: found >= limit, "at least {}"),
    "store_bytes": Limit(int, lambda found, limit: found >= limit, "at least {}"),
    "occupancy": Limit(float, lambda found, limit: found >= limit, "at least {}"),
    "path": Limit(str, lambda found, limit: found == limit, "{!r}"),
    "bytes": Limit(str, lambda found, limit: found == limit, "the model's {}"),
    "flops": Limit(str, lambda found, limit: found == limit, "the model's {}"),
}
_SELECTORS = ("kernels", "backends", "targets", "dtypes", "products")
_MODEL = "model"


def read_rules(path: Path = BASELINE) -> tuple[Rule, ...]:
    """The rules of a file. Raises `BaselineError`."""
    try:
        content = path.read_bytes()
        if len(content) > LARGEST_BYTES:
            raise BaselineError(f"{path}: more than {LARGEST_BYTES >> 20} MiB; expected a file of rules")
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise BaselineError(f"{path}: cannot read it: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BaselineError(f"{path}: no TOML: {str(error)[:200]}") from error
    found = document.get("rule")
    if not isinstance(found, list) or not found or set(document) != {"rule"}:
        raise BaselineError(f"{path}: has {', '.join(document) or 'nothing'}; expected [[rule]] alone, at least one")
    return tuple(_rule(f"{path.name}: rule {number}", table) for number, table in enumerate(found, start=1))


def _rule(where: str, table: Any) -> Rule:
    if not isinstance(table, dict):
        raise BaselineError(f"{where} is {table!r}; expected a table")
    reason = table.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise BaselineError(f"{where} has no reason; expected a sentence that says why it must hold")
    chosen, limits = {}, {}
    for name, value in table.items():
        if name in _SELECTORS:
            if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
                raise BaselineError(f"{where}: {name} is {value!r}; expected a list of names")
            chosen[name] = tuple(value)
        elif name in _LIMITS:
            kind = _LIMITS[name].kind
            fits = isinstance(value, kind | int if kind is float else kind) and isinstance(value, bool) == (
                kind is bool
            )
            if not fits or (name in ("bytes", "flops") and value != _MODEL):
                expected = f'"{_MODEL}"' if name in ("bytes", "flops") else kind.__name__
                raise BaselineError(f"{where}: {name} is {value!r}; expected {expected}")
            limits[name] = value
        elif name != "reason":
            known = ", ".join((*_SELECTORS, *_LIMITS, "reason"))
            raise BaselineError(f"{where}: unknown key {name!r}; expected one of {known}")
    if not limits:
        raise BaselineError(f"{where} limits nothing; expected one of {', '.join(_LIMITS)}")
    return Rule(where, reason.strip(), limits, **chosen)


def broken(rows: Iterable[Compiled], rules: Sequence[Rule]) -> list[Broken]:
    """What is broken, in the order of rows and rules."""
    return [fault for row in rows for rule in rules if rule.applies(row) for fault in _broken(row, rule)]


def _broken(row: Compiled, rule: Rule) -> Iterable[Broken]:
    for name, limit in rule.limits.items():
        found, wanted = _found(row, name, limit)
        if found is not None and not _LIMITS[name].met(found, wanted):
            shown = f"{found} ({row.reason})" if name == "compiles" else f"{found!r}" if name == "path" else f"{found}"
            yield Broken(row, rule, name, shown, _LIMITS[name].expected.format(wanted))


def _found(row: Compiled, name: str, limit: Any) -> tuple[Any, Any]:
    """What a row has of a limited quantity, None where that is not known; and what it is held to."""
    if name == "compiles":
        return (row.status == "compiled" if row.status in ("compiled", "failed") else None), limit
    if row.status != "compiled":
        return None, limit
    if name == "bytes":
        return row.counted_bytes, row.model_bytes
    if name == "flops":
        return row.counted_flops, row.model_flops
    return getattr(row, name), limit


def as_rules(rows: Iterable[Compiled], found_with: str) -> str:
    """A file of rules that holds what was found: nothing may become worse. `found_with` names the compilers."""
    parts = [f"# What was found with {found_with}; every rule holds one row.\n"]
    for row in rows:
        if row.status != "compiled":
            continue
        lines = [f"{name} = [{value!r}]" for name, value in zip(_SELECTORS, _names(row), strict=False)]
        for name in ("spills", "fp64", "registers", "load_bytes", "store_bytes"):
            lines.append(f"{name} = {getattr(row, name)}")
        lines.append(f"path = {row.path!r}")
        lines.append(f'reason = "as found with {found_with}"')
        parts.append("\n[[rule]]\n" + "\n".join(line.replace("'", '"') for line in lines) + "\n")
    return "".join(parts)


def _names(row: Compiled) -> tuple[str, str, str, str]:
    return row.kernel, row.backend, row.target, row.dtype
