"""Prices a schedule without contention: the Hockney model, α + nβ a message and γ a byte, over its rounds.

Two kinds of links are told apart, inside a host and between hosts, each as slow as the worst of rank 0's. Agrees with
the published formula of an algorithm where there is one (`segments.price_s`), takes about a millisecond for a regular
one, and says nothing about links that transfers share.
"""

from __future__ import annotations

import numpy as np

from clusterbench.collectives.building.segments import Link, Links, price_s
from clusterbench.collectives.schedule import Ints, Schedule, ScheduleError
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.phases import refuse_too_few
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.topology.graph import Topology

SEEN = 64
"""Ranks that the links of the first rank are looked at to, on its host and on others."""


def estimate(schedule: Schedule, topology: Topology, size_bytes: int, costs: Costs | None = None) -> Prediction:
    """The time of a schedule for a vector of `size_bytes`.

    Raises `TopologyError` where the topology has fewer ranks than the schedule, and `ScheduleError` for uneven parts.
    """
    costs = costs or Costs()
    refuse_too_few(schedule, topology)
    if schedule.collective.uneven:
        raise ScheduleError(f"{schedule.collective.name} has no closed form; expected mode phases or events")
    found = links(topology, costs, schedule.ranks)
    total_s = price_s(schedule, size_bytes, found)
    latency_s = price_s(schedule, 0, found)
    nothing_reduced = Links(found.local, found.remote, 0.0, found.host_ranks)
    bandwidth_s = price_s(schedule, size_bytes, nothing_reduced) - latency_s
    late = costs.late(schedule.ranks)
    waiting_s = float(late.max(initial=0.0))
    return Prediction(
        time_s=total_s + waiting_s,
        latency_s=latency_s,
        bandwidth_s=bandwidth_s,
        reduction_s=max(0.0, total_s - latency_s - bandwidth_s),
        waiting_s=waiting_s,
        bottleneck="",
        bottleneck_s=0.0,
        sharing=0,
        mode="closed",
        rounds=sum(part.repetitions for part in schedule.phases()),
        late_rank=int(late.argmax()) if waiting_s > 0 else -1,
    )


def links(topology: Topology, costs: Costs, ranks: int) -> Links:
    """What messages cost inside a host and between hosts: the worst of what rank 0 has to some others of each."""
    host = topology.hosts[topology.ranks[:ranks]]
    blocks = host_ranks(topology, ranks)
    same = np.flatnonzero(host == host[0])
    others = np.flatnonzero(host != host[0])
    slow = float(costs.slow(ranks).max(initial=1.0))
    remote = _worst(topology, costs, others, slow)
    local = _worst(topology, costs, same[same > 0], slow) or remote or Link(0.0, 0.0)
    return Links(local, remote or local, costs.gamma_s_per_byte * slow, blocks)


def host_ranks(topology: Topology, ranks: int) -> int:
    """Of the first so many ranks those on each host, where they lie on hosts in blocks of one size; else 0."""
    host = topology.hosts[topology.ranks[:ranks]]
    begins = np.flatnonzero(np.concatenate(([True], np.diff(host) != 0)))
    sizes = np.diff(np.append(begins, ranks))
    regular = len(np.unique(host[begins])) == len(begins) and len(np.unique(sizes)) == 1
    return int(sizes[0]) if regular else 0


def _worst(topology: Topology, costs: Costs, ranks: Ints, slow: float) -> Link | None:
    if not len(ranks):
        return None
    chosen = ranks[np.linspace(0, len(ranks) - 1, min(SEEN, len(ranks))).astype(np.int64)]
    routes = topology.routes(0, chosen)
    narrowest = float(topology.links.bandwidth[routes.links].min(initial=np.inf)) * costs.share
    latency_s = float(routes.sums(topology.links.latency_s).max())
    return Link(latency_s + slow * (costs.alpha_s + costs.overhead_s), 1 / narrowest)
