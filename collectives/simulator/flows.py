"""Flows between pairs of ranks over links that they share, at max-min fair rates while flows begin and end.

When flows begin or end, rates are solved anew for those that share links with them, directly or through others, and for
no others; by progressive filling, as in `fair`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.simulator.fair import SAME, pop, push
from clusterbench.collectives.topology.graph import Floats


class Flows(NamedTuple):
    """One flow a pair at a time: arrays by pair, by link, and by place, which is a link of the route of a pair."""

    first: Ints
    """The route of a pair has places first[pair] to first[pair + 1]."""
    links: Ints
    """By place."""
    owner: Ints
    """The pair of a place."""
    capacity: Floats
    """Bytes/s of a link."""
    message: Ints
    """What a pair is sending, −1 for nothing."""
    left: Floats
    """Bytes of it that were left at `since_s`."""
    rate: Floats
    since_s: Floats
    ends_s: Floats
    """When it ends at this rate."""
    limit: Ints
    """The link that limits a pair, −1 for none."""
    shared: Ints
    """How many flows share that link."""
    head: Ints
    """The flows over a link are a list of places: the first, −1 for none; `after` and `ahead` of a place go on."""
    after: Ints
    ahead: Ints
    sharing: Ints
    """How many flows are on a link."""
    touched: Ints
    """Pairs whose flow began or ended since rates were solved; the first counts[0] of them."""
    counts: Ints
    """Of pairs touched, and of times that rates were solved."""
    seen_link: Ints
    """When rates that hang on a link were solved last, as `counts` counts it."""
    seen_pair: Ints
    some_links: Ints
    """Of what follows, and of these two, only what is filled in while rates are solved counts."""
    some_pairs: Ints
    spare: Floats
    """Bytes/s of a link that are not given away yet."""
    unserved: Ints
    """How many flows of a link have no rate yet."""
    is_unserved: NDArray[np.bool_]
    keys: Floats
    """With `heap`: links by their fair share."""
    heap: Ints


@njit(cache=True)
def no_flows(first: Ints, links: Ints, capacity: Floats) -> Any:
    """`Flows` of which none has begun, over routes as in `Flows.first` and `Flows.links`."""
    pairs, number, places = len(first) - 1, len(capacity), len(links)
    owner = np.empty(places, np.int64)
    for pair in range(pairs):
        owner[first[pair] : first[pair + 1]] = pair
    return Flows(
        first, links, owner, capacity, np.full(pairs, -1), np.zeros(pairs), np.zeros(pairs), np.zeros(pairs),
        np.full(pairs, np.inf), np.full(pairs, -1), np.zeros(pairs, np.int64), np.full(number, -1),
        np.full(places, -1), np.full(places, -1), np.zeros(number, np.int64), np.empty(2 * pairs, np.int64),
        np.zeros(2, np.int64), np.zeros(number, np.int64), np.zeros(pairs, np.int64), np.empty(number, np.int64),
        np.empty(pairs, np.int64), np.empty(number), np.empty(number, np.int64), np.zeros(pairs, np.bool_),
        np.empty(number + 1), np.empty(number + 1, np.int64),
    )  # fmt: skip


@njit(cache=True)
def begin(flows: Any, pair: int, message: int, size_bytes: float, now_s: float) -> None:
    """Let the flow of a pair, which has none, begin; it moves when rates are solved."""
    flows.message[pair], flows.left[pair], flows.rate[pair] = message, size_bytes, 0.0
    flows.since_s[pair], flows.ends_s[pair], flows.limit[pair], flows.shared[pair] = now_s, np.inf, -1, 0
    for place in range(flows.first[pair], flows.first[pair + 1]):
        link = flows.links[place]
        following = flows.head[link]
        flows.ahead[place], flows.after[place] = -1, following
        if following >= 0:
            flows.ahead[following] = place
        flows.head[link] = place
        flows.sharing[link] += 1
    _touch(flows, pair)


@njit(cache=True)
def end(flows: Any, pair: int) -> None:
    """Let the flow of a pair end."""
    flows.message[pair] = -1
    for place in range(flows.first[pair], flows.first[pair + 1]):
        link, leading, following = flows.links[place], flows.ahead[place], flows.after[place]
        if leading >= 0:
            flows.after[leading] = following
        else:
            flows.head[link] = following
        if following >= 0:
            flows.ahead[following] = leading
        flows.sharing[link] -= 1
    _touch(flows, pair)


@njit(cache=True)
def solve(flows: Any, now_s: float) -> Any:
    """Solve rates after flows began and ended: the pairs that end at another time than before, in `ends_s`."""
    links, pairs = _affected(flows)
    shares = 0
    for link in flows.some_links[:links]:
        flows.spare[link], flows.unserved[link] = flows.capacity[link], flows.sharing[link]
        if flows.sharing[link] > 0 and flows.capacity[link] < np.inf:
            share = flows.capacity[link] / flows.sharing[link]
            shares = push(flows.keys, flows.heap, shares, share, link)
    for pair in flows.some_pairs[:pairs]:
        flows.is_unserved[pair] = True
    others, moved = np.empty(pairs, np.int64), 0
    while shares > 0:
        key, link = flows.keys[0], flows.heap[0]
        shares = pop(flows.keys, flows.heap, shares)
        if flows.unserved[link] == 0:
            continue
        share = max(0.0, flows.spare[link]) / flows.unserved[link]
        if share > key * (1 + SAME):  # others over it were served: it has grown
            shares = push(flows.keys, flows.heap, shares, share, link)
            continue
        place = flows.head[link]
        while place >= 0:
            pair = flows.owner[place]
            if flows.is_unserved[pair] and _served(flows, pair, link, share, now_s):
                others[moved] = pair
                moved += 1
            place = flows.after[place]
    for pair in flows.some_pairs[:pairs]:
        if flows.is_unserved[pair]:  # it crosses links without a limit only
            flows.is_unserved[pair], flows.ends_s[pair] = False, now_s
            others[moved] = pair
            moved += 1
    return others[:moved]


@njit(cache=True)
def _touch(flows: Any, pair: int) -> None:
    # A pair is in it at most twice: a flow that began ends after rates are solved.
    flows.touched[flows.counts[0]] = pair
    flows.counts[0] += 1


@njit(cache=True)
def _affected(flows: Any) -> Any:
    """How many links and pairs hang on flows that began or ended; they are in `some_links` and `some_pairs`."""
    flows.counts[1] += 1
    time, links, looked, pairs = flows.counts[1], 0, 0, 0
    for pair in flows.touched[: flows.counts[0]]:
        links = _found(flows, pair, time, links)
    flows.counts[0] = 0
    while looked < links:
        place = flows.head[flows.some_links[looked]]
        looked += 1
        while place >= 0:
            pair = flows.owner[place]
            if flows.seen_pair[pair] != time:
                flows.seen_pair[pair], flows.some_pairs[pairs] = time, pair
                pairs += 1
                links = _found(flows, pair, time, links)
            place = flows.after[place]
    return links, pairs


@njit(cache=True)
def _found(flows: Any, pair: int, time: int, links: int) -> int:
    """Put the links of a pair's route that are new into `some_links`: how many there are now."""
    for place in range(flows.first[pair], flows.first[pair + 1]):
        link = flows.links[place]
        if flows.seen_link[link] != time:
            flows.seen_link[link], flows.some_links[links] = time, link
            links += 1
    return links


@njit(cache=True)
def _served(flows: Any, pair: int, link: int, share: float, now_s: float) -> bool:
    """Give a pair its share of the link that limits it: whether that is another rate than it had."""
    flows.is_unserved[pair] = False
    for place in range(flows.first[pair], flows.first[pair + 1]):
        flows.spare[flows.links[place]] -= share
        flows.unserved[flows.links[place]] -= 1
    flows.limit[pair], flows.shared[pair] = link, flows.sharing[link]
    if abs(share - flows.rate[pair]) <= SAME * share:
        return False
    flows.left[pair] -= flows.rate[pair] * (now_s - flows.since_s[pair])
    flows.rate[pair], flows.since_s[pair] = share, now_s
    flows.ends_s[pair] = now_s + max(0.0, flows.left[pair]) / share
    return True
