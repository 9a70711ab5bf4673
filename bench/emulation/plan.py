"""What a topology becomes: nodes with interfaces, cables at scaled rates, and the way of every packet.

A node is a host, with all that is inside it, or a switch. Every link between two nodes and its reverse are a cable, and
every cable ends in an interface at both nodes. Interface k of host h has the address 10.200.k.(h + 1). What is inside a
host is not emulated.

Switches forward by routes and not as bridges do, since only routes can say what a topology says: which of several
spines, or of equal ways, the data of a pair take, and which of a host's rails. Each node has one route for each
address, as most pairs take it, and for the others one that depends on the host that sends.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from clusterbench.bench import exit_codes
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Links, Topology, TopologyError
from clusterbench.collectives.topology.routing import SearchRouter

MOST_HOSTS = 32
MOST_NODES = 160
"""Hosts and switches."""
MOST_CABLES = 1024
MOST_RANKS_A_HOST = 16
NETWORK = "10.200.0.0/16"
"""Of all addresses, which exist in the namespaces only."""
FIRST_RAIL = "10.200.0.0/24"


class EmulationError(RuntimeError):
    """A network that cannot be emulated here: the message says what was found and what was expected."""

    exit_code: ClassVar[int] = exit_codes.USAGE


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a cable. `name` is unique in its node."""

    node: int
    name: str
    rate: float
    """Bytes/s of what it sends; infinite where it is not shaped."""
    address: str = ""
    """Empty at switches."""


@dataclass(frozen=True, slots=True)
class Cable:
    """Two interfaces, and both directions between them."""

    ends: tuple[Interface, Interface]

    def far(self, node: int) -> int:
        """The node at the other end."""
        return self.ends[1].node if self.ends[0].node == node else self.ends[0].node

    def near(self, node: int) -> Interface:
        """The interface at this node."""
        return self.ends[0] if self.ends[0].node == node else self.ends[1]


@dataclass(frozen=True, slots=True)
class Plan:
    """A network as it is built. Nodes are the hosts, and behind them the switches."""

    topology: Topology
    scale: float
    """Emulated rates over those of the topology."""
    hosts: tuple[str, ...]
    switches: tuple[str, ...]
    cables: tuple[Cable, ...]
    routes: tuple[dict[str, int], ...]
    """Of each node the cable towards each address."""
    exceptions: tuple[dict[tuple[int, str], int], ...]
    """Of each node the cable for what a host sends to an address, where that is another."""
    ranks: tuple[int, ...]
    """The host of every rank."""
    late_s: tuple[float, ...] = ()
    """Of each host, by how much all that it sends is late; empty where none is."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all nodes."""
        return self.hosts + self.switches

    def interfaces(self, node: int) -> list[tuple[int, Interface]]:
        """Those of a node, with the number of the cable of each."""
        return [(at, end) for at, cable in enumerate(self.cables) for end in cable.ends if end.node == node]

    def addresses(self, host: int) -> list[str]:
        """Those of a host, rail by rail."""
        return [end.address for _, end in self.interfaces(host)]

    @property
    def rails(self) -> int:
        """The most interfaces of a host; 1 where some lead to other hosts, as they are then no rails but ways."""
        hosts = range(len(self.hosts))
        if any(all(end.node in hosts for end in cable.ends) for cable in self.cables):
            return 1
        return max(len(self.addresses(host)) for host in hosts)

    def next_cable(self, node: int, sender: int, address: str) -> int | None:
        """Over which cable a node sends on what a host has sent to an address; None where it has no way."""
        return self.exceptions[node].get((sender, address), self.routes[node].get(address))

    def delays(self, cable: int) -> tuple[float, float]:
        """By how many seconds what the nodes at the first and at the second end send over a cable is late."""
        one, other = (self.late_s[end.node] if end.node < len(self.late_s) else 0.0 for end in self.cables[cable].ends)
        return one, other

    def late_cables(self) -> list[int]:
        """The cables at which something is late."""
        return [number for number in range(len(self.cables)) if any(self.delays(number))]

    @property
    def rates(self) -> list[float]:
        """Bytes/s of all shaped directions."""
        return [end.rate for cable in self.cables for end in cable.ends if np.isfinite(end.rate)]


@dataclass(frozen=True, slots=True)
class Outline:
    """The nodes and cables of a topology, before its rates are scaled."""

    topology: Topology
    names: tuple[str, ...]
    hosts: int
    """How many of the nodes are."""
    node: Ints
    """Of each vertex."""
    cables: tuple[tuple[int, int], ...]
    """The two links of each."""
    cable_of: dict[int, int]
    """By link."""
    ranks: tuple[int, ...]
    ways: dict[tuple[int, int, int], tuple[int, ...]]
    """The cables from a host (first) to another (second), to its address on the cable that is the third; the topology's
    own choice is the first of a pair."""

    def host_rates(self) -> list[float]:
        """Bytes/s that each host can send, in the topology; without what is infinite."""
        sums = np.zeros(self.hosts)
        links = self.topology.links
        for pair in self.cables:
            for link in pair:
                node = int(self.node[links.src[link]])
                if node < self.hosts and np.isfinite(links.bandwidth[link]):
                    sums[node] += links.bandwidth[link]
        return [float(rate) for rate in sums]

    def fastest_host_link(self) -> float:
        """Bytes/s of the fastest link of a host, in the topology. Raises `EmulationError` where all are infinite."""
        links = self.topology.links
        rates = [float(links.bandwidth[link]) for pair in self.cables for link in pair
                 if self.node[links.src[link]] < self.hosts and np.isfinite(links.bandwidth[link])]  # fmt: skip
        if not rates:
            raise EmulationError(f"{self.topology.name[:80]}: no link of a host has a rate; expected at least one")
        return max(rates)

    def mean_cables(self) -> float:
        """Over how many cables data go from a host to another, on average."""
        first: dict[tuple[int, int], int] = {}
        for (src, dst, _), way in self.ways.items():
            first.setdefault((src, dst), len(way))
        return sum(first.values()) / len(first)


def outline(topology: Topology) -> Outline:
    """The nodes, cables and ways of a topology.

    Raises `EmulationError` where it is too large, has one host, or links that Ethernet does not have: one way only, or
    between the inside of hosts and nowhere; `TopologyError` where hosts cannot reach each other.
    """
    name = topology.name[:80]
    if not topology.searchable:
        raise EmulationError(f"{name}: its routes are listed, and not where each link begins and ends; expected links "
                             "that all lead from one vertex to another")  # fmt: skip
    node, names, hosts = nodes(topology)
    if hosts < 2:
        raise EmulationError(f"{name} is one host, and what is inside a host is not emulated; expected 2 hosts or more")
    _refuse_more(name, "hosts", hosts, MOST_HOSTS)
    _refuse_more(name, "hosts and switches", len(names), MOST_NODES)
    ranks = tuple(int(n) for n in node[topology.ranks])
    _refuse_more(name, "ranks on a host", max(Counter(ranks).values()), MOST_RANKS_A_HOST)
    cables = _cables(topology, node)
    _refuse_more(name, "cables", len(cables), MOST_CABLES)
    cable_of = {link: number for number, pair in enumerate(cables) for link in pair}
    found = Outline(topology, names, hosts, node, tuple(cables), cable_of, ranks, {})
    return replace(found, ways=_ways(found))


def plan(found: Outline, scale: float, late_s: Sequence[float] = ()) -> Plan:
    """The network at so many times the rates of its topology; `late_s` as `Plan` has it."""
    links = found.topology.links
    counts: Counter[int] = Counter()
    cables = []
    for there, back in found.cables:
        ends = []
        for link in (there, back):
            at = int(found.node[links.src[link]])
            rail = counts[at]
            counts[at] += 1
            address = f"10.200.{rail}.{at + 1}" if at < found.hosts else ""
            rate = float(links.bandwidth[link]) * scale
            ends.append(Interface(at, f"eth{rail}", float(round(rate)) if np.isfinite(rate) else rate, address))
        cables.append(Cable((ends[0], ends[1])))
    routes, exceptions = _tables(found, cables)
    return Plan(found.topology, scale, found.names[: found.hosts], found.names[found.hosts :], tuple(cables), routes,
                exceptions, found.ranks, tuple(late_s))  # fmt: skip


def emulated_topology(topology: Topology, scale: float, share: float = 1.0, late_s: Sequence[float] = ()) -> Topology:
    """The topology as it is emulated: `share` of the scaled rates on cables, and no limit inside hosts.

    No link has a latency but those of late hosts: what the emulation's are is not known, and is never less.
    """
    node, names, _ = nodes(topology)
    links = topology.links
    between = node[links.src] != node[links.dst]
    rates = np.where(between, np.round(links.bandwidth * scale) * share, np.inf)
    held_s = np.zeros(len(names))
    held_s[: len(late_s)] = late_s
    return replace(topology, links=Links(links.src, links.dst, rates, np.where(between, held_s[node[links.src]], 0.0)))


def _refuse_more(name: str, what: str, found: int, most: int) -> None:
    if found > most:
        raise EmulationError(f"{name} has {found} {what}; expected at most {most}, which one machine can emulate")


def nodes(topology: Topology) -> tuple[Ints, tuple[str, ...], int]:
    """The node of every vertex, the names of all nodes, and how many of them are hosts."""
    of_host, number = np.unique(topology.hosts, return_inverse=True)
    outside = np.flatnonzero(topology.hosts < 0)
    lone = set(outside.tolist()) & set(topology.ranks.tolist())
    inside = int((of_host >= 0).sum())
    node = np.asarray(number, np.int64) - (len(of_host) - inside)
    behind = [*(v for v in outside.tolist() if v in lone), *(v for v in outside.tolist() if v not in lone)]
    node[behind] = inside + np.arange(len(behind))
    hosts = inside + len(lone)
    first = {int(n): str(topology.names[v]) for v, n in reversed(list(enumerate(node.tolist())))}
    names = [first[n].partition(".")[0] if n < inside else first[n] for n in range(len(first))]
    return node, _host_names(names), hosts


def _host_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names as hosts may be called (RFC 1123, 2.1), each once, short enough for a namespace too."""
    taken: set[str] = {"localhost"}
    made = []
    for number, name in enumerate(names):
        clean = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
        if not clean or clean in taken or clean.isdigit():
            clean = f"{clean}-{number}".lstrip("-") if clean else f"node-{number}"
        while clean in taken:
            clean += "x"
        taken.add(clean)
        made.append(clean)
    return tuple(made)


def _cables(topology: Topology, node: Ints) -> list[tuple[int, int]]:
    """Each link between two nodes with its reverse; of parallel ones the first with the first."""
    links = topology.links
    waiting: dict[tuple[int, int], list[int]] = defaultdict(list)
    between: dict[tuple[int, int], list[int]] = defaultdict(list)
    cables = []
    for link in np.flatnonzero(node[links.src] != node[links.dst]).tolist():
        ends = int(links.src[link]), int(links.dst[link])
        if waiting[ends[1], ends[0]]:
            cables.append((waiting[ends[1], ends[0]].pop(0), link))
        else:
            waiting[ends].append(link)
    # What sends at one device of a host and receives at another is a cable of the host all the same.
    for link in [link for left in waiting.values() for link in left]:
        ends = int(node[links.src[link]]), int(node[links.dst[link]])
        if between[ends[1], ends[0]]:
            cables.append((between[ends[1], ends[0]].pop(0), link))
        else:
            between[ends].append(link)
    lone = [link for left in between.values() for link in left]
    if lone:
        raise EmulationError(
            f"{topology.name[:80]}: the link {topology.link_name(lone[0])} has no reverse; expected links both ways, "
            "as cables of an Ethernet are"
        )
    return sorted(cables)


def _ways(found: Outline) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """The cables that data take from host to host: as the topology routes ranks, and where it says nothing the cheapest
    between the same rails."""
    ways = _routed(found)
    missing = [
        (src, dst)
        for src, dst in product(range(found.hosts), repeat=2)
        if src != dst and any((src, dst, cable) not in ways for cable in _rails(found, dst))
    ]
    ways |= {key: way for key, way in _searched(found, missing).items() if key not in ways}
    usual: dict[tuple[int, int], tuple[int, ...]] = {}
    for (src, dst, _), way in ways.items():
        usual.setdefault((src, dst), way)
    # An address that no way ends at is reached by another of its host's interfaces.
    for (src, dst), way in usual.items():
        for cable in _rails(found, dst):
            ways.setdefault((src, dst, cable), way)
    for src, dst in product(sorted(set(found.ranks)), repeat=2):
        if src != dst and (src, dst) not in usual:
            raise TopologyError(f"{found.topology.name[:80]}: no way over the network from {found.names[src]} to "
                                f"{found.names[dst]}; expected one")  # fmt: skip
    return ways


def _rails(found: Outline, node: int) -> list[int]:
    """The cables of a node, in their order."""
    src = found.topology.links.src
    return [n for n, pair in enumerate(found.cables) if any(found.node[src[link]] == node for link in pair)]


def _routed(found: Outline) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """What the topology's own router says of ranks in the same place of each host, and of the first under other
    choices."""
    places: dict[int, list[int]] = defaultdict(list)
    for rank, host in enumerate(found.ranks):
        places[host].append(rank)
    most = max(len(_rails(found, host)) for host in places)
    asked = [
        (a, b, choice)
        for src, dst in product(places, repeat=2)
        if src != dst
        for a, b, choice in (
            *((a, b, 0) for a, b in zip(places[src], places[dst], strict=False)),
            *((places[src][0], places[dst][0], choice) for choice in range(1, most)),
        )
    ]
    src, dst, choice = (np.array(column, np.int64) for column in zip(*asked, strict=True))
    routes = found.topology.routes(src, dst, choice)
    ways: dict[tuple[int, int, int], tuple[int, ...]] = {}
    for number, (a, b, _) in enumerate(asked):
        way = tuple(found.cable_of[link] for link in routes.of(number).tolist() if link in found.cable_of)
        if way:
            ways.setdefault((found.ranks[a], found.ranks[b], way[-1]), way)
    return ways


def _searched(found: Outline, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int, int], tuple[int, ...]]:
    """Between the k-th cables of both hosts, without passing through either of them."""
    links = found.topology.links
    outside = np.array([link for pair in found.cables for link in pair], np.int64)
    only = Links(links.src[outside], links.dst[outside], links.bandwidth[outside], links.latency_s[outside])
    router = SearchRouter(found.topology.kinds, only, found.topology.names)
    ways = {}
    for src, dst in pairs:
        for one, other in zip(_rails(found, src), _rails(found, dst), strict=False):
            a, b = _out_of(found, one, src), _into(found, other, dst)
            try:
                route = router(np.array([a]), np.array([b]), np.zeros(1, np.int64))
            except TopologyError:
                continue  # rails of different planes
            way = tuple(found.cable_of[int(outside[link])] for link in route.links)
            ways[src, dst, way[-1]] = way
    return ways


def _out_of(found: Outline, cable: int, host: int) -> int:
    """The vertex of a host that sends over a cable."""
    src = found.topology.links.src
    return next(int(src[link]) for link in found.cables[cable] if found.node[src[link]] == host)


def _into(found: Outline, cable: int, host: int) -> int:
    """The vertex of a host that receives over a cable."""
    dst = found.topology.links.dst
    return next(int(dst[link]) for link in found.cables[cable] if found.node[dst[link]] == host)


def _tables(
    found: Outline, cables: Sequence[Cable]
) -> tuple[tuple[dict[str, int], ...], tuple[dict[tuple[int, str], int], ...]]:
    """Routes of every node by address, and those that hold for what one host sends."""
    wanted: list[dict[str, dict[int, int]]] = [defaultdict(dict) for _ in found.names]
    for (src, dst, last), way in found.ways.items():
        address, at = cables[last].near(dst).address, src
        for cable in way:
            wanted[at][address][src] = cable
            at = cables[cable].far(at)
    routes, exceptions = [], []
    for number, by_address in enumerate(wanted):
        main: dict[str, int] = {}
        other: dict[tuple[int, str], int] = {}
        for address, by_sender in by_address.items():
            # What a host sends itself goes by the main table, as its sockets may have no address yet.
            main[address] = by_sender.get(number, Counter(by_sender.values()).most_common(1)[0][0])
            other |= {(src, address): cable for src, cable in by_sender.items() if cable != main[address]}
        routes.append(main)
        exceptions.append(other)
    return tuple(routes), tuple(exceptions)
