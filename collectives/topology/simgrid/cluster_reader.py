"""Reads the clusters of a platform file: <cluster>, and zones of routing Cluster, which list a link for each host."""

from __future__ import annotations

from math import prod

from clusterbench.collectives.topology.graph import Kind
from clusterbench.collectives.topology.simgrid.clusters import dragonfly, fat_tree, star, torus
from clusterbench.collectives.topology.simgrid.plan import Walk, Wire
from clusterbench.collectives.topology.simgrid.reading import Reading, wire_of
from clusterbench.collectives.topology.simgrid.values import parameters, radical, rate, seconds, whole
from clusterbench.collectives.topology.simgrid.zones import Paths
from clusterbench.collectives.topology.xml_tree import Element

MOST_CABLES = 1 << 22
"""Of a cluster."""


def cluster(reading: Reading, element: Element, chain: tuple[int, ...]) -> Paths:
    """A <cluster>: its hosts, and what its topology links them by."""
    prefix, suffix, name = element.needed("prefix"), element.needed("suffix"), element.needed("id")
    numbers = radical(element)
    wire = wire_of(element, "bw", "lat", "sharing_policy", "SPLITDUPLEX")
    hosts = [reading.point(element, f"{prefix}{k}{suffix}", chain[-1], Kind.CPU) for k in numbers]
    kind = element.attributes.get("topology") or "FLAT"
    if kind == "FLAT":
        return _flat(reading, element, chain[-1], dict(zip(numbers, hosts, strict=True)), wire)
    if element.attributes.get("limiter_link"):
        raise element.error(f"limiter_link in a cluster of topology {kind} is not modelled; expected none")
    plan = reading.plan
    if kind == "TORUS":
        dimensions = [whole(element, "topo_parameters", d) for d in element.needed("topo_parameters").split(",")]
        _expect(element, hosts, prod(dimensions), len(hosts) * len(dimensions))
        return torus(plan, name, hosts, dimensions, wire)
    if kind == "FAT_TREE":
        _, down, up, ports = parameters(element, (1, 0, 0, 0))
        _expect(element, hosts, prod(down), _fat_tree_cables(len(hosts), down, up, ports))
        return fat_tree(plan, name, hosts, down, up, ports, wire)
    if kind == "DRAGONFLY":
        groups, chassis, blades, (nodes,) = parameters(element, (2, 2, 2, 1))
        routers = groups[0] * chassis[0] * blades[0]
        near = routers * (chassis[0] + blades[0] + nodes) + groups[0] ** 2
        _expect(element, hosts, routers * nodes, near)
        if groups[0] > blades[0]:
            raise element.error(
                f"{groups[0]} groups and {blades[0]} routers in a chassis; expected no more groups than routers, as "
                "router h of a group is linked with group h"
            )
        return dragonfly(plan, name, hosts, groups, chassis, blades, nodes, wire)
    raise element.error(f"topology {kind!r}; expected FLAT, TORUS, FAT_TREE or DRAGONFLY")


def _expect(element: Element, hosts: list[int], expected: int, cables: int) -> None:
    if len(hosts) != expected:
        raise element.error(f"{len(hosts)} hosts in the radical; expected {expected}, as topo_parameters say")
    if cables > MOST_CABLES:
        raise element.error(f"some {cables} cables, as topo_parameters say; expected at most {MOST_CABLES}")


def _fat_tree_cables(nodes: int, down: list[int], up: list[int], ports: list[int]) -> int:
    cables = 0
    for below, above, side in zip(down, up, ports, strict=True):
        cables += nodes * above * side
        nodes = nodes // below * above
    return cables


def _flat(reading: Reading, element: Element, zone: int, hosts: dict[int, int], wire: Wire) -> Paths:
    """A cable from each host to a router; in its place a backbone, where there is one, and maybe limiters."""
    plan, name = reading.plan, element.attributes["id"]
    default = f"{element.attributes['prefix']}{name}_router{element.attributes['suffix']}"
    router = reading.point(element, element.attributes.get("router_id") or default, zone, Kind.SWITCH)
    entry = leave = router
    middle: Walk = ()
    if element.attributes.get("bb_bw"):
        backbone = plan.loose(f"{name}_backbone", wire_of(element, "bb_bw", "bb_lat", "bb_sharing_policy", "SHARED"))
        reading.link(element, f"{name}_backbone", backbone, backbone)
        (entry, leave), middle = plan.ends[backbone], (backbone,)
    elif seconds(element, "bb_lat") > 0:
        raise element.error("bb_lat without bb_bw; expected both")
    up, down = {router: plan.walk(router, (), entry)}, {router: plan.walk(leave, (), router)}
    for k, host in hosts.items():
        label = f"{name}_link_{k}"
        if element.attributes.get("limiter_link"):
            limiter = plan.loose(f"{label}_limiter", Wire(rate(element, "limiter_link"), 0.0, "SHARED"))
            limited = [limiter]
        else:
            limited = []
        if wire.policy == "SPLITDUPLEX":
            begin = plan.ends[limited[0]][1] if limited else host
            finish = plan.ends[limited[0]][0] if limited else host
            there, back = plan.link(begin, entry, wire), plan.link(leave, finish, wire)
            reading.link(element, f"{label}_UP", there, there)
            reading.link(element, f"{label}_DOWN", back, back)
        else:
            there = back = plan.loose(label, wire)
            reading.link(element, label, there, back)
        up[host] = plan.walk(host, [*limited, there], entry)
        down[host] = plan.walk(leave, [back, *limited], host)
    return star(up, middle, down)


def listed_star(reading: Reading, element: Element, cables: list[Element], inside: list[int], zone: int) -> Paths:
    """A zone of routing Cluster: links up and down that are listed for each host, and maybe a backbone."""
    plan, middle = reading.plan, ()
    backbones = [cable for cable in cables if cable.tag == "backbone"]
    if len(backbones) > 1:
        raise backbones[1].error("a second backbone; expected at most one")
    if backbones:
        name = backbones[0].needed("id")
        backbone = plan.loose(name, wire_of(backbones[0], "bandwidth", "latency", "", "SHARED"))
        reading.link(backbones[0], name, backbone, backbone)
        (entry, leave), middle = plan.ends[backbone], (backbone,)
    else:
        entry = leave = plan.vertex(f"{element.attributes['id']}.centre")
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
            up[host] = plan.walk(host, over[0][:1], entry)
            down[host] = plan.walk(leave, over[1][:1], host)
        elif cable.tag == "cabinet":
            wire = wire_of(cable, "bw", "lat", "", "SHARED")
            for k in radical(cable):
                name = f"{cable.needed('prefix')}{k}{cable.needed('suffix')}"
                host = reading.point(cable, name, zone, Kind.CPU)
                up[host], down[host] = (plan.link(host, entry, wire),), (plan.link(leave, host, wire),)
    for vertex in inside:
        if vertex >= 0 and plan.kinds[vertex] == Kind.SWITCH:
            up[vertex], down[vertex] = plan.walk(vertex, (), entry), plan.walk(leave, (), vertex)
    return star(up, middle, down)
