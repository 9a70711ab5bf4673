"""Slurm's own description of the network, `topology.conf` and `topology.yaml`: names of switches and hosts, no speeds.

Of a `topology.yaml` with several topologies the default of the cluster is read, or the first. A flat one names no
hosts, so that another of the same file is taken in its place. `LinkSpeed` has no unit, and Slurm does not use it
either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod

from clusterbench.collectives.topology.file import Format, whole_number
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.hostlist import MOST_NAMES, expanded
from clusterbench.collectives.topology.slurm import SOURCE, Grid, Group, blocks, grids, tree
from clusterbench.collectives.topology.yaml_tree import Node, read_yaml

CONF_KEYS = {
    "switchname": {"nodes", "switches", "linkspeed"},
    "blockname": {"nodes"},
    "ringname": {"nodes"},
}
"""What a record of `topology.conf` may begin with, and what may follow."""
CONF_EXPECTED = "SwitchName=, BlockName= or RingName= with Nodes= or Switches=, or BlockSizes="
PLUGINS = ("block", "flat", "ring", "torus3d", "tree")
HEAD_LINES = 1000
"""Of a file, among which the first that is no comment must be."""

_CONF = re.compile(r"\s*(?:switchname|blockname|ringname|blocksizes)\s*=", re.IGNORECASE)
_YAML = re.compile(rf"[-\[]\s*+\{{?\s*+[\"']?(?:topology|cluster_default|{'|'.join(PLUGINS)})[\"']?\s*+:")
_PAIR = re.compile(r'\s*([A-Za-z]\w*)\s*=\s*("[^"]*"|[^\s"]+)')


def recognises(text: str) -> bool:
    """By the first lines that are no comments: a record of `topology.conf`, or a list whose first item begins with
    something that a topology has, in whatever order."""
    head = "\n".join(islice(_significant(text), 3))  # a bracket, a brace and a key may each be on a line of its own
    return bool(_CONF.match(head) or _YAML.match(head))


def _significant(text: str) -> Iterator[str]:
    """Of the first lines those that are neither empty nor comments nor the head of a YAML document."""
    position = 0
    for _ in range(HEAD_LINES):
        end = text.find("\n", position)
        line = text[position : end if end >= 0 else len(text)].partition("#")[0].rstrip()
        if line and line not in ("---", "\\"):
            yield line
        if end < 0:
            return
        position = end + 1


def read(text: str, where: str) -> Topology:
    """The network. Raises `TopologyError`."""
    first = next(_significant(text), "")
    return _read_yaml(text, where) if first.startswith(("-", "[", "{")) else _read_conf(text, where)


@dataclass(slots=True)
class _Lists:
    """Expands hostlists, of a file all together no more names than a cluster may have."""

    left: int = MOST_NAMES

    def names(self, text: str, where: str) -> list[str]:
        names = expanded(text, where, self.left)
        self.left -= len(names)
        return names


def _read_conf(text: str, where: str) -> Topology:
    lists, kind, groups, sizes, sizes_where = _Lists(), "", list[Group](), list[int](), where
    warnings: list[str] = []
    for number, line in _logical_lines(text):
        at = f"{where}, line {number}"
        pairs = _pairs(line, at)
        if list(pairs) == ["blocksizes"]:
            sizes = [whole_number(size, at, "block size", 1) for size in pairs["blocksizes"].split(",")]
            sizes_where = at
            continue
        found = [key for key in pairs if key in CONF_KEYS]
        if len(found) != 1 or set(pairs) - {found[0]} - CONF_KEYS[found[0]]:
            raise TopologyError(f"{at}: {', '.join(pairs)}; expected {CONF_EXPECTED}")
        if kind not in ("", found[0]):
            raise TopologyError(f"{at}: {found[0]} in a file of {kind}; expected one kind of them")
        kind = found[0]
        name = pairs[kind]
        hosts = lists.names(pairs["nodes"], at) if "nodes" in pairs else []
        groups.append(Group(name, at, hosts, lists.names(pairs["switches"], at) if "switches" in pairs else []))
        if "linkspeed" in pairs and not warnings:
            warnings.append("LinkSpeed is left out: its unit is arbitrary, and Slurm does not use it")
    if not groups:
        raise TopologyError(f"{where}: no switch, block or ring; expected {CONF_EXPECTED}")
    if sizes and kind != "blockname":
        raise TopologyError(f"{sizes_where}: BlockSizes without blocks; expected BlockName=")
    if kind == "switchname":
        return tree(where, groups, warnings)
    if kind == "blockname":
        return blocks(where, groups, sizes, sizes_where)
    return grids(where, [_ring(group.name, group.where, group.hosts) for group in groups])


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, those behind a backslash joined to it, each with the number of its first."""
    pending: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition("#")[0].rstrip()
        first = first if pending else number
        if line.endswith("\\"):
            pending.append(line[:-1])
            continue
        whole = "".join([*pending, line])
        pending = []
        if whole.strip():
            yield first, whole
    if "".join(pending).strip():
        yield first, "".join(pending)


def _pairs(line: str, at: str) -> dict[str, str]:
    """The values of a line by key, keys in lower case."""
    pairs: dict[str, str] = {}
    position, end = 0, len(line.rstrip())
    while position < end:
        found = _PAIR.match(line, position)
        if found is None:
            raise TopologyError(f"{at}: {line[position:].strip()[:60]!r}; expected KEY=VALUE")
        key = found[1].lower()
        if key in pairs:
            raise TopologyError(f"{at}: a second {found[1][:40]}=; expected it once")
        pairs[key] = found[2].strip('"')
        if not pairs[key]:
            raise TopologyError(f"{at}: {found[1][:40]}= without a value; expected one")
        position = found.end()
    return pairs


def _ring(name: str, where: str, hosts: Sequence[str]) -> Grid:
    if not hosts:
        raise TopologyError(f"{where}: ring {name[:60]} has no nodes; expected at least one")
    return Grid(name, where, (len(hosts),), hosts)


def _read_yaml(text: str, where: str) -> Topology:
    topologies = read_yaml(text, where).sequence("the file")
    if not topologies:
        raise TopologyError(f"{where}: an empty list; expected topologies")
    choices = [_choice(node) for node in topologies]
    asked = next((choice for choice in choices if choice.default), choices[0])
    chosen = next((choice for choice in (asked, *choices) if choice.plugin != "flat"), asked)
    if chosen.plugin == "flat":
        raise chosen.body.error(f"topology {chosen.name!r} is flat, and names no hosts; expected one that names them")
    if chosen is not asked:
        warnings = [f"the topology {asked.name!r} is flat and names no hosts: {chosen.name!r} is read in its place"]
    else:
        warnings = [f"of {len(choices)} topologies {chosen.name!r} is read"] if len(choices) > 1 else []
    return _built(where, chosen.plugin, chosen.body, warnings)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One topology of several."""

    name: str
    plugin: str
    body: Node
    default: bool


def _choice(node: Node) -> _Choice:
    entries = node.mapping("a topology", "topology", "cluster_default", *PLUGINS)
    name = _entry(node, "topology", "a topology").scalar("topology")[:60]
    plugins = [key for key in entries if key in PLUGINS]
    if len(plugins) != 1:
        found = " and ".join(plugins) or "none"
        raise node.error(f"topology {name!r} has {found}; expected one of {', '.join(PLUGINS)}")
    default = "cluster_default" in entries and _truth(entries["cluster_default"], "cluster_default")
    return _Choice(name, plugins[0], entries[plugins[0]], default)


def _truth(node: Node, what: str) -> bool:
    """A truth value, in the words that YAML 1.1 has for it."""
    word = node.scalar(what)
    if word.lower() in ("true", "yes", "on", "y"):
        return True
    if word.lower() in ("false", "no", "off", "n"):
        return False
    raise node.error(f"{what} is {word[:40]!r}; expected true or false")


def _built(where: str, kind: str, body: Node, warnings: list[str]) -> Topology:
    lists = _Lists()
    if kind == "tree":
        body.mapping("tree", "switches")
        return tree(where, _groups(body, "switches", "switch", lists), warnings)
    if kind == "block":
        entries = body.mapping("block", "block_sizes", "blocks")
        sizes_node = entries.get("block_sizes", Node(body.where, items=[]))
        sizes = [whole_number(node.scalar("a block size"), node.where, "block size", 1)
                 for node in sizes_node.sequence("block_sizes")]  # fmt: skip
        return blocks(where, _groups(body, "blocks", "block", lists), sizes, sizes_node.where, warnings)
    if kind == "ring":
        body.mapping("ring", "rings")
        groups = _groups(body, "rings", "ring", lists)
        return grids(where, [_ring(group.name, group.where, group.hosts) for group in groups], warnings)
    body.mapping("torus3d", "toruses")
    nodes = _entry(body, "toruses", "torus3d").sequence("toruses")
    return grids(where, [_torus(node, lists) for node in nodes], warnings)


def _entry(node: Node, key: str, what: str) -> Node:
    """An entry that must be there."""
    entries = node.entries or {}
    if key not in entries:
        raise node.error(f"{what} has no {key}; expected one")
    return entries[key]


def _groups(body: Node, plural: str, singular: str, lists: _Lists) -> list[Group]:
    """Switches, blocks or rings."""
    groups = []
    for node in _entry(body, plural, "the topology").sequence(plural):
        entries = node.mapping(f"a {singular}", singular, "nodes", *(["children"] if singular == "switch" else []))
        name = _entry(node, singular, f"a {singular}").scalar(singular)
        names = [_names(entries[key], key, lists) if key in entries else [] for key in ("nodes", "children")]
        groups.append(Group(name, node.where, *names))
    return groups


def _names(node: Node, what: str, lists: _Lists) -> list[str]:
    """A hostlist, or a list of them."""
    parts = [node] if node.text is not None else node.sequence(what)
    return lists.names(",".join(part.scalar(what) for part in parts), node.where)


def _torus(node: Node, lists: _Lists) -> Grid:
    entries = node.mapping("a torus", "name", "dims", "nodes", "regions", "placements")
    name = _entry(node, "name", "a torus").scalar("name")
    dims = _triple(_entry(node, "dims", "a torus"), "dims", 1)
    if prod(dims) > MOST_NAMES:
        raise node.error(f"torus {name[:60]!r} has {prod(dims)} places; expected at most {MOST_NAMES}")
    if ("nodes" in entries) == ("regions" in entries):
        raise node.error(f"torus {name[:60]!r}; expected either nodes or regions")
    if "nodes" in entries:
        hosts = _names(entries["nodes"], "nodes", lists)
        if len(hosts) != prod(dims):
            raise node.error(f"torus {name[:60]!r} has {len(hosts)} nodes; expected {prod(dims)}, one for each place")
        return Grid(name, node.where, dims, hosts)
    places: list[str | None] = [None] * prod(dims)
    for region in entries["regions"].sequence("regions"):
        _fill(places, dims, region, lists)
    return Grid(name, node.where, dims, places)


def _fill(places: list[str | None], dims: tuple[int, ...], region: Node, lists: _Lists) -> None:
    """Put the hosts of a region into their places, x fastest."""
    entries = region.mapping("a region", "anchor", "dims", "nodes")
    anchor = _triple(_entry(region, "anchor", "a region"), "anchor", 0)
    size = _triple(_entry(region, "dims", "a region"), "dims", 1)
    if any(first + length > dim for first, length, dim in zip(anchor, size, dims, strict=True)):
        raise region.error(f"a region of {size} at {anchor} in a torus of {dims}; expected it inside")
    hosts = _names(_entry(region, "nodes", "a region"), "nodes", lists)
    if len(hosts) != prod(size):
        raise entries["nodes"].error(f"{len(hosts)} nodes; expected {prod(size)}, one for each place of the region")
    for number, host in enumerate(hosts):
        x, y, z = (number % size[0], number // size[0] % size[1], number // (size[0] * size[1]))
        place = anchor[0] + x + dims[0] * (anchor[1] + y + dims[1] * (anchor[2] + z))
        if places[place] is not None:
            raise region.error(f"{host} where {places[place]} is already; expected regions that do not overlap")
        places[place] = host


def _triple(node: Node, what: str, low: int) -> tuple[int, int, int]:
    node.mapping(what, "x", "y", "z")
    x, y, z = (whole_number(_entry(node, key, what).scalar(key), node.where, key, low) for key in "xyz")
    return x, y, z


FORMAT = Format(
    name="slurm-topology",
    summary="Slurm's topology.conf and topology.yaml: trees, blocks, rings and tori of hosts, without speeds",
    source=f"{SOURCE}; SchedMD/slurm 284c3b95",
    recognises=recognises,
    read=read,
)
