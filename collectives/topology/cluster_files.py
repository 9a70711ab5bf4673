"""A cluster from two files: the network between its hosts, and what one of them is like inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.cluster import copies
from clusterbench.collectives.topology.graph import Links, Topology, TopologyError, joined, topology
from clusterbench.collectives.topology.routing import SearchRouter


def cluster_of_files(network: Topology, node: Topology) -> Topology:
    """The network with each of its hosts replaced by a copy of the node, and ranks those of the nodes, host by host.

    The cables of a host go to the ports of its copy, in the order of the host's cards; one that is faster than its port
    is as fast as the port. Vertices are named `HOST.gpu0`, or `HOST` where the node is one vertex. Routes are searched
    for. Raises `TopologyError` where the network does not have one rank on each host, the node is not one
    host or has no ports, where a host has more cables than the node has ports, and where either says only which routes
    there are, and not where its links begin and end.
    """
    for part in (network, node):
        if not part.searchable:
            raise TopologyError(
                f"{part.name}: its routes are listed, and not where each link begins and ends, so none can be found "
                "through the inside of hosts; expected a topology whose links all lead from one vertex to another"
            )
    hosts = network.hosts[network.ranks]
    found = np.unique(network.hosts[network.hosts >= 0])
    if not np.array_equal(found, np.sort(hosts)):
        raise TopologyError(
            f"{network.name}: {len(hosts)} ranks on {len(found)} hosts; expected a network, with one rank on each host"
        )
    if len(np.unique(node.hosts)) != 1 or not len(node.ports):
        raise TopologyError(
            f"{node.name}: {len(np.unique(node.hosts))} hosts with {len(node.ports)} ports; expected one host, with "
            "ports for a network"
        )
    port = _ports(network, node, hosts)
    inside = node.vertices
    switches = np.flatnonzero(network.hosts < 0)
    at = np.full(network.vertices, -1)
    at[switches] = len(hosts) * inside + np.arange(len(switches))
    cards = np.flatnonzero(port >= 0)
    at[cards] = _copy_of(network, hosts)[cards] * inside + node.ports[port[cards]]
    outside, slower = _cables(network, node, port, at)
    names = [network.names[rank] for rank in network.ranks.tolist()]
    return topology(
        name=f"{network.name} of {node.name}",
        kinds=np.concatenate((np.tile(node.kinds, len(hosts)), network.kinds[switches])),
        names=[*_names(names, node.names), *(network.names[switch] for switch in switches.tolist())],
        links=joined([copies(node.links, len(hosts), inside), outside]),
        ranks=(np.arange(len(hosts))[:, None] * inside + node.ranks).ravel(),
        hosts=np.concatenate((np.repeat(np.arange(len(hosts)), inside), network.hosts[switches])),
        reducing=np.concatenate((np.tile(node.reducing, len(hosts)), network.reducing[switches])),
        ports=[],
        source="; ".join(filter(None, (network.source, node.source))),
        warnings=[*network.warnings, *node.warnings, *_warnings(network, port, hosts, node, slower)],
        estimated=network.estimated or node.estimated,
    )


def _copy_of(network: Topology, hosts: Ints) -> Ints:
    """For each vertex of the network the number of its host's copy; copies are in the order of ranks."""
    number = np.full(int(network.hosts.max()) + 1, -1)
    number[hosts] = np.arange(len(hosts))
    return number[network.hosts]  # of a switch that of the last host, which nobody asks for


def _ports(network: Topology, node: Topology, hosts: Ints) -> Ints:
    """For each vertex of the network at which a cable ends on a host the number of the node's port; else −1."""
    links, host = network.links, network.hosts
    crossing = host[links.src] != host[links.dst]
    cabled = np.zeros(network.vertices, np.bool_)
    cabled[links.src[crossing]] = cabled[links.dst[crossing]] = True
    cards = np.flatnonzero(cabled & (host >= 0))
    cards = cards[np.argsort(host[cards], kind="stable")]
    count = np.bincount(host[cards], minlength=int(host.max()) + 1)
    most = int(count.argmax())
    if count[most] > len(node.ports):
        name = network.names[int(network.ranks[np.flatnonzero(hosts == most)[0]])]
        raise TopologyError(
            f"{network.name}: {name} has {count[most]} cables, and {node.name} {len(node.ports)} ports; expected at "
            "most as many cables as ports"
        )
    port = np.full(network.vertices, -1)
    port[cards] = np.arange(len(cards)) - np.repeat(np.cumsum(count) - count, count)
    return port


def _cables(network: Topology, node: Topology, port: Ints, at: Ints) -> tuple[Links, int]:
    """The links of the network outside of hosts, between the vertices of the cluster, and how many are cut down."""
    links, host = network.links, network.hosts
    kept = (host[links.src] != host[links.dst]) | (host[links.src] < 0)
    src, dst = links.src[kept], links.dst[kept]
    limit = np.append(node.port_bandwidth, np.nan)  # the last is that of no port, −1
    bandwidth = np.fmin(np.fmin(links.bandwidth[kept], limit[port[src]]), limit[port[dst]])
    slower = int((bandwidth < links.bandwidth[kept]).sum())
    return Links(at[src], at[dst], bandwidth, links.latency_s[kept]), slower


def _names(hosts: Sequence[str], inside: Sequence[str]) -> list[str]:
    if len(inside) == 1:
        return list(hosts)
    return [f"{host}.{vertex}" for host in hosts for vertex in inside]


def _warnings(network: Topology, port: Ints, hosts: Ints, node: Topology, slower: int) -> list[str]:
    said = []
    if not isinstance(network.router, SearchRouter):
        said.append(f"Routes are searched for between the hosts, too; those of {network.name} are not kept")
    full = int((port == len(node.ports) - 1).sum())
    if full < len(hosts):
        said.append(
            f"{len(hosts) - full} of {len(hosts)} hosts have fewer cables than {node.name} has ports, "
            f"{len(node.ports)}; their first ports are used"
        )
    if slower:
        said.append(
            f"{slower} links of the network are faster than the ports of {node.name}, and are taken as fast as these"
        )
    return said
