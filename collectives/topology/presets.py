"""Hosts whose figures are known: TOML files in `collectives/nodes/`, each with the source and date of its figures.

A file has `summary`, `source` and `date`, groups of vertices, and groups of links::

    [[vertices]]
    name = "gpu"        # gpu0 to gpu7; without `count` one vertex of just that name
    kind = "gpu"        # or cpu, nic, switch
    count = 8
    reducing = false    # whether it reduces and multicasts
    port_bandwidth_bytes_per_s = 50e9   # of a vertex at which a network is plugged in

    [[links]]           # both ways
    between = ["gpu", "nvswitch"]
    pattern = "all"     # each with each, also inside one group
    bandwidth_bytes_per_s = 450e9
    latency_s = 0.35e-6

The pattern `each` joins the i-th of n with the one of m at the same share of the way, i·m div n, as GPUs lie on PCIe
switches; `pairs` lists [i, j] or [i, j, multiple of the bandwidth].
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from itertools import combinations, product
from typing import Any

import numpy as np

from clusterbench.collectives import nodes as catalogue
from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError, both_ways, joined, links, topology

Table = dict[str, Any]


def preset_names() -> list[str]:
    """Names of all presets, in alphabetical order."""
    return sorted(f.name.removesuffix(".toml") for f in files(catalogue).iterdir() if f.name.endswith(".toml"))


def preset(name: str) -> Topology:
    """The host of that name. Raises `TopologyError` where there is none, or its file is not as it must be."""
    if name not in preset_names():
        raise TopologyError(f"unknown host {name!r}; expected one of {', '.join(preset_names())}")
    text = files(catalogue).joinpath(f"{name}.toml").read_text("utf-8")
    try:
        return _built(name, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise TopologyError(f"{name}.toml: {type(error).__name__}: {error}") from None


def _built(name: str, table: Table) -> Topology:
    names: list[str] = []
    kinds: list[Kind] = []
    reducing: list[bool] = []
    ports: list[int] = []
    port_bandwidth: list[float] = []
    groups: dict[str, range] = {}
    for group in table["vertices"]:
        first = len(names)
        count = group.get("count")
        names += [group["name"]] if count is None else [f"{group['name']}{i}" for i in range(count)]
        groups[group["name"]] = range(first, len(names))
        kinds += [Kind[group["kind"].upper()]] * (len(names) - first)
        reducing += [bool(group.get("reducing", False))] * (len(names) - first)
        if "port_bandwidth_bytes_per_s" in group:
            ports += groups[group["name"]]
            port_bandwidth += [float(group["port_bandwidth_bytes_per_s"])] * (len(names) - first)
    every = []
    for group in table.get("links", []):
        ends = np.array(_pairs(group, groups), float)
        ends = ends if ends.shape[1] == 3 else np.column_stack((ends, np.ones(len(ends))))
        bandwidth = ends[:, 2] * float(group["bandwidth_bytes_per_s"])
        every.append(links(ends[:, 0], ends[:, 1], bandwidth, float(group["latency_s"])))
    return topology(
        name=name,
        kinds=kinds,
        names=names,
        links=both_ways(joined(every)),
        reducing=reducing,
        ports=np.array(ports, np.int64),
        port_bandwidth=np.array(port_bandwidth, float),
        source=f"{table['source']} ({table['date']})",
        warnings=table.get("warnings", ()),
    )


def _pairs(group: Table, groups: dict[str, range]) -> list[tuple[int, ...]]:
    one, other = (groups[name] for name in group["between"])
    match group["pattern"]:
        case "all":
            return list(combinations(one, 2) if one == other else product(one, other))
        case "each":
            return [(one[i], other[i * len(other) // len(one)]) for i in range(len(one))]
        case "pairs":
            return [(one[i], other[j], *multiple) for i, j, *multiple in group["pairs"]]
    raise ValueError(f"pattern {group['pattern']!r}; expected all, each or pairs")
