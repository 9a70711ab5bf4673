"""What NCCL's model wants to know of a machine, from a topology: nodes, channels, and the rates of channels.

NCCL searches the machine for rings, trees and NVLS heads that share no bandwidth: it tries rates of a channel one after
another, and keeps the one at which channels times rate is largest. On a node whose GPUs are joined by switches that
search has the closed form below, with the link rates that NCCL reckons with rather than the vendor's. What cannot be
known from a topology, or is not searched for here, stands in the notes of the machine.

Source: ncclTopoCompute, ncclTopoDupChannels and ncclTopoSearchTryNvls in src/graph/search.cc, ncclTopoNVLinkBw in
src/graph/topo.h of NVIDIA/nccl; version, commit and constants in nccl_model.toml.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from clusterbench.collectives.predictors.nccl_model import (
    Channels,
    Cpu,
    Link,
    Machine,
    NcclModelError,
    constants,
    generation,
)
from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Kind, Topology

_GB = 1e9
_WHOLE = 0.01
_EXACT = 1e-6
"""Of a channel: less than that is missing only by rounding."""


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of a topology as NCCL sees it."""

    gpus: Ints
    nvlink: float
    """Bytes/s out of one GPU over NVLink, nominal; 0 where there is none."""
    other: float
    """Bytes/s out of one GPU over anything in the node."""
    switched: bool
    """Whether the GPUs are joined by NVSwitches."""
    wires: NDArray[np.float64]
    """Bytes/s of the links between its GPUs."""
    reducing: bool
    ports: NDArray[np.float64]
    """Bytes/s of its network cards."""


def machine(topology: Topology, *, compute_capability: int | None = None, cpu: Cpu = "other") -> Machine:
    """The machine that NCCL's model is asked about, from a topology whose ranks are GPUs.

    GPUs joined by NVLink are one node even where they lie in several hosts, as NCCL takes them on a rack-scale system.
    Without `compute_capability` the generation is the one whose GPUs have the nearest NVLink bandwidth. Raises
    `NcclModelError` where a rank is no GPU or, as far as their links show, none of NVIDIA's, the GPUs of a node are not
    connected, or several nodes have no network.
    """
    if not (topology.kinds[topology.ranks] == Kind.GPU).all():
        raise NcclModelError(f"{topology.name}: a rank that is no GPU; expected GPUs, as NCCL runs on nothing else")
    node_of = _nodes(topology)
    first = int(node_of[topology.ranks[0]])
    sizes = np.unique(node_of[topology.ranks], return_counts=True)[1]
    node, nodes = _node(topology, node_of, first), len(sizes)
    notes = [
        "channels are those that a search through a switch would find, not NCCL's own search of the links",
        "network latency, the order of GPUs in channels and user settings are NCCL's defaults",
    ]
    if len(set(sizes.tolist())) > 1:
        notes.append(f"the nodes have {sizes.min()} to {sizes.max()} ranks; the model takes all as the first")
    if cpu == "other":
        notes.append("the CPU's vendor is not known; NCCL's limits of LL between nodes depend on it")
    if node.nvlink and not node.switched:
        notes.append("the GPUs are wired to each other; how many rings fit their wires was not searched")
    if compute_capability is None:
        if not topology.estimated:
            _refuse_other_wires(topology.name, node.wires)
        compute_capability = _guessed_capability(node.nvlink)
        notes.append(f"compute capability {compute_capability} is guessed from the bandwidth of the GPUs")
    intra = _intra(node, compute_capability, measured=topology.estimated)
    if len(node.gpus) > 1 and intra <= 0:
        raise NcclModelError(f"{topology.name}: the GPUs of a node have no links; expected NVLink or PCIe between them")
    if nodes > 1 and not len(node.ports):
        raise NcclModelError(f"{topology.name}: {nodes} nodes without a network between them")
    pcie = generation(compute_capability)["pcie"] * _GB
    ports = np.minimum(node.ports, pcie) if nodes > 1 else None
    ring = _ring(compute_capability, len(node.gpus), intra, ports)
    link: Link = "nvlink" if node.nvlink else "pci"
    return Machine(
        ranks=len(topology.ranks), nodes=nodes, compute_capability=compute_capability, ring=ring, tree=ring,
        nvls=_nvls(compute_capability, node, intra, ports), link=link, cpu=cpu, notes=tuple(notes),
    )  # fmt: skip


def _nodes(topology: Topology) -> Ints:
    """For each vertex the number of its node: hosts, put together where NVLink joins their GPUs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    src, dst = _nvlinks(topology)
    host_of = topology.hosts
    in_host = np.flatnonzero(host_of >= 0)
    _, first = np.unique(host_of[in_host], return_index=True)
    of_host = in_host[first][np.searchsorted(host_of[in_host][first], host_of[in_host])]
    size = topology.vertices
    ends = np.concatenate((src, in_host)), np.concatenate((dst, of_host))
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(size, size))
    found: Ints = connected_components(graph.tocsr(), directed=False)[1].astype(np.int64)
    return found


def _nvlinks(topology: Topology) -> tuple[Ints, Ints]:
    """Ends of the links that are NVLink: between GPUs, or between GPUs and a switch that has no other neighbours."""
    chosen = _is_nvlink(topology)
    return topology.links.src[chosen], topology.links.dst[chosen]


def _is_nvlink(topology: Topology) -> NDArray[np.bool_]:
    links, kinds = topology.links, topology.kinds
    gpu, switch = kinds == Kind.GPU, kinds == Kind.SWITCH
    mixed = np.zeros(topology.vertices, np.bool_)
    mixed[links.dst[switch[links.dst] & ~gpu[links.src]]] = True
    mixed[links.src[switch[links.src] & ~gpu[links.dst]]] = True
    member = gpu | (switch & ~mixed)
    chosen: NDArray[np.bool_] = member[links.src] & member[links.dst]
    return chosen


def _node(topology: Topology, node_of: Ints, number: int) -> _Node:
    links, kinds = topology.links, topology.kinds
    gpus = topology.ranks[node_of[topology.ranks] == number]
    inside = (node_of[links.src] == number) & (node_of[links.dst] == number)
    nvlink = _is_nvlink(topology) & inside
    finite = np.isfinite(links.bandwidth)
    out = np.bincount(links.src[nvlink & finite], links.bandwidth[nvlink & finite], topology.vertices)
    other = np.bincount(links.src[inside & finite], links.bandwidth[inside & finite], topology.vertices)
    wires = nvlink & finite & (kinds[links.src] == Kind.GPU) & (kinds[links.dst] == Kind.GPU)
    switches = np.unique(links.dst[nvlink & (kinds[links.dst] == Kind.SWITCH)])
    leaving = finite & (node_of[links.src] == number) & (node_of[links.dst] != number)
    cards, place = np.unique(links.src[leaving], return_inverse=True)
    return _Node(
        gpus=gpus,
        nvlink=float(out[gpus].min()),
        other=float(other[gpus].min()),
        switched=bool(len(switches)),
        wires=links.bandwidth[wires],
        reducing=bool(len(switches)) and bool(topology.reducing[switches].all()),
        ports=np.bincount(place, links.bandwidth[leaving], len(cards)).astype(np.float64),
    )


def _refuse_other_wires(name: str, wires: NDArray[np.float64]) -> None:
    """Raise where GPUs are wired at a rate that is no whole number of NVLinks, and so are not NVIDIA's.

    The links of an MI250X pass, as they are multiples of 50 GB/s: whose GPUs they are, a topology does not say.
    """
    nominal = [one["nvlink_nominal"] * _GB for one in constants()["generation"]]
    for rate in np.unique(wires).tolist():
        if not any(abs(rate / one - round(rate / one)) < _WHOLE and rate > one / 2 for one in nominal):
            raise NcclModelError(
                f"{name}: GPUs wired at {rate / _GB:g} GB/s, which no number of NVLinks gives; expected NVIDIA's GPUs, "
                "as NCCL's model is of no others, or their compute capability"
            )


def _guessed_capability(nvlink: float) -> int:
    """Of the generation whose GPUs have the nearest NVLink bandwidth; without NVLink, Ampere."""
    if nvlink <= 0:
        return 80
    known = constants()["generation"]
    return int(min(known, key=lambda one: abs(log(nvlink / (one["gpu_nominal"] * _GB))))["compute_capability"])


def _intra(node: _Node, compute_capability: int, *, measured: bool) -> float:
    """Bytes/s that NCCL reckons with out of one GPU; measured rates are taken as they are."""
    if measured:
        return node.nvlink or node.other
    table, pci = generation(compute_capability), constants()["pci"]
    if node.nvlink:
        return float(node.nvlink * table["nvlink"] / table["nvlink_nominal"])
    return float(node.other * pci["nccl"] / pci["nominal"])


def _speeds(compute_capability: int, nodes: bool) -> list[float]:
    """Rates of a channel to try, in bytes/s, falling."""
    table = constants()["channel_speeds"]["nodes" if nodes else "one_node"]
    of_generation = table.get(generation(compute_capability)["name"], table["before_hopper"])
    return [speed * _GB for speed in of_generation]


def _fitting(rate: float, speed: float) -> int:
    return int(rate / speed + _EXACT)


def _ring(compute_capability: int, gpus: int, intra: float, ports: NDArray[np.float64] | None) -> Channels:
    """Rings: each takes its rate once out of every GPU, and between nodes once out of one card."""
    limits = constants()["channels"]
    best = (0, 0.0)
    slowest = 0.0
    for speed in _speeds(compute_capability, ports is not None):
        if speed < slowest:
            break
        count = limits["most"] if gpus == 1 else min(limits["most"], _fitting(intra, speed))
        if ports is not None:
            count = min(count, sum(_fitting(float(port), speed) for port in ports))
        if count * speed > best[0] * best[1] * (1 + _EXACT):
            best = (count, speed)
            slowest = slowest or limits["least_share"] * speed
    count, speed = best
    if not count:  # slower than the slowest rate of the table: one channel at what there is
        rate = min(intra if gpus > 1 else np.inf, np.inf if ports is None else float(ports.max()))
        return Channels(1, rate, rate)
    late = compute_capability > 80 and speed < limits["after_ampere_doubled_from"] * _GB and count > limits["few"]
    if speed < limits["doubled_from"] * _GB or late:
        return Channels(count, speed, speed)
    doubled = min(2 * count, limits["most"])
    speed /= -(-doubled // count)
    return Channels(doubled, speed, speed)


def _nvls(compute_capability: int, node: _Node, intra: float, ports: NDArray[np.float64] | None) -> Channels | None:
    """NVLS: every GPU is the head of one channel; a GPU carries all channels once, and its own a second time."""
    efficiency = generation(compute_capability)["nvls_efficiency"]
    if not efficiency or not node.reducing or len(node.gpus) < 2:
        return None
    heads = min(len(node.gpus), constants()["channels"]["nvls_arity"])
    for speed in _speeds(compute_capability, ports is not None):
        if _fitting(intra, speed * (heads + 1)) and (ports is None or _fitting(float(ports.max()), speed)):
            return Channels(heads, speed, speed)
    return None
