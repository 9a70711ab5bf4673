"""A fabric: a network that joins the ports of hosts, built by arithmetic for any number of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clusterbench.collectives import fabrics as catalogue
from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.catalogue import entries
from clusterbench.collectives.topology.graph import Links, Router, TopologyError


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """What a fabric builds. Vertices are its ports, from 0, and behind them its switches."""

    ports: int
    switches: Sequence[str]
    """Their names."""
    links: Links
    router: Router
    """From port to port."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a fabric is to join, and how: what its `build` is given."""

    nodes: int
    ports_per_node: int
    """Port k of node i is port i · ports_per_node + k of the fabric."""
    bandwidth: float
    """Of a port, bytes/s, one way."""
    latency_s: float
    """Of each link."""
    ecmp: int | None
    """Seed of the hash that picks among parallel ways; None where each destination has a way of its own."""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> int:
        """How many ports there are to join."""
        return self.nodes * self.ports_per_node

    def integer(self, name: str, low: int, high: int = 1 << 20) -> int:
        """The value of an option that is a whole number. Raises `TopologyError`."""
        return whole(name, self.options[name], low, high)

    def number(self, name: str, low: float, high: float) -> float:
        """The value of an option that is a number. Raises `TopologyError`."""
        text = self.options[name]
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise TopologyError(f"{name}={text[:40]}; expected a number from {low:g} to {high:g}")
        return value


MOST_LINKS = 1 << 25
"""Of a network at most: 32 bytes each, and as much again while they are made."""


def refuse_too_many(links: int) -> None:
    """Raises `TopologyError` where a network would have more than `MOST_LINKS` links."""
    if links > MOST_LINKS:
        raise TopologyError(f"{links} links; expected at most {MOST_LINKS}")


def whole(name: str, text: str, low: int, high: int) -> int:
    """A whole number in a range. Raises `TopologyError`, which names the option."""
    if not text.isdecimal() or len(text) > 18 or not low <= int(text) <= high:
        raise TopologyError(f"{name}={text[:40]}; expected a whole number from {low} to {high}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Fabric:
    """One kind of network."""

    name: str
    summary: str
    source: str
    build: Callable[[Wiring], Network]
    options: dict[str, Option] = field(default_factory=dict)
    nodes: Callable[[Mapping[str, str]], int] | None = None
    """How many nodes there are where its options say so; None where `nodes=` does."""


def fabrics() -> dict[str, Fabric]:
    """All fabrics by name, in alphabetical order: every module of `collectives/fabrics/`, by its constant `FABRIC`.

    Raises `ImportError` for a file without it.
    """
    return entries(catalogue, "FABRIC", Fabric)
