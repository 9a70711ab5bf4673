"""Routes in SimGrid's clusters, from the numbers of the hosts.

Numbers of links and routes are those of SimGrid's documentation ("Platform examples": Torus, Fat tree, Dragonfly) and
of its source code (src/kernel/routing/{Star,Torus,FatTree,Dragonfly}Zone.cpp). Hosts are numbered from 0 in the order
of the radical. A limiter is what all that a vertex, host or switch, sends, receives and passes on shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product

from clusterbench.collectives.topology.simgrid.plan import Plan, Walk, Wire
from clusterbench.collectives.topology.simgrid.zones import Paths, Way


def star(up: Mapping[int, Walk], down: Mapping[int, Walk]) -> Paths:
    """Every element has a walk up to the middle and one down from it."""

    def paths(a: int, b: int) -> Sequence[Way] | None:
        if a not in up or b not in down:
            return None
        return (Way(a, up[a] + down[b], b),)

    return paths


def _doors(plan: Plan, hosts: Sequence[int]) -> tuple[dict[int, int], dict[int, Walk], dict[int, Walk]]:
    """Of each host its number, and the walks past its limiter."""
    number = {host: k for k, host in enumerate(hosts)}
    return number, {host: plan.leave(host) for host in hosts}, {host: plan.arrive(host) for host in hosts}


def torus(plan: Plan, name: str, hosts: Sequence[int], dimensions: Sequence[int], wire: Wire) -> Paths:
    """A cable from each host to the next in each dimension, the first of which varies fastest.

    A route goes through one dimension after the other, the shorter way round. Half-way round it goes upwards from the
    lower half of the positions, and downwards from the upper half, as SimGrid does.
    """
    number, leave, arrive = _doors(plan, hosts)
    stride = [1]
    for size in dimensions:
        stride.append(stride[-1] * size)

    def after(k: int, axis: int) -> int:
        size = dimensions[axis]
        return k + stride[axis] * (1 - size if k // stride[axis] % size == size - 1 else 1)

    cables = {
        (k, axis): plan.cable(f"{name}.{k}.{axis}", hosts[k], hosts[after(k, axis)], wire)
        for k in range(len(hosts))
        for axis, size in enumerate(dimensions)
        if size > 1
    }
    # The host before another in an axis is the one that comes after it size − 1 times.
    before = {(after(k, axis), axis): k for k, axis in cables}

    def paths(a: int, b: int) -> Sequence[Way]:
        walk = [*leave[a]]
        at = number[a]
        for axis, size in enumerate(dimensions):
            here, there = number[a] // stride[axis] % size, number[b] // stride[axis] % size
            half = size // 2
            upwards = here < there <= here + half or (here > half and (here + half) % size >= there)
            while at // stride[axis] % size != there:
                if upwards:
                    walk += cables[at, axis][0]
                    at = after(at, axis)
                else:
                    at = before[at, axis]
                    walk += cables[at, axis][1]
        return (Way(a, (*walk, *arrive[b]), b),)

    return paths


def fat_tree(
    plan: Plan, name: str, hosts: Sequence[int], down: Sequence[int], up: Sequence[int], ports: Sequence[int],
    wire: Wire, limiter: Wire | None = None,
) -> Paths:  # fmt: skip
    """A fat tree of `len(down)` levels of switches, from the leaves up: down- and uplinks of a node, parallel cables.

    A vertex of level l has one digit a level: digit j counts the uplinks of level j where j < l, and the downlinks
    otherwise. Vertices one level apart are linked where all digits but that of the level agree. Routes go up by the
    number of the destination (d-mod-k) until it lies below, and down by its digits; of parallel cables the upward way
    takes one by the destination too, and the downward way one by the source.
    """
    levels = len(down)
    number, leave, arrive = _doors(plan, hosts)

    def digits(k: int, level: int) -> list[int]:
        found = []
        for j in range(levels):
            k, digit = divmod(k, up[j] if j < level else down[j])
            found.append(digit)
        return found

    def position(of: Sequence[int], level: int) -> int:
        k = 0
        for j in reversed(range(levels)):
            k = k * (up[j] if j < level else down[j]) + of[j]
        return k

    vertices = [list(hosts)]
    cables: dict[tuple[int, int, int, int], tuple[Walk, Walk]] = {}
    for level in range(levels):
        count = len(vertices[level]) // down[level] * up[level]
        vertices.append([plan.switch(f"{name}.{level + 1}.{k}", limiter) for k in range(count)])
        for k, vertex in enumerate(vertices[level]):
            above = digits(k, level)
            for parent in range(up[level]):
                above[level] = parent
                other = vertices[level + 1][position(above, level + 1)]
                for port in range(ports[level]):
                    label = f"{name}.{level}.{k}.{parent}.{port}"
                    cables[level, k, parent, port] = plan.cable(label, vertex, other, wire)

    def paths(a: int, b: int) -> Sequence[Way]:
        source, target = number[a], number[b]
        at, goal = digits(source, 0), digits(target, 0)
        walk = [*leave[a]]
        level, rest = 0, target
        while at[level:] != goal[level:]:
            port, parent = divmod(rest % (up[level] * ports[level]), up[level])
            rest //= up[level] * ports[level]
            walk += cables[level, position(at, level), parent, port][0]
            at[level] = parent
            level += 1
        while level:
            level -= 1
            parent, at[level] = at[level], goal[level]
            walk += cables[level, position(at, level), parent, source % ports[level]][1]
        return (Way(a, (*walk, *arrive[b]), b),)

    return paths


def dragonfly(
    plan: Plan, name: str, hosts: Sequence[int], groups: Sequence[int], chassis: Sequence[int], blades: Sequence[int],
    nodes: int, wire: Wire, limiter: Wire | None = None,
) -> Paths:  # fmt: skip
    """Groups of chassis of blades (one router each) of nodes; each level's pair says how many, and how many cables.

    Routers of a chassis are all linked (green), as are routers of the same blade in a group (black); group g is linked
    with group h by its router of chassis 0 and blade h (blue), so there are at least as many blades as groups. Cables
    side by side are one link of their sum. Routes are minimal: green before black, in the first group and in the last.
    """
    number, leave, arrive = _doors(plan, hosts)
    rows = (range(groups[0]), range(chassis[0]), range(blades[0]))
    routers = {at: plan.switch(".".join(map(str, (name, *at))), limiter) for at in product(*rows)}
    hop: dict[tuple[int, int], Walk] = {}

    def cable(one: int, other: int, cables: int) -> None:
        label = f"{plan.names[one]}-{plan.names[other]}"
        hop[one, other], hop[other, one] = plan.cable(label, one, other, wire.times(cables))

    def router_of(k: int) -> tuple[int, int, int]:
        return k // nodes // blades[0] // chassis[0], k // nodes // blades[0] % chassis[0], k // nodes % blades[0]

    for k, host in enumerate(hosts):
        cable(host, routers[router_of(k)], 1)
    for (g, c, r), router in routers.items():
        for other in range(r + 1, blades[0]):
            cable(router, routers[g, c, other], blades[1])
        for other in range(c + 1, chassis[0]):
            cable(router, routers[g, other, r], chassis[1])
    for g in rows[0]:
        for other in range(g + 1, groups[0]):
            cable(routers[g, 0, other], routers[other, 0, g], groups[1])

    def paths(a: int, b: int) -> Sequence[Way]:
        (group, row, blade), goal = router_of(number[a]), router_of(number[b])
        stops = [a, routers[group, row, blade]]
        if group != goal[0]:
            stops += [routers[group, row, goal[0]], routers[group, 0, goal[0]], routers[goal[0], 0, group]]
            group, row, blade = goal[0], 0, group
        stops += [routers[group, row, goal[2]], routers[goal], b]
        walk = [*leave[a]]
        for one, other in pairwise(stops):
            walk += hop[one, other] if one != other else ()
        return (Way(a, (*walk, *arrive[b]), b),)

    return paths
