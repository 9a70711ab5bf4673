"""A cluster: copies of one host, their ports joined by a network, and routes by table and arithmetic.

A rank's data leave by the port nearest to it, of several as near by the next of them for each rank, and come in by the
port nearest to the rank that they are for. Choice c of a route takes the ports c further on, and beyond all ports the
next of the network's parallel ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Network
from clusterbench.collectives.topology.graph import (
    NO_HOST,
    Kind,
    Links,
    Routes,
    Topology,
    TopologyError,
    chained,
    joined,
    taken,
    topology,
)


def cluster(name: str, node: Topology, nodes: int, network: Network, source: str = "") -> Topology:
    """So many copies of the node on the network, whose port i · ports + k is port k of copy i.

    A node of one vertex without a network card is its own port. Ranks are those of the nodes, node by node. Raises
    `TopologyError` where the network has another number of ports.
    """
    if network.ports != nodes * len(node.ports):
        raise TopologyError(
            f"{name}: {nodes} nodes of {len(node.ports)} ports on a network of {network.ports}; "
            f"expected {nodes * len(node.ports)}"
        )
    inside, switches = node.vertices, len(network.switches)
    first_switch = nodes * inside
    # Where the vertices of the network are: its ports on the hosts, its switches behind all hosts.
    ports = (np.arange(nodes)[:, None] * inside + node.ports).ravel()
    at = np.concatenate((ports, first_switch + np.arange(switches)))
    outside = network.links
    return topology(
        name=name,
        kinds=np.concatenate((np.tile(node.kinds, nodes), np.full(switches, Kind.SWITCH, np.int8))),
        names=_Names(list(node.names), nodes, list(network.switches)),
        links=joined([
            copies(node.links, nodes, inside),
            Links(at[outside.src], at[outside.dst], outside.bandwidth, outside.latency_s),
        ]),
        ranks=(np.arange(nodes)[:, None] * inside + node.ranks).ravel(),
        hosts=np.concatenate((np.repeat(np.arange(nodes), inside), np.full(switches, NO_HOST))),
        router=_Router(node, nodes, network),
        reducing=np.concatenate((np.tile(node.reducing, nodes), np.zeros(switches, np.bool_))),
        ports=[],
        source="; ".join(filter(None, (node.source, source))),
        warnings=node.warnings,
        estimated=node.estimated,
    )  # fmt: skip


def copies(links: Links, nodes: int, inside: int) -> Links:
    """The links of so many copies of a node of `inside` vertices, copy by copy."""
    by = np.arange(nodes)[:, None] * inside
    return Links((by + links.src).ravel(), (by + links.dst).ravel(), np.tile(links.bandwidth, nodes),
                 np.tile(links.latency_s, nodes))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Names(Sequence[str]):
    """Names made when they are asked for: `h3.gpu0`, or `h3` where a host is one vertex."""

    inside: list[str]
    nodes: int
    switches: list[str]

    def __len__(self) -> int:
        return self.nodes * len(self.inside) + len(self.switches)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        host, vertex = divmod(index, len(self.inside))
        if host >= self.nodes:
            return self.switches[index - self.nodes * len(self.inside)]
        return f"h{host}" if len(self.inside) == 1 else f"h{host}.{self.inside[vertex]}"


class _Router:
    """Inside a host by a table of its routes; between hosts to a port, over the network, and from a port."""

    def __init__(self, node: Topology, nodes: int, network: Network) -> None:
        self._inside, self._links = node.vertices, len(node.links)
        self._network, self._first = network, nodes * len(node.links)
        ends = np.unique(np.concatenate((node.ranks, node.ports)))
        self._end = np.full(node.vertices, -1)
        self._end[ends] = np.arange(len(ends))
        self._ends, self._ports = len(ends), node.ports
        src, dst = (grid.ravel() for grid in np.meshgrid(ends, ends, indexing="ij"))
        self._table = node.router(src, dst, np.zeros_like(src))
        self._port = self._nearest(node)

    def _nearest(self, node: Topology) -> Ints:
        """For each vertex of the host that has a rank the number of its port."""
        nearest = np.zeros(node.vertices, np.int64)
        taken_by = np.zeros(len(node.ports), np.int64)
        for vertex in node.ranks:
            rows = self._row(np.full(len(node.ports), vertex), node.ports)
            way = taken(self._table, rows)
            cost = [way.sums(node.links.latency_s), way.sums(1 / node.links.bandwidth), taken_by]
            nearest[vertex] = np.lexsort((np.arange(len(node.ports)), cost[2], cost[0], cost[1]))[0]
            taken_by[nearest[vertex]] += 1
        return nearest

    def _row(self, src: Ints, dst: Ints) -> Ints:
        return self._end[src] * self._ends + self._end[dst]

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        if self._inside == 1:  # hosts are the ports themselves
            between = self._network.router(src, dst, choice)
            return Routes(between.offsets, self._first + between.links)
        src_host, src_at = np.divmod(src, self._inside)
        dst_host, dst_at = np.divmod(dst, self._inside)
        far = src_host != dst_host
        if not far.any():
            return self._within(src_host, self._row(src_at, dst_at))
        ports = len(self._ports)
        src_port, dst_port = (self._port[src_at] + choice) % ports, (self._port[dst_at] + choice) % ports
        # Each route is: inside the source host, over the network, inside the destination host; the last two are empty
        # where it stays inside one host.
        stays = self._row(dst_at, dst_at)
        first = self._within(src_host, self._row(src_at, np.where(far, self._ports[src_port], dst_at)))
        last = self._within(dst_host, np.where(far, self._row(self._ports[dst_port], dst_at), stays))
        start = src_host * ports + src_port
        between = self._network.router(start, np.where(far, dst_host * ports + dst_port, start), choice // ports)
        return chained([first, Routes(between.offsets, self._first + between.links), last])

    def _within(self, host: Ints, rows: Ints) -> Routes:
        found = taken(self._table, rows)
        return Routes(found.offsets, found.links + self._links * np.repeat(host, found.lengths))
