"""Reads the clusters of a platform file: <cluster>, and zones of routing Cluster, which list a link for each host."""

from __future__ import annotations

from math import prod

from clusterbench.collectives.topology.graph import Kind
from clusterbench.collectives.topology.simgrid.clusters import dragonfly, fat_tree, star, torus
from clusterbench.collectives.topology.simgrid.plan import Walk, Wire
from clusterbench.collectives.topology.simgrid.reading import Reading, wire_of
from clusterbench.collectives.topology.simgrid.values import MOST_HOSTS, parameters, radical, rate, seconds, whole
from clusterbench.collectives.topology.simgrid.zones import Paths
from clusterbench.collectives.topology.xml_tree import Element

MOST_CABLES = 1 << 18
"""Of all clusters of a platform that are a torus, fat tree or dragonfly: each takes some 2 KB."""
MOST_DIMENSIONS = 16
"""Of a torus, and levels of a fat tree: so many of two hosts each have more than `MOST_CABLES` already."""


def cluster(reading: Reading, element: Element, chain: tuple[int, ...]) -> Paths:
    """A <cluster>: its hosts, and what its topology links them by."""
    prefix, suffix, name = element.needed("prefix"), element.needed("suffix"), element.needed("id")
    numbers = radical(element)
    wire = wire_of(element, "bw", "lat", "sharing_policy", "SPLITDUPLEX")
    hosts = [reading.point(element, f"{prefix}{k}{suffix}", chain[-1], Kind.CPU) for k in numbers]
    plan, limiter = reading.plan, None
    if element.attributes.get("limiter_link"):
        limiter = Wire(rate(element, "limiter_link"), 0.0, "SHARED")
        for k, host in zip(numbers, hosts, strict=True):
            plan.limit(host, f"{name}_link_{k}_limiter", limiter)
    kind = element.attributes.get("topology") or "FLAT"
    if kind == "FLAT":
        return _flat(reading, element, chain[-1], dict(zip(numbers, hosts, strict=True)), wire)
    if kind == "TORUS":
        dimensions = [whole(element, "topo_parameters", d) for d in element.needed("topo_parameters").split(",")]
        _refuse_many(element, "dimensions", dimensions)
        _expect(reading, element, hosts, prod(dimensions), len(hosts) * len(dimensions))
        return torus(plan, name, hosts, dimensions, wire)
    if kind == "FAT_TREE":
        _, down, up, ports = parameters(element, (1, 0, 0, 0))
        _refuse_many(element, "levels", down)
        _expect(reading, element, hosts, prod(down), _fat_tree_cables(len(hosts), down, up, ports))
        return fat_tree(plan, name, hosts, down, up, ports, wire, limiter)
    if kind == "DRAGONFLY":
        groups, chassis, blades, (nodes,) = parameters(element, (2, 2, 2, 1))
        routers = groups[0] * chassis[0] * blades[0]
        near = routers * (chassis[0] + blades[0] + nodes) + groups[0] ** 2
        _expect(reading, element, hosts, routers * nodes, near)
        if groups[0] > blades[0]:
            raise element.error(
                f"{groups[0]} groups and {blades[0]} routers in a chassis; expected no more groups than routers, as "
                "router h of a group is linked with group h"
            )
        if chassis[0] > 1:
            reading.warnings[
                f"Routes in cluster {name!r} are minimal, as SimGrid's documentation says; SimGrid 3.32 to 3.36 itself "
                "strays between routers of a group where the first is not in the first chassis."
            ] = None
        return dragonfly(plan, name, hosts, groups, chassis, blades, nodes, wire, limiter)
    raise element.error(f"topology {kind!r}; expected FLAT, TORUS, FAT_TREE or DRAGONFLY")


def _refuse_many(element: Element, what: str, found: list[int]) -> None:
    if len(found) > MOST_DIMENSIONS:
        raise element.error(f"{len(found)} {what} in topo_parameters; expected at most {MOST_DIMENSIONS}")


def _expect(reading: Reading, element: Element, hosts: list[int], expected: int, cables: int) -> None:
    if len(hosts) != expected:
        said = expected if expected <= MOST_HOSTS else f"more than {MOST_HOSTS}"
        raise element.error(f"{len(hosts)} hosts in the radical; expected {said}, as topo_parameters say")
    reading.cables += cables
    if reading.cables > MOST_CABLES:
        raise element.error(f"with this cluster more than {MOST_CABLES} cables in clusters; expected at most that")


def _fat_tree_cables(nodes: int, down: list[int], up: list[int], ports: list[int]) -> int:
    cables = 0
    for below, above, side in zip(down, up, ports, strict=True):
        cables += nodes * above * side
        nodes = nodes // below * above
    return cables


def _flat(reading: Reading, element: Element, zone: int, hosts: dict[int, int], wire: Wire) -> Paths:
    """A cable from each host to a router, all whose traffic goes over the backbone, where there is one."""
    plan, name = reading.plan, element.attributes["id"]
    default = f"{element.attributes['prefix']}{name}_router{element.attributes['suffix']}"
    router = reading.point(element, element.attributes.get("router_id") or default, zone, Kind.SWITCH)
    if element.attributes.get("bb_bw"):
        backbone = wire_of(element, "bb_bw", "bb_lat", "bb_sharing_policy", "SHARED")
        link = plan.limit(router, f"{name}_backbone", backbone)
        reading.link(element, f"{name}_backbone", link, link)
    elif seconds(element, "bb_lat") > 0:
        raise element.error("bb_lat without bb_bw; expected both")
    up, down = {router: plan.leave(router)}, {router: plan.arrive(router)}
    for k, host in hosts.items():
        there, back = plan.cable(f"{name}_link_{k}", host, router, wire)
        up[host], down[host] = plan.leave(host) + there, back + plan.arrive(host)
    return star(up, down)


def listed_star(reading: Reading, element: Element, cables: list[Element], inside: list[int], zone: int) -> Paths:
    """A zone of routing Cluster: links up and down that are listed for each host, and maybe a backbone."""
    plan = reading.plan
    centre = plan.vertex(f"{element.attributes['id']}.centre")
    backbones = [cable for cable in cables if cable.tag == "backbone"]
    if len(backbones) > 1:
        raise backbones[1].error("a second backbone; expected at most one")
    for backbone in backbones:
        name = backbone.needed("id")
        link = plan.limit(centre, name, wire_of(backbone, "bandwidth", "latency", "", "SHARED"))
        reading.link(backbone, name, link, link)
    up: dict[int, Walk] = {}
    down: dict[int, Walk] = {}
    for cable in cables:
        if cable.tag == "host_link":
            host = reading.elements.get(cable.needed("id"), -1)
            if reading.zone_of.get(host) != zone:
                raise cable.error(f"host {cable.attributes['id']!r} is none of this zone; expected one of its hosts")
            over = [reading.links.get(cable.needed(way)) for way in ("up", "down")]
            if over[0] is None or over[1] is None:
                missing = cable.attributes["up" if over[0] is None else "down"]
                raise cable.error(f"link {missing!r} is not declared; expected the name of a <link>")
            up[host] = plan.between(host, over[0][:1], centre)
            down[host] = plan.between(centre, over[1][1:], host)
        elif cable.tag == "cabinet":
            wire = wire_of(cable, "bw", "lat", "", "SPLITDUPLEX")
            for k in radical(cable):
                name = f"{cable.needed('prefix')}{k}{cable.needed('suffix')}"
                host = reading.point(cable, name, zone, Kind.CPU)
                up[host], down[host] = plan.cable(f"link_{name}", host, centre, wire)
    for vertex in inside:
        if vertex >= 0 and plan.kinds[vertex] == Kind.SWITCH:
            up[vertex], down[vertex] = plan.between(vertex, (), centre), plan.between(centre, (), vertex)
    return star(up, down)
