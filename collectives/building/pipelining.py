"""Pipelining: the transfers of one segment of a vector, repeated for every segment, each one round after the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, moved_on


def pipelined(first_segment: Phase, first_round: Ints, segments: int) -> Iterator[Phase]:
    """The pipeline's phases: fill, steady, drain.

    `first_segment` holds the transfers of the first segment, with the step from a segment's chunks to the next one's;
    `first_round` of shape (transfers,) says in which round each of them takes place. In the round after, it takes place
    for the next segment, and so on. Every round must have a transfer.
    """
    order = np.argsort(first_round, kind="stable")
    begins = first_round[order]
    changes = np.unique(np.concatenate([begins, begins + segments]))
    for now, then in pairwise(changes):
        active = order[np.searchsorted(begins, now - segments, "right") : np.searchsorted(begins, now, "right")]
        moved = (now - first_round[active]) * first_segment.step[active]
        yield replace(
            first_segment,
            src=first_segment.src[active],
            src_chunk=moved_on(first_segment.src_chunk[active], moved, first_segment.modulus),
            dst=first_segment.dst[active],
            dst_chunk=moved_on(first_segment.dst_chunk[active], moved, first_segment.modulus),
            count=first_segment.count[active],
            reduce=first_segment.reduce[active],
            step=first_segment.step[active],
            route=first_segment.route[active],
            repetitions=int(then - now),
        )
