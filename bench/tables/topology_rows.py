"""A topology as rows: what `clusterbench topology` gives to programs. Bytes/s one way, seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology


def document(topology: Topology) -> dict[str, Any]:
    """All of a topology but its routes, for one JSON document; a bandwidth without limit is null there."""
    return {
        "topology": {
            "name": topology.name,
            "source": topology.source,
            "estimated": topology.estimated,
            "vertices": topology.vertices,
            "links": len(topology.links),
            "ranks": len(topology.ranks),
            "hosts": hosts(topology),
        },
        "vertices": vertex_rows(topology),
        "links": link_rows(topology),
        "warnings": list(topology.warnings),
    }


def hosts(topology: Topology) -> int:
    """How many hosts there are, with ranks or without."""
    return len(np.unique(topology.hosts[topology.hosts != NO_HOST]))


def vertex_rows(topology: Topology) -> list[dict[str, Any]]:
    """A row a vertex, in their order; `host` is None of a vertex that lies in none."""
    ranks: dict[int, list[int]] = {}
    for rank, vertex in enumerate(topology.ranks.tolist()):
        ranks.setdefault(vertex, []).append(rank)
    ports = dict(zip(topology.ports.tolist(), topology.port_bandwidth.tolist(), strict=True))
    of = topology.kinds.tolist(), topology.hosts.tolist(), topology.reducing.tolist()
    return [
        {
            "name": topology.names[vertex],
            "kind": Kind(kind).name.lower(),
            "host": None if host == NO_HOST else host,
            "ranks": ranks.get(vertex, []),
            "reducing": reducing,
            "is_port": vertex in ports,
            "port_bandwidth": ports.get(vertex),
        }
        for vertex, (kind, host, reducing) in enumerate(zip(*of, strict=True))
    ]


def link_rows(topology: Topology) -> list[dict[str, Any]]:
    """A row a directed link, in their order."""
    links = topology.links
    columns = links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), links.latency_s.tolist()
    return [
        {
            "link": link,
            "from": topology.names[src],
            "to": topology.names[dst],
            "bandwidth": bandwidth,
            "latency_s": latency_s,
        }
        for link, (src, dst, bandwidth, latency_s) in enumerate(zip(*columns, strict=True))
    ]
