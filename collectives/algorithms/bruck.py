"""Bruck: every round multiplies what is known, or what has moved, by the radix; for any number of ranks.

all_gather: in round k a rank holds the r^k parts from its own on, round the ranks, and gets the next ones from the
ranks at distance r^k, 2r^k, …, (r−1)r^k. reduce_scatter is its mirror image: the same messages in the other direction
and order, reduced where the others were copied. The published form gathers from position 0 on and rotates at the end;
here a part lies at its final place from its first round on, and only a message that wraps round the vector is packed.

all_to_all: the block from rank s for rank s + j moves by the digits of j in base r: in round k by its k-th digit times
r^k, together with all blocks of that digit. So a block moves up to log_r p times, in few and long messages: the choice
for small blocks. The published form rotates before and permutes after; here a block leaves from its slot in the input,
lies aside while it is on its way, and ends in its slot of the output. The few blocks that arrive while their slot still
holds a block to be sent, at most one for each digit of p, stay aside to the end.

Source: J. Bruck, C.-T. Ho, S. Kipnis, E. Upfal and D. Weathersby, "Efficient algorithms for all-to-all communications
in multiport message-passing systems", IEEE Trans. Parallel Distrib. Syst. 8(11), 1997, doi 10.1109/71.642949.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.algorithm import Algorithm, Call, Option
from clusterbench.collectives.building.limits import refuse_large_rounds
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase

_LARGEST_RADIX = 4096


def _weights(ranks: int, radix: int) -> list[int]:
    """The weights of the digits of ranks: 1, r, r², …"""
    weights = [1]
    while weights[-1] * radix < ranks:
        weights.append(weights[-1] * radix)
    return weights if ranks > 1 else []


def _gathering(ranks: int, radix: int, gathers: bool) -> list[Phase]:
    """The rounds of an all_gather; or, in another direction, those of a reduce_scatter before they are reversed."""
    rounds = []
    owner = np.arange(ranks, dtype=np.int64)
    for held in _weights(ranks, radix):
        src, chunk, dst, count = [], [], [], []
        for distance in range(held, min(held * radix, ranks), held):
            length = min(held, ranks - distance)  # parts from the owner's own on that the other rank lacks
            before_end = np.minimum(length, ranks - owner)
            wraps = np.flatnonzero(before_end < length)
            sender = np.concatenate([owner, wraps])
            src.append(sender)
            dst.append((sender - distance) % ranks)
            chunk.append(np.concatenate([owner, np.zeros_like(wraps)]))
            count.append(np.concatenate([before_end, length - before_end[wraps]]))
        ends = [np.concatenate(src), np.concatenate(dst)]
        rounds.append(
            phase(
                src=ends[0 if gathers else 1],
                dst=ends[1 if gathers else 0],
                chunk=np.concatenate(chunk),
                count=np.concatenate(count),
                reduce=not gathers,
                modulus=ranks,
            )
        )
    return rounds


def _aside(ranks: int, radix: int) -> tuple[Ints, Ints]:
    """For each block j its scratch chunk, or −1 where it needs none; and the blocks that stay there to the end."""
    places = np.full(ranks, -1, dtype=np.int64)
    late = []
    used = 0
    for j in range(1, ranks):
        lowest, highest = _digits(j, radix)
        # Block j ends in the slot that the block of distance −j leaves from.
        is_late = _digits(ranks - j, radix)[0] > highest
        if is_late:
            late.append(j)
        if is_late or lowest < highest:
            places[j] = ranks + used
            used += 1
    return places, np.array(late, dtype=np.int64)


def _digits(number: int, radix: int) -> tuple[int, int]:
    """Positions of the lowest and the highest digit of `number`, at least 1, that are not 0."""
    lowest = 0
    while number % radix == 0:
        number //= radix
        lowest += 1
    highest = lowest
    while number >= radix:
        number //= radix
        highest += 1
    return lowest, highest


def _exchange(ranks: int, radix: int, places: Ints, late: Ints) -> Iterator[Phase]:
    modulus = max(ranks, int(places.max()) + 1)
    rank = np.arange(ranks, dtype=np.int64)[:, None]
    for weight in _weights(ranks, radix):
        block = np.arange(weight, ranks, dtype=np.int64)
        digit = block // weight % radix
        block, digit = block[digit > 0], digit[digit > 0]
        dst = (rank + digit * weight) % ranks
        leaves = block % weight == 0
        arrives = (block < weight * radix) & ~np.isin(block, late)
        yield phase(
            src=np.broadcast_to(rank, dst.shape).ravel(),
            dst=dst.ravel(),
            chunk=np.where(leaves, (rank + block) % ranks, places[block]).ravel(),
            dst_chunk=np.where(arrives, (dst - block) % ranks, places[block]).ravel(),
            modulus=modulus,
        )
    if len(late):
        here = np.repeat(rank.ravel(), len(late))
        block = np.tile(late, ranks)
        yield phase(src=here, dst=here, chunk=places[block], dst_chunk=(here - block) % ranks, modulus=modulus)


def _largest_round(call: Call, radix: int) -> int:
    """Transfers in the largest round, at most."""
    ranks = call.ranks
    if call.collective.exchanges:
        block = np.arange(ranks, dtype=np.int64)
        return ranks * max((int(np.count_nonzero(block // w % radix)) for w in _weights(ranks, radix)), default=0)
    messages = max((len(range(w, min(w * radix, ranks), w)) for w in _weights(ranks, radix)), default=0)
    return 2 * ranks * messages  # a message that wraps round the vector is two


def _build(call: Call) -> Schedule:
    what, ranks, radix = call.collective, call.ranks, call.integer("radix", 2, _LARGEST_RADIX)
    refuse_large_rounds(call, _largest_round(call, radix))
    if what.name == "all_gather":
        return Schedule(what, ranks, ranks, lambda: _gathering(ranks, radix, gathers=True))
    if what.name == "reduce_scatter":
        return Schedule(what, ranks, ranks, lambda: reversed(_gathering(ranks, radix, gathers=False)))
    places, late = _aside(ranks, radix)
    scratch = int(np.count_nonzero(places >= 0))
    return Schedule(what, ranks, ranks, lambda: _exchange(ranks, radix, places, late), scratch_chunks=scratch)


ALGORITHM = Algorithm(
    name="bruck",
    summary="⌈log p⌉ rounds over any number of ranks; few and long messages",
    cost={
        "all_gather": "⌈lg p⌉α + (p−1)/p nβ; radix r: (r−1)⌈log_r p⌉α",
        "reduce_scatter": "⌈lg p⌉α + (p−1)/p n(β + γ); radix r: (r−1)⌈log_r p⌉α",
        "all_to_all": "⌈lg p⌉(α + n/2 β); radix r: (r−1)⌈log_r p⌉(α + n/r β)",
    },
    source="Bruck, Ho, Kipnis, Upfal and Weathersby 1997, doi 10.1109/71.642949",
    build=_build,
    options={"radix": Option("base of the digits: larger means more messages and less that is sent twice", "2")},
)
