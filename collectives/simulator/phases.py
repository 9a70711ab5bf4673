"""Prices a schedule round by round: each distinct traffic pattern once, times how often it comes.

A round ends when its last transfer has arrived and been reduced, and the next begins then: a little dearer than the
truth where rounds overlap, and never cheaper where routes share no link. All transfers of a round begin at once and
have max-min fair rates until they end; each ends later by its latency.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.simulator.transfers import ELEMENT_BYTES, Sizes, sizes
from clusterbench.collectives.topology.graph import Topology, TopologyError


def price(
    schedule: Schedule,
    topology: Topology,
    size_bytes: int,
    costs: Costs | None = None,
    matrix: Ints | None = None,
    element_bytes: int = ELEMENT_BYTES,
) -> Prediction:
    """The time of a schedule on a topology for a vector of `size_bytes` (or a matrix of elements, all_to_all_v).

    Raises `TopologyError` where the topology has fewer ranks than the schedule, or no way between two of them.
    """
    return price_by(Patterns(topology, costs), schedule, size_bytes, matrix, element_bytes)


def price_by(
    patterns: Patterns,
    schedule: Schedule,
    size_bytes: int,
    matrix: Ints | None = None,
    element_bytes: int = ELEMENT_BYTES,
) -> Prediction:
    """The same, with patterns that were met before: of several sizes and schedules each pattern is priced once."""
    topology, costs = patterns.topology, patterns.costs
    refuse_too_few(schedule, topology)
    of = sizes(schedule, size_bytes, matrix, element_bytes)
    slow = costs.slow(len(topology.ranks))
    latency_s = bandwidth_s = reduction_s = 0.0
    rounds, met = 0, set()
    on_link: dict[int, tuple[float, int]] = {}
    for part, length, times in _rounds(schedule, of):
        moves = (part.src != part.dst) & (length > 0)
        last, key = patterns.last(part.src[moves], part.dst[moves], part.route[moves], length[moves])
        latency_s += times * last.latency_s
        bandwidth_s += times * last.bandwidth_s
        if costs.gamma_s_per_byte:
            reduced = np.bincount(part.dst, length * part.reduce, len(slow)) * slow
            reduction_s += times * float(reduced.max(initial=0.0)) * costs.gamma_s_per_byte
        rounds += times
        met.add(key)
        if last.link >= 0:
            so_far, most = on_link.get(last.link, (0.0, 0))
            on_link[last.link] = so_far + times * last.bandwidth_s, max(most, last.sharing)
    late = costs.late(schedule.ranks)
    waiting_s = float(late.max(initial=0.0))
    link, (spent_s, sharing) = max(on_link.items(), key=lambda item: item[1][0], default=(-1, (0.0, 0)))
    return Prediction(
        time_s=latency_s + bandwidth_s + reduction_s + waiting_s,
        latency_s=latency_s,
        bandwidth_s=bandwidth_s,
        reduction_s=reduction_s,
        waiting_s=waiting_s,
        bottleneck=topology.link_name(link) if link >= 0 else "",
        bottleneck_s=spent_s,
        sharing=sharing,
        mode="phases",
        rounds=rounds,
        patterns=len(met - {b""}),
        late_rank=int(late.argmax()) if waiting_s > 0 else -1,
    )


def _rounds(schedule: Schedule, of: Sizes) -> Iterator[tuple[Phase, Ints, int]]:
    """Rounds with the bytes of their transfers, and how often each comes: one for a phase, where chunks are alike."""
    for part in schedule.phases():
        if not len(part) or not part.repetitions:
            continue
        if of.ends.ndim == 1:
            yield part, of.most(part), part.repetitions
        else:
            yield from ((one, of.exact(one), 1) for one in part.rounds())


def refuse_too_few(schedule: Schedule, topology: Topology) -> None:
    """Raises `TopologyError` where the schedule has more ranks than the topology."""
    if schedule.ranks > len(topology.ranks):
        raise TopologyError(
            f"{schedule.ranks} ranks on {topology.name[:120]}, which has {len(topology.ranks)}; expected at most that"
        )
