"""Double binary tree: two binary trees over all ranks, each for half of the vector, pipelined.

In a binary tree half of the ranks are leaves, which only send in a reduce and only receive in a broadcast. A second
tree in which the leaves of the first are the inner ranks uses what is left: every rank is an inner one in at most one
of the trees, so it receives from at most two ranks and sends to at most two. all_reduce reduces each half to the root
of its tree and broadcasts it from there; while the first segments are on their way down, later ones come up, in the
same rounds. So the time goes to 2nβ at lg p latency. broadcast and reduce put their root above the roots of two trees
over the other ranks.

The first tree has ranks in order: with places counted from 1, a place that is an odd multiple of 2^h stands h levels
above the leaves, over all places as far as the next higher one on either side. The second is the first mirrored if the
number of ranks is even, and shifted by one place if it is odd. The paper also colours the edges, so that a rank with
one port sends and receives one message at a time; rounds here are no barriers, so the messages of a round follow one
another as they can.

Source: P. Sanders, J. Speck and J. L. Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
Parallel Comput. 35(12), 2009, doi 10.1016/j.parco.2009.09.001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clusterbench.collectives.algorithm import AUTO, Algorithm, Call, Option
from clusterbench.collectives.building.pipelining import pipelined
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of both trees: the ranks at their ends, the child's depth (from 1), and the half that they carry."""

    child: Ints
    parent: Ints
    depth: Ints
    half: Ints


def tree(size: int) -> tuple[Ints, Ints]:
    """The first tree over `size` places: each place's parent (its own number for the root), and its depth."""
    place = np.arange(1, size + 1, dtype=np.int64)
    root = 1 << (size.bit_length() - 1)
    parent = place.copy()
    above = place != root
    while above.any():  # the tree of the next power of two less one, but for places beyond the last
        lowest = parent & -parent
        parent = np.where(above, (parent - lowest) | (2 * lowest), parent)
        above &= parent > size
    depth = np.zeros_like(place)
    at = place
    while (at != root).any():
        depth += at != root
        at = parent[at - 1]
    return parent - 1, depth


def edges(rank: Ints, top: int | None = None) -> Edges:
    """The edges of the two trees over the ranks `rank`, and of those from their roots to `top` if that is given."""
    size = len(rank)
    if size == 0:
        nobody = np.zeros(0, np.int64)
        return Edges(nobody, nobody, nobody, nobody)
    parent, depth = tree(size)
    place = np.arange(size, dtype=np.int64)
    second = rank[::-1] if size % 2 == 0 else rank[(place + 1) % size]
    below = np.flatnonzero(parent != place)
    child = np.concatenate([rank[below], second[below]])
    above = np.concatenate([rank[parent[below]], second[parent[below]]])
    half = np.repeat([0, 1], len(below))
    levels = np.tile(depth[below], 2)
    if top is not None:
        root = np.flatnonzero(parent == place)
        child = np.concatenate([rank[root], second[root], child])
        above = np.concatenate([[top, top], above])
        half = np.concatenate([[0, 1], half])
        levels = np.concatenate([[0, 0], levels]) + 1
    return Edges(child, above, levels, half)


def _phases(collective: str, ranks: int, root: int, segments: int) -> Iterator[Phase]:
    place = np.arange(ranks, dtype=np.int64)
    both = edges(place) if collective == "all_reduce" else edges((root + place[1:]) % ranks, top=root)
    if not len(both.child):
        return
    deepest = int(both.depth.max())
    up, down = collective != "broadcast", collective != "reduce"
    times = up + down
    src = [both.child] * up + [both.parent] * down
    dst = [both.parent] * up + [both.child] * down
    # A segment comes up level by level, and goes down from the round after it has reached the top.
    first_round = [deepest - both.depth] * up + [both.depth - 1 + deepest * up] * down
    one = phase(
        src=np.concatenate(src),
        dst=np.concatenate(dst),
        chunk=np.tile(both.half * segments, times),
        reduce=np.repeat([True, False], [len(both.child) * up, len(both.child) * down]),
        step=1,
        modulus=2 * segments,
    )
    yield from pipelined(one, np.concatenate(first_round), segments)


def _build(call: Call) -> Schedule:
    collective, ranks, segments = call.collective, call.ranks, call.segments()
    return Schedule(
        collective,
        ranks,
        chunks=2 * segments,
        phases=lambda: _phases(collective.name, ranks, call.root, segments),
        root=call.root,
    )


ALGORITHM = Algorithm(
    name="double-binary-tree",
    summary="two complementary binary trees, each with half of the vector, pipelined",
    cost={
        "all_reduce": "(2⌊lg p⌋−1+s)(4α + 2n/s β + n/s γ), s segments",
        "broadcast": "(⌊lg(p−1)⌋+s)(2α + n/s β), s segments",
        "reduce": "(⌊lg(p−1)⌋+s)(2α + n/s β + n/s γ), s segments",
    },
    source="Sanders, Speck and Träff 2009, doi 10.1016/j.parco.2009.09.001",
    build=_build,
    options={"segments": Option("into how many segments each half is cut, or auto: by size and links", AUTO)},
)
