"""What `clusterbench topology show` prints: counts, a host as a tree, the levels of the network, ways between ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click
import numpy as np

from clusterbench.bench.output import print_table, print_tree
from clusterbench.bench.tables.topology_rows import hosts
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Routes, Topology, disconnected
from clusterbench.collectives.topology.layout import ranges
from clusterbench.collectives.topology.structure import (
    Branch,
    Bundle,
    alike_hosts,
    bundles,
    host_tree,
    levels,
    neighbours,
    pruned,
    twins,
)

MATRIX_RANKS = 16
"""Ranks up to which the way between every pair is printed."""
MOST_WAYS_TO = 1024
"""Ranks, spread evenly, to which the ways of rank 0 are looked up beyond that."""
MOST_SEARCHED_TO = 64
"""The same where routes are searched for, which takes a search of the whole graph for each of these ranks."""
MOST_LINES = 64
"""Vertices of a host beyond which parts of it that are alike are not all printed."""
MOST_HOSTS = 4
"""Hosts that are drawn where all differ."""
MOST_NAMES = 4
"""Neighbours that a line of a tree names."""

_ENGLISH = {Kind.GPU: ("GPU", "GPUs"), Kind.CPU: ("CPU", "CPUs"), Kind.NIC: ("network card", "network cards"),
            Kind.SWITCH: ("switch", "switches")}  # fmt: skip


def print_topology(topology: Topology) -> None:
    """Print a topology on standard output; its warnings are for the caller.

    Raises `TopologyError` for ranks between which there is no route, before anything is printed.
    """
    cut = disconnected(topology)
    src, dst = _pairs(topology)
    routes = topology.routes(src, dst) if cut is None and len(src) else None
    click.echo(f"{topology.name}: {_counts(topology)}")
    if topology.source:
        click.echo(f"source: {topology.source}")
    if topology.estimated:
        click.echo("estimated: links were measured or guessed, so they are not what the hardware permits")
    if len(topology.ports) and hosts(topology) == 1:
        rates = Counter(rate(b) for b in topology.port_bandwidth.tolist())
        click.echo("ports for a network: " + ", ".join(f"{n} × {text} GB/s" for text, n in rates.items()))
    _print_hosts(topology)
    _print_network(topology)
    if cut is not None:
        click.echo(f"\nNo way leads from rank {cut[0]} to rank {cut[1]} or back: there are no ways to show.")
    elif routes is not None:
        click.echo("")
        _print_ways(topology, src, dst, routes)


def print_groups(groups: Sequence[dict[str, Any]]) -> None:
    """Print groups of ranks, rows with `parent` and `depth`, as a tree on standard output."""
    lines: list[tuple[int, str]] = []
    waiting = [0]
    while waiting:
        number = waiting.pop()
        lines.append((groups[number]["depth"], _group_line(groups[number])))
        waiting += [child for child in reversed(range(len(groups))) if groups[child]["parent"] == number]
    print_tree("Groups of ranks, with medians of the pairs that meet in each and in no smaller one", lines)
    click.echo("")


def _group_line(group: dict[str, Any]) -> str:
    names = group["hosts"]
    where = f"host {names[0]}" if len(names) == 1 else f"{len(names)} hosts"
    by = f", by {' and '.join(group['by'])}" if group["by"] else ""
    figures = f"{delay(group['latency_s'])} µs, {rate(group['bandwidth'])} GB/s"
    return f"ranks {ranges(group['ranks'])}: {figures} ({where}{by})"


def rate(bytes_per_s: float) -> str:
    """A bandwidth in GB/s: `450`, `∞` where there is no limit, `?` where it is not known."""
    if np.isnan(bytes_per_s):
        return "?"
    if not np.isfinite(bytes_per_s):
        return "∞"
    return f"{bytes_per_s / 1e9:,.0f}" if bytes_per_s >= 1e12 else f"{bytes_per_s / 1e9:.4g}"


def delay(latency_s: float) -> str:
    """A latency in µs."""
    return f"{latency_s * 1e6:.4g}"


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _counts(topology: Topology) -> str:
    kinds = np.bincount(topology.kinds, minlength=len(Kind)).tolist()
    parts = [_many(kinds[kind], *_ENGLISH[kind]) for kind in Kind if kinds[kind]]
    found = hosts(topology)
    where = f" on {_many(found, 'host', 'hosts')}" if found else ""
    return (
        f"{', '.join(parts)}; {_many(len(topology.links), 'link', 'links')}; "
        f"{_many(len(topology.ranks), 'rank', 'ranks')}{where}"
    )


def _print_hosts(topology: Topology) -> None:
    """Each kind of host once, as a tree."""
    alike = alike_hosts(topology)
    for same in alike[:MOST_HOSTS]:
        vertices = np.flatnonzero(topology.hosts == same[0])
        more = f", and {len(same) - 1:,} more like it" if len(same) > 1 else ""
        click.echo("")
        title = f"host {same[0]}{more} (GB/s one way to what is above)"
        print_tree(title, _lines(topology, vertices))
    if len(alike) > MOST_HOSTS:
        left = sum(len(same) for same in alike[MOST_HOSTS:])
        click.echo(f"\nand {left:,} more hosts, of {len(alike) - MOST_HOSTS:,} further kinds")


def _lines(topology: Topology, vertices: Ints) -> Iterator[tuple[int, str]]:
    """The lines of a host's tree with their depths."""
    near = neighbours(topology, vertices)
    branches, more = host_tree(topology, vertices), dict[int, int]()
    if len(branches) > MOST_LINES:
        branches, more = pruned(topology, branches)
    parent = {branch.vertex: branch.parent for branch in branches}
    for group in twins(topology, branches):
        branch = group[0]
        above = [branch.parent] if branch.parent >= 0 else []
        others = [v for v in near[branch.vertex] if v not in above and parent.get(v) != branch.vertex]
        text = _names(topology, group)
        if above:
            text += f"  {_figures(topology, near, branch.vertex, branch.parent)}"
        if others:
            text += f"  also {_others(topology, near, branch.vertex, others)}"
        text += _cables(topology, branch.vertex)
        if branch.vertex in more:
            text += f"  (and {more[branch.vertex]} more like it)"
        yield branch.depth, text


def _names(topology: Topology, group: Sequence[Branch]) -> str:
    vertices = [branch.vertex for branch in group]
    name = topology.names[vertices[0]]
    if len(vertices) > 1:
        name += f" … {topology.names[vertices[-1]]} ({len(vertices)})"
    ranks = np.flatnonzero(np.isin(topology.ranks, vertices))
    if len(ranks) == 1:
        name += f" (rank {ranks[0]})"
    elif len(ranks):
        between = "–" if ranks[-1] - ranks[0] == len(ranks) - 1 else " … "
        name += f" (ranks {ranks[0]}{between}{ranks[-1]})"
    return name + (", reduces" if topology.reducing[vertices[0]] else "")


def _figures(topology: Topology, near: dict[int, dict[int, list[int]]], a: int, b: int) -> str:
    """GB/s between two vertices: `450`, `2 × 25` of two links, `50 ← 25` where the way back differs."""
    out, back = (_one_way(topology, near[x].get(y, [])) for x, y in ((a, b), (b, a)))
    return out if out == back else f"{out} ← {back}"


def _one_way(topology: Topology, found: list[int]) -> str:
    rates = Counter(rate(topology.links.bandwidth[link]) for link in found)
    return " + ".join(text if count == 1 else f"{count} × {text}" for text, count in rates.items()) or "0"


def _others(topology: Topology, near: dict[int, dict[int, list[int]]], vertex: int, others: list[int]) -> str:
    """Neighbours that do not stand above or below, those of equal rate together."""
    by_rate: dict[str, list[int]] = {}
    for other in others:
        by_rate.setdefault(_figures(topology, near, vertex, other), []).append(other)
    parts = []
    for figures, found in by_rate.items():
        names = [topology.names[v] for v in sorted(found)]
        if len(names) > MOST_NAMES:
            names = [f"{names[0]} … {names[-1]} ({len(names)})"]
        parts.append(f"{', '.join(names)} {figures}")
    return "; ".join(parts)


def _cables(topology: Topology, vertex: int) -> str:
    """What leads from a vertex out of its host."""
    links = topology.links
    out = np.flatnonzero(links.src == vertex)
    out = out[topology.hosts[links.dst[out]] != topology.hosts[vertex]]
    if not len(out):
        return ""
    names = [topology.names[int(v)] for v in np.unique(links.dst[out])]
    named = ", ".join(names) if len(names) <= MOST_NAMES else f"{names[0]} … {names[-1]} ({len(names)})"
    return f"  → {named} {_one_way(topology, out.tolist())}"


def _print_network(topology: Topology) -> None:
    """The levels of the network, what leads from each to the next, and by how much it narrows."""
    found = bundles(topology)
    level = levels(topology)
    network = topology.hosts == NO_HOST
    if not found:
        return
    names = {at: f"level {at}" for at in range(1, int(level.max()) + 1)} | {0: "hosts", -1: "without a way"}
    counts = [(at, int((level[network] == at).sum())) for at in np.unique(level[network]).tolist() if at]
    counted = ", ".join(f"{_many(count, 'switch', 'switches')} at {names[at]}" for at, count in counts)
    click.echo(f"\nnetwork: {counted}\n" if counted else "")
    print_table(
        "",
        ["from", "to", "links", "GB/s", "µs", "GB/s all together"],
        [[names[b.low], names[b.high], _links(b), rate(b.bandwidth), delay(b.latency_s), _total(b)] for b in found],
    )
    _print_taper(found)


def _links(bundle: Bundle) -> str:
    """How many each way."""
    return f"{bundle.up:,}" if bundle.up == bundle.down else f"{bundle.up:,} up, {bundle.down:,} down"


def _total(bundle: Bundle) -> str:
    return rate(max(bundle.up, bundle.down) * bundle.bandwidth)


def _print_taper(found: Sequence[Bundle]) -> None:
    """How much less goes up from a level than comes to it from below: a bisection of a tree can carry no more."""
    upward: dict[int, float] = {}
    for bundle in found:
        if bundle.low < bundle.high and bundle.up:
            upward[bundle.low] = upward.get(bundle.low, 0.0) + bundle.up * bundle.bandwidth
    for low, high in zip(sorted(upward), sorted(upward)[1:], strict=False):
        if np.isfinite(upward[low]) and np.isfinite(upward[high]):
            click.echo(
                f"level {high} sends {rate(upward[high])} GB/s up of {rate(upward[low])} GB/s that it may get from "
                f"below: taper {upward[low] / upward[high]:.4g}"
            )


def _pairs(topology: Topology) -> tuple[Ints, Ints]:
    """The ranks from and to which ways are shown: all of a few, and of many those from rank 0."""
    ranks = len(topology.ranks)
    if ranks <= MATRIX_RANKS:
        src, dst = np.nonzero(~np.eye(ranks, dtype=bool))
        return np.ascontiguousarray(src), np.ascontiguousarray(dst)
    from clusterbench.collectives.topology.routing import SearchRouter  # SciPy is imported where it is used

    most = MOST_SEARCHED_TO if isinstance(topology.router, SearchRouter) else MOST_WAYS_TO
    dst = np.unique(np.linspace(1, ranks - 1, min(ranks - 1, most)).astype(np.int64))
    return np.zeros_like(dst), dst


def _print_ways(topology: Topology, src: Ints, dst: Ints, routes: Routes) -> None:
    """The ways between ranks, in classes of equal kinds of vertices, bandwidth and latency."""
    ranks = len(topology.ranks)
    is_matrix = ranks <= MATRIX_RANKS
    ways = _ways(topology, src, routes)
    classes = sorted(set(ways), key=lambda way: (-way[1], way[2], way[0]))
    letters = {way: _letter(i) for i, way in enumerate(classes)}
    if is_matrix:
        cells = [["" for _ in range(ranks)] for _ in range(ranks)]
        for a, b, way in zip(src.tolist(), dst.tolist(), ways, strict=True):
            cells[a][b] = f"{letters[way]} {rate(way[1])}"
        click.echo("Ways between ranks: class, and GB/s of the narrowest link")
        print_table(
            "",
            ["from \\ to", *map(str, range(ranks))],
            [[rank, *row] for rank, row in enumerate(cells)],
        )
    first = {way: number for number, way in reversed(list(enumerate(ways)))}
    count = Counter(ways)
    click.echo("Classes of ways" if is_matrix else f"Ways from rank 0 to {len(dst):,} of {ranks - 1:,} others")
    print_table(
        "",
        ["class", "way", "GB/s", "µs", "pairs", "such as"],
        [
            [letters[way], way[0], rate(way[1]), delay(way[2]), count[way], f"{src[first[way]]} → {dst[first[way]]}"]
            for way in classes
        ],
    )


def _ways(topology: Topology, src: Ints, routes: Routes) -> list[tuple[str, float, float]]:
    """For each route the kinds of its vertices in words, the bandwidth of its narrowest link, and its latency."""
    words = [
        "net switch" if kind == Kind.SWITCH and host == NO_HOST else Kind(kind).name.lower()
        for kind, host in zip(topology.kinds.tolist(), topology.hosts.tolist(), strict=True)
    ]
    latency_s = routes.sums(topology.links.latency_s)
    found = []
    for number, rank in enumerate(src.tolist()):
        links = routes.of(number)
        passed = [words[int(topology.ranks[rank])], *(words[v] for v in topology.links.dst[links].tolist())]
        narrowest = float(topology.links.bandwidth[links].min()) if len(links) else np.inf
        # Sums of the same latencies in another order must not make another class.
        found.append((_shortened(passed), narrowest, float(f"{latency_s[number]:.6g}")))
    return found


def _shortened(words: Sequence[str]) -> str:
    """Words in a row, switches behind one another once with their number: `gpu – nic – 3 net switch – nic – gpu`."""
    runs: list[tuple[str, int]] = []
    for word in words:
        if word.endswith("switch") and runs and runs[-1][0] == word:
            runs[-1] = word, runs[-1][1] + 1
        else:
            runs.append((word, 1))
    return " – ".join(word if count == 1 else f"{count} {word}" for word, count in runs)


def _letter(number: int) -> str:
    """A, B … Z, AA, AB …"""
    head, last = divmod(number, 26)
    return (_letter(head - 1) if head else "") + chr(ord("A") + last)
