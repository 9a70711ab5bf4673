"""A topology: the devices, network cards and switches of a machine, the directed links between them, and the routes.

All of it is arrays, one number a vertex or a link, as a cluster of 100,000 GPUs has a million links. A link is one
direction of a cable or a bus; both directions of a full-duplex cable are two links. Ranks are placed on vertices, and a
router says over which links the data from one vertex to another go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterbench.collectives.schedule import Ints

Floats = NDArray[np.float64]


class TopologyError(ValueError):
    """A topology that cannot be: the message names the file and line, or the option, what was found and expected."""

    exit_code: ClassVar[int] = 2


class Kind(IntEnum):
    """What a vertex is."""

    GPU = 0
    CPU = 1
    NIC = 2
    SWITCH = 3


NO_HOST = -1
"""Host of a vertex that lies in none, such as a switch of the network."""


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """The links of several routes, one route behind the other: route f is links[offsets[f] : offsets[f + 1]]."""

    offsets: Ints
    links: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """Links of each route."""
        return np.diff(self.offsets)

    def of(self, number: int) -> Ints:
        """The links of one route, in order."""
        return self.links[self.offsets[number] : self.offsets[number + 1]]

    def sums(self, per_link: Floats) -> Floats:
        """For each route the sum of a figure of its links; 0 for a route without links."""
        # Each on its own: equal routes have equal sums to the bit.
        return np.bincount(self.owners(), per_link[self.links], len(self)).astype(np.float64)

    def owners(self) -> Ints:
        """For each entry of `links` the number of its route."""
        return np.repeat(np.arange(len(self)), self.lengths)


def routes_of_lengths(lengths: Ints, links: Ints) -> Routes:
    """Routes from their lengths and all their links, one route behind the other."""
    return Routes(np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), links)


def positions(starts: Ints, lengths: Ints) -> Ints:
    """start, start + 1, ... of each range, one range behind the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def taken(routes: Routes, which: Ints) -> Routes:
    """Some of the routes, by number, each as often as it is asked for."""
    lengths = routes.lengths[which]
    return routes_of_lengths(lengths, routes.links[positions(routes.offsets[which], lengths)])


def chained(parts: Sequence[Routes]) -> Routes:
    """Routes that follow one another: route f is route f of the first part, then of the second, and so on."""
    lengths = np.stack([part.lengths for part in parts], axis=1)
    starts = (np.cumsum(lengths.ravel()) - lengths.ravel()).reshape(lengths.shape)
    links = np.empty(int(lengths.sum()), np.int64)
    for number, part in enumerate(parts):
        links[positions(starts[:, number], lengths[:, number])] = part.links
    return routes_of_lengths(lengths.sum(axis=1), links)


class Router(Protocol):
    """Says over which links data go."""

    def __call__(self, src: Ints, dst: Ints, choice: Ints) -> Routes:
        """The routes from vertices to vertices, pair by pair; equal vertices have a route without links.

        `choice` 0 is the default of the topology, and other numbers are alternatives where there are any. Raises
        `TopologyError` where there is no way.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Directed links, as parallel arrays: from and to which vertex, bytes/s, and seconds until the first byte is over.

    A link of infinite bandwidth costs latency only.
    """

    src: Ints
    dst: Ints
    bandwidth: Floats
    latency_s: Floats

    def __len__(self) -> int:
        return len(self.src)

    def moved(self, by: int) -> Links:
        """The same links between vertices whose numbers are larger by `by`."""
        return replace(self, src=self.src + by, dst=self.dst + by)


def links(src: ArrayLike, dst: ArrayLike, bandwidth: ArrayLike, latency_s: ArrayLike = 0.0) -> Links:
    """Links from arrays or numbers, which stand for all."""
    a, b, c, d = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x)) for x in (src, dst, bandwidth, latency_s)))
    return Links(a.astype(np.int64), b.astype(np.int64), c.astype(np.float64), d.astype(np.float64))


def both_ways(one: Links) -> Links:
    """The links and behind them, in the same order, their reverses."""
    return Links(
        np.concatenate((one.src, one.dst)), np.concatenate((one.dst, one.src)),
        np.tile(one.bandwidth, 2), np.tile(one.latency_s, 2),
    )  # fmt: skip


def joined(several: Iterable[Links]) -> Links:
    """Several sets of links, one behind the other."""
    parts = list(several)
    if not parts:
        return links([], [], [], [])
    return Links(*(np.concatenate([getattr(part, name) for part in parts]) for name in Links.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """A machine as a graph of capacities, with ranks on some of its vertices.

    `kinds` and `hosts` have one number a vertex: what it is, and in which host it lies. Make one by `topology`, which
    looks whether it can be.
    """

    name: str
    kinds: NDArray[np.int8]
    names: Sequence[str]
    """Of the vertices, each once."""
    links: Links
    ranks: Ints
    """The vertex of every rank."""
    hosts: Ints
    router: Router
    reducing: NDArray[np.bool_]
    """Switches that reduce and multicast."""
    ports: Ints
    """The vertices of a single host at which a network may be plugged in, such as its network cards."""
    port_bandwidth: Floats
    """Bytes/s of each of them, one way; NaN where it is not known."""
    source: str = ""
    """Where the figures come from."""
    warnings: tuple[str, ...] = ()
    """What was guessed, one sentence each."""
    estimated: bool = False
    """Whether the links were measured, and so are not what the hardware permits."""
    searchable: bool = True
    """Whether any walk over links that meet is a way; in some platform files only the routes that they list are."""

    @property
    def vertices(self) -> int:
        """How many there are."""
        return len(self.kinds)

    @property
    def nodes(self) -> int:
        """Hosts that have ranks."""
        return len(np.unique(self.hosts[self.ranks]))

    def routes(self, src: ArrayLike, dst: ArrayLike, choice: ArrayLike = 0) -> Routes:
        """The routes between ranks, pair by pair. Raises `TopologyError`."""
        a, b, c = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, np.int64)) for x in (src, dst, choice)))
        return self.router(self.ranks[a], self.ranks[b], np.ascontiguousarray(c))

    def link_name(self, link: int) -> str:
        """A link in words: `h3.nic0 → leaf1`."""
        return f"{self.names[int(self.links.src[link])]} → {self.names[int(self.links.dst[link])]}"


def topology(
    *,
    name: str,
    kinds: ArrayLike,
    names: Sequence[str],
    links: Links,
    ranks: ArrayLike | None = None,
    hosts: ArrayLike = 0,
    router: Router | None = None,
    reducing: ArrayLike = False,
    ports: ArrayLike | None = None,
    port_bandwidth: ArrayLike = np.nan,
    source: str = "",
    warnings: Sequence[str] = (),
    estimated: bool = False,
    searchable: bool = True,
) -> Topology:
    """A topology that holds together; ranks are all GPUs, or where there are none all CPUs, unless given.

    Ports are all network cards unless given. Without a router, routes are searched for (`routing.SearchRouter`).
    Raises `TopologyError` for a link that goes nowhere or to where it comes from, a bandwidth that is not above 0, a
    latency below 0 or not finite, names that clash, and a topology without ranks.
    """
    from clusterbench.collectives.topology.routing import SearchRouter  # SciPy is imported where it is used

    kinds_ = np.asarray(kinds, np.int8)
    vertices = len(kinds_)
    if len(names) != vertices:
        raise TopologyError(f"{name}: {len(names)} names of {vertices} vertices")
    if isinstance(names, (list, tuple)) and len(set(names)) != vertices:
        seen: set[str] = set()
        for one in names:
            if one in seen:
                raise TopologyError(f"{name}: two vertices are named {one!r}; expected each name once")
            seen.add(one)
    _refuse_bad_links(name, names, links)
    if ranks is None:
        ranks_ = np.flatnonzero(kinds_ == Kind.GPU)
        ranks_ = ranks_ if len(ranks_) else np.flatnonzero(kinds_ == Kind.CPU)
    else:
        ranks_ = np.asarray(ranks, np.int64)
    if not len(ranks_):
        raise TopologyError(f"{name}: neither GPUs nor CPUs; expected at least one, for a rank to be placed on")
    if ranks_.min() < 0 or ranks_.max() >= vertices:
        raise TopologyError(f"{name}: a rank on vertex {int(ranks_.max())}; expected 0 to {vertices - 1}")
    ports_ = np.flatnonzero(kinds_ == Kind.NIC) if ports is None else np.asarray(ports, np.int64)
    return Topology(
        name=name,
        kinds=kinds_,
        names=names,
        links=links,
        ranks=ranks_.astype(np.int64),
        hosts=np.ascontiguousarray(np.broadcast_to(np.asarray(hosts, np.int64), (vertices,))),
        router=router or SearchRouter(kinds_, links, names),
        reducing=np.ascontiguousarray(np.broadcast_to(np.asarray(reducing, np.bool_), (vertices,))),
        ports=ports_,
        port_bandwidth=np.ascontiguousarray(np.broadcast_to(np.asarray(port_bandwidth, np.float64), ports_.shape)),
        source=source,
        warnings=tuple(warnings),
        estimated=estimated,
        searchable=searchable,
    )


def _refuse_bad_links(name: str, names: Sequence[str], links: Links) -> None:
    vertices = len(names)
    ends = np.concatenate((links.src, links.dst))
    if len(ends) and (ends.min() < 0 or ends.max() >= vertices):
        raise TopologyError(f"{name}: a link to vertex {int(ends.max())}; expected 0 to {vertices - 1}")
    for what, wrong, expected in (
        ("bandwidth", ~(links.bandwidth > 0), "more than 0 bytes/s"),
        ("latency", ~((links.latency_s >= 0) & np.isfinite(links.latency_s)), "a number of seconds from 0"),
        ("end", links.src == links.dst, "another vertex"),
    ):
        bad = np.flatnonzero(wrong)
        if len(bad):
            at = int(bad[0])
            found = {"bandwidth": links.bandwidth[at], "latency": links.latency_s[at], "end": names[links.dst[at]]}
            raise TopologyError(
                f"{name}: the link from {names[links.src[at]]} to {names[links.dst[at]]} has {what} {found[what]}; "
                f"expected {expected}"
            )


def disconnected(topology: Topology) -> tuple[int, int] | None:
    """Two ranks of which the first cannot reach the second, or None where each reaches each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = topology.vertices
    graph = coo_array((np.ones(len(topology.links)), (topology.links.src, topology.links.dst)), shape=(size, size))
    count, labels = connected_components(graph.tocsr(), directed=True, connection="strong")
    if count == 1:
        return None
    of_ranks = labels[topology.ranks]
    other = np.flatnonzero(of_ranks != of_ranks[0])
    return (0, int(other[0])) if len(other) else None
