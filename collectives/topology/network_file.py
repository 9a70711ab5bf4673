"""Networks read from files: each host is one CPU, with a network card for each of its cables, and switches between."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike

from clusterbench.collectives import fabrics
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import (
    NO_HOST,
    Kind,
    Topology,
    both_ways,
    disconnected,
    joined,
    links,
    topology,
)


@dataclass(frozen=True, slots=True)
class GuessedLink:
    """What a link is taken for where a file does not say how fast it is."""

    bandwidth: float
    """Bytes/s, one way."""
    latency_s: float
    source: str


def guessed_link() -> GuessedLink:
    """The figures of `collectives/fabrics/figures.toml`."""
    figures = tomllib.loads(files(fabrics).joinpath("figures.toml").read_text("utf-8"))
    link, guessed = figures["link"], figures["guessed"]
    source = f"{guessed['source']}; {link['source']}"
    return GuessedLink(float(guessed["bandwidth_bytes_per_s"]), float(link["latency_s"]), source)


def network(
    name: str,
    hosts: Sequence[str],
    switches: Sequence[str],
    cables: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    reducing: ArrayLike = False,
    source: str = "",
    warnings: Sequence[str] = (),
) -> Topology:
    """A network of cables between hosts and switches; a host's CPU is its rank, named like it, and its cards follow.

    `cables` are both ends and the bandwidth one way of each; an end is the number of a host, or behind the hosts that
    of a switch. Card k of a host, `HOST.nic0`, has the k-th of its cables, and reaches the CPU at the same bandwidth
    without latency. The latency of cables is guessed, which `warnings` must say. A network in several parts is warned
    of. `reducing` has one value a switch. Raises `TopologyError`.
    """
    ends = np.column_stack([np.asarray(end, np.int64) for end in cables[:2]]).ravel()
    bandwidth = np.asarray(cables[2], np.float64)
    on_host = np.flatnonzero(ends < len(hosts))
    on_host = on_host[np.argsort(ends[on_host], kind="stable")]
    owner = ends[on_host]
    cards = np.bincount(owner, minlength=len(hosts))
    cpu = np.arange(len(hosts)) + np.cumsum(cards) - cards
    first_switch = len(hosts) + len(owner)
    card = np.arange(len(owner)) + owner + 1  # behind the cards of the hosts before, and the CPUs up to its own
    at = ends + (first_switch - len(hosts))
    at[on_host] = card
    kinds = np.full(first_switch + len(switches), Kind.NIC, np.int8)
    kinds[cpu], kinds[first_switch:] = Kind.CPU, Kind.SWITCH
    reduces = np.zeros(len(kinds), np.bool_)
    reduces[first_switch:] = reducing
    inside = links(cpu[owner], card, np.repeat(bandwidth, 2)[on_host])
    cable = links(at[::2], at[1::2], bandwidth, guessed_link().latency_s)
    made = topology(
        name=name,
        kinds=kinds,
        names=_names(hosts, cards, switches),
        links=both_ways(joined([inside, cable])),
        ranks=cpu,
        hosts=np.concatenate((np.repeat(np.arange(len(hosts)), cards + 1), np.full(len(switches), NO_HOST))),
        reducing=reduces,
        ports=[],
        source=source,
        warnings=warnings,
    )
    cut = disconnected(made)
    if cut is None:
        return made
    warning = f"the network is in several parts: no way from {hosts[cut[0]]} to {hosts[cut[1]]}"
    return replace(made, warnings=(*made.warnings, warning))


def _names(hosts: Sequence[str], cards: Ints, switches: Sequence[str]) -> list[str]:
    names: list[str] = []
    for host, count in zip(hosts, cards.tolist(), strict=True):
        names.append(host)
        names.extend(f"{host}.nic{number}" for number in range(count))
    return [*names, *switches]
