"""Plays a schedule message by message: each sets out when what it waits for is done, and all on their way share
links.

A message costs its end points (`costs.Costs`), then the latencies of its links, then bytes at its max-min fair rate
(`flows`), then its reduction. What happens at one moment is taken together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.fair import pop, push
from clusterbench.collectives.simulator.flows import begin, end, no_flows, solve
from clusterbench.collectives.simulator.messages import Messages, Order, messages
from clusterbench.collectives.simulator.patterns import compacted
from clusterbench.collectives.simulator.phases import refuse_too_few
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.simulator.transfers import ELEMENT_BYTES, sizes
from clusterbench.collectives.topology.graph import Floats, Topology

_BEGIN, _END, _REDUCED = 0, 1, 2
_MOMENT = 1e-12
"""Relative difference in time below which two events happen at once: that of sums in another order."""


def play(
    schedule: Schedule,
    topology: Topology,
    size_bytes: int,
    costs: Costs | None = None,
    matrix: Ints | None = None,
    order: Order = "data",
    element_bytes: int = ELEMENT_BYTES,
) -> Prediction:
    """The time of a schedule on a topology for a vector of `size_bytes` (or a matrix of elements, all_to_all_v).

    Raises `TopologyError` where the topology has fewer ranks than the schedule or no way between two of them, and where
    there are too many messages (`messages.MOST_MESSAGES`).
    """
    costs = costs or Costs()
    refuse_too_few(schedule, topology)
    sent = messages(schedule, sizes(schedule, size_bytes, matrix, element_bytes), order)
    routes = topology.routes(sent.pair_src, sent.pair_dst, sent.pair_route)
    slow, late = costs.slow(schedule.ranks), costs.late(schedule.ranks)
    start_s = np.maximum(late[sent.pair_src], late[sent.pair_dst])
    both = np.maximum(slow[sent.pair_src], slow[sent.pair_dst])
    remote = sent.pair_src != sent.pair_dst
    used, over = compacted(routes)
    times, limit, shared, cause = _play(
        sent.pair, sent.size_bytes, sent.reduced_bytes * costs.gamma_s_per_byte * slow[sent.pair_dst[sent.pair]],
        sent.pair_src, sent.pair_dst, sent.offsets, sent.successors, sent.awaited.copy(), over.offsets, over.links,
        topology.links.bandwidth[used] * costs.share, start_s,
        routes.sums(topology.links.latency_s) + remote * both * costs.alpha_s,
        remote * both * costs.overhead_s, schedule.ranks,
    )  # fmt: skip
    return _explained(topology, sent, used, start_s, late, times, limit, shared, cause)


def _explained(
    topology: Topology, sent: Messages, used: Ints, start_s: Floats, late: Floats, times: Floats, limit: Ints,
    shared: Ints, cause: Ints,
) -> Prediction:  # fmt: skip
    """Walk back from the message that ends last, each time to the one that it waited for longest."""
    path = []
    at = int(times[3].argmax()) if len(sent) else -1
    while at >= 0:
        path.append(at)
        at = int(cause[at])
    way = np.array(path, np.int64)
    ready, begun, arrived, done = times[:, way]
    waiting = np.maximum(0.0, start_s[sent.pair[way]] - ready)
    bytes_s = arrived - begun
    on_link = np.bincount(limit[way][limit[way] >= 0], bytes_s[limit[way] >= 0], minlength=max(1, len(used)))
    worst = int(on_link.argmax())
    waited = way[waiting > 0]
    late_rank = -1
    if len(waited):
        ends = (int(sent.pair_src[sent.pair[waited[0]]]), int(sent.pair_dst[sent.pair[waited[0]]]))
        late_rank = max(ends, key=lambda rank: late[rank])
    return Prediction(
        time_s=float(done[0]) if len(way) else 0.0,
        latency_s=float((begun - ready - waiting).sum()),
        bandwidth_s=float(bytes_s.sum()),
        reduction_s=float((done - arrived).sum()),
        waiting_s=float(waiting.sum()),
        bottleneck=topology.link_name(int(used[worst])) if on_link[worst] > 0 else "",
        bottleneck_s=float(on_link[worst]),
        sharing=int(shared[way][limit[way] == worst].max(initial=0)),
        mode="events",
        rounds=sent.rounds,
        late_rank=late_rank,
    )


@njit(cache=True)
def _pushed(keys: Floats, codes: Ints, size: int, key: float, code: int) -> Any:
    """Put into a heap, which is doubled where it is full: what it was rated before stays in it until its time comes."""
    if size == len(keys):
        keys, codes = np.concatenate((keys, keys)), np.concatenate((codes, codes))
    return keys, codes, push(keys, codes, size, key, code)


@njit(cache=True)
def _play(
    pair: Ints, size_bytes: Floats, reduction_s: Floats, src: Ints, dst: Ints, offsets: Ints, successors: Ints,
    awaited: Ints, first: Ints, links: Ints, capacity: Floats, start_s: Floats, latency_s: Floats, overhead_s: Floats,
    ranks: int,
) -> Any:  # fmt: skip
    """Times (4, messages) when each is ready, begins to flow, has arrived and is done; the link that limited it last
    and how many shared that; and the message that it waited for last, −1 for none."""
    count = len(pair)
    times, cause = np.zeros((4, count)), np.full(count, -1)
    limit, shared = np.full(count, -1), np.zeros(count, np.int64)
    flows = no_flows(first, links, capacity)
    free_s, reducer_s = np.zeros(ranks), np.zeros(ranks)
    keys, codes, size = np.empty(len(src) + count + 64), np.empty(len(src) + count + 64, np.int64), 0
    ready, readies = np.empty(count, np.int64), 0
    for m in range(count):
        if awaited[m] == 0:
            ready[readies] = m
            readies += 1
    now = 0.0
    while readies > 0 or size > 0:
        while True:  # all that happens at this moment
            while readies > 0:
                readies -= 1
                m = ready[readies]
                p = pair[m]
                times[0, m] = now
                set_out = max(max(now, start_s[p]), free_s[src[p]] if overhead_s[p] > 0 else 0.0) + overhead_s[p]
                if overhead_s[p] > 0:
                    free_s[src[p]] = set_out
                keys, codes, size = _pushed(keys, codes, size, set_out + latency_s[p], 3 * m + _BEGIN)
            if size == 0 or keys[0] > now + _MOMENT * now:
                break
            at, code = keys[0], codes[0]
            size = pop(keys, codes, size)
            m, kind = code // 3, code % 3
            p = pair[m]
            if kind == _BEGIN:
                times[1, m] = at
                if size_bytes[m] > 0 and first[p + 1] > first[p]:
                    begin(flows, p, m, size_bytes[m], at)
                    continue
            elif kind == _END:
                if flows.message[p] != m or flows.ends_s[p] != at:
                    continue  # its rate has changed since
                limit[m], shared[m] = flows.limit[p], flows.shared[p]
                end(flows, p)
            if kind != _REDUCED:
                times[2, m] = at
                if reduction_s[m] > 0:
                    reducer_s[dst[p]] = max(at, reducer_s[dst[p]]) + reduction_s[m]
                    keys, codes, size = _pushed(keys, codes, size, reducer_s[dst[p]], 3 * m + _REDUCED)
                    continue
            times[3, m] = at
            for s in range(offsets[m], offsets[m + 1]):
                awaited[successors[s]] -= 1
                if awaited[successors[s]] == 0:
                    cause[successors[s]] = m
                    ready[readies] = successors[s]
                    readies += 1
        for p in solve(flows, now):
            keys, codes, size = _pushed(keys, codes, size, flows.ends_s[p], 3 * flows.message[p] + _END)
        if size > 0:
            now = max(now, keys[0])
    return times, limit, shared, cause
