"""Rings: the pass round a ring of all ranks that several algorithms consist of.

The ring of stride s visits ranks 0, s, 2s, … (mod p), which are all of them where s and p have no common divisor. In
a pass every rank sends to its successor in p − 1 rounds; the part that it sends in a round is the one that it got in
the round before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clusterbench.collectives.schedule import Phase, phase


def ring_pass(ranks: int, strides: Sequence[int], first: int, *, reduce: bool) -> Phase:
    """One pass of several rings at once, of strides coprime to `ranks`, ring j with chunk j of every part.

    A vector has `ranks` parts of len(strides) chunks each. In round k a rank sends its ring's chunk of the part of the
    rank that is `first` − k places after it in that ring.
    """
    rings = len(strides)
    rank = np.tile(np.arange(ranks, dtype=np.int64), rings)
    ring = np.repeat(np.arange(rings, dtype=np.int64), ranks)
    stride = np.asarray(strides, dtype=np.int64)[ring]
    return phase(
        src=rank,
        dst=(rank + stride) % ranks,
        chunk=(rank + first * stride) % ranks * rings + ring,
        reduce=reduce,
        step=-stride * rings,
        modulus=ranks * rings,
        repetitions=ranks - 1,
    )


def ring_passes(collective: str, ranks: int, strides: Sequence[int]) -> list[Phase]:
    """The passes of all_reduce, reduce_scatter or all_gather; the chunk that is reduced last is the rank's own."""
    passes = []
    if collective != "all_gather":
        passes.append(ring_pass(ranks, strides, -1, reduce=True))
    if collective != "reduce_scatter":
        passes.append(ring_pass(ranks, strides, 0, reduce=False))
    return passes
