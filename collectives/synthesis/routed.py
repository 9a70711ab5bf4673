"""Ways and routes: which links routes take, and which route a way is. Only what is a route can a schedule name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.synthesis.splitting import Way
from clusterbench.collectives.topology.graph import Floats, Routes, Topology, routes_of_lengths

MOST_CHOICES = 256
"""Alternatives of a route that are looked at."""
LEAST_CHOICES, AT_ONCE = 16, 1 << 18
"""Of many pairs fewer are looked at, so that there are not many more routes than this."""


def routed(topology: Topology, detours: bool) -> Topology:
    """The topology with links of the same numbers, of which those that no route between ranks takes lead nowhere.

    Such are those of PCIe beside NVLink. Without `detours` only routes count that have no more links than the default
    route, as those over a GPU's own network card, whichever spine they take.
    """
    ranks = len(topology.ranks)
    src, dst = np.nonzero(~np.eye(ranks, dtype=np.bool_))
    used = np.zeros(len(topology.links), np.bool_)
    usual = topology.routes(src, dst)
    for choice in range(_how_many(len(src))):
        routes = topology.routes(src, dst, choice)
        counts = np.repeat(detours | (routes.lengths <= usual.lengths), routes.lengths)
        used[routes.links[counts]] = True
    links = topology.links
    return replace(topology, links=replace(links, dst=np.where(used, links.dst, links.src)))


def choices(topology: Topology, src: Ints, dst: Ints, count: Ints, ways: list[Way]) -> Ints:
    """For each transfer of `count` trees the choice of a route that goes its way.

    Where none does, it is that whose worst link is least loaded.
    """
    lengths = np.array([len(way) for way in ways], np.int64)
    wanted = _rows(routes_of_lengths(lengths, np.fromiter((link for way in ways for link in way), np.int64)))
    found = np.zeros(len(src), np.int64)
    todo = np.arange(len(src))
    for choice in range(MOST_CHOICES):
        rows = _rows(topology.routes(src[todo], dst[todo], choice), wanted.shape[1])
        same = (rows == wanted[todo]).all(axis=1)
        found[todo[same]] = choice
        todo = todo[~same]
        if not len(todo):
            return found
    tried = _how_many(len(todo))
    alternatives = topology.routes(np.repeat(src[todo], tried), np.repeat(dst[todo], tried),
                                   np.tile(np.arange(tried), len(todo)))  # fmt: skip
    held = topology.routes(src, dst, found)
    load = np.bincount(held.links, np.repeat(count, held.lengths), len(topology.links))
    bandwidth = topology.links.bandwidth
    found[todo] = _least_loaded(alternatives.offsets, alternatives.links, count[todo], load, bandwidth)
    return found


def _how_many(pairs: int) -> int:
    """Choices that are looked at for so many pairs."""
    return min(MOST_CHOICES, max(LEAST_CHOICES, AT_ONCE // pairs))


@njit(cache=True)
def _least_loaded(offsets: Ints, links: Ints, count: Ints, load: Floats, bandwidth: Floats) -> Ints:
    """From the first of its routes each moves to that whose worst link is then least loaded; the shorter of equal."""
    tried = (len(offsets) - 1) // len(count)
    chosen = np.zeros(len(count), np.int64)
    for transfer in range(len(count)):
        first = transfer * tried
        for at in range(offsets[first], offsets[first + 1]):
            load[links[at]] -= count[transfer]
        least, shortest = np.inf, 0
        for choice in range(tried):
            one = first + choice
            worst = 0.0
            for at in range(offsets[one], offsets[one + 1]):
                worst = max(worst, (load[links[at]] + count[transfer]) / bandwidth[links[at]])
            length = offsets[one + 1] - offsets[one]
            if worst < least or (worst == least and length < shortest):
                least, shortest, chosen[transfer] = worst, length, choice
        one = first + chosen[transfer]
        for at in range(offsets[one], offsets[one + 1]):
            load[links[at]] += count[transfer]
    return chosen


def _rows(routes: Routes, width: int | None = None) -> Ints:
    """The links of each route in a row of `width`, filled up by −1; a longer route is cut and ends in −2."""
    owner = routes.owners()
    place = np.arange(len(routes.links)) - routes.offsets[owner]
    width = int(routes.lengths.max(initial=1)) if width is None else width
    rows = np.full((len(routes), width), -1, np.int64)
    kept = place < width
    rows[owner[kept], place[kept]] = routes.links[kept]
    rows[routes.lengths > width, -1] = -2
    return rows
