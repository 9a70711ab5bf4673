"""A topology as it is written: a preset, a fabric, or a file, with options behind a colon.

`dgx-h100`, `fat-tree:nodes=128,node=dgx-h100,taper=2`, `leaf-spine:racks=2,hosts=4,ranks=round-robin`, `fabric.txt`.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.topology.cluster import cluster
from clusterbench.collectives.topology.fabric import Fabric, Wiring, fabrics, whole
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.network_file import guessed_link
from clusterbench.collectives.topology.papers import PAPERS, paper_topology
from clusterbench.collectives.topology.placement import BLOCK, placed
from clusterbench.collectives.topology.presets import preset, preset_names

MOST_NODES = 1 << 20
PLACEMENT = Option("ranks: block, round-robin, round-robin:N, random:SEED, or a file of vertices", BLOCK)
COMMON = {
    "nodes": Option("how many nodes", "2"),
    "node": Option("a host's name, or a file that describes one", "host"),
    "bandwidth": Option(
        "of a port, bytes/s one way, with K, M, G or T (powers of 1000); port: as the node says", "port"
    ),
    "latency": Option("of each link of the network, with ns, us, ms or s; auto: 350ns", "auto"),
    "ecmp": Option("seed of the hash that picks among parallel ways; no: a way for each destination", "no"),
    "ranks": PLACEMENT,
}
"""Options of every fabric."""

_SCALE = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}


def topology_from(text: str) -> Topology:
    """The topology that a text stands for. Raises `TopologyError`."""
    if _is_file(text):
        return _file(text)
    name, _, rest = text.partition(":")
    options = _options(text, rest)
    known = fabrics()
    if name in known:
        return _fabric(text, known[name], options)
    if name in preset_names():
        return _host(text, preset(name), options)
    if name in PAPERS:
        options = _known(name, options, {"nodes": Option("how many", "1"), "ranks": PLACEMENT})
        try:
            defined = paper_topology(name, whole("nodes", options["nodes"], 1, MOST_NODES))
        except TopologyError as error:
            raise TopologyError(f"{text[:120]}: {error}") from None
        return replace(placed(defined, options["ranks"]), name=text)
    if _is_file(name):
        return _described(text, _file(name), options)
    near = difflib.get_close_matches(name, [*known, *preset_names(), *PAPERS], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    expected = f"a file, a host ({', '.join([*preset_names(), *PAPERS])}) or a fabric ({', '.join(known)})"
    raise TopologyError(f"unknown topology {name[:80]!r}{hint}; expected {expected}")


def _is_file(text: str) -> bool:
    """Whether there is such a file; there is none of a name that is too long for one, for which `Path` raises."""
    return os.path.isfile(text)  # noqa: PTH113 # see above


def _file(path: str) -> Topology:
    from clusterbench.collectives.topology.file import read_topology

    return read_topology(Path(path))


def _options(text: str, rest: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for piece in filter(None, rest.split(",")):
        name, equals, value = (part.strip() for part in piece.partition("="))
        if not (name and equals and value):
            raise TopologyError(f"{text[:80]!r}: {piece[:40]!r}; expected OPTION=VALUE")
        if name in options:
            raise TopologyError(f"{text[:80]!r}: {name} is given twice; expected it once")
        options[name] = value
    return options


def _known(name: str, options: dict[str, str], known: dict[str, Option]) -> dict[str, str]:
    for option in options:
        if option not in known:
            raise TopologyError(f"{name} has no option {option[:40]!r}; it has {', '.join(known)}")
    return {**{option: of.default for option, of in known.items()}, **options}


def _described(text: str, described: Topology, options: dict[str, str]) -> Topology:
    """What a file describes, its hosts replaced by a node where one is given."""
    node = Option("what each host is like inside", "")
    options = _known(text.partition(":")[0], options, {"node": node, "ranks": PLACEMENT})
    if options["node"]:
        from clusterbench.collectives.topology.cluster_files import cluster_of_files

        described = cluster_of_files(described, _node(options["node"]))
    return replace(placed(described, options["ranks"]), name=text)


def _node(text: str) -> Topology:
    """A host: a preset, or a file that describes one. Raises `TopologyError`."""
    return preset(text) if text in preset_names() or not _is_file(text) else _file(text)


def _host(text: str, host: Topology, options: dict[str, str]) -> Topology:
    options = _known(host.name, options, {"ranks": PLACEMENT})
    return replace(placed(host, options["ranks"]), name=text)


def _fabric(text: str, fabric: Fabric, options: dict[str, str]) -> Topology:
    common = {name: option for name, option in COMMON.items() if name != "nodes" or fabric.nodes is None}
    options = _known(fabric.name, options, {**common, **fabric.options})
    try:
        nodes = fabric.nodes(options) if fabric.nodes else whole("nodes", options["nodes"], 1, MOST_NODES)
        if nodes > MOST_NODES:
            raise TopologyError(f"{nodes} nodes; expected at most {MOST_NODES}")
        node = _node(options["node"])
        if not len(node.ports):
            raise TopologyError(f"node={options['node']} has no port for a network; expected a host with network cards")
        wiring = Wiring(
            nodes=nodes,
            ports_per_node=len(node.ports),
            bandwidth=_bandwidth(options["bandwidth"], node),
            latency_s=_latency(options["latency"]),
            ecmp=None if options["ecmp"] == "no" else whole("ecmp", options["ecmp"], 0, 1 << 31),
            options={name: options[name] for name in fabric.options},
        )
        made = cluster(text, node, nodes, fabric.build(wiring), fabric.source)
        return placed(
            replace(made, warnings=(*made.warnings, *_uneven_ports(options["bandwidth"], node))), options["ranks"]
        )
    except TopologyError as error:
        raise TopologyError(f"{text[:120]}: {error}") from None


def _bandwidth(text: str, node: Topology) -> float:
    """Bytes/s of a port. Raises `TopologyError`."""
    if text == "port":
        known = node.port_bandwidth[~np.isnan(node.port_bandwidth)]
        if len(known) != len(node.ports):
            raise TopologyError(f"{node.name} does not say how fast its ports are; expected bandwidth=")
        return float(known.min())
    return _scaled("bandwidth", text, r"(?P<unit>[KMGT]?)", _SCALE)


def _uneven_ports(bandwidth: str, node: Topology) -> list[str]:
    """What is guessed where the ports of a node differ, and no rate is given."""
    if bandwidth != "port" or len(np.unique(node.port_bandwidth)) == 1:
        return []
    least = float(node.port_bandwidth.min()) / 1e9
    return [f"the ports of {node.name} differ; all are taken for the slowest, {least:g} GB/s: give bandwidth="]


def _latency(text: str) -> float:
    if text == "auto":
        return guessed_link().latency_s
    if text == "0":
        return 0.0
    return _scaled("latency", text, r"(?P<unit>ns|us|µs|ms|s|)", _SECONDS)


def _scaled(name: str, text: str, unit: str, scales: dict[str, float]) -> float:
    found = re.fullmatch(rf"(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?){unit}", text)
    value = float(found["number"]) * scales[found["unit"]] if found else 0.0
    if not 0 < value < 1e18:
        units = ", ".join(filter(None, scales))
        raise TopologyError(f"{name}={text[:40]}; expected a number above 0, with one of {units} behind it")
    return value
