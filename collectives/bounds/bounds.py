"""The time that no algorithm beats: the largest of what a cut, all end points together, and latency demand.

`limits` finds what limits a collective on a topology, once for all sizes, and `bound` is that for one size. Sizes are
those of nccl-tests, as in `needs`. The bound of messages between pairs, sendrecv and pingpong, is the time over the
cut plus the least latency of what crosses it, as all of that must arrive in what is left of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from clusterbench.collectives.bounds.capacities import Graph, graph
from clusterbench.collectives.bounds.cuts import Cut, Search, worst_cut
from clusterbench.collectives.bounds.end_points import EndPoints, end_points
from clusterbench.collectives.bounds.groups import RANKS, Family, families
from clusterbench.collectives.bounds.latency import Latency, least_of_messages, longest
from clusterbench.collectives.bounds.max_flow import Mask
from clusterbench.collectives.bounds.needs import POINT_TO_POINT, BoundError, Need, need
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Topology, TopologyError, disconnected

Kind = Literal["none", "latency", "cut", "in-network", "end-point"]
"""What limits: nothing; the longest way; a cut; a cut where end points would limit more, did no switch reduce and copy;
or all end points together, which holds only where nothing between them does."""

SHOWN = 3
"""Hosts, ranks or links that words name, of more."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a collective of one size takes at least."""

    collective: str
    size_bytes: int
    ranks: int
    bound_s: float
    kind: Kind
    by: str
    """What limits, in words."""
    seconds_per_byte: Fraction
    """Of the size, by what limits bandwidth, exact: what `bound_s` says for large sizes."""
    latency_s: float
    """What it takes at any size."""
    hardware_s: float
    """The same without what holds for end points only: whatever reduces and copies on the way, nothing is faster."""
    among: str
    """The cuts of which this is the worst."""
    complete: bool
    """Whether these are all cuts, compared exactly."""
    estimated: bool
    """Whether links were measured, so that this is not what the hardware permits."""


@dataclass(frozen=True, slots=True)
class Term:
    """Something that limits bandwidth: the seconds for each byte of the size, those before it, and its words."""

    kind: Kind
    seconds_per_byte: Fraction
    start_s: float
    by: str

    def seconds(self, size_bytes: int) -> float:
        """How long a size takes."""
        return self.start_s + float(self.seconds_per_byte * size_bytes)


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits a collective on a topology, at any size."""

    collective: str
    ranks: int
    cut: Term
    end_points: Term | None
    latency_s: float
    latency_by: str
    among: str
    complete: bool
    estimated: bool

    def at(self, size_bytes: int) -> Bound:
        """The bound of a size, that of nccl-tests, from 0. Raises `BoundError` for one below."""
        if size_bytes < 0:
            raise BoundError(f"a size of {size_bytes} bytes; expected 0 or more")
        latency_s = self.latency_s if size_bytes else 0.0
        cut_s = self.cut.seconds(size_bytes) if size_bytes else 0.0
        end_points_s = self.end_points.seconds(size_bytes) if self.end_points else 0.0
        term = self.end_points if self.end_points and end_points_s > cut_s else self.cut
        kind, by, bound_s = term.kind, term.by, max(cut_s, end_points_s)
        if latency_s > bound_s or not size_bytes:
            kind, by, bound_s = "latency" if size_bytes else "none", self.latency_by, latency_s
        return Bound(
            collective=self.collective,
            size_bytes=size_bytes,
            ranks=self.ranks,
            bound_s=bound_s,
            kind=kind,
            by=by if size_bytes else "no data",
            seconds_per_byte=term.seconds_per_byte,
            latency_s=latency_s,
            hardware_s=max(latency_s, cut_s),
            among=self.among,
            complete=self.complete,
            estimated=self.estimated,
        )


def bound(
    topology: Topology, collective: str, size_bytes: int, root: int = -1, matrix: Ints | None = None
) -> Bound:  # fmt: skip
    """The time that no algorithm beats, for one size; raises what `limits` does."""
    return limits(topology, collective, root, matrix).at(size_bytes)


def limits(topology: Topology, collective: str, root: int = -1, matrix: Ints | None = None) -> Limits:
    """What limits a collective: one of ours by any of its names, or sendrecv or pingpong.

    `matrix` is of an all_to_all_v: elements that rank i sends to rank j, of which only the proportions count. Raises
    `UnknownCollectiveError`; `BoundError` for a root that is no rank and a matrix that is none; `TopologyError` where
    a rank cannot reach another.
    """
    what = need(collective, len(topology.ranks), root, matrix)
    apart = disconnected(topology)
    if apart is not None:
        ends = " to ".join(f"rank {rank} ({topology.names[int(topology.ranks[rank])]})" for rank in apart)
        raise TopologyError(f"{topology.name}: no way from {ends}, or none back; expected links between all ranks")
    prepared, natural = graph(topology), families(topology)
    found = Search(None, "no cuts", complete=True)
    ends_ = None
    latency = Latency(0.0, 0, 0)
    if len(prepared.holders) > 1:
        found = worst_cut(prepared, what, natural)
        ends_ = end_points(prepared, what, natural)
        latency = longest(topology, what)
    return Limits(
        collective=what.name,
        ranks=what.ranks,
        cut=_cut_term(prepared, what, natural, found.cut),
        end_points=None if ends_ is None else _end_points_term(ends_),
        latency_s=latency.seconds,
        latency_by=f"latency from {_rank(topology, latency.src)} to {_rank(topology, latency.dst)}",
        among=found.among,
        complete=found.complete,
        estimated=topology.estimated,
    )


def _cut_term(graph: Graph, need: Need, natural: list[Family], cut: Cut | None) -> Term:
    if cut is None:
        alone = "all ranks share one vertex" if need.ranks > 1 else "one rank"
        by = f"{alone}: nothing crosses a link" if len(graph.holders) < 2 else "no link limits the bandwidth"
        return Term("none", Fraction(0), 0.0, by)
    start_s = 0.0
    if need.name in POINT_TO_POINT and need.src is not None and need.dst is not None:
        of_rank = cut.inside[graph.topology.ranks]
        crosses = of_rank[need.src] & ~of_rank[need.dst]
        start_s = least_of_messages(graph.topology, need.src[crosses], need.dst[crosses])
    plain = end_points(graph, need, natural, plain=True) if graph.topology.reducing.any() else None
    helped = plain is not None and plain.seconds_per_byte > cut.seconds_per_byte
    return Term("in-network" if helped else "cut", cut.seconds_per_byte, start_s, cut_in_words(graph, cut))


def _end_points_term(found: EndPoints) -> Term:
    groups = "ranks" if found.groups == RANKS else found.groups
    times = "once" if found.messages == 1 else f"{found.messages} times"
    by = f"{found.count} {groups} together: {_rate(found.bandwidth)}, each byte must leave one of them {times}"
    return Term("end-point", found.seconds_per_byte, 0.0, by)


def cut_in_words(graph: Graph, cut: Cut) -> str:
    """A cut by its smaller side: `links out of h0 (8 ranks): 200 GB/s over 8 links (h0.nic0 → leaf0, ...)`."""
    topology, links = graph.topology, graph.crossing(cut.inside)
    outwards = 2 * graph.ranks_in(cut.inside) <= len(topology.ranks)
    side = cut.inside if outwards else ~cut.inside
    named = _first([topology.link_name(int(link)) for link in links[: SHOWN + 1]])
    count = f"{len(links)} links" if len(links) > 1 else "1 link"
    where = f"links {'out of' if outwards else 'into'} {_side(graph, side)}"
    return f"{where}: {_rate(cut.bandwidth)} over {count} ({named})"


def _side(graph: Graph, side: Mask) -> str:
    """The ranks of one side, by the names of their hosts where it holds all ranks of these."""
    topology = graph.topology
    inside = np.flatnonzero(side[topology.ranks])
    if len(inside) == 1:
        return _rank(topology, int(inside[0]))
    of_rank = topology.hosts[topology.ranks]
    hosts = np.unique(of_rank[inside])
    count = f"{len(inside)} ranks"
    if hosts.min() < 0 or int(np.isin(of_rank, hosts).sum()) != len(inside):
        return f"{count} ({_first([topology.names[int(topology.ranks[rank])] for rank in inside[: SHOWN + 1]])})"
    if len(hosts) > SHOWN:
        count = f"{len(hosts)} hosts, {count}"
    return f"{_first([_host(topology, int(host)) for host in hosts[: SHOWN + 1]])} ({count})"


def _first(names: list[str]) -> str:
    return ", ".join(names if len(names) <= SHOWN else [*names[:SHOWN], "..."])


def _host(topology: Topology, host: int) -> str:
    """What the names of a host's vertices begin with, up to a dot, if that is one word; otherwise its number."""
    prefixes = {topology.names[int(v)].partition(".")[0] for v in np.flatnonzero(topology.hosts == host)}
    return prefixes.pop() if len(prefixes) == 1 else f"host {host}"


def _rank(topology: Topology, rank: int) -> str:
    return f"rank {rank} ({topology.names[int(topology.ranks[rank])]})"


def _rate(bandwidth: Fraction) -> str:
    gb_per_s = float(bandwidth) / 1e9
    return f"{gb_per_s:,.0f} GB/s" if gb_per_s >= 1e5 else f"{gb_per_s:.6g} GB/s"
