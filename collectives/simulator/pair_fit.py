"""A topology whose links cost what messages between pairs of ranks took: what calibrates a simulation.

Pairs are of one kind where their data cross as many links and the narrowest of these has the same rate. Disjoint pairs
of one kind exchange messages at once, so that links which they share are as full as in a collective, and ranks that
share cores take them from each other as there. The slowest pair of each such round takes

    t = α + hops · λ + bytes · u · x,

where u is the time a byte that the link which limits it would take at its declared rate, with all that share it. α, λ
and an x for each class of links, those of one rate at hosts or between switches, are fitted to all rounds by least
squares of relative errors, none below 0 (C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems", 1974,
chapter 23). Declared rates say which link limits a round and how many share it; what it carries is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import drain_each
from clusterbench.collectives.topology.graph import Links, Topology

MOST_KINDS = 6
"""Of pairs, those of the most ranks first."""
ROUNDS = 2
"""Of each kind, with other partners."""

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A round: disjoint pairs that sent so many bytes to each other at once, and how long the slowest took."""

    pairs: Pairs
    size_bytes: int
    time_s: float


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

    def __str__(self) -> str:
        carried = ", ".join(f"{share:.1%}" for share in self.shares)
        return f"α = {self.alpha_s * 1e6:.0f} µs and {self.hop_s * 1e6:.0f} µs a link, {carried} of the rates of links"


def rounds(topology: Topology) -> list[Pairs]:
    """Rounds of disjoint pairs of ranks, `ROUNDS` of each kind, each of as many pairs as are found one by one."""
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
    kinds = sorted(partners, key=lambda kind: (-len(partners[kind]), kind))[:MOST_KINDS]
    found = [_matched(partners[kind], turn) for kind in kinds for turn in range(ROUNDS)]
    return list(dict.fromkeys(pairs for pairs in found if pairs))


def _matched(partners: dict[int, list[int]], turn: int) -> Pairs:
    free, pairs = set(partners), []
    for rank in sorted(partners):
        others = partners[rank]
        at = turn % len(others)
        other = next((other for other in others[at:] + others[:at] if other in free), None)
        if rank in free and other is not None and other != rank:
            free -= {rank, other}
            pairs.append((rank, other))
    return tuple(pairs)


def fitted(topology: Topology, timed: Sequence[Exchanged], gamma_s_per_byte: float = 0.0) -> Fitted:
    """The topology with the rates and latencies that explain the rounds.

    A class of links that limited no round has the mean share of the others. Raises `TopologyError` where there is no
    way between the ranks of a pair.
    """
    from scipy.optimize import nnls

    classes, number = _classes(topology)
    matrix, known_s = np.zeros((len(timed), 2 + classes)), np.zeros(len(timed))
    for row, one in enumerate(timed):
        last = _last(topology, one)
        matrix[row, :2] = 1.0, last.hops
        if last.link >= 0:
            matrix[row, 2 + number[last.link]] = last.bytes_s
        # Latencies that links have already, as those of a host that is late, are known and not fitted.
        known_s[row] = last.latency_s
    times = np.array([one.time_s for one in timed])
    solution, _ = nnls(matrix / times[:, None], 1 - known_s / times)
    slower = solution[2:]
    known = slower > 0
    slower[~known] = np.exp(np.log(slower[known]).mean()) if known.any() else 1.0
    links = topology.links
    factor = np.where(number >= 0, slower[number], 1.0)
    latency_s = links.latency_s + np.where(number >= 0, solution[1], 0.0)
    calibrated = Links(links.src, links.dst, links.bandwidth / factor, latency_s)
    return Fitted(
        topology=replace(topology, links=calibrated, estimated=True),
        costs=Costs(alpha_s=float(solution[0]), gamma_s_per_byte=gamma_s_per_byte),
        alpha_s=float(solution[0]),
        hop_s=float(solution[1]),
        shares=tuple(float(1 / x) for x in slower[known]),
        error=float(np.median(np.abs((matrix @ solution + known_s) / times - 1))),
    )


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


def _last(topology: Topology, one: Exchanged) -> _Last:
    ends = np.array(one.pairs, np.int64)
    routes = topology.routes(np.concatenate((ends[:, 0], ends[:, 1])), np.concatenate((ends[:, 1], ends[:, 0])))
    links = topology.links
    hops, latency_s = routes.sums(np.isfinite(links.bandwidth).astype(np.float64)), routes.sums(links.latency_s)
    size_bytes = np.full(len(routes), float(one.size_bytes))
    bytes_s, link, _ = drain_each(np.array([0, len(routes)]), routes.offsets, routes.links, links.bandwidth, size_bytes)
    last = int((latency_s + bytes_s).argmax())
    return _Last(float(hops[last]), float(latency_s[last]), float(bytes_s[last]), int(link[last]))
