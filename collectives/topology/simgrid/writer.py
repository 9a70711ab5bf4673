"""Writes a topology as a SimGrid platform: a zone with a route for each pair of ranks.

Ranks are hosts, and each directed link is a link of sharing policy SHARED that only routes in its direction name; one
of infinite bandwidth is of policy FATPIPE and as wide as the widest other, so that it never binds. SimGrid has no
vertices: these, which of them reduce, the ports and the ends of the links are kept in properties, which SimGrid ignores
and our reader takes up.
"""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import numpy as np

from clusterbench.collectives.topology.graph import Floats, Kind, Routes, Topology, TopologyError
from clusterbench.collectives.topology.simgrid.reader import OWN, REDUCES

MOST_RANKS = 512
"""A quarter of a million routes, some 40 MB of text, which is what is read again."""
HEAD = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
"""


def write(topology: Topology) -> str:
    """The text of a platform file.

    Raises `TopologyError` for more than `MOST_RANKS` ranks, for two ranks on one vertex, and for a pair of ranks
    without a way, or without a link of finite bandwidth on it, which SimGrid has no route for.
    """
    names, ranks = topology.names, topology.ranks.tolist()
    if len(ranks) > MOST_RANKS:
        raise TopologyError(
            f"{topology.name}: {len(ranks)} ranks; a SimGrid platform lists the route of each pair, and at most "
            f"{MOST_RANKS} ranks are written"
        )
    if len(set(ranks)) != len(ranks):
        twice = next(rank for rank in ranks if ranks.count(rank) > 1)
        raise TopologyError(f"{topology.name}: two ranks on {names[twice]}; a SimGrid platform has a host for each")
    pairs = np.array([(a, b) for a in range(len(ranks)) for b in range(len(ranks)) if a != b], np.int64).reshape(-1, 2)
    try:
        routes = topology.routes(pairs[:, 0], pairs[:, 1]) if len(pairs) else Routes(np.zeros(1, int), np.zeros(0, int))
    except TopologyError as error:
        raise TopologyError(f"{topology.name}: {error}") from None
    widest = _widest(topology, routes, pairs)
    lines = [f'  <zone id={quoteattr(_zone_name(topology))} routing="Full">']
    if topology.estimated:
        lines.append(f'    <prop id="{OWN}estimated" value="yes"/>')
    lines += _properties(topology)
    lines += [f'    <host id={quoteattr(names[rank])} speed="1Gf"/>' for rank in ranks]
    lines += _links(topology, widest)
    tags = [f'<link_ctn id="{link}"/>' for link in range(len(topology.links))]
    quoted = [quoteattr(names[rank]) for rank in ranks]
    offsets, over = routes.offsets.tolist(), routes.links.tolist()
    lines += [
        f'    <route src={quoted[a]} dst={quoted[b]} symmetrical="NO">'
        f"{''.join([tags[link] for link in over[first:end]])}</route>"
        for (a, b), first, end in zip(pairs.tolist(), offsets, offsets[1:], strict=False)
    ]
    lines += ["  </zone>", "</platform>", ""]
    return HEAD + "\n".join(lines)


def _properties(topology: Topology) -> list[str]:
    """The vertices and ports, which SimGrid has no words for."""
    names = topology.names
    columns = topology.kinds.tolist(), topology.hosts.tolist(), topology.reducing.tolist()
    vertices = [
        f"    <prop id={quoteattr(f'{OWN}vertex.{name}')}"
        f' value="{Kind(kind).name.lower()} {host}{f" {REDUCES}" if reduces else ""}"/>'
        for name, kind, host, reduces in zip(names, *columns, strict=True)
    ]
    ports = enumerate(zip(topology.ports.tolist(), topology.port_bandwidth.tolist(), strict=True))
    return vertices + [
        f'    <prop id="{OWN}port.{number}" value={quoteattr(f"{bandwidth!r} {names[vertex]}")}/>'
        for number, (vertex, bandwidth) in ports
    ]


def _zone_name(topology: Topology) -> str:
    """The name of the topology, unless a vertex has it."""
    name = topology.name or "platform"
    while name in set(topology.names):
        name += "_"
    return name


def _widest(topology: Topology, routes: Routes, pairs: np.ndarray) -> float:
    """The bandwidth of the widest link that has an end to it; 0 where there are no routes."""
    finite: Floats = topology.links.bandwidth[np.isfinite(topology.links.bandwidth)]
    counts = routes.sums(np.isfinite(topology.links.bandwidth).astype(np.float64))
    free = np.flatnonzero(counts == 0)
    if len(free):
        one, other = (topology.names[int(topology.ranks[rank])] for rank in pairs[free[0]])
        raise TopologyError(
            f"{topology.name}: no link of finite bandwidth from {one} to {other}; SimGrid has no route without one"
        )
    return float(finite.max()) if len(finite) else 0.0


def _links(topology: Topology, widest: float) -> list[str]:
    quoted = [quoteattr(name) for name in topology.names]
    columns = (
        topology.links.src.tolist(), topology.links.dst.tolist(), topology.links.bandwidth.tolist(),
        topology.links.latency_s.tolist(),
    )  # fmt: skip
    lines = []
    for number, (src, dst, bandwidth, latency_s) in enumerate(zip(*columns, strict=True)):
        finite = np.isfinite(bandwidth)
        lines.append(
            f'    <link id="{number}" bandwidth="{bandwidth if finite else widest!r}Bps" latency="{latency_s!r}s"'
            f' sharing_policy="{"SHARED" if finite else "FATPIPE"}"><prop id="{OWN}from" value={quoted[src]}/>'
            f'<prop id="{OWN}to" value={quoted[dst]}/></link>'
        )
    return lines
