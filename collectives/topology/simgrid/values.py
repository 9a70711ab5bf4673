"""Values in SimGrid's platform files: rates and times with units, lists of numbers.

The units are those of SimGrid's own reader (src/xbt/xbt_parse_units.cpp, versions 3.29 to 3.36): bytes or bits a second
with decimal prefixes (k, M, …) or binary ones (Ki, Mi, …); weeks to picoseconds. A number without a unit is in bytes a
second, or in seconds.
"""

from __future__ import annotations

import math
import re

from clusterbench.collectives.topology.xml_tree import Element

MOST_HOSTS = 1 << 20
"""Of a platform; the largest that SimGrid ships has 300,000."""

_DECIMAL = {prefix: 1000.0**power for power, prefix in enumerate(("", "k", "M", "G", "T", "P", "E", "Z", "Y"))}
_BINARY = {prefix: 1024.0**power for power, prefix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"), 1)}
RATES = {
    prefix + unit: factor * size
    for prefix, factor in (_DECIMAL | _BINARY).items()
    for unit, size in (("Bps", 1.0), ("bps", 0.125))
}
"""Bytes/s of each unit."""
TIMES = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}
"""Seconds of each unit."""

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")


def rate(element: Element, name: str) -> float:
    """An attribute that is a rate, in bytes/s. Raises `TopologyError` where it is not a finite number above 0."""
    value = _quantity(element, name, element.needed(name), RATES, "Bps")
    if value <= 0:
        raise element.error(f"{name} is {element.attributes[name]!r}; expected more than 0")
    return value


def seconds(element: Element, name: str, default: str = "0") -> float:
    """An attribute that is a time, in seconds. Raises `TopologyError` where it is not a finite number from 0."""
    value = _quantity(element, name, element.attributes.get(name) or default, TIMES, "s")
    if value < 0:
        raise element.error(f"{name} is {element.attributes[name]!r}; expected 0 or more")
    return value


def _quantity(element: Element, name: str, text: str, units: dict[str, float], default: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise element.error(f"{name} is {text[:40]!r}; expected a number with a unit, such as 10{default}")
    number, unit = match.groups()
    factor = units.get(unit or default)
    if factor is None:
        raise element.error(f"{name} is {text[:40]!r}, of unknown unit {unit!r}; expected one of {', '.join(units)}")
    value = float(number) * factor
    if not math.isfinite(value):
        raise element.error(f"{name} is {text[:40]!r}; expected a finite number")
    return value


def whole(element: Element, name: str, text: str, low: int = 1) -> int:
    """A whole number that stands in the attribute `name`, from `low`. Raises `TopologyError`."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < low:
        raise element.error(f"{name} holds {text[:40]!r}; expected a whole number from {low} to {10**9 - 1}")
    return int(text)


def radical(element: Element) -> list[int]:
    """The numbers of the hosts of a cluster, which its `radical` lists: `0-15,20`. Raises `TopologyError`."""
    found: list[int] = []
    for piece in element.needed("radical").split(","):
        first, dash, last = piece.partition("-")
        low = whole(element, "radical", first, 0)
        high = whole(element, "radical", last, 0) if dash else low
        if high < low:
            raise element.error(f"radical holds {piece!r}; expected the lower number first")
        if len(found) + high - low >= MOST_HOSTS:
            raise element.error(f"over {MOST_HOSTS} hosts in the radical; expected at most that")
        found.extend(range(low, high + 1))
    return found


def parameters(element: Element, shape: tuple[int, ...]) -> list[list[int]]:
    """`topo_parameters`: groups of whole numbers, parted by `;`, with so many in each as `shape` says.

    0 in `shape` stands for as many as the first number of the first group. Raises `TopologyError`.
    """
    text = element.needed("topo_parameters")
    groups = [[whole(element, "topo_parameters", number) for number in group.split(",")] for group in text.split(";")]
    expected = [count or groups[0][0] for count in shape]
    if [len(group) for group in groups] != expected:
        raise element.error(
            f"topo_parameters is {text[:80]!r}; expected {len(shape)} groups with ';' between, of "
            f"{', '.join(str(count) for count in expected[:8])} numbers"
        )
    return groups
