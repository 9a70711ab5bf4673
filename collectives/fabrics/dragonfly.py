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

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, refuse_too_many, whole
from clusterbench.collectives.topology.graph import Routes, TopologyError, joined, links, routes_of
from clusterbench.collectives.topology.routing import drawn


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
        a, others = self.routers, self.groups - 1
        first_global = self.ports + self.groups * a * (a - 1)
        first_down = first_global + self.groups * self.copies * others
        src_group, at = np.divmod(src // self.per_router, a)
        dst_group, to = np.divmod(dst // self.per_router, a)
        by = dst if self.ecmp is None else drawn(src, dst, np.zeros_like(src), self.ecmp)
        copy = (by + choice) % self.copies * others
        leaving = copy + (dst_group - src_group - 1) % self.groups
        entering = copy + (src_group - dst_group - 1) % self.groups
        far = src_group != dst_group
        exit_router = np.where(far, leaving // self.globals_, to)
        entry_router = np.where(far, entering // self.globals_, to)
        there = src != dst
        columns = [
            np.where(there, src, -1),
            self._local(src_group, at, exit_router),
            np.where(far, first_global + src_group * (self.copies * others) + leaving, -1),
            np.where(far, self._local(dst_group, entry_router, to), -1),
            np.where(there, first_down + dst, -1),
        ]
        return routes_of(columns)

    def _local(self, group: Ints, one: Ints, other: Ints) -> Ints:
        a = self.routers
        return np.where(one != other, self.ports + (group * a + one) * (a - 1) + other - (other > one), -1)


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
