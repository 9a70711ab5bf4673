"""Binomial trees: who talks to whom in which round, over one group of ranks or over many groups at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clusterbench.collectives.schedule import Ints, Phase, phase


def binomial_rounds(place: Ints, size: Ints | int) -> Iterator[tuple[Ints, int]]:
    """The rounds of a binomial tree from its root down, each as (indices of the parents, distance to their children).

    `place` is a member's place in its group, 0 for the root, `size` the size of its group; members of a group stand in
    `place` behind one another. After a round at distance d the members at multiples of d are reached, and each stands
    for the d places from its own on, or for those that there are.
    """
    most = int(np.max(size, initial=1))
    for k in reversed(range((most - 1).bit_length())):
        distance = 1 << k
        yield np.flatnonzero((place % (2 * distance) == 0) & (place + distance < size)), distance


def tree_broadcast(rank: Ints, place: Ints, size: Ints | int, chunks: int) -> Iterator[Phase]:
    """A vector of `chunks` chunks goes from the root of every group to all its members; `rank` is who they are."""
    for parent, distance in binomial_rounds(place, size):
        yield phase(src=rank[parent], dst=rank[parent + distance], chunk=0, count=chunks, modulus=chunks)


def tree_reduce(rank: Ints, place: Ints, size: Ints | int, chunks: int) -> Iterator[Phase]:
    """The vectors of `chunks` chunks of all members of a group are reduced to its root; `rank` is who they are."""
    for parent, distance in reversed(list(binomial_rounds(place, size))):
        yield phase(src=rank[parent + distance], dst=rank[parent], chunk=0, count=chunks, reduce=True, modulus=chunks)


def tree_scatter(rank: Ints, first_chunk: int = 0) -> Iterator[Phase]:
    """Each member of one group gets its own part of a vector of one chunk a member; parts of a subtree go together.

    The part of place v is chunk (first_chunk + v) mod p, so what goes to a subtree may be the end and the start of the
    vector: then it is one message of two pieces.
    """
    for parent, child, chunk, count in _subtrees(len(rank), first_chunk):
        yield phase(src=rank[parent], dst=rank[child], chunk=chunk, count=count, modulus=len(rank))


def tree_gather(rank: Ints, first_chunk: int = 0) -> Iterator[Phase]:
    """The opposite of `tree_scatter`: the root gets every member's part."""
    for parent, child, chunk, count in reversed(list(_subtrees(len(rank), first_chunk))):
        yield phase(src=rank[child], dst=rank[parent], chunk=chunk, count=count, modulus=len(rank))


def _subtrees(size: int, first_chunk: int) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Round by round the edges with the chunks of the child's subtree: parent, child, first chunk, count."""
    for parent, distance in binomial_rounds(np.arange(size, dtype=np.int64), size):
        child = parent + distance
        count = np.minimum(distance, size - child)
        chunk = (child + first_chunk) % size
        behind = np.maximum(0, chunk + count - size)  # chunks that lie at the start of the vector
        wraps = behind > 0
        yield (
            np.concatenate([parent, parent[wraps]]),
            np.concatenate([child, child[wraps]]),
            np.concatenate([chunk, np.zeros_like(chunk[wraps])]),
            np.concatenate([count - behind, behind[wraps]]),
        )
