"""Topologies as papers on collectives define them, of one or more nodes: what their results can be compared on.

The figures are in `collectives/topology/papers.toml`, with paper, source and commit. They are those of the papers' own
code, not of a vendor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from clusterbench.collectives.topology.graph import (
    NO_HOST,
    Kind,
    Links,
    Topology,
    TopologyError,
    both_ways,
    joined,
    links,
    topology,
)

MOST_NODES = 1024


def paper_topology(name: str, nodes: int = 1) -> Topology:
    """A topology by the name of its definition, of so many nodes. Raises `TopologyError`."""
    if name not in PAPERS:
        raise TopologyError(f"unknown topology {name!r}; expected one of {', '.join(PAPERS)}")
    return PAPERS[name](nodes)


def teccl_ndv2(nodes: int = 1) -> Topology:
    """NDv2 as TE-CCL has it: two chassis are linked directly, more by a switch. Raises `TopologyError`."""
    facts = _facts("teccl-ndv2", nodes, MOST_NODES)
    inside = _mesh(facts["nvlinks"], facts["nvlink_bytes_per_s"], facts["nvlink_latency_s"])
    gpus = len(facts["nvlinks"])
    parts = [inside.moved(node * gpus) for node in range(nodes)]
    first = np.arange(nodes) * gpus
    sends, receives = (first + facts[end][0] for end in ("sends", "receives"))
    if nodes == 2:
        parts.append(_network(facts, sends, receives[::-1]))
    if nodes > 2:
        switch = nodes * gpus
        parts += [_network(facts, sends, switch), _network(facts, switch, receives)]
    return _made("teccl-ndv2", facts, nodes, _gpu_names(nodes, gpus), parts, switches=["switch"] if nodes > 2 else [])


def teccl_dgx2(nodes: int = 1) -> Topology:
    """DGX-2 as TE-CCL has it, which is defined for one chassis and two. Raises `TopologyError`."""
    facts = _facts("teccl-dgx2", nodes, 2)
    gpus = facts["gpus"]
    parts = [_star(gpus, nodes * gpus + node, node, facts) for node in range(nodes)]
    if nodes == 2:
        sends, receives = np.array(facts["sends"]), np.array(facts["receives"])
        parts += [_network(facts, sends, receives + gpus), _network(facts, sends + gpus, receives)]
    names = [*_gpu_names(nodes, gpus), *(f"h{node}.nvswitch" for node in range(nodes))]
    return _made("teccl-dgx2", facts, nodes, names, parts, switches=[])


def forestcoll_a100(nodes: int = 1) -> Topology:
    """DGX A100 as ForestColl has it: network cards, and their switches, from two nodes on. Raises `TopologyError`."""
    facts = _facts("forestcoll-a100", nodes, MOST_NODES)
    gpus, switches = facts["gpus"], facts["network_switches"]
    parts = [_star(gpus, nodes * gpus + node, node, facts) for node in range(nodes)]
    names = [*_gpu_names(nodes, gpus), *(f"h{node}.nvswitch" for node in range(nodes))]
    if nodes == 1:
        return _made("forestcoll-a100", facts, nodes, names, parts, switches=[])
    gpu = np.arange(nodes * gpus)
    card = len(names) + gpu
    names += [f"h{node}.nic{number}" for node in range(nodes) for number in range(gpus)]
    switch = len(names) + gpu % gpus % switches
    parts += [both_ways(_network(facts, gpu, card)), both_ways(_network(facts, card, switch))]
    return _made("forestcoll-a100", facts, nodes, names, parts, switches=[f"switch{i}" for i in range(switches)])


def forestcoll_mi250(nodes: int = 1) -> Topology:
    """MI250 as ForestColl has it: every die on one network switch, from two nodes on. Raises `TopologyError`."""
    facts = _facts("forestcoll-mi250", nodes, MOST_NODES)
    inside, gpus = _mesh(facts["xgmi_links"], facts["xgmi_bytes_per_s"], 0.0), len(facts["xgmi_links"])
    parts = [inside.moved(node * gpus) for node in range(nodes)]
    if nodes > 1:
        parts.append(both_ways(_network(facts, np.arange(nodes * gpus), nodes * gpus)))
    names = _gpu_names(nodes, gpus)
    return _made("forestcoll-mi250", facts, nodes, names, parts, switches=["switch"] if nodes > 1 else [])


PAPERS: dict[str, Callable[[int], Topology]] = {
    "teccl-ndv2": teccl_ndv2,
    "teccl-dgx2": teccl_dgx2,
    "forestcoll-a100": forestcoll_a100,
    "forestcoll-mi250": forestcoll_mi250,
}
"""Each takes the number of nodes."""


def _facts(name: str, nodes: int, most: int) -> dict[str, Any]:
    if not 1 <= nodes <= most:
        raise TopologyError(f"{name}: {nodes} nodes; expected 1 to {most}, for which it is defined")
    text = files("clusterbench.collectives.topology").joinpath("papers.toml").read_text("utf-8")
    facts: dict[str, Any] = tomllib.loads(text)[name]
    return facts


def _gpu_names(nodes: int, gpus: int) -> list[str]:
    return [f"h{node}.gpu{gpu}" for node in range(nodes) for gpu in range(gpus)]


def _mesh(counts: list[list[int]], bytes_per_s: float, latency_s: float) -> Links:
    """Links from each to each, as a matrix counts them: those between two are one of their bandwidth together."""
    matrix = np.array(counts)
    src, dst = np.nonzero(matrix)
    return links(src, dst, matrix[src, dst] * bytes_per_s, latency_s)


def _star(gpus: int, switch: int, node: int, facts: dict[str, Any]) -> Links:
    """All GPUs of a node on its switch."""
    gpu = node * gpus + np.arange(gpus)
    return both_ways(links(gpu, switch, facts["nvlink_bytes_per_s"], facts.get("nvlink_latency_s", 0.0)))


def _network(facts: dict[str, Any], src: Any, dst: Any) -> Links:
    return links(src, dst, facts["network_bytes_per_s"], facts.get("network_latency_s", 0.0))


def _made(
    name: str, facts: dict[str, Any], nodes: int, names: list[str], parts: list[Links], switches: list[str]
) -> Topology:  # fmt: skip
    """The topology: vertices are named after their node and kind, and switches of the network come last."""
    kinds = {"gpu": Kind.GPU, "nic": Kind.NIC, "nvswitch": Kind.SWITCH}
    words = [one.partition(".") for one in names]
    without = "" if "network_latency_s" in facts else f"{name}: its definition has no latencies; they are taken as 0"
    return topology(
        name=f"{name}:nodes={nodes}" if nodes > 1 else name,
        kinds=[*(kinds[kind.rstrip("0123456789")] for _, _, kind in words), *(Kind.SWITCH for _ in switches)],
        names=[*names, *switches],
        links=joined(parts),
        hosts=[*(int(host[1:]) for host, _, _ in words), *(NO_HOST for _ in switches)],
        ports=[],
        source=f"{facts['paper']}; {facts['source']}",
        warnings=[without] if without else [],
    )
