"""Max-min fair rates: no transfer can be faster without a slower one becoming slower still.

Progressive filling: the link whose fair share is least gives it to all its transfers, which leave with what they use of
other links; and so on with the rest (D. Bertsekas and R. Gallager, "Data networks", 2nd edition, 1992, section 6.5.2).
Regular traffic has few different shares: all flows over links of the least one are served in one sweep, which is
linear, as long as sweeps are few or serve enough flows to pay for themselves. What is left is served link by link, from
a heap. As the fair share of a link only grows while others are served, one that has grown is put back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Floats

MANY, TOGETHER = 4096, 0.005
"""Flows from which rates are not solved anew for each that ends, and how near in time ends are then taken together."""
SAME = 1e-12
"""Relative difference below which two fair shares are one: that of sums in another order."""
SWEEPS, WORTH_A_SWEEP = 4, 32
"""Sweeps that are made at any rate, and links looked at for each flow served up to which one more is worth it."""


@njit(cache=True)
def push(keys: Floats, values: Ints, size: int, key: float, value: int) -> int:
    """Put into a binary heap, the least key first; its new size."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if keys[above] <= key:
            break
        keys[at], values[at] = keys[above], values[above]
        at = above
    keys[at], values[at] = key, value
    return size + 1


@njit(cache=True)
def pop(keys: Floats, values: Ints, size: int) -> int:
    """Take the first from a heap; its new size. What is taken is read from place 0 before."""
    size -= 1
    key, value = keys[size], values[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[at], values[at] = keys[below], values[below]
        at = below
    keys[at], values[at] = key, value
    return size


@njit(cache=True)
def fair_rates(offsets: Ints, links: Ints, capacity: Floats, active: Any) -> Any:
    """Rate and limiting link of each active flow over a route; infinite and −1 for one that no link limits.

    `offsets` and `links` are routes (`topology.graph.Routes`) over links numbered from 0, `capacity` is bytes/s a link,
    `active` tells which flows take part; others have rate 0.
    """
    rate, limit = np.zeros(len(offsets) - 1), np.full(len(offsets) - 1, -1)
    waiting = np.flatnonzero(active)
    left, sharing = capacity.copy(), np.zeros(len(capacity), np.int64)
    for flow in waiting:
        rate[flow] = np.inf
        for at in range(offsets[flow], offsets[flow + 1]):
            sharing[links[at]] += 1
    some = np.flatnonzero((sharing > 0) & (left < np.inf))  # links that may limit flows yet
    unserved, some = _swept(offsets, links, waiting, some, left, sharing, rate, limit)
    if unserved > 0 and len(some) > 0:
        _served_by_link(offsets, links, waiting[:unserved], some, left, sharing, rate, limit)
    return rate, limit


@njit(cache=True)
def _swept(
    offsets: Ints, links: Ints, waiting: Ints, some: Ints, left: Floats, sharing: Ints, rate: Floats, limit: Ints
) -> Any:
    """Serve flows in sweeps while that is worth it; how many are left, first in `waiting`, and what is left of `some`.

    `left` is what a link has left in bytes/s, `sharing` how many flows that wait pass it; both are kept.
    """
    unserved, many, sweeps, worth = len(waiting), len(some), 0, True
    least_of, served = np.zeros(len(left), np.bool_), np.empty(len(waiting), np.int64)
    while worth and unserved > 0 and many > 0:
        least, kept = np.inf, 0
        for at in range(many):
            link = some[at]
            if sharing[link] > 0:
                some[kept] = link
                kept += 1
                least = min(least, max(0.0, left[link]) / sharing[link])
        many = looked = kept
        for at in range(many):
            link = some[at]
            least_of[link] = left[link] <= least * (1 + SAME) * sharing[link]

        count, kept = 0, 0
        for at in range(unserved):
            flow = waiting[at]
            waiting[kept] = flow
            kept += 1
            for hop in range(offsets[flow], offsets[flow + 1]):
                looked += 1
                if least_of[links[hop]]:
                    rate[flow], limit[flow] = least, links[hop]
                    served[count] = flow
                    count += 1
                    kept -= 1
                    break
        unserved = kept
        if unserved > 0:
            for flow in served[:count]:
                for hop in range(offsets[flow], offsets[flow + 1]):
                    left[links[hop]] -= least
                    sharing[links[hop]] -= 1
        sweeps += 1
        worth = sweeps < SWEEPS or looked <= WORTH_A_SWEEP * count
    return unserved, some[:many]


@njit(cache=True)
def _served_by_link(
    offsets: Ints, links: Ints, waiting: Ints, some: Ints, left: Floats, sharing: Ints, rate: Floats, limit: Ints
) -> None:
    """Serve flows link by link, that of the least share first."""
    # The flows over each link, one link behind the other.
    first = np.zeros(len(left) + 1, np.int64)
    first[1:] = np.cumsum(sharing)
    over, filled = np.empty(first[-1], np.int64), first[:-1].copy()
    waits, unserved = np.zeros(len(rate), np.bool_), len(waiting)
    for flow in waiting:
        waits[flow] = True
        for at in range(offsets[flow], offsets[flow + 1]):
            over[filled[links[at]]] = flow
            filled[links[at]] += 1
    keys, values, size = np.empty(len(some) + 1), np.empty(len(some) + 1, np.int64), 0
    for link in some:
        if sharing[link] > 0:
            size = push(keys, values, size, max(0.0, left[link]) / sharing[link], link)
    while size > 0 and unserved > 0:  # links that are left when all are served limit none
        key, link = keys[0], values[0]
        size = pop(keys, values, size)
        if sharing[link] == 0:
            continue
        share = max(0.0, left[link]) / sharing[link]
        if share > key * (1 + SAME):
            size = push(keys, values, size, share, link)
            continue
        for at in range(first[link], first[link + 1]):
            flow = over[at]
            if not waits[flow]:
                continue
            waits[flow] = False
            unserved -= 1
            rate[flow], limit[flow] = share, link
            for hop in range(offsets[flow], offsets[flow + 1]):
                left[links[hop]] -= share
                sharing[links[hop]] -= 1


@njit(cache=True)
def drain(offsets: Ints, links: Ints, capacity: Floats, size_bytes: Floats) -> Any:
    """Seconds until each flow is over when all begin at once, its last limiting link, and how many shared that link.

    Rates are max-min fair at every moment: when flows end, those that are left share what they leave. Of more than
    `MANY` flows, those that end within `TOGETHER` of the time so far do so before rates are solved anew, so that the
    time is too long by no more than that share.
    """
    flows = len(size_bytes)
    over_s, limit, shared = np.zeros(flows), np.full(flows, -1), np.zeros(flows, np.int64)
    left = size_bytes.copy()
    active = left > 0
    for flow in range(flows):
        if offsets[flow + 1] == offsets[flow]:
            active[flow] = False
    now, remaining = 0.0, active.sum()
    together = TOGETHER if remaining > MANY else 0.0
    while remaining > 0:
        rate, by = fair_rates(offsets, links, capacity, active)
        least = np.inf
        for flow in range(flows):
            if active[flow]:
                least = min(least, left[flow] / rate[flow])
        count = np.zeros(len(capacity), np.int64)
        for flow in range(flows):
            if active[flow] and by[flow] >= 0:
                count[by[flow]] += 1
        begun, until = now, (now + least) * (1 + together)
        now = max(until, now + least)
        for flow in range(flows):
            if not active[flow]:
                continue
            limit[flow] = by[flow]
            shared[flow] = count[by[flow]] if by[flow] >= 0 else 0
            needed = left[flow] / rate[flow]
            left[flow] -= rate[flow] * (now - begun)
            if not left[flow] > size_bytes[flow] * 1e-9:
                over_s[flow] = begun + needed
                active[flow] = False
                remaining -= 1
    return over_s, limit, shared


@njit(cache=True)
def drain_each(first: Ints, offsets: Ints, links: Ints, capacity: Floats, size_bytes: Floats) -> Any:
    """`drain` of several patterns that are not there at once: pattern i has flows first[i] to first[i + 1].

    Links are those of the topology, with the capacity of each.
    """
    over_s, limit, shared = np.zeros(len(size_bytes)), np.full(len(size_bytes), -1), np.zeros(len(size_bytes), np.int64)
    number = np.full(len(capacity), -1)  # of each link among those of the pattern
    for pattern in range(len(first) - 1):
        start, end = first[pattern], first[pattern + 1]
        begin = offsets[start]
        over = np.empty(offsets[end] - begin, np.int64)
        used, count = np.empty(min(len(over), len(capacity)), np.int64), 0
        for at in range(len(over)):
            link = links[begin + at]
            if number[link] < 0:
                number[link] = count
                used[count] = link
                count += 1
            over[at] = number[link]
        used = used[:count]
        over_s[start:end], by, shared[start:end] = drain(
            offsets[start : end + 1] - begin, over, capacity[used], size_bytes[start:end]
        )
        for flow in range(start, end):
            if by[flow - start] >= 0:
                limit[flow] = used[by[flow - start]]
        number[used] = -1
    return over_s, limit, shared
