"""A network file and a node joined to a cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clusterbench.collectives.topology.cluster_files import cluster_of_files
from clusterbench.collectives.topology.file import read_topology
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, TopologyError, both_ways, links, topology
from clusterbench.collectives.topology.network_file import network

NETWORKS = Path(__file__).parent / "formats"


def a_node(ports: int = 2, port_bandwidth: float = 25e9) -> Topology:
    """Two GPUs joined to each other, and a card beside each."""
    return topology(
        name="twin",
        kinds=[Kind.GPU, Kind.GPU, *[Kind.NIC] * ports],
        names=["gpu0", "gpu1", *(f"nic{number}" for number in range(ports))],
        links=both_ways(links([0, *range(2, 2 + ports)], [1, *(number % 2 for number in range(ports))], 100e9, 1e-6)),
        port_bandwidth=port_bandwidth,
        warnings=["the node is made up"],
    )


def a_network(uplink: float = 100e9) -> Topology:
    """Hosts a and b on a leaf by two cables each, host c on another by one, and a switch above."""
    ends = [(0, 3), (0, 3), (1, 3), (1, 3), (2, 4), (3, 5), (4, 5)]
    bandwidth = [25e9] * 4 + [50e9, uplink, uplink]
    one, other = zip(*ends, strict=True)
    return network("net", ["a", "b", "c"], ["leaf0", "leaf1", "spine"], (one, other, bandwidth), warnings=["guessed"])


def test_each_host_is_a_copy_of_the_node_with_its_cables_at_the_ports() -> None:
    made = cluster_of_files(a_network(), a_node())
    assert list(made.names) == [
        "a.gpu0", "a.gpu1", "a.nic0", "a.nic1", "b.gpu0", "b.gpu1", "b.nic0", "b.nic1", "c.gpu0", "c.gpu1", "c.nic0",
        "c.nic1", "leaf0", "leaf1", "spine",
    ]  # fmt: skip
    assert [made.names[rank] for rank in made.ranks] == ["a.gpu0", "a.gpu1", "b.gpu0", "b.gpu1", "c.gpu0", "c.gpu1"]
    assert made.hosts.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [NO_HOST] * 3
    outside = {
        (made.names[src], made.names[dst]): bandwidth
        for src, dst, bandwidth in zip(made.links.src, made.links.dst, made.links.bandwidth / 1e9, strict=True)
        if made.hosts[src] != made.hosts[dst] or made.hosts[src] < 0
    }
    assert outside == {
        pair: bandwidth
        for one, other, bandwidth in (
            ("a.nic0", "leaf0", 25.0), ("a.nic1", "leaf0", 25.0), ("b.nic0", "leaf0", 25.0), ("b.nic1", "leaf0", 25.0),
            ("c.nic0", "leaf1", 25.0), ("leaf0", "spine", 100.0), ("leaf1", "spine", 100.0),
        )
        for pair in ((one, other), (other, one))
    }  # fmt: skip
    assert len(made.links) == 3 * 6 + len(outside)


def test_what_was_guessed_and_cut_down_is_said() -> None:
    made = cluster_of_files(a_network(), a_node())
    assert made.warnings == (
        "guessed",
        "the node is made up",
        "1 of 3 hosts have fewer cables than twin has ports, 2; their first ports are used",
        "2 links of the network are faster than the ports of twin, and are taken as fast as these",
    )


def test_a_port_of_unknown_rate_is_as_fast_as_its_cable() -> None:
    made = cluster_of_files(a_network(), a_node(port_bandwidth=np.nan))
    c = made.names.index("c.nic0")
    assert made.links.bandwidth[made.links.src == c].max() == 100e9  # to the GPU
    assert sorted(made.links.bandwidth[made.links.dst == made.names.index("leaf1")]) == [50e9, 100e9]


def test_ranks_reach_each_other_over_the_network() -> None:
    made = cluster_of_files(a_network(), a_node())
    ranks = np.arange(6)
    src, dst = np.repeat(ranks, 6), np.tile(ranks, 6)
    routes = made.routes(src, dst)
    for number in range(len(routes)):
        route = routes.of(number)
        at = made.ranks[src[number]]
        for link in route:
            assert made.links.src[link] == at
            at = made.links.dst[link]
        assert at == made.ranks[dst[number]]
    far = routes.of(int(np.flatnonzero((src == 0) & (dst == 4))[0]))
    assert [made.names[made.links.dst[link]] for link in far][-2:] == ["c.nic0", "c.gpu0"]


def test_a_node_of_one_vertex_keeps_the_names_of_hosts() -> None:
    node = topology(
        name="host", kinds=[Kind.CPU], names=["cpu"], links=links([], [], []), ports=[0], port_bandwidth=1e9
    )
    made = cluster_of_files(read_topology(NETWORKS / "slurm-topology" / "block.conf"), node)
    assert list(made.names)[:2] == ["r1n1", "r1n2"]
    assert len(made.ranks) == 16
    assert made.links.bandwidth.min() == 1e9


def test_switches_that_reduce_still_do() -> None:
    made = cluster_of_files(read_topology(NETWORKS / "ibnetdiscover" / "blocks.txt"), a_node())
    assert [made.names[vertex] for vertex in np.flatnonzero(made.reducing)] == ["MF0;spine1:MQM9700/U1"]
    assert "node10.gpu1" in made.names


def test_more_cables_than_ports_are_refused() -> None:
    with pytest.raises(TopologyError, match="net: a has 2 cables, and twin 1 ports; expected at most as many"):
        cluster_of_files(a_network(), a_node(1))


def test_what_is_no_network_or_no_node_is_refused() -> None:
    with pytest.raises(TopologyError, match="twin: 2 ranks on 1 hosts; expected a network, with one rank on each host"):
        cluster_of_files(a_node(), a_node())
    with pytest.raises(TopologyError, match="net: 4 hosts with 0 ports; expected one host, with ports"):
        cluster_of_files(a_network(), a_network())
    with pytest.raises(TopologyError, match="twin: 1 hosts with 0 ports"):
        cluster_of_files(a_network(), a_node(0))
