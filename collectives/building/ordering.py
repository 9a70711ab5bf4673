"""Renumbering: one schedule with its ranks exchanged, so that neighbours in number become neighbours in the network.

Algorithms are written for ranks whose numbers say who is near. Where ranks were placed otherwise, another rank takes
each place in the schedule; the parts that belong to ranks go with them, so that it computes the same collective.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, Schedule


def renumbered(schedule: Schedule, order: Ints) -> Schedule:
    """The schedule in which rank order[i] does what rank i did; `order` is a permutation of all ranks.

    Raises `ValueError` where it is none.
    """
    if not np.array_equal(np.sort(order), np.arange(schedule.ranks)):
        raise ValueError(f"an order of {schedule.ranks} ranks has each of them once; found {order.tolist()[:8]}")
    has_parts = schedule.collective.parts(schedule.ranks) > 1

    def phases() -> Iterator[Phase]:
        for phase in schedule.phases():
            moved = replace(phase, src=order[phase.src], dst=order[phase.dst])
            if not has_parts:
                yield moved
                continue
            # Parts move by different distances, so chunks no longer move on by one step.
            for round_ in moved.rounds():
                yield _with_parts(round_, order, schedule)

    root = int(order[schedule.root]) if schedule.collective.is_rooted else schedule.root
    return replace(schedule, phases=phases, root=root)


def _with_parts(round_: Phase, order: Ints, schedule: Schedule) -> Phase:
    """A round, chunk by chunk, whose chunks go with the ranks that took the places: neighbouring parts part."""
    chunks, per_part = schedule.chunks, schedule.chunks_per_part
    which = np.repeat(np.arange(len(round_)), round_.count)
    begins = np.cumsum(round_.count) - round_.count
    inside = np.arange(len(which)) - begins[which]

    def place(first: Ints) -> Ints:
        chunk = first[which] + inside
        part, rest = np.divmod(chunk, per_part)
        return np.where(chunk < chunks, order[np.minimum(part, schedule.ranks - 1)] * per_part + rest, chunk)

    return replace(
        round_,
        src=round_.src[which],
        src_chunk=place(round_.src_chunk),
        dst=round_.dst[which],
        dst_chunk=place(round_.dst_chunk),
        count=np.ones(len(which), np.int64),
        reduce=round_.reduce[which],
        step=np.zeros(len(which), np.int64),
        route=round_.route[which],
        modulus=chunks + schedule.scratch_chunks,
    )
