"""A dragonfly: groups of routers, each joined with each inside the group, and global links between all groups.

Routes are minimal: to the router of the group that has the global link, over it, and to the router of the destination.
Global links lie consecutively: channel q of group i goes to group i + 1 + q mod (groups − 1), and is the channel of
router q div globals. Adaptive (Valiant) routing is not modelled.

J. Kim, W. J. Dally, S. Scott and D. Abts, "Technology-driven, highly-scalable dragonfly topology", ISCA 2008.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, refuse_too_many, whole
from clusterbench.collectives.topology.graph import Routes, TopologyError, joined, links
from clusterbench.collectives.topology.routing import draw


def nodes(options: Mapping[str, str]) -> int:
    """Groups times routers times nodes of a router."""
    each = (whole(name, options[name], 1, 1 << 20) for name in ("groups", "routers", "hosts"))
    groups, routers, hosts = each
    return groups * routers * hosts


def build(wiring: Wiring) -> Network:
    """Ports on routers in order, links inside groups, and as many global links to each other group as there can be."""
    groups, routers = wiring.integer("groups", 2), wiring.integer("routers", 1)
    globals_, taper = wiring.integer("globals", 1), wiring.number("taper", 1e-3, 1e6)
    per_router = wiring.integer("hosts", 1) * wiring.ports_per_node
    copies = routers * globals_ // (groups - 1)
    if copies < 1:
        raise TopologyError(
            f"groups={groups} with {routers * globals_} global links a group (routers × globals); "
            f"expected at least one for each of the {groups - 1} other groups"
        )
    channels = copies * (groups - 1)
    refuse_too_many(2 * wiring.ports + groups * (routers * (routers - 1) + channels))
    ports, first = wiring.ports, wiring.ports
    router_of = first + np.arange(ports) // per_router
    local_links = []
    if routers > 1:
        group, i, j = (grid.ravel() for grid in np.indices((groups, routers, routers - 1)))
        local_links.append((first + group * routers + i, first + group * routers + j + (j >= i)))
    group, q = (grid.ravel() for grid in np.indices((groups, channels)))
    peer = (group + 1 + q % (groups - 1)) % groups
    back = q // (groups - 1) * (groups - 1) + (group - peer - 1) % groups
    global_links = (first + group * routers + q // globals_, first + peer * routers + back // globals_)
    every = [links(np.arange(ports), router_of, wiring.bandwidth, wiring.latency_s)]
    every += [links(*ends, wiring.bandwidth, wiring.latency_s) for ends in local_links]
    every.append(links(*global_links, wiring.bandwidth / taper, wiring.latency_s))
    every.append(links(router_of, np.arange(ports), wiring.bandwidth, wiring.latency_s))
    names = [f"group{i // routers}.router{i % routers}" for i in range(groups * routers)]
    router = _Router(ports, per_router, groups, routers, globals_, copies, wiring.ecmp)
    return Network(ports, names, joined(every), router)


@dataclass(frozen=True, slots=True)
class _Router:
    ports: int
    per_router: int
    groups: int
    routers: int
    globals_: int
    copies: int
    """Global links between two groups."""
    ecmp: int | None

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        seed = 0 if self.ecmp is None else self.ecmp
        return Routes(*_ways(src, dst, choice, self.ports, self.per_router, self.groups, self.routers, self.globals_,
                             self.copies, self.ecmp is not None, seed))  # fmt: skip


@njit(cache=True)
def _ways(
    src: Ints, dst: Ints, choice: Ints, ports: int, per_router: int, groups: int, routers: int, globals_: int,
    copies: int, hashed: bool, seed: int,
) -> tuple[Ints, Ints]:  # fmt: skip
    """Offsets and links: up, inside the group, over to the other group, inside that, down."""
    channels = copies * (groups - 1)
    first_global = ports + groups * routers * (routers - 1)
    first_down = first_global + groups * channels
    offsets = np.zeros(len(src) + 1, np.int64)
    links, filled = np.empty(5 * len(src), np.int64), 0
    for flow in range(len(src)):
        if src[flow] != dst[flow]:
            src_group, at = divmod(src[flow] // per_router, routers)
            dst_group, to = divmod(dst[flow] // per_router, routers)
            links[filled] = src[flow]
            filled += 1
            if src_group != dst_group:
                by = draw(src[flow], dst[flow], 0, seed) if hashed else dst[flow]
                copy = (by + choice[flow]) % copies * (groups - 1)
                leaving = copy + (dst_group - src_group - 1) % groups
                filled = _inside(links, filled, ports, routers, src_group, at, leaving // globals_)
                links[filled] = first_global + src_group * channels + leaving
                filled += 1
                at = (copy + (src_group - dst_group - 1) % groups) // globals_
            filled = _inside(links, filled, ports, routers, dst_group, at, to)
            links[filled] = first_down + dst[flow]
            filled += 1
        offsets[flow + 1] = filled
    return offsets, links[:filled].copy()


@njit(cache=True)
def _inside(links: Ints, filled: int, ports: int, routers: int, group: int, one: int, other: int) -> int:
    """Put the link from one router of a group to another; how many links there are then."""
    if one == other:
        return filled
    links[filled] = ports + (group * routers + one) * (routers - 1) + other - (other > one)
    return filled + 1


FABRIC = Fabric(
    name="dragonfly",
    summary="groups of routers, each joined with each, and global links between all groups",
    source="J. Kim et al., Technology-driven, highly-scalable dragonfly topology, ISCA 2008",
    build=build,
    options={
        "groups": Option("groups", "9"),
        "routers": Option("routers of a group", "4"),
        "hosts": Option("nodes of a router", "2"),
        "globals": Option("global links of a router", "2"),
        "taper": Option("bandwidth of a port over that of a global link", "1"),
    },
    nodes=nodes,
)
