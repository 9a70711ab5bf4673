"""A torus of any dimensions: the ports are its points, joined with their neighbours in both directions of each.

Routes go dimension by dimension, the first first, the shorter way round; where both are equally long upwards, or as
the seeded hash says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, whole
from clusterbench.collectives.topology.graph import Routes, TopologyError, joined, links, routes_of_lengths
from clusterbench.collectives.topology.routing import drawn


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
    return Network(wiring.ports, [], joined(every), _Router(dims, strides, wiring.ports, wiring.ecmp))


@dataclass(frozen=True, slots=True, eq=False)
class _Router:
    dims: tuple[int, ...]
    strides: Ints
    points: int
    ecmp: int | None

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        flows, axes = len(src), len(self.dims)
        hops = np.zeros((flows, axes), np.int64)
        step = np.ones((flows, axes), np.int64)
        start = np.zeros((flows, axes), np.int64)  # coordinate at which it sets out along the axis
        base = np.zeros((flows, axes), np.int64)  # the point without that coordinate
        first = np.zeros(axes, np.int64)  # the axis' first link
        at, used = src.copy(), 0
        for axis, (size, stride) in enumerate(zip(self.dims, self.strides, strict=True)):
            here, there = src // stride % size, dst // stride % size
            up = (there - here) % size
            turn = choice if self.ecmp is None else choice + drawn(src, dst, np.full_like(src, axis), self.ecmp)
            downwards = (2 * up > size) | ((2 * up == size) & (turn % 2 == 1))
            hops[:, axis] = np.where(downwards, size - up, up)
            step[:, axis] = np.where(downwards, -1, 1)
            start[:, axis], base[:, axis] = here, at - here * stride
            at += (there - here) * stride
            first[axis] = used * self.points
            used += 2 if size > 1 else 0
        lengths = hops.ravel()
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        axis_of = np.repeat(np.tile(np.arange(axes), flows), lengths)
        steps = np.repeat(step.ravel(), lengths)
        along = (np.repeat(start.ravel(), lengths) + steps * inside) % np.array(self.dims)[axis_of]
        point = np.repeat(base.ravel(), lengths) + along * self.strides[axis_of]
        return routes_of_lengths(hops.sum(axis=1), first[axis_of] + (steps < 0) * self.points + point)


FABRIC = Fabric(
    name="torus",
    summary="a torus of any dimensions whose points are the nodes",
    source="W. J. Dally and C. L. Seitz, The torus routing chip, Distributed Computing 1 (1986)",
    build=build,
    options={"dims": Option("points along each dimension, with x between", "4x4x4")},
    nodes=nodes,
)
