"""How many segments a pipeline is cut into: the number whose rounds take the least time over the links that there are.

The time of a schedule is taken for that of its rounds, one after the other, and a round's for that of its busiest rank:
α for each message that it sends or receives, whichever are more, β for each byte, and γ for each byte that it reduces.
Links inside a host and between hosts carry at once what is theirs. This is the Hockney model (R. W. Hockney, "The
communication challenge for MPP", Parallel Comput. 20(3), 1994, doi 10.1016/S0167-8191(06)80021-9) over the rounds
themselves, which needs no formula for each algorithm, and agrees with the published ones where they exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.schedule import Phase, Schedule

MOST = 64
"""Segments at most: programs grow with them, and so does what a message costs a processor."""
WORTH = 0.95
"""More segments must take less than this share of the time of fewer, as the model is not exact."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a message costs between two ranks."""

    alpha_s: float
    beta_s: float
    """Seconds a byte."""
    both_ways: float = 1.0
    """How many times as long a message takes while one goes the other way: 1 over a wire of two directions, up to 2
    where the same processor copies both."""

    def __str__(self) -> str:
        return f"α = {self.alpha_s * 1e6:.2f} µs, 1/β = {1e-9 / self.beta_s:.2f} GB/s"


@dataclass(frozen=True, slots=True)
class Links:
    """What messages and reductions cost a rank."""

    local: Link
    """Between ranks of one host."""
    remote: Link
    """Between hosts; the same as `local` where there is one host."""
    gamma_s: float = 0.0
    """Seconds a byte reduced."""
    host_ranks: int = 0
    """Ranks on each host, in blocks; 0 where that is unknown, which is taken for one host a rank."""


def choose_segments(build: Callable[[int], Schedule], size_bytes: int, links: Links) -> int:
    """The number of segments, a power of two up to `MOST`, for which `build` gives the schedule of least time."""
    chosen, least_s = 1, price_s(build(1), size_bytes, links)
    for count in (1 << k for k in range(1, MOST.bit_length())):
        time_s = price_s(build(count), size_bytes, links)
        if time_s < WORTH * least_s:
            chosen, least_s = count, time_s
    return chosen


def price_s(schedule: Schedule, size_bytes: int, links: Links) -> float:
    """Seconds that a schedule takes in the model for a vector of `size_bytes`."""
    chunk_bytes = size_bytes / schedule.chunks
    return sum(phase.repetitions * _round_s(phase, schedule.ranks, chunk_bytes, links) for phase in schedule.phases())


def _round_s(phase: Phase, ranks: int, chunk_bytes: float, links: Links) -> float:
    moves = phase.src != phase.dst
    src, dst, length = phase.src[moves], phase.dst[moves], phase.count[moves] * chunk_bytes
    host = max(1, links.host_ranks)
    is_local = src // host == dst // host
    messages = np.unique(src * ranks + dst)  # what goes between two ranks in a round goes as one
    time_s = links.gamma_s * np.bincount(dst, length * phase.reduce[moves], ranks)
    levels = []
    for link, mine in ((links.local, is_local), (links.remote, ~is_local)):
        out = np.bincount(src[mine], length[mine], ranks)
        into = np.bincount(dst[mine], length[mine], ranks)
        both = np.maximum(out, into) + (link.both_ways - 1) * np.minimum(out, into)
        levels.append(link.beta_s * both)
    sender, receiver = np.divmod(messages, ranks)
    local = sender // host == receiver // host
    for link, mine in ((links.local, local), (links.remote, ~local)):
        sent, received = np.bincount(sender[mine], minlength=ranks), np.bincount(receiver[mine], minlength=ranks)
        time_s += link.alpha_s * np.maximum(sent, received)
    busiest: float = (time_s + np.maximum(*levels)).max()
    return busiest
