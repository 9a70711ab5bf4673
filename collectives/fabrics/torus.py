"""A torus of any dimensions: the ports are its points, joined with their neighbours in both directions of each.

Routes go dimension by dimension, the first first, the shorter way round; where both are equally long upwards, or as
the seeded hash says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numba import njit

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, whole
from clusterbench.collectives.topology.graph import Routes, TopologyError, joined, links
from clusterbench.collectives.topology.routing import draw


def _dims(options: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(whole("dims", part, 1, 1 << 20) for part in options["dims"].lower().split("x"))


def nodes(options: Mapping[str, str]) -> int:
    """The product of the dimensions."""
    return prod(_dims(options))


def build(wiring: Wiring) -> Network:
    """Two links from each point along each dimension of more than one point; they are parallel where it has two."""
    if wiring.ports_per_node != 1:
        raise TopologyError(f"a torus joins nodes of one port; found {wiring.ports_per_node}")
    dims = _dims(wiring.options)
    points = np.arange(wiring.ports)
    strides = np.concatenate(([1], np.cumprod(dims)[:-1]))  # the first dimension runs fastest
    every = []
    for size, stride in zip(dims, strides, strict=True):
        if size == 1:
            continue
        along = points // stride % size
        for step in (1, -1):
            neighbour = points + ((along + step) % size - along) * stride
            every.append(links(points, neighbour, wiring.bandwidth, wiring.latency_s))
    return Network(wiring.ports, [], joined(every), _Router(np.array(dims), strides, wiring.ports, wiring.ecmp))


@dataclass(frozen=True, slots=True, eq=False)
class _Router:
    dims: Ints
    strides: Ints
    points: int
    ecmp: int | None

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        seed = 0 if self.ecmp is None else self.ecmp
        return Routes(*_ways(src, dst, choice, self.dims, self.strides, self.points, self.ecmp is not None, seed))


@njit(cache=True)
def _ways(
    src: Ints, dst: Ints, choice: Ints, dims: Ints, strides: Ints, points: int, hashed: bool, seed: int
) -> tuple[Ints, Ints]:
    """Offsets and links."""
    offsets = np.zeros(len(src) + 1, np.int64)
    for flow in range(len(src)):
        offsets[flow + 1] = offsets[flow]
        for size, stride in zip(dims, strides):  # noqa: B905 - compiled code knows no `strict`
            up = (dst[flow] // stride - src[flow] // stride) % size
            offsets[flow + 1] += min(up, size - up)
    links, filled = np.empty(offsets[-1], np.int64), 0
    for flow in range(len(src)):
        point, first = src[flow], 0  # first: of the links along the axis
        for axis in range(len(dims)):
            size, stride = dims[axis], strides[axis]
            at, to = point // stride % size, dst[flow] // stride % size
            up = (to - at) % size
            turn = choice[flow] + (draw(src[flow], dst[flow], axis, seed) if hashed else 0)
            downwards = 2 * up > size or (2 * up == size and turn % 2 == 1)
            for _ in range(size - up if downwards else up):
                links[filled] = first + downwards * points + point
                filled += 1
                beyond = (at - 1 if downwards else at + 1) % size
                point += (beyond - at) * stride
                at = beyond
            if size > 1:
                first += 2 * points
    return offsets, links


FABRIC = Fabric(
    name="torus",
    summary="a torus of any dimensions whose points are the nodes",
    source="W. J. Dally and C. L. Seitz, The torus routing chip, Distributed Computing 1 (1986)",
    build=build,
    options={"dims": Option("points along each dimension, with x between", "4x4x4")},
    nodes=nodes,
)
