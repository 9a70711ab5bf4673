"""What Slurm's topology plugins describe, as networks: trees of switches, blocks, rings, and three-dimensional tori.

None of them says how fast a link is, so every link is guessed, and the uplinks of a switch take what all hosts below it
send.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.network_file import guessed_link, network

SOURCE = "topology.conf(5), topology.yaml(5)"


@dataclass(frozen=True, slots=True)
class Group:
    """A switch or a block, the file and line that say so, and what lies in it."""

    name: str
    where: str
    hosts: Sequence[str] = ()
    switches: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """A ring or a torus: its dimensions, and the host at each place or None, the first dimension fastest."""

    name: str
    where: str
    dims: tuple[int, ...]
    hosts: Sequence[str | None]


def tree(name: str, groups: Sequence[Group], warnings: Sequence[str] = ()) -> Topology:
    """A tree of switches, which may be several, and may have several switches above one.

    A switch's uplinks are one link to each switch above it, together as fast as all its hosts. Raises `TopologyError`
    for a name given twice, a switch that is not there or below itself, and one with hosts and switches below it.
    """
    numbers = _numbered(groups)
    hosts = _hosts(groups, numbers)
    above: list[list[int]] = [[] for _ in groups]
    for number, group in enumerate(groups):
        if group.hosts and group.switches:
            raise TopologyError(f"{group.where}: {group.name} has hosts and switches below it; expected one of them")
        for child in dict.fromkeys(group.switches):
            if numbers.get(child, number) == number:
                raise TopologyError(f"{group.where}: {child[:60]!r} below {group.name}; expected another switch")
            above[numbers[child]].append(number)
    link = guessed_link()
    cables: list[tuple[int, int, float]] = []
    sent = [0.0] * len(groups)  # what all hosts below a switch send
    for number in _upwards(groups, above):
        for host in dict.fromkeys(groups[number].hosts):
            cables.append((hosts[host], len(hosts) + number, link.bandwidth))
            sent[number] += link.bandwidth
        if sent[number]:
            for upper in above[number]:
                share = sent[number] / len(above[number])
                cables.append((len(hosts) + number, len(hosts) + upper, share))
                sent[upper] += share
    said = [*warnings, _guess()]
    if any(above):
        said.append("uplinks are guessed: those of a switch are together as fast as all hosts below it (no taper)")
    empty = [group.name for group, bytes_per_s in zip(groups, sent, strict=True) if not bytes_per_s]
    if empty:
        said.append(f"{len(empty)} switches have no hosts below them, and no links: {', '.join(empty[:3])}")
    return _network(name, list(hosts), list(numbers), cables, said)


def blocks(
    name: str, groups: Sequence[Group], sizes: Sequence[int], where: str, warnings: Sequence[str] = ()
) -> Topology:
    """Blocks of hosts, each on one switch, and above them a level for each further block size and one for all.

    Sizes count hosts: the first is that of a block, each further one some blocks that follow one another. Raises
    `TopologyError` for sizes that are not powers of two times the first, in ascending order, and where `tree` does.
    """
    for before, size in pairwise(sizes):
        times = size // before
        if size % before or times < 2 or times & (times - 1):
            raise TopologyError(f"{where}: block size {size} after {before}; expected a power of two times as many")
    seen: set[str] = set()
    for group in groups:
        for host in group.hosts:
            if host in seen:
                raise TopologyError(f"{group.where}: {host} is in a block already; expected it once")
            seen.add(host)
    every = list(groups)
    level = [group.name for group in groups]
    for before, size in pairwise(sizes):
        if len(level) > 1:
            level = _joined(every, level, size // before, f"blocks{size}.", where)
    if len(level) > 1:
        _joined(every, level, len(level), "all-blocks", where)
    return tree(name, every, [*warnings, "switches are guessed: one a block, and one a size of larger blocks"])


def _joined(every: list[Group], level: list[str], per: int, prefix: str, where: str) -> list[str]:
    """Put a switch above each `per` of the level; the names of these."""
    parts = [level[first : first + per] for first in range(0, len(level), per)]
    names = [prefix + str(number) for number in range(len(parts))] if per < len(level) else [prefix.rstrip(".")]
    every += [Group(upper, where, switches=part) for upper, part in zip(names, parts, strict=True)]
    return names


def grids(name: str, several: Sequence[Grid], warnings: Sequence[str] = ()) -> Topology:
    """Rings and tori: a cable from each host to the next along each dimension, round the end; two where it has two.

    Raises `TopologyError` for a name or a host given twice.
    """
    groups = [Group(grid.name, grid.where, [host for host in grid.hosts if host is not None]) for grid in several]
    _numbered(groups)
    hosts: dict[str, int] = {}
    for group in groups:
        for host in group.hosts:
            if host in hosts:
                raise TopologyError(f"{group.where}: {host} has a place already; expected it once")
            hosts[host] = len(hosts)
    link = guessed_link()
    cables: list[tuple[int, int, float]] = []
    for grid in several:
        at = np.array([-1 if host is None else hosts[host] for host in grid.hosts], np.int64)
        at = at.reshape(grid.dims[::-1])
        for axis in range(at.ndim):
            if at.shape[axis] > 1:
                one, other = at.ravel(), np.roll(at, -1, axis).ravel()
                there = (one >= 0) & (other >= 0)
                pairs = zip(one[there].tolist(), other[there].tolist(), strict=True)
                cables += [(a, b, link.bandwidth) for a, b in pairs]
    said = [*warnings, _guess(), "cables are guessed: one from each host to the next along each dimension"]
    missing = sum(host is None for grid in several for host in grid.hosts)
    if missing:
        said.append(f"{missing} places have no host; their cables are left out")
    return _network(name, list(hosts), [], cables, said)


def _numbered(groups: Sequence[Group]) -> dict[str, int]:
    """The number of each group by name. Raises `TopologyError` for a name given twice."""
    numbers: dict[str, int] = {}
    for number, group in enumerate(groups):
        if group.name in numbers:
            raise TopologyError(f"{group.where}: a second {group.name[:60]!r}; expected each name once")
        numbers[group.name] = number
    return numbers


def _hosts(groups: Sequence[Group], switches: dict[str, int]) -> dict[str, int]:
    """Numbers of hosts, in the order in which they are first named."""
    hosts: dict[str, int] = {}
    for group in groups:
        for host in group.hosts:
            if host in switches:
                raise TopologyError(f"{group.where}: a host and a switch are named {host!r}; expected each name once")
            hosts.setdefault(host, len(hosts))
    return hosts


def _upwards(groups: Sequence[Group], above: Sequence[Sequence[int]]) -> Iterable[int]:
    """The switches, each behind all below it. Raises `TopologyError` where one is below itself."""
    waiting_for = [0] * len(groups)
    for uppers in above:
        for upper in uppers:
            waiting_for[upper] += 1
    order = [number for number, count in enumerate(waiting_for) if not count]
    for number in order:  # which grows meanwhile
        for upper in above[number]:
            waiting_for[upper] -= 1
            if not waiting_for[upper]:
                order.append(upper)
    if len(order) < len(groups):
        stuck = next(group for group, count in zip(groups, waiting_for, strict=True) if count)
        raise TopologyError(f"{stuck.where}: the switches below {stuck.name} lie in a circle; expected a tree")
    return order


def _guess() -> str:
    link = guessed_link()
    return (
        f"links are guessed: {link.bandwidth / 1e9:g} GB/s one way for a host and {link.latency_s * 1e9:g} ns, "
        "as Slurm's files do not say how fast they are"
    )


def _network(
    name: str, hosts: list[str], switches: list[str], cables: list[tuple[int, int, float]], warnings: list[str]
) -> Topology:
    one, other, bandwidth = zip(*cables, strict=True) if cables else ((), (), ())
    return network(
        name, hosts, switches, (one, other, bandwidth), source=f"{SOURCE}; {guessed_link().source}", warnings=warnings
    )
