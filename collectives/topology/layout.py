"""Where the parts of a topology lie in its picture: hosts at the bottom, the levels of switches above them.

Three sizes are laid out differently. Up to `MOST_BOXES` vertices all of them are drawn, each host in a frame. Beyond
that one host is, and above it the network, with a box for each host. Where these would be too many as well, each level
of the network is one box, and what leads from one to the next is summed up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology
from clusterbench.collectives.topology.structure import (
    Branch,
    Bundle,
    alike_hosts,
    bundles,
    host_tree,
    levels,
    pruned,
    twins,
)

MOST_BOXES = 64
"""Beyond these the lines of a picture cannot be told apart."""

CHARACTER = 7.2
"""Width of a character of a label, in pixels."""
BOX_HEIGHT, GAP, ROW, FRAME = 36.0, 14.0, 96.0, 18.0


@dataclass(frozen=True, slots=True)
class Box:
    """A vertex, several that are alike, a host or a level; `x` is its middle and `y` its top, in pixels."""

    kind: str
    """`gpu`, `cpu`, `nic`, `switch` or `host`."""
    lines: tuple[str, ...]
    x: float
    y: float

    @property
    def width(self) -> float:
        """Of the box, by its longest line."""
        return max(44.0, CHARACTER * max(map(len, self.lines)) + 14)


@dataclass(frozen=True, slots=True)
class Edge:
    """All links between two boxes, by their numbers: bytes/s one way and back, and how many links one way."""

    a: int
    b: int
    out: float
    back: float
    count: int
    latency_s: float
    """The least of them."""
    label: str = ""
    """Written beside it; else it has a tooltip only."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is drawn round a host."""

    title: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture without its colours; its left edge and top are at 0."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    frames: tuple[Frame, ...]
    width: float
    height: float
    note: str
    """What is not drawn as it is, in words; empty where everything is."""


def layout(topology: Topology) -> Layout:
    """Lay a topology out."""
    hosts = np.unique(topology.hosts[topology.hosts != NO_HOST])
    network = np.flatnonzero(topology.hosts == NO_HOST)
    if topology.vertices <= MOST_BOXES or (len(hosts) == 1 and len(network) <= MOST_BOXES):
        return _whole(topology, hosts, network)
    if len(hosts) + len(network) <= MOST_BOXES:
        above = _condensed(topology, hosts, network)
        how = "each host is one box"
    else:
        above = _schematic(topology, hosts)
        how = "each level is one box"
    if not len(hosts):
        return replace(above, note=f"{topology.vertices:,} vertices: {how}")
    alike = alike_hosts(topology)
    below = _whole(topology, alike[0][:1], np.zeros(0, np.int64))
    note = f"{len(hosts):,} hosts: {how}"
    if len(below.boxes) == 1:  # there is nothing inside to show
        return replace(above, note=note)
    others = len(hosts) - len(alike[0])
    note += f", and below them is one of {len(alike[0]):,} that are alike"
    note += f"; {others:,} differ from it in their inside or their cables" if others else ""
    note += f"; {below.note}" if below.note else ""
    return replace(_stacked(above, below), note=note)


def _whole(topology: Topology, hosts: Ints, network: Ints) -> Layout:
    """The given hosts with all that is in them, side by side, and the given switches above."""
    boxes: list[Box] = []
    frames: list[Frame] = []
    owner = np.full(topology.vertices, -1, np.int64)
    left, note = 0.0, ""
    for host in hosts.tolist():
        branches = host_tree(topology, np.flatnonzero(topology.hosts == host))
        groups, more = [[branch] for branch in branches], dict[int, int]()
        if len(branches) > MOST_BOXES:
            branches, more = pruned(topology, branches)
            groups = twins(topology, branches)
            note = "of parts of a host that are alike not all are drawn by themselves"
        inside = _inside(topology, groups, left + FRAME, more)
        own = np.full(topology.vertices, -1, np.int64)
        for number, group in enumerate(groups):
            own[[branch.vertex for branch in group]] = number
        owner[own >= 0] = own[own >= 0] + len(boxes)
        boxes += inside
        right = max(box.x + box.width / 2 for box in inside) + FRAME
        if len(inside) > 1:
            top = min(box.y for box in inside) - FRAME - 18 - _room(inside, _edges(topology, own))
            bottom = max(box.y for box in inside) + BOX_HEIGHT + FRAME
            frames.append(Frame(host_name(topology, host), left, top, right, bottom))
        left = right + 2 * GAP
    floor = min([box.y - 24 for box in boxes] + [frame.top for frame in frames], default=0.0)
    _add_switches(topology, network, owner, boxes, floor + 24)
    return replace(_placed(boxes, _edges(topology, owner), frames), note=note)


def _add_switches(topology: Topology, network: Ints, owner: Ints, boxes: list[Box], floor: float) -> None:
    """Add the given switches, a row a level, above `floor`; `owner` has the box of each vertex, and gets theirs."""
    level = levels(topology)
    for number, at in enumerate(np.unique(level[network]).tolist()):
        row = network[level[network] == at]
        middles = [_middle(topology, int(vertex), owner, boxes) for vertex in row]
        new = [_vertex_box(topology, [Branch(int(vertex), -1, 0)], 0.0, floor - ROW * (number + 1)) for vertex in row]
        owner[row] = np.arange(len(boxes), len(boxes) + len(row))
        boxes += _apart(new, middles)


def _inside(topology: Topology, groups: Sequence[Sequence[Branch]], left: float, more: dict[int, int]) -> list[Box]:
    """The boxes of a host from its tree: its roots at the bottom, devices above, switches between devices on top.

    `more` has how many parts that are alike are left out behind that of a vertex, which its box says.
    """
    parents = {group[0].parent for group in groups}
    inner = [
        topology.kinds[group[0].vertex] in (Kind.CPU, Kind.SWITCH)
        and (group[0].vertex in parents or group[0].parent < 0)
        for group in groups
    ]
    first_is_cpu = topology.kinds[groups[0][0].vertex] == Kind.CPU
    on_top = [
        inner[i] and group[0].parent < 0 and i > 0 and (topology.kinds[group[0].vertex] == Kind.SWITCH)
        and (first_is_cpu or group[0].vertex not in parents)
        for i, group in enumerate(groups)
    ]  # fmt: skip
    deepest = max((g[0].depth for g, is_inner, top in zip(groups, inner, on_top, strict=True) if is_inner and not top),
                  default=-1)  # fmt: skip
    boxes: list[Box] = []
    slots: dict[int, list[float]] = {}
    at = left
    for i in reversed(range(len(groups))):  # children come behind their parent
        group = groups[i]
        row = deepest + 2 if on_top[i] else group[0].depth if inner[i] else deepest + 1
        box = _vertex_box(topology, group, 0.0, -ROW * row)
        if group[0].vertex in more:
            box = replace(box, lines=(*box.lines[:1], f"and {more[group[0].vertex]} more like it"))
        below = slots.get(group[0].vertex, [])
        if below and not on_top[i]:
            box = replace(box, x=(below[0] + below[-1]) / 2)
        elif not on_top[i]:
            box = replace(box, x=at + box.width / 2)
            at += box.width + GAP
        if not on_top[i]:
            slots.setdefault(group[0].parent, []).append(box.x)
        boxes.append(box)
    boxes.reverse()
    mirror = left + at - GAP
    boxes = [box if on_top[i] else replace(box, x=mirror - box.x) for i, box in enumerate(boxes)]
    owner = np.full(topology.vertices, -1, np.int64)
    for i, group in enumerate(groups):
        owner[[branch.vertex for branch in group]] = -1 if on_top[i] else i
    for y in sorted({box.y for box in boxes}, reverse=True):  # from the bottom up
        in_row = [i for i, box in enumerate(boxes) if box.y == y]
        middles = [_middle(topology, groups[i][0].vertex, owner, boxes) if on_top[i] else boxes[i].x for i in in_row]
        for i, box in zip(in_row, _apart([boxes[i] for i in in_row], middles), strict=True):
            boxes[i] = box
    shift = left - min(box.x - box.width / 2 for box in boxes)
    return [replace(box, x=box.x + max(0.0, shift)) for box in boxes]


def _vertex_box(topology: Topology, group: Sequence[Branch], x: float, y: float) -> Box:
    names = [short_name(topology, branch.vertex) for branch in group]
    lines = [names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"]
    ranks = np.flatnonzero(np.isin(topology.ranks, [branch.vertex for branch in group]))
    if len(ranks):
        text = ranges(ranks.tolist())
        lines.append(f"rank {text}" if len(ranks) == 1 else f"ranks {text}")
    return Box(Kind(int(topology.kinds[group[0].vertex])).name.lower(), tuple(lines), x, y)


def _condensed(topology: Topology, hosts: Ints, network: Ints) -> Layout:
    """A box for each host, and the switches above."""
    per_host = np.bincount(np.searchsorted(hosts, topology.hosts[topology.ranks]), minlength=len(hosts))
    owner = np.searchsorted(hosts, topology.hosts)
    boxes: list[Box] = []
    left = 0.0
    for number, host in enumerate(hosts.tolist()):
        count = int(per_host[number])
        box = Box("host", (host_name(topology, host), f"{count} {'rank' if count == 1 else 'ranks'}"), 0.0, 0.0)
        boxes.append(replace(box, x=left + box.width / 2))
        left += box.width + GAP
    owner[topology.hosts == NO_HOST] = -1
    _add_switches(topology, network, owner, boxes, 0.0)
    return _placed(boxes, _edges(topology, owner), [])


def _schematic(topology: Topology, hosts: Ints) -> Layout:
    """A box for each level, one above the other, and a line for what leads from one to another."""
    level = levels(topology)
    numbers, counts = np.unique(level, return_counts=True)
    where = {at: i for i, at in enumerate(numbers.tolist())}
    boxes = []
    for at, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        switches = f"{count:,} {'switch' if count == 1 else 'switches'}"
        lines: tuple[str, ...] = (f"level {at}: {switches}" if at > 0 else f"{switches} without a way",)
        if at == 0 and len(hosts):
            lines = (f"{len(hosts):,} hosts", f"{len(topology.ranks):,} ranks")
        elif at == 0:
            lines = (f"{len(topology.ranks):,} ranks",)
        boxes.append(Box("host" if at == 0 else "switch", lines, 0.0, -ROW * where[at]))
    between: dict[tuple[int, int], list[Bundle]] = {}
    for bundle in bundles(topology):
        between.setdefault((where[bundle.low], where[bundle.high]), []).append(bundle)
    return _placed(boxes, [_summed(*ends, several) for ends, several in between.items()], [])


def _summed(a: int, b: int, several: Sequence[Bundle]) -> Edge:
    """All bundles between two levels as one line, the three largest named."""
    out = sum(bundle.up * bundle.bandwidth for bundle in several if bundle.up)
    back = sum(bundle.down * bundle.bandwidth for bundle in several if bundle.down)
    count = max(sum(bundle.up for bundle in several), sum(bundle.down for bundle in several))
    largest = sorted(several, key=lambda bundle: -max(bundle.up, bundle.down))
    texts = [f"{max(bundle.up, bundle.down):,} × {rate(bundle.bandwidth)}" for bundle in largest[:3]]
    said = " + ".join([*texts, *(["…"] if len(several) > 3 else [])]) + f" = {rate(max(out, back))}"
    return Edge(a, b, out, back, count, min(bundle.latency_s for bundle in several), said)


def _edges(topology: Topology, owner: Ints) -> list[Edge]:
    """The links between the boxes that own their ends, −1 where there is none."""
    links = topology.links
    a, b = owner[links.src], owner[links.dst]
    kept = (a >= 0) & (b >= 0) & (a != b)
    a, b, bandwidth, latency_s = a[kept], b[kept], links.bandwidth[kept], links.latency_s[kept]
    pairs, number = np.unique(np.stack((np.minimum(a, b), np.maximum(a, b)), axis=1), axis=0, return_inverse=True)
    number = number.ravel()  # NumPy 2.0 gives it the shape of the table
    forth = a < b
    out = np.bincount(number[forth], bandwidth[forth], len(pairs))
    back = np.bincount(number[~forth], bandwidth[~forth], len(pairs))
    counts = [np.bincount(number[which], minlength=len(pairs)) for which in (forth, ~forth)]
    least_s = np.full(len(pairs), np.inf)
    np.minimum.at(least_s, number, latency_s)
    columns = (pairs[:, 0], pairs[:, 1], out, back, np.maximum(*counts), least_s)
    return [Edge(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _middle(topology: Topology, vertex: int, owner: Ints, boxes: Sequence[Box]) -> float:
    """The mean place of the boxes to which a vertex is linked; 0 where there are none."""
    links = topology.links
    near = np.concatenate((links.dst[links.src == vertex], links.src[links.dst == vertex]))
    places = [boxes[i].x for i in owner[near].tolist() if i >= 0]
    return sum(places) / len(places) if places else 0.0


def _apart(boxes: Sequence[Box], middles: Sequence[float]) -> list[Box]:
    """Boxes of one row near their places, moved apart where they would lie on one another; in the same order."""
    order = sorted(range(len(boxes)), key=lambda i: middles[i])
    placed: dict[int, float] = {}
    end = -np.inf
    for i in order:
        placed[i] = max(middles[i], end + boxes[i].width / 2)
        end = placed[i] + boxes[i].width / 2 + GAP
    shift = sum(placed[i] - middles[i] for i in order) / max(1, len(order))
    return [replace(box, x=float(placed[i] - shift)) for i, box in enumerate(boxes)]


def _placed(boxes: Sequence[Box], edges: Sequence[Edge], frames: Sequence[Frame]) -> Layout:
    """Everything moved so that it begins at 0, with room for arcs above the highest row."""
    lefts = [box.x - box.width / 2 for box in boxes] + [frame.left for frame in frames]
    rights = [box.x + box.width / 2 for box in boxes] + [frame.right for frame in frames]
    rights += [rights[e.a] + 40 + CHARACTER * len(e.label) for e in edges if e.a == e.b]  # a loop, its label behind it
    tops = [box.y for box in boxes] + [frame.top for frame in frames]
    bottoms = [box.y + BOX_HEIGHT for box in boxes] + [frame.bottom for frame in frames]
    left, top = min(lefts), min(tops) - _room(boxes, edges)
    return Layout(
        tuple(replace(box, x=box.x - left, y=box.y - top) for box in boxes),
        tuple(edges),
        tuple(replace(f, left=f.left - left, right=f.right - left, top=f.top - top, bottom=f.bottom - top)
              for f in frames),
        max(rights) - left, max(bottoms) - top, "",
    )  # fmt: skip


def _room(boxes: Sequence[Box], edges: Sequence[Edge]) -> float:
    top = min(box.y for box in boxes)
    return max(
        (arc_height(boxes[e.a], boxes[e.b]) / 2 for e in edges if boxes[e.a].y == boxes[e.b].y == top), default=0.0
    )


def arc_height(a: Box, b: Box) -> float:
    """How high above two boxes of one row the control point of the line between them lies."""
    return min(120.0, 16 + abs(a.x - b.x) / 6)


def _stacked(above: Layout, below: Layout) -> Layout:
    """Two pictures, one above the other, both in the middle."""
    width = max(above.width, below.width)
    right, down = (width - below.width) / 2, above.height + ROW / 2
    shift = (width - above.width) / 2
    return Layout(
        tuple(replace(box, x=box.x + shift) for box in above.boxes)
        + tuple(replace(box, x=box.x + right, y=box.y + down) for box in below.boxes),
        above.edges + tuple(replace(e, a=e.a + len(above.boxes), b=e.b + len(above.boxes)) for e in below.edges),
        tuple(replace(f, left=f.left + right, right=f.right + right, top=f.top + down, bottom=f.bottom + down)
              for f in below.frames),
        width, down + below.height, "",
    )  # fmt: skip


def host_name(topology: Topology, host: int) -> str:
    """What a host is called: what the names of all its vertices have before a point, or its number."""
    heads = {topology.names[int(v)].partition(".")[0] for v in np.flatnonzero(topology.hosts == host)}
    return heads.pop() if len(heads) == 1 else f"host {host}"


def short_name(topology: Topology, vertex: int) -> str:
    """The name of a vertex without that of its host."""
    name, host = topology.names[vertex], int(topology.hosts[vertex])
    head = "" if host == NO_HOST else f"{host_name(topology, host)}."
    return name.removeprefix(head) or name


def rate(bytes_per_s: float) -> str:
    """A bandwidth in words."""
    if not np.isfinite(bytes_per_s):
        return "no limit"
    return f"{bytes_per_s / 1e12:.4g} TB/s" if bytes_per_s >= 1e13 else f"{bytes_per_s / 1e9:.4g} GB/s"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers, neighbours as a range: `0-3,8`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
