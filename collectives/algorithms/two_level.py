"""Two-level, and of any number of levels: reduce-scatter in each dimension, then all-gather in each one back.

The ranks form a block of p = d_0 × d_1 × … with neighbouring ranks along dimension 0. all_reduce is a ring
reduce-scatter along dimension 0, which leaves 1/d_0 of the vector to each, then one of that along dimension 1, and so
on; then ring all-gathers in the opposite order. reduce_scatter and all_gather are the two halves of it. All ranks of a
host talk to the other hosts at once, each with its share: right where every rank has an adapter, or rail, of its own,
and on a torus of any number of dimensions. Between hosts each rank sends 2(1−1/d_1) n/d_0: the least that all can.

`dims` gives the dimensions, as in 2x4x2, the innermost first; by default they are the ranks of a host and the hosts,
else the two factors of p that are nearest to each other. A prime p has one dimension, a ring. With several segments
each dimension works on one of them while its neighbours work on those before and after, in the same rounds, so that
the links of all dimensions are busy at once; on one host, where dimensions share the memory, that gains nothing.

In all_reduce what goes to a neighbour lies together. In reduce_scatter and all_gather the parts' places are given, and
a message of dimension i is of d_{i+1} × d_{i+2} × … pieces: p²/d_0 pieces a round of dimension 0, over all ranks.

Source: M. Cho et al., "BlueConnect: decomposing all-reduce for deep learning on heterogeneous network hierarchy",
IBM J. Res. Dev. 63(6), 2019, doi 10.1147/JRD.2019.2947013; torus: P. Sack and W. Gropp, "Collective algorithms for
multiported torus networks", ACM Trans. Parallel Comput. 1(2), 2015, doi 10.1145/2686882.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from clusterbench.collectives.algorithm import AUTO, Algorithm, Call, Option, UnsuitableAlgorithmError
from clusterbench.collectives.building.limits import refuse_large_rounds
from clusterbench.collectives.schedule import Ints, Phase, Schedule, phase


def dimensions(call: Call) -> tuple[int, ...]:
    """The dimensions of a call, the innermost first. Raises `UnsuitableAlgorithmError` where they are not of p."""
    text, ranks = call.options["dims"], call.ranks
    if text != AUTO:
        factors = text.split("x")
        if all(f.isdecimal() and len(f) <= 9 for f in factors) and math.prod(map(int, factors)) == ranks:
            return tuple(map(int, factors))
        raise UnsuitableAlgorithmError(f"dims={text}; expected factors of {ranks} with x between, as in 2x4x2")
    if 1 < call.host_ranks < ranks and ranks % call.host_ranks == 0:
        return call.host_ranks, ranks // call.host_ranks
    inner = max(d for d in range(1, math.isqrt(ranks) + 1) if ranks % d == 0)
    return (inner, ranks // inner) if inner > 1 else (ranks,)


@dataclass(frozen=True, slots=True)
class Block:
    """The block of ranks, and how chunks are numbered by the coordinates of the part that they belong to."""

    dims: tuple[int, ...]
    strides: tuple[int, ...]
    """How far apart in number two ranks are that are neighbours along a dimension."""
    weights: tuple[int, ...]
    """How far apart in number the chunks of two such ranks' parts are."""
    segment_weight: int
    chunks: int
    together: bool
    """Whether all parts that agree in their first coordinates lie behind one another."""


def block(dims: tuple[int, ...], segments: int, together: bool) -> Block:
    """The block for parts in the order of ranks, or `together`: with coordinate 0 as the one that counts most."""
    ranks = math.prod(dims)
    strides = tuple(math.prod(dims[:i]) for i in range(len(dims)))
    if not together:
        return Block(dims, strides, tuple(s * segments for s in strides), 1, ranks * segments, together)
    weights = [math.prod(dims[i + 1 :]) for i in range(len(dims))]
    return Block(dims, strides, (weights[0] * segments, *weights[1:]), weights[0], ranks * segments, together)


def _ring(shape: Block, dim: int, reduce: bool) -> tuple[Phase, Ints, Ints]:
    """The rings along a dimension: round 0 of segment 0, with the chunk of coordinate 0, and the coordinate.

    In round k the coordinate is less by k, modulo the dimension.
    """
    ranks = math.prod(shape.dims)
    rank = np.arange(ranks, dtype=np.int64)
    at = [rank // stride % size for stride, size in zip(shape.strides, shape.dims, strict=True)]
    size, stride = shape.dims[dim], shape.strides[dim]
    successor = rank + ((at[dim] + 1) % size - at[dim]) * stride
    fixed = sum((at[i] * shape.weights[i] for i in range(dim)), np.zeros_like(rank))
    behind = ranks // (stride * size)  # parts that agree in their first dim + 1 coordinates
    apart = 1 if shape.together else shape.weights[dim] * size
    pieces, count = (1, behind) if shape.together else (behind, 1)
    coordinate = np.repeat((at[dim] - reduce) % size, pieces)
    start = np.add.outer(fixed, np.arange(pieces, dtype=np.int64) * apart).ravel()
    first = phase(
        src=np.repeat(rank, pieces),
        dst=np.repeat(successor, pieces),
        chunk=start + coordinate * shape.weights[dim],
        count=count,
        reduce=reduce,
        modulus=shape.chunks,
    )
    return first, start, coordinate


def _stage(shape: Block, active: list[tuple[int, bool, int]]) -> Iterator[Phase]:
    """The rounds in which segments are each in one dimension's pass: (dimension, reduces, segment) of each."""
    rings = [(*_ring(shape, dim, reduce), dim, segment * shape.segment_weight) for dim, reduce, segment in active]
    if len(rings) == 1:
        first, _, _, dim, moved = rings[0]
        step = shape.weights[dim]
        yield replace(
            first,
            src_chunk=first.src_chunk + moved,
            dst_chunk=first.dst_chunk + moved,
            step=np.full_like(first.step, -step),
            modulus=step * shape.dims[dim],  # parts that differ in this coordinate only, and in later ones
            repetitions=shape.dims[dim] - 1,
        )
        return
    for k in range(max(shape.dims[dim] for *_, dim, _ in rings) - 1):
        parts = []
        for first, start, coordinate, dim, moved in rings:
            if k < shape.dims[dim] - 1:
                chunk = start + (coordinate - k) % shape.dims[dim] * shape.weights[dim] + moved
                parts.append(replace(first, src_chunk=chunk, dst_chunk=chunk))
        yield _together(parts)


def _together(parts: list[Phase]) -> Phase:
    """Several phases of one round as one."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        src=np.concatenate([part.src for part in parts]),
        src_chunk=np.concatenate([part.src_chunk for part in parts]),
        dst=np.concatenate([part.dst for part in parts]),
        dst_chunk=np.concatenate([part.dst_chunk for part in parts]),
        count=np.concatenate([part.count for part in parts]),
        reduce=np.concatenate([part.reduce for part in parts]),
        step=np.concatenate([part.step for part in parts]),
        route=np.concatenate([part.route for part in parts]),
    )


def _phases(shape: Block, segments: int, passes: list[tuple[int, bool]]) -> Iterator[Phase]:
    for stage in range(segments + len(passes) - 1):
        begun = range(max(0, stage - len(passes) + 1), min(segments, stage + 1))
        yield from _stage(shape, [(*passes[stage - segment], segment) for segment in begun])


def _build(call: Call) -> Schedule:
    collective, ranks, segments = call.collective, call.ranks, call.segments()
    dims = dimensions(call)
    shape = block(dims, segments, together=collective.name == "all_reduce")
    if not shape.together:
        refuse_large_rounds(call, min(segments, len(dims)) * ranks**2 // dims[0])
    up = [(dim, True) for dim in range(len(dims))] if collective.reduces else []
    down = [(dim, False) for dim in reversed(range(len(dims)))] if collective.gives == "whole" else []
    return Schedule(collective, ranks, shape.chunks, phases=lambda: _phases(shape, segments, up + down))


ALGORITHM = Algorithm(
    name="two-level",
    summary="reduce-scatter, all-reduce, all-gather over the dimensions of a block of ranks",
    cost={
        "all_reduce": "2Σ(d_i−1)(α_i + n/(d_0…d_i) β_i) + (p−1)/p nγ; with s segments 2D+s−1 stages, D dimensions, "
        "each of the longest (d_i−1)(α_i + n/(d_0…d_i s) β_i)",
        "reduce_scatter": "Σ(d_i−1)(α_i + n/(d_0…d_i) β_i) + (p−1)/p nγ; with s segments D+s−1 stages",
        "all_gather": "Σ(d_i−1)(α_i + n/(d_0…d_i) β_i); with s segments D+s−1 stages",
    },
    source="Cho et al. 2019, doi 10.1147/JRD.2019.2947013",
    build=_build,
    options={
        "dims": Option("the dimensions, innermost first, as in 2x4x2, or auto: ranks of a host x hosts", AUTO),
        "segments": Option("into how many segments each part is cut, or auto: by size and links", AUTO),
    },
)
