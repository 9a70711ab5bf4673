"""Prices a schedule round by round: each distinct traffic pattern once, times how often it comes.

A round ends when its last transfer has arrived and been reduced, and the next begins then: a little dearer than the
truth where rounds overlap, and never cheaper where routes share no link. All transfers of a round begin at once and
have max-min fair rates until they end; each ends later by its latency.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import drain
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.simulator.transfers import Sizes, sizes
from clusterbench.collectives.topology.graph import Floats, Routes, Topology, TopologyError


@dataclass(slots=True)
class Round:
    """What a round costs, in parts that add up to `time_s`, and its limiting link."""

    latency_s: float = 0.0
    bandwidth_s: float = 0.0
    reduction_s: float = 0.0
    link: int = -1
    sharing: int = 0

    @property
    def time_s(self) -> float:
        return self.latency_s + self.bandwidth_s + self.reduction_s


def price(
    schedule: Schedule, topology: Topology, size_bytes: int, costs: Costs | None = None, matrix: Ints | None = None
) -> Prediction:
    """The time of a schedule on a topology for a vector of `size_bytes` (or a matrix of elements, all_to_all_v).

    Raises `TopologyError` where the topology has fewer ranks than the schedule, or no way between two of them.
    """
    costs = costs or Costs()
    refuse_too_few(schedule, topology)
    pricer = _Pricer(topology, costs, sizes(schedule, size_bytes, matrix), schedule.ranks)
    total, rounds = Round(), 0
    on_link: dict[int, tuple[float, int]] = {}
    for part in schedule.phases():
        for one, times in pricer.rounds(part):
            total.latency_s += times * one.latency_s
            total.bandwidth_s += times * one.bandwidth_s
            total.reduction_s += times * one.reduction_s
            rounds += times
            if one.link >= 0:
                so_far, most = on_link.get(one.link, (0.0, 0))
                on_link[one.link] = so_far + times * one.bandwidth_s, max(most, one.sharing)
    late = costs.late(schedule.ranks)
    waiting_s = float(late.max(initial=0.0))
    link, (spent_s, sharing) = max(on_link.items(), key=lambda item: item[1][0], default=(-1, (0.0, 0)))
    return Prediction(
        time_s=total.time_s + waiting_s,
        latency_s=total.latency_s,
        bandwidth_s=total.bandwidth_s,
        reduction_s=total.reduction_s,
        waiting_s=waiting_s,
        bottleneck=topology.link_name(link) if link >= 0 else "",
        bottleneck_s=spent_s,
        sharing=sharing,
        mode="phases",
        rounds=rounds,
        patterns=len(pricer.priced),
        late_rank=int(late.argmax()) if waiting_s > 0 else -1,
    )


def refuse_too_few(schedule: Schedule, topology: Topology) -> None:
    """Raises `TopologyError` where the schedule has more ranks than the topology."""
    if schedule.ranks > len(topology.ranks):
        raise TopologyError(
            f"{schedule.ranks} ranks on {topology.name[:120]}, which has {len(topology.ranks)}; expected at most that"
        )


class _Pricer:
    def __init__(self, topology: Topology, costs: Costs, sizes: Sizes, ranks: int) -> None:
        self._topology, self._costs, self._sizes = topology, costs, sizes
        self._slow, self._ranks = costs.slow(ranks), ranks
        self.priced: dict[bytes, tuple[float, float, int, int]] = {}

    def rounds(self, part: Phase) -> list[tuple[Round, int]]:
        """The rounds of a phase, and how often each comes."""
        if not len(part) or not part.repetitions:
            return []
        if self._sizes.ends.ndim == 1:
            return [(self._round(part, self._sizes.most(part)), part.repetitions)]
        return [(self._round(one, self._sizes.exact(one)), 1) for one in part.rounds()]

    def _round(self, part: Phase, length: Ints) -> Round:
        moves = (part.src != part.dst) & (length > 0)
        reduced = np.bincount(part.dst, length * part.reduce, self._ranks) * self._slow
        slowest = float(reduced.max(initial=0.0)) * self._costs.gamma_s_per_byte
        src, dst, route, length = part.src[moves], part.dst[moves], part.route[moves], length[moves]
        pattern = hashlib.blake2b(digest_size=16)
        for column in (src, dst, route, length):
            pattern.update(np.ascontiguousarray(column).data)
        key = pattern.digest()
        if key not in self.priced:
            self.priced[key] = self._sent(src, dst, route, length)
        latency_s, bandwidth_s, link, sharing = self.priced[key]
        return Round(latency_s, bandwidth_s, slowest, link, sharing)

    def _sent(self, src: Ints, dst: Ints, route: Ints, length: Ints) -> tuple[float, float, int, int]:
        """Latency and bandwidth of the transfer that ends last, its link, and how many share that."""
        if not len(src):
            return 0.0, 0.0, -1, 0
        # What goes between two ranks over one route goes as one message.
        pair, message = np.unique((src * self._ranks + dst) * (int(route.max()) + 1) + route, return_inverse=True)
        length = np.bincount(message, length, len(pair))
        pair, route = np.divmod(pair, int(route.max()) + 1)
        src, dst = np.divmod(pair, self._ranks)
        routes = self._topology.routes(src, dst, route)
        latency_s = routes.sums(self._topology.links.latency_s) + self._messages_s(src, dst)
        used, routes = compacted(routes)
        capacity = self._topology.links.bandwidth[used] * self._costs.share
        over_s, limit, shared = drain(routes.offsets, routes.links, capacity, length)
        last = int((latency_s + over_s).argmax())
        link = int(used[limit[last]]) if limit[last] >= 0 else -1
        return float(latency_s[last]), float(over_s[last]), link, int(shared[last])

    def _messages_s(self, src: Ints, dst: Ints) -> Floats:
        """What each message costs its end points: those of one sender follow one another."""
        order = np.argsort(src, kind="stable")
        turn = np.empty(len(src))
        turn[order] = 1 + np.arange(len(src)) - np.searchsorted(src[order], src[order])
        slow = np.maximum(self._slow[src], self._slow[dst])
        cost: Floats = slow * (self._costs.alpha_s + turn * self._costs.overhead_s)
        return cost


def compacted(routes: Routes) -> tuple[Ints, Routes]:
    """The links that routes use, in ascending order, and the routes over them, numbered from 0."""
    used, number = np.unique(routes.links, return_inverse=True)
    return used, Routes(routes.offsets, number.astype(np.int64))
