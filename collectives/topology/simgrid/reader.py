"""Reads SimGrid's platform files: first all zones, hosts and links, then the routes that name them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, topology
from clusterbench.collectives.topology.simgrid.cluster_reader import cluster, listed_star
from clusterbench.collectives.topology.simgrid.plan import Walk
from clusterbench.collectives.topology.simgrid.reading import Reading, wire_of
from clusterbench.collectives.topology.simgrid.values import whole
from clusterbench.collectives.topology.simgrid.zones import Paths, Way, Zone, ZoneRouter, dijkstra, explicit, floyd
from clusterbench.collectives.topology.xml_tree import Element, read_xml

OWN = "clusterbench."
"""Before the names of the properties in which our writer keeps what SimGrid has no words for."""
MOST_SEARCHED = 1024
"""Elements of a zone of routing Floyd, which is searched in time of their cube; of several zones the cubes add up."""
REDUCES = "reduces"
ZONES = ("zone", "AS")
ROUTINGS = ("full", "floyd", "dijkstra", "dijkstracache", "none", "cluster")
NOT_READ = {
    "bypassRoute": "a way round the routes",
    "bypassZoneRoute": "a way round the routes",
    "bypassASroute": "a way round the routes",
    "peer": "a host of a zone of routing Vivaldi",
    "include": "a second file",
    "random": "values drawn at random",
}
"""Elements that would change the routes, and what they are."""
WITHOUT_MEANING = ("prop", "disk", "mount", "storage", "storage_type", "actor", "process")
VARYING = ("HOST_AVAIL", "SPEED")
"""Kinds of traces that leave links as they are."""


def read(text: str, where: str) -> Topology:
    """The topology of a platform file; `where` is its name. Raises `TopologyError`, which names it and the line."""
    root = read_xml(text, where)
    if root.tag != "platform":
        raise root.error(f"<{root.tag}>; expected <platform>")
    if root.attributes.get("version") not in ("4", "4.0", "4.1"):
        raise root.error(
            f"version {root.attributes.get('version')!r}; expected 4 or 4.1, to which SimGrid's own "
            "simgrid_update_xml converts older files"
        )
    reading = Reading()
    tops = []
    for child in root.children:
        if child.tag in (*ZONES, "cluster"):
            tops.append(child)
        elif child.tag == "config":
            reading.warnings["The file configures SimGrid's models (<config>), which is not taken into account."] = None
        else:
            _other(reading, child)
    if len(tops) != 1:
        acts = any(child.tag in ("actor", "process") for child in root.children)
        deployment = ", only what runs where (a deployment)" if acts else ""
        raise root.error(f"{len(tops)} zones in <platform>{deployment}; expected one that holds all others")
    _zone(reading, tops[0], ())
    plan = reading.plan
    if not plan.ranks:
        raise root.error("no hosts; expected at least one")
    made = plan.made()
    zone_of = reading.zone_of
    return topology(
        name=Path(where).name,
        kinds=plan.kinds,
        names=plan.names,
        links=made,
        ranks=plan.ranks,
        hosts=plan.hosts,
        reducing=np.isin(np.arange(len(plan.names)), list(reading.reducing)),
        ports=list(reading.ports),
        port_bandwidth=list(reading.ports.values()),
        router=ZoneRouter(reading.zones, zone_of, plan.names, made.bandwidth, plan.limits()),
        source=f"SimGrid platform file {where}",
        warnings=list(reading.warnings),
        estimated=reading.estimated,
        searchable=plan.searchable(),
    )


def _other(reading: Reading, element: Element) -> None:
    """An element that is no part of the network; refused where it would change the routes."""
    tag = element.tag
    if tag in NOT_READ:
        raise element.error(f"<{tag}>, {NOT_READ[tag]}, is not read; expected a platform without it")
    if tag in ("trace", "trace_connect"):
        if element.attributes.get("kind", VARYING[0]) not in VARYING:
            _varies(reading, element.attributes.get("element", "?"))
    elif tag not in WITHOUT_MEANING:
        raise element.error(f"unknown element <{tag}>; expected those of SimGrid's platform files of version 4.1")


def _varies(reading: Reading, name: str) -> None:
    reading.warnings[f"Link {name!r} varies with time in the file; here it keeps what it begins with."] = None


def _zone(reading: Reading, element: Element, outer: tuple[int, ...]) -> None:
    """A zone, with all that lies in it."""
    number = len(reading.zones)
    name = element.needed("id")
    chain = (*outer, number)
    reading.name(element, name, -1 - number)
    reading.zones.append(Zone(name, element.where, chain, explicit({})))  # its number is taken before inner zones
    paths = (cluster if element.tag == "cluster" else _routed)(reading, element, chain)
    reading.zones[number] = Zone(name, element.where, chain, paths)


def _routed(reading: Reading, element: Element, chain: tuple[int, ...]) -> Paths:
    routing = element.needed("routing").lower()
    if routing not in ROUTINGS:
        raise element.error(f"routing {element.attributes['routing']!r} is not read; expected {', '.join(ROUTINGS)}")
    ways: dict[tuple[int, int], Way] = {}
    inside: list[int] = []
    routes, cables = [], []
    for child in element.children:
        tag = child.tag
        if tag == "prop":
            _own(reading, child)
        elif tag in ("host", "router"):
            kind = Kind.CPU if tag == "host" else Kind.SWITCH
            inside.append(reading.point(child, child.needed("id"), chain[-1], kind))
        elif tag in (*ZONES, "cluster"):
            inside.append(-1 - len(reading.zones))
            _zone(reading, child, chain)
        elif tag == "link":
            _link(reading, child)
        elif tag in ("route", "zoneRoute", "ASroute"):
            routes.append(child)
        elif tag in ("host_link", "backbone", "cabinet") and routing == "cluster":
            cables.append(child)
        else:
            _other(reading, child)
    if routing == "cluster":
        return listed_star(reading, element, cables, inside, chain[-1])
    for route in routes:
        _route(reading, route, chain, ways)
    if routing == "floyd":
        reading.search_steps += len(inside) ** 3
        if reading.search_steps > MOST_SEARCHED**3:
            raise element.error(
                f"{len(inside)} elements in a zone of routing Floyd; expected up to {MOST_SEARCHED} in one zone, or in "
                "several as many as are searched in the same time, that of the cube of their number"
            )
        return floyd(ways, inside)
    return dijkstra(ways) if routing.startswith("dijkstra") else explicit(ways)


def _own(reading: Reading, element: Element) -> None:
    """A property of a zone; our writer keeps in them what SimGrid has no words for."""
    name = element.needed("id")
    if name == OWN + "estimated":
        reading.estimated = True
    elif name.startswith(OWN + "vertex."):
        _own_vertex(reading, element, name.removeprefix(OWN + "vertex."))
    elif name.startswith(OWN + "port."):
        _own_port(reading, element)


def _own_vertex(reading: Reading, element: Element, name: str) -> None:
    """A vertex, as `KIND HOST`, with `reduces` behind it where it does."""
    kind, _, rest = element.needed("value").partition(" ")
    host, _, does = rest.partition(" ")
    kinds = {known.name.lower(): known for known in Kind}
    if kind not in kinds:
        raise element.error(f"a vertex of kind {kind!r}; expected one of {', '.join(kinds)}")
    if does not in ("", REDUCES):
        raise element.error(f"a vertex that {does[:40]!r}; expected {REDUCES!r} or nothing behind its host")
    number = NO_HOST if host == str(NO_HOST) else whole(element, "value", host, 0)
    if name in reading.declared:
        raise element.error(f"a second vertex named {name!r}; expected each name once")
    vertex = reading.declared[name] = reading.plan.vertex(name, kinds[kind], number)
    if does:
        reading.reducing.add(vertex)


def _own_port(reading: Reading, element: Element) -> None:
    """A port, as `BYTES_PER_S VERTEX`; ports are in the order of the file."""
    text, _, name = element.needed("value").partition(" ")
    vertex = reading.declared.get(name, -1)
    if vertex < 0 or vertex in reading.ports:
        raise element.error(f"a port at {name[:80]!r}; expected one of the vertices before it, each once")
    try:
        bandwidth = float(text)
    except ValueError:
        bandwidth = 0.0
    if bandwidth <= 0:  # not a number is a rate that is not known
        raise element.error(f"a port of {text[:40]!r} bytes/s; expected a number above 0, or nan")
    reading.ports[vertex] = bandwidth


def _link(reading: Reading, element: Element) -> None:
    name, plan = element.needed("id"), reading.plan
    wire = wire_of(element, "bandwidth", "latency", "sharing_policy", "SHARED")
    if any(element.attributes.get(f"{what}_file") for what in ("bandwidth", "latency", "state")):
        _varies(reading, name)
    if wire.policy == "SPLITDUPLEX":
        one, other = plan.vertex(f"{name}.in"), plan.vertex(f"{name}.out")
        up, down = plan.link(one, other, wire), plan.link(other, one, wire)
        reading.directed.add(name)
        reading.link(element, f"{name}_UP", up, up)
        reading.link(element, f"{name}_DOWN", down, down)
        reading.link(element, name, up, down)
        return
    ends = {p.attributes.get("id"): p.attributes.get("value", "") for p in element.all("prop")}
    told = [ends[OWN + end] for end in ("from", "to") if OWN + end in ends]
    if not told:
        link = plan.loose(name, wire)
    else:
        unknown = [end for end in told if end not in reading.declared]
        if unknown or len(told) != 2:
            raise element.error(f"its ends are {told}; expected two of the vertices that the zone lists")
        link = plan.link(reading.declared[told[0]], reading.declared[told[1]], wire)
        reading.placed.add(link)
    reading.link(element, name, link, link)


def _route(reading: Reading, element: Element, chain: tuple[int, ...], ways: dict[tuple[int, int], Way]) -> None:
    """A route between two elements of the zone, and back unless it says otherwise."""
    inner = element.tag != "route"
    ends = [_element(reading, element, name, chain, inner) for name in ("src", "dst")]
    gates = [_gate(reading, element, name, end) for name, end in zip(("gw_src", "gw_dst"), ends, strict=True)]
    both = element.attributes.get("symmetrical", "YES").upper()
    if both not in ("YES", "NO"):
        raise element.error(f"symmetrical is {both!r}; expected YES or NO")
    passed = [_passed(reading, link) for link in element.all("link_ctn")]
    if not passed:
        raise element.error("a route without links; expected at least one <link_ctn>")
    if ends[0] == ends[1]:
        return  # what a host sends to itself goes over no network
    forward = [up for up, _ in passed]
    back = [down for _, down in reversed(passed)]
    for (a, b), (start, end), over in ((ends, gates, forward), (ends[::-1], gates[::-1], back))[: 1 + (both == "YES")]:
        if (a, b) in ways:
            raise element.error(
                f"a second route from {element.attributes['src']!r} to {element.attributes['dst']!r} or back; "
                "expected one each way (routes are symmetrical by default)"
            )
        ways[a, b] = Way(start, _walk(reading, element, start, over, end), end, len(over))


def _element(reading: Reading, element: Element, name: str, chain: tuple[int, ...], inner: bool) -> int:
    """The element of the zone that an attribute names."""
    wanted = element.needed(name)
    found = reading.elements.get(wanted)
    if found is None:
        raise element.error(f"{name} is {wanted!r}, which is not declared; expected a host, router or zone")
    if (found < 0) != inner:
        raise element.error(
            f"{name} of <{element.tag}> is {wanted!r}; expected a {'zone' if inner else 'host or router'}"
        )
    lies = reading.zones[-1 - found].chain[:-1] if found < 0 else reading.zones[reading.zone_of[found]].chain
    if lies != chain:
        raise element.error(f"{name} is {wanted!r}, which lies in another zone; expected one of this zone")
    return found


def _gate(reading: Reading, element: Element, name: str, end: int) -> int:
    """The vertex at which a route leaves or enters an element of the zone."""
    if end >= 0:
        return end
    wanted = element.needed(name)
    found = reading.elements.get(wanted, -1)
    if found < 0:
        raise element.error(f"{name} is {wanted!r}; expected a host or router")
    if -1 - end not in reading.zones[reading.zone_of[found]].chain:
        raise element.error(f"{name} is {wanted!r}, outside of the zone that it is to be the gateway of")
    return found


def _passed(reading: Reading, element: Element) -> tuple[int, int]:
    """The link of a <link_ctn>, in the direction of the route, and in that back."""
    name, direction = element.needed("id"), element.attributes.get("direction") or "NONE"
    pair = reading.links.get(name)
    if pair is None:
        raise element.error(f"link {name!r} is not declared; expected the name of a <link> before it")
    expected = ("UP", "DOWN") if name in reading.directed else ("NONE",)
    if direction not in expected:
        raise element.error(f"link {name!r} with direction {direction!r}; expected {' or '.join(expected)}")
    return pair[::-1] if direction == "DOWN" else pair


def _walk(reading: Reading, element: Element, start: int, over: list[int], end: int) -> Walk:
    """The walk over the links of a route; links whose ends are known must meet."""
    plan, at = reading.plan, start
    if reading.placed.intersection(over):
        for link in over:
            if plan.ends[link][0] != at:
                at_name, begins = plan.names[at], plan.names[plan.ends[link][0]]
                raise element.error(f"a link of the route begins at {begins}; expected it at {at_name}")
            at = plan.ends[link][1]
        if at != end:
            raise element.error(f"the links of the route end at {plan.names[at]}; expected {plan.names[end]}")
    return plan.walk(start, over, end)
