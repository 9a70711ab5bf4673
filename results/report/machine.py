"""The machine of a run as cards of name and value, from `Run.environment`: nested JSON whose keys may change and grow.

Known parts come first, in the order a reader wants them, under readable names; what is unknown is shown all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clusterbench.results.record import Run
from clusterbench.results.report import units

_TITLES = {
    "host": "Host",
    "cpu": "Processor",
    "memory": "Memory",
    "kernel": "Kernel",
    "limits": "Limits of a process",
    "network": "Network",
    "gpus": "GPUs",
    "gpus_at_start": "GPUs at the start",
    "mpi": "MPI",
    "pinning": "Pinning",
    "other_hosts": "Where other hosts differ",
    "sampling": "Sampling",
    "topology": "Topology",
    "time": "Time, by part",
    "versions": "Software",
    "suite": "This suite",
    "variables": "Environment variables",
}
_ELSEWHERE = ("backends", "command")
"""Shown as a table of its own, and in the head of the report."""
_LONG = 20
"""A card with more entries than this starts closed."""


@dataclass(frozen=True, slots=True)
class Card:
    """A part of the environment: its title, and names with values, both as text."""

    title: str
    entries: tuple[tuple[str, str], ...]
    closed: bool


def cards(run: Run) -> tuple[Card, ...]:
    """The environment of a run; GPUs are named even where there are none."""
    environment = {key: value for key, value in run.environment.items() if key not in _ELSEWHERE}
    found_by = environment.pop("gpus_found_by", "")
    if environment:
        environment["gpus"] = environment.get("gpus") or {"present": f"none ({found_by})" if found_by else "none"}
    loose = {key: environment.pop(key) for key in list(environment) if not isinstance(environment[key], dict | list)}
    order = [key for key in _TITLES if key in environment] + [key for key in environment if key not in _TITLES]
    parts = [(_title(key), environment[key]) for key in order]
    if loose:
        parts.append(("Other", loose))
    result = []
    for title, value in parts:
        entries = tuple((name, text) for name, text in _entries(value) if text)
        if entries:
            result.append(Card(title, entries, len(entries) > _LONG))
    return tuple(result)


def _title(key: str) -> str:
    return _TITLES.get(key, key.replace("_", " ").capitalize())


def _entries(value: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested value; names of inner levels carry the outer ones."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entries(inner, f"{before} {key}".strip())
    elif isinstance(value, list | tuple) and any(isinstance(part, dict | list) for part in value):
        for number, part in enumerate(value):
            named = _line(part) if isinstance(part, dict) else None
            if named is not None:
                yield f"{_name(before)} {number}".strip(), named
            else:
                yield from _entries(part, f"{before} {number}".strip())
    else:
        yield _name(before), _value(before, value)


def _line(part: Mapping[str, Any]) -> str | None:
    """A flat object on one line, as lists of caches, GPUs and places want to be read; None where it is not flat."""
    if any(
        isinstance(inner, dict) for value in part.values() for inner in (value, *(value if _is_list(value) else ()))
    ):
        return None
    shown = [f"{_name(key)} {text}" for key, value in part.items() if (text := _value(key, value))]
    return ", ".join(shown)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _name(key: str) -> str:
    if key.isupper():
        return key  # an environment variable
    return key.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def _value(key: str, value: Any) -> str:
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if key.endswith("_bytes"):
            return units.size(value)
        if key.endswith("_s"):
            return units.time(float(value))
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list | tuple):
        if key.endswith("_bytes"):
            return ", ".join(_value(key, part) for part in value)
        return _ranges(value) or ", ".join(str(part) for part in value)
    return str(value)


def _ranges(values: list[Any] | tuple[Any, ...]) -> str:
    """A list of core numbers as `0-7, 16-23`; empty where the values are not ascending integers."""
    if len(values) < 3 or not all(type(value) is int for value in values) or list(values) != sorted(set(values)):
        return ""
    spans: list[list[int]] = []
    for value in values:
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
