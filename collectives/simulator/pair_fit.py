"""A topology whose links cost what messages between pairs of ranks took: what calibrates a simulation.

Pairs are of one kind where their data cross as many links and the narrowest of these has the same rate. In a round all
ranks that find a partner of one kind send a message and receive one at once, so that links which they share are as full
as in a collective, and ranks that share cores take them from each other as there. They exchange with one partner and
another in turns, as a rank waits in a collective for one that has waited for others; or with three at once; or they
pass on along cycles, to one and from another: for some libraries these are other things. The slowest message of a round
takes

    t = α + hops · λ + bytes · u · x,

where u is the time a byte that the link which limits it would take at its declared rate, with all that share it. α, λ
and an x for each class of links, those of one rate at hosts or between switches, are fitted to all rounds by least
squares of relative errors, none below 0 (C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems", 1974,
chapter 23). Declared rates say which link limits a round and how many share it; what it carries is measured.

Where the routes of a topology are searched for and several rails are equally good, all messages are taken to go by the
first: which rails a message takes is the library's choice, and one that uses them all makes the first as fast as all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import drain_each
from clusterbench.collectives.simulator.partners import Partners, partners_of
from clusterbench.collectives.topology.graph import Links, Topology
from clusterbench.collectives.topology.routing import SearchRouter

MOST_KINDS = 6
"""Of pairs, those of the most ranks first."""
Pairs = tuple[tuple[int, int], ...]
Round = tuple[tuple[int, int], ...]
"""Who sends to whom at once."""
Turns = tuple[Round, ...]
"""Rounds that follow one another, again and again."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Rounds in turns, the bytes of each of their messages, and how long a round took in the mean."""

    turns: Turns
    size_bytes: int
    time_s: float

    @property
    def partners(self) -> Partners:
        """Those of a rank in a round."""
        return partners_in(self.turns)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A topology and costs that explain rounds of pairs."""

    topology: Topology
    costs: Costs
    alpha_s: float
    hop_s: float
    shares: tuple[float, ...]
    """Of its declared rate that each class of links carries, the fastest first; those that limited no round are left
    out."""
    error: float
    """Median of the relative errors over the rounds."""
    rates: Topology
    """The topology with the rates of `topology`, and the latencies that it had before."""
    busy: Costs
    """What a message costs beside its bytes and those latencies, as time of its sender: α and λ over the links that the
    slowest messages crossed in the mean. Where ranks share cores a message does not wait for a wire."""

    def __str__(self) -> str:
        carried = ", ".join(f"{share:.1%}" for share in self.shares)
        hop = f" and {self.hop_s * 1e6:.0f} µs a link" if self.hop_s * 1e6 >= 0.5 else ""
        return f"α = {self.alpha_s * 1e6:.0f} µs{hop}, {carried} of the rates of links"


def partners_in(turns: Turns) -> Partners:
    """Those of a rank in rounds that are alike."""
    return partners_of(*np.array(turns[0], np.int64).T)


def rounds(topology: Topology) -> list[Turns]:
    """Of each kind two rounds in which pairs exchange, with other partners, in turns; these and one more at once; and
    one along the cycles of the two."""
    count = len(topology.ranks)
    src, dst = (index.ravel() for index in np.meshgrid(np.arange(count), np.arange(count), indexing="ij"))
    routes = topology.routes(src, dst)
    rate = topology.links.bandwidth
    crossed = routes.sums(np.isfinite(rate).astype(np.float64)).reshape(count, count)
    narrowest = np.full(count * count, np.inf)
    np.minimum.at(narrowest, routes.owners(), rate[routes.links])
    narrowest = np.minimum(narrowest.reshape(count, count), narrowest.reshape(count, count).T)
    partners: dict[tuple[float, float], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for one, other in zip(*np.nonzero(crossed), strict=True):
        partners[crossed[one, other], narrowest[one, other]][int(one)].append(int(other))
    found: list[Turns] = []
    for kind in sorted(partners, key=lambda kind: (-len(partners[kind]), kind))[:MOST_KINDS]:
        first = _matched(partners[kind], ())
        second = _matched(partners[kind], first)
        third = _matched(partners[kind], (*first, *second))
        exchanges = [tuple(sorted((*pairs, *((b, a) for a, b in pairs)))) for pairs in (first, second, third) if pairs]
        at_once = tuple(sorted(pair for sends in exchanges for pair in sends))
        found += [tuple(exchanges[:2]), (at_once,), (_along_cycles(first, second),)]
    return list(dict.fromkeys(turns for turns in found if turns and turns[0]))


def _matched(partners: dict[int, list[int]], taken: Pairs) -> Pairs:
    """Disjoint pairs, found one by one, none of them taken."""
    free, pairs = set(partners), []
    for rank in sorted(partners):
        others = [other for other in partners[rank] if other in free and tuple(sorted((rank, other))) not in taken]
        if rank in free and others:
            free -= {rank, others[0]}
            pairs.append((rank, others[0]))
    return tuple(pairs)


def _along_cycles(first: Pairs, second: Pairs) -> Round:
    """The cycles that two sets of disjoint pairs make together, each in one direction; paths are left out."""
    one, other = ({a: b for pair in pairs for a, b in (pair, pair[::-1])} for pairs in (first, second))
    sends: list[tuple[int, int]] = []
    seen: set[int] = set()
    for start in sorted(one):
        cycle, at = [], start
        while at not in seen and at in one and one[at] in other:
            seen |= {at, one[at]}
            cycle += [(at, one[at]), (one[at], other[one[at]])]
            at = other[one[at]]
        if cycle and at == start:
            sends += cycle
    return tuple(sorted(sends))


def fitted(topology: Topology, timed: Sequence[Timed], gamma_s_per_byte: float = 0.0) -> Fitted:
    """The topology with the rates and latencies that explain the rounds.

    A class of links that limited no round has the mean share of the others. Raises `TopologyError` where there is no
    way between the ranks of a pair.
    """
    from scipy.optimize import nnls

    topology = _by_first_rail(topology)
    classes, number = _classes(topology)
    matrix, known_s = np.zeros((len(timed), 2 + classes)), np.zeros(len(timed))
    for row, one in enumerate(timed):
        for sends in one.turns:
            last = _last(topology, sends, one.size_bytes)
            matrix[row, :2] += 1.0, last.hops
            if last.link >= 0:
                matrix[row, 2 + number[last.link]] += last.bytes_s
            # Latencies that links have already, as those of a host that is late, are known and not fitted.
            known_s[row] += last.latency_s
        matrix[row] /= len(one.turns)
        known_s[row] /= len(one.turns)
    times = np.array([one.time_s for one in timed])
    solution, _ = nnls(matrix / times[:, None], 1 - known_s / times)
    slower = solution[2:]
    known = slower > 0
    slower[~known] = np.exp(np.log(slower[known]).mean()) if known.any() else 1.0
    links = topology.links
    factor = np.where(number >= 0, slower[number], 1.0)
    latency_s = links.latency_s + np.where(number >= 0, solution[1], 0.0)
    calibrated, without = (
        replace(topology, links=Links(links.src, links.dst, links.bandwidth / factor, of_links_s), estimated=True)
        for of_links_s in (latency_s, links.latency_s)
    )
    return Fitted(
        topology=calibrated,
        costs=Costs(alpha_s=float(solution[0]), gamma_s_per_byte=gamma_s_per_byte),
        alpha_s=float(solution[0]),
        hop_s=float(solution[1]),
        shares=tuple(float(1 / x) for x in slower[known]),
        error=float(np.median(np.abs((matrix @ solution + known_s) / times - 1))),
        rates=without,
        busy=Costs(overhead_s=float(solution[:2] @ matrix[:, :2].mean(axis=0)), gamma_s_per_byte=gamma_s_per_byte),
    )


def _by_first_rail(topology: Topology) -> Topology:
    """With the first of equally good rails for all messages; hosts that are linked to each other have ways and no
    rails, which the network chooses."""
    src, dst = topology.hosts[topology.links.src], topology.hosts[topology.links.dst]
    neighbours = bool(((src >= 0) & (dst >= 0) & (src != dst)).any())
    if neighbours or not isinstance(topology.router, SearchRouter):
        return topology
    return replace(topology, router=topology.router.by_first_rail(topology.ranks))


def _classes(topology: Topology) -> tuple[int, Ints]:
    """How many classes of links there are, and that of each link; −1 where it has no limit."""
    links = topology.links
    host = topology.hosts >= 0
    host[topology.ranks] = True
    at_host = host[links.src] | host[links.dst]
    limited = np.isfinite(links.bandwidth)
    number = np.full(len(links), -1)
    keys = np.stack((-links.bandwidth[limited], at_host[limited]), 1)
    unique, number[limited] = np.unique(keys, axis=0, return_inverse=True)
    return len(unique), number


@dataclass(frozen=True, slots=True)
class _Last:
    """The message of a round that ends last at declared rates."""

    hops: float
    latency_s: float
    bytes_s: float
    """While its bytes are on their way."""
    link: int
    """That limits it; −1 where none does."""


def _last(topology: Topology, sends: Round, message_bytes: int) -> _Last:
    routes = topology.routes(*np.array(sends, np.int64).T)
    links = topology.links
    hops, latency_s = routes.sums(np.isfinite(links.bandwidth).astype(np.float64)), routes.sums(links.latency_s)
    size_bytes = np.full(len(routes), float(message_bytes))
    bytes_s, link, _ = drain_each(np.array([0, len(routes)]), routes.offsets, routes.links, links.bandwidth, size_bytes)
    last = int((latency_s + bytes_s).argmax())
    return _Last(float(hops[last]), float(latency_s[last]), float(bytes_s[last]), int(link[last]))
