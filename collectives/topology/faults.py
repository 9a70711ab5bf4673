"""Declared faults: a link at a fraction of its rate or down, a rank that is late or slow.

Written as `link:h0.nic3>leaf0=0.5` (one direction), `link:h0.nic3-leaf0=0.5` (both), `down:leaf0-spine1`,
`late:5=2ms` (rank 5 begins 2 ms after the others) and `slow:5=3` (rank 5 takes three times as long: its messages,
its reductions, and what goes over the links of its device).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import (
    Floats,
    Links,
    Routes,
    Topology,
    TopologyError,
    disconnected,
    positions,
    routes_of_lengths,
)
from clusterbench.collectives.topology.routing import SearchRouter

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
LEAST = 1e-6
"""Part of its rate that a link may be left with."""
MOST_S = 1e6
"""By which a rank may be late."""
EXPECTED = "link:A-B=FRACTION, link:A>B=FRACTION, down:A-B, down:A>B, late:RANK=TIME or slow:RANK=FACTOR"


@dataclass(frozen=True, slots=True, eq=False)
class Faulty:
    """A topology with its faults, and what each rank suffers."""

    topology: Topology
    late_s: Floats
    """By which each rank begins after the first."""
    slowdown: Floats
    """How many times as long each rank takes for what it does itself; 1 for one that is well."""
    faults: tuple[str, ...]
    """As they were written."""
    culprits: Mapping[str, str] = field(default_factory=dict)
    """Of each link that a fault slows down, by its name, whom it is to be blamed on: itself, or `rank 5`."""


def with_faults(topology: Topology, faults: Iterable[str]) -> Faulty:
    """The topology with the faults.

    A link that is down is gone: ways that went over it are searched anew, and all others stay. Raises `TopologyError`
    for a fault that cannot be read, names no link or no rank, or cuts ranks off, and for a link that is down in a
    topology whose links have no ends to search from.
    """
    written = tuple(faults)
    late, slowdown = np.zeros(len(topology.ranks)), np.ones(len(topology.ranks))
    culprits: dict[str, str] = {}
    bandwidth = topology.links.bandwidth.copy()
    down = np.zeros(len(topology.links), np.bool_)
    for fault in written:
        kind, _, what = fault.partition(":")
        match kind:
            case "link":
                ends, value = _split(fault, what)
                share, slower = _number(fault, value, LEAST, 1.0), _links(topology, fault, ends)
                bandwidth[slower] *= share
                culprits |= {topology.link_name(link): topology.link_name(link) for link in slower.tolist()}
            case "down":
                if not topology.searchable:
                    raise TopologyError(
                        f"{fault[:80]!r}: the routes of {topology.name[:80]} are listed, and not where each link "
                        "begins and ends, so no way round one can be found; expected link:A>B=FRACTION, or a topology "
                        "whose links all lead from one vertex to another"
                    )
                down[_links(topology, fault, what)] = True
            case "late":
                rank, value = _split(fault, what)
                late[_rank(topology, fault, rank)] += _time(fault, value)
            case "slow":
                rank, value = _split(fault, what)
                at, factor = _rank(topology, fault, rank), _number(fault, value, 1.0, 1e9)
                slowdown[at] *= factor
                vertex = topology.ranks[at]
                own = np.flatnonzero((topology.links.src == vertex) | (topology.links.dst == vertex))
                bandwidth[own] /= factor
                culprits |= {topology.link_name(link): f"rank {at}" for link in own.tolist()}
            case _:
                raise TopologyError(f"{fault[:80]!r}: expected {EXPECTED}")
    if not written:
        return Faulty(topology, late, slowdown, ())
    faulty = replace(topology, links=replace(topology.links, bandwidth=bandwidth))
    if down.any():
        detour = _Detour(faulty, down)
        faulty = replace(faulty, links=detour.links, router=detour)
        cut = disconnected(faulty)
        if cut is not None:
            raise TopologyError(f"no way is left from rank {cut[0]} to rank {cut[1]}, with {', '.join(written)[:200]}")
    return Faulty(faulty, late, slowdown, written, culprits)


def _split(fault: str, what: str) -> tuple[str, str]:
    ends, equals, value = what.rpartition("=")
    if not equals:
        raise TopologyError(f"{fault[:80]!r}: expected {EXPECTED}")
    return ends.strip(), value.strip()


def _number(fault: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (low <= value <= high and value > 0):
        raise TopologyError(f"{fault[:80]!r}: {text[:40]!r}; expected a number above 0, from {low:g} to {high:g}")
    return value


def _time(fault: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s)", text)
    if not found:
        raise TopologyError(f"{fault[:80]!r}: {text[:40]!r}; expected a time such as 250us, 2ms or 1s")
    time_s = float(found[1]) * _SECONDS[found[2]]
    if not time_s < MOST_S:
        raise TopologyError(f"{fault[:80]!r}: expected a time below {MOST_S:g} s")
    return time_s


def _rank(topology: Topology, fault: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) >= len(topology.ranks):
        raise TopologyError(f"{fault[:80]!r}: rank {text[:40]!r}; expected 0 to {len(topology.ranks) - 1}")
    return int(text)


def _links(topology: Topology, fault: str, ends: str) -> Ints:
    """The links between two vertices: one way with `>`, both ways with `-`, wherever in the text it stands."""
    number = {name: vertex for vertex, name in enumerate(topology.names)}
    for at, sign in enumerate(ends):
        one, other = number.get(ends[:at].strip()), number.get(ends[at + 1 :].strip())
        if sign not in ">-" or one is None or other is None:
            continue
        src, dst = topology.links.src, topology.links.dst
        found = (src == one) & (dst == other)
        if sign == "-":
            found |= (src == other) & (dst == one)
        if found.any():
            return np.flatnonzero(found)
        raise TopologyError(f"{fault[:80]!r}: no link between {ends[:at]} and {ends[at + 1 :]} in {topology.name[:80]}")
    example = topology.link_name(0).replace(" → ", ">") if len(topology.links) else "A>B"
    raise TopologyError(
        f"{fault[:80]!r}: {ends[:60]!r} is no link of {topology.name[:80]}; expected one such as {example}"
    )


class _Detour:
    """The routes of a topology, but for those over links that are down, which are searched."""

    def __init__(self, topology: Topology, down: NDArray[np.bool_]) -> None:
        self._usual, self._down = topology.router, down
        self._number = np.cumsum(~down) - 1  # of each link among those that are left
        links, up = topology.links, np.flatnonzero(~down)
        self.links = Links(links.src[up], links.dst[up], links.bandwidth[up], links.latency_s[up])
        self._search = SearchRouter(topology.kinds, self.links, topology.names)

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        usual = self._usual(src, dst, choice)
        hit = np.zeros(len(src), np.bool_)
        hit[usual.owners()[self._down[usual.links]]] = True
        which = np.flatnonzero(hit)
        if not len(which):
            return Routes(usual.offsets, self._number[usual.links])
        found = self._search(src[which], dst[which], choice[which])
        lengths = usual.lengths
        lengths[which] = found.lengths
        routes = routes_of_lengths(lengths, np.empty(int(lengths.sum()), np.int64))
        kept = np.flatnonzero(~hit)
        routes.links[positions(routes.offsets[kept], lengths[kept])] = self._number[usual.links[~hit[usual.owners()]]]
        routes.links[positions(routes.offsets[which], lengths[which])] = found.links
        return routes
