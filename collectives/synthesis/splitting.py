"""Removes switches: each way through one becomes an edge of its own, and every cut that trees need stays wide enough.

Splitting off γ units of the edges (u, w) and (w, t) of a switch w replaces them by γ units of an edge (u, t). A cut
loses γ by it where w is on one side and both u and t on the other, and no other cut loses anything. So the most that
may be split off is known from one trial: what both edges hold, less what the worst-served rank then lacks. Where as
much flows into w as out of it, some pair can be split off as long as an edge is left (J. Bang-Jensen, A. Frank and B.
Jackson, "Preserving and increasing local edge-connectivity in mixed graphs", SIAM Journal on Discrete Mathematics 8,
1995). Each switch first tries to spread its edges evenly over all pairs, which makes trees shallow, and keeps that
where no cut suffers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from clusterbench.collectives.bounds.max_flow import UNLIMITED, network
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.errors import SynthesisError
from clusterbench.collectives.synthesis.rate import shortfall
from clusterbench.collectives.topology.graph import Topology

MOST_DEALT = 1 << 16
"""Units of a switch that are dealt out one by one."""

Way = tuple[int, ...]
"""The links that an edge stands for, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Logical:
    """A graph of ranks only: `capacity[a, b]` trees, and for each edge its ways with the trees that each carries."""

    capacity: Ints
    ways: dict[tuple[int, int], list[tuple[int, Way]]]


def split_off(topology: Topology, capacity: Ints, supplies: Ints) -> Logical:
    """The topology without switches. `capacity` is trees a link, `supplies` trees a rank, that exist in it.

    Raises `SynthesisError` where a switch would have to copy, as more leads out of it than into it.
    """
    state = _State(topology, capacity, supplies)
    is_rank = np.zeros(topology.vertices, np.bool_)
    is_rank[topology.ranks] = True
    switches = np.flatnonzero(~is_rank)
    degree = (state.capacity > 0).sum(axis=0) + (state.capacity > 0).sum(axis=1)
    state.remove(switches[np.argsort(degree[switches], kind="stable")].tolist())
    number = {int(vertex): rank for rank, vertex in enumerate(topology.ranks)}
    ways = {
        (number[a], number[b]): [(most, way) for most, way in found if most > 0]
        for (a, b), found in state.ways.items()
        if a in number and b in number and state.capacity[a, b] > 0
    }
    return Logical(np.ascontiguousarray(state.capacity[np.ix_(topology.ranks, topology.ranks)]), ways)


class _State:
    """The graph while switches are removed."""

    def __init__(self, topology: Topology, capacity: Ints, supplies: Ints) -> None:
        self.topology, self.supplies = topology, supplies
        size, total = topology.vertices, int(supplies.sum())
        self.capacity = np.zeros((size, size), np.int64)
        self.ways: dict[tuple[int, int], list[tuple[int, Way]]] = {}
        ends = zip(topology.links.src.tolist(), topology.links.dst.tolist(), capacity.tolist(), strict=True)
        for link, (a, b, most) in enumerate(ends):
            held = total if most == UNLIMITED else most  # more than all trees, no link needs
            if held and a != b:
                self.capacity[a, b] += held
                self.ways.setdefault((a, b), []).append((held, (link,)))

    def lacks(self, capacity: Ints) -> int:
        """By how many trees the worst-served rank gets too few."""
        src, dst = np.nonzero(capacity)
        net = network(len(capacity), src, dst, self.topology.ranks)
        return shortfall(net, capacity[src, dst], self.supplies)

    def remove(self, switches: list[int]) -> None:
        """Split off all that leads through some switches: spread all at once if cuts permit, else half by half."""
        trial, spreads = self.capacity.copy(), []
        for switch in switches:
            spread = self._spread(trial, switch)
            if spread is None:
                break
            trial = _after(trial, switch, spread)
            spreads.append(spread)
        if len(spreads) == len(switches) and self.lacks(trial) == 0:
            for switch, spread in zip(switches, spreads, strict=True):
                for a, b, amount in spread:
                    self._take(a, switch, b, amount)
        elif len(switches) > 1:
            middle = len(switches) // 2
            self.remove(switches[:middle])
            self.remove(switches[middle:])
        else:
            self._one_by_one(switches[0])
            self.capacity[:, switches[0]] = 0
            self.capacity[switches[0], :] = 0

    def _one_by_one(self, switch: int) -> None:
        for target in np.flatnonzero(self.capacity[switch]).tolist():
            for source in self._by_preference(switch, target):
                amount = int(min(self.capacity[source, switch], self.capacity[switch, target]))
                if amount:
                    amount -= self.lacks(_after(self.capacity, switch, [(source, target, amount)]))
                if amount > 0:
                    self._take(source, switch, target, amount)
            left = int(self.capacity[switch, target])
            if left:  # is it needed at all?
                without = self.capacity.copy()
                without[switch, target] = 0
                if self.lacks(without):
                    here, there = self.topology.names[switch], self.topology.names[target]
                    raise SynthesisError(
                        f"{self.topology.name}: {here} has more bandwidth out, as to {there}, than in; expected as "
                        "much, as switches are taken not to copy"
                    )
                self.capacity = without

    def _by_preference(self, switch: int, target: int) -> list[int]:
        """Where an edge to the target may come from: other hosts first across a network, itself last."""
        sources = np.flatnonzero(self.capacity[:, switch])
        hosts = self.topology.hosts
        near = hosts[sources] == hosts[target]
        return sources[np.lexsort((-self.capacity[sources, switch], near, sources == target))].tolist()

    def _spread(self, capacity: Ints, switch: int) -> list[tuple[int, int, int]] | None:
        """All that enters a switch dealt out to all that leaves it, evenly; None where that is not as much.

        Nothing goes back to where it came from, nor, as far as that can be, to the same host.
        """
        sources, targets = np.flatnonzero(capacity[:, switch]), np.flatnonzero(capacity[switch])
        into, out = capacity[sources, switch], capacity[switch, targets]
        if into.sum() != out.sum() or into.sum() > MOST_DEALT:
            return None
        if not len(sources):
            return []
        hosts = self.topology.hosts
        where = np.where(hosts >= 0, hosts, -1 - np.arange(len(hosts)))  # a switch of the network is alone
        if len(np.unique(where[np.concatenate((sources, targets))])) < 3:
            where = np.arange(len(hosts))
        dealt, taken = _dealt(sources, into.copy(), targets, out.copy(), where)
        _swap_apart(dealt, taken, where)
        pairs, amounts = np.unique(np.stack((dealt, taken)), axis=1, return_counts=True)
        return [(int(a), int(b), int(n)) for (a, b), n in zip(pairs.T, amounts, strict=True)]

    def _take(self, source: int, switch: int, target: int, amount: int) -> None:
        """Split off so many units, way by way."""
        self.capacity[source, switch] -= amount
        self.capacity[switch, target] -= amount
        into, out = self.ways[source, switch], self.ways[switch, target]
        made = self.ways.setdefault((source, target), []) if source != target else []
        if source != target:
            self.capacity[source, target] += amount
        while amount:
            (most_in, way_in), (most_out, way_out) = into.pop(), out.pop()
            taken = min(amount, most_in, most_out)
            amount -= taken
            made.append((taken, way_in + way_out))
            if most_in > taken:
                into.append((most_in - taken, way_in))
            if most_out > taken:
                out.append((most_out - taken, way_out))


@njit(cache=True)
def _dealt(sources: Ints, into: Ints, targets: Ints, out: Ints, where: Ints) -> tuple[Ints, Ints]:
    """Source and target of each unit: targets take turns, each with the source that gave it least, has most left."""
    total, filled = int(into.sum()), 0
    given = np.zeros((len(targets), len(sources)), np.int64)
    source, target = np.empty(total, np.int64), np.empty(total, np.int64)
    stride, turn = max(1, len(sources) // max(1, int(out.max()))), 0
    while filled < total:
        turn += stride
        for t in range(len(targets)):
            if out[t] == 0:
                continue
            best, is_apart = -1, False
            for k in range(len(sources)):
                s = (t + turn + k) % len(sources)  # neighbours begin at other sources
                if into[s] == 0:
                    continue
                apart = where[sources[s]] != where[targets[t]]
                less = best >= 0 and (given[t, s], -into[s]) < (given[t, best], -into[best])
                if best < 0 or (apart and not is_apart) or (apart == is_apart and less):
                    best, is_apart = s, apart
            given[t, best] += 1
            into[best] -= 1
            out[t] -= 1
            source[filled], target[filled] = sources[best], targets[t]
            filled += 1
    return source, target


@njit(cache=True)
def _swap_apart(source: Ints, target: Ints, where: Ints) -> None:
    """Exchange sources until none lies where its target does, as far as single exchanges can."""
    count = len(source)
    for i in range(count):
        if where[source[i]] != where[target[i]]:
            continue
        for step in range(1, count):
            j = (i + step) % count
            if where[source[j]] != where[target[i]] and where[source[i]] != where[target[j]]:
                source[i], source[j] = source[j], source[i]
                break


def _after(capacity: Ints, switch: int, taken: list[tuple[int, int, int]]) -> Ints:
    """The capacities once (source, target, amount) are split off at a switch; ways back to the source are lost."""
    made = capacity.copy()
    if not taken:
        return made
    a, b, amount = (np.array(column, np.int64) for column in zip(*taken, strict=True))
    np.subtract.at(made, (a, np.full_like(a, switch)), amount)
    np.subtract.at(made, (np.full_like(b, switch), b), amount)
    np.add.at(made, (a, b), np.where(a == b, 0, amount))
    return made
