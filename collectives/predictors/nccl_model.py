"""The model by which NCCL chooses: the time of a collective for every algorithm and protocol, and the fastest of them.

    time = latency + size / algbw

    nsteps       2(p − 1) all_reduce, p − 1 all_gather and reduce_scatter, p broadcast and reduce
    ring         latency  base + (nsteps − between)·max(hop, overhead) + between·network hop, between = nsteps for N
                 algbw    channels·rate·share·p/nsteps
    tree         latency  base + 2((p/N − 1)·hop + log2(N)·network hop)
                 algbw    channels·rate·share/2, times the correction of its size
    nvls         latency  hop (+ network hop)
                 algbw    channels·rate·efficiency·(channels − 1)/channels, doubled and times p/nsteps for all_reduce
    nvls_tree    latency  base + hop + 2·log2(N)·network hop
    pat          latency  base + log2(N)·network hop/3.5 + 2.8 µs·p

with p ranks on N nodes. It is a prediction of what NCCL will choose, and a rough one of how long that takes: its
constants were fitted by its authors to their machines, and networks whose hop costs more (libfabric plug-ins) are a
factor of two away. CollNet (reduction in the network), user tuning plug-ins and registered buffers are left out.

Source: src/graph/tuning.cc of NVIDIA/nccl; version and commit in nccl_model.toml, with every constant.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar, Literal

Link = Literal["nvlink", "pci"]
Cpu = Literal["intel", "amd", "other"]

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce")
"""What the model covers; NCCL sends the others as messages and does not model them."""
ALGORITHMS = ("tree", "ring", "nvls", "nvls_tree", "pat")
PROTOCOLS = ("ll", "ll128", "simple")
_GB = 1e9
_US = 1e-6


class NcclModelError(ValueError):
    """What the model cannot answer: the message names what was found and what was expected."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Channels:
    """What NCCL's search gives for an algorithm: channels, and bytes/s of each, in a node and between nodes."""

    count: int
    intra: float
    inter: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What the model wants to know of a machine. `nccl_machine.machine` derives one from a topology."""

    ranks: int
    nodes: int
    compute_capability: int
    """Of the GPUs: 70 V100, 80 A100, 90 H100, 100 B200."""
    ring: Channels
    tree: Channels
    nvls: Channels | None = None
    """None without NVSwitches that reduce."""
    link: Link = "nvlink"
    """What connects the GPUs of a node."""
    cpu: Cpu = "other"
    network_latency_s: float = 0.0
    """Of the network device, as its plug-in reports it, on top of the model's constants."""
    same_channels: bool = True
    """Whether all channels visit the GPUs in one order; only broadcast and reduce depend on it."""
    notes: tuple[str, ...] = ()
    """What was guessed, one sentence each."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= self.ranks:
            raise NcclModelError(f"{self.ranks} ranks on {self.nodes} nodes; expected 1 node to as many as ranks")
        if self.compute_capability < constants()["generation"][0]["compute_capability"]:
            raise NcclModelError(f"compute capability {self.compute_capability}; expected 60 or more, such as 90")
        for name in ("ring", "tree", "nvls"):
            channels = getattr(self, name)
            if channels is not None and not (channels.count >= 1 and channels.intra > 0 and channels.inter > 0):
                raise NcclModelError(f"{name} {channels}; expected at least one channel, and rates above 0 bytes/s")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one algorithm and protocol: time = latency_s + size_bytes / algbw."""

    algorithm: str
    protocol: str
    time_s: float
    latency_s: float
    algbw: float
    """Bytes/s."""


@lru_cache(maxsize=1)
def constants() -> dict[str, Any]:
    """The model's constants, as in nccl_model.toml: microseconds and GB/s."""
    return tomllib.loads(files("clusterbench.collectives.predictors").joinpath("nccl_model.toml").read_text("utf-8"))


def generation(compute_capability: int) -> dict[str, Any]:
    """The constants of the newest generation of GPUs that is not newer than this one."""
    found: dict[str, Any] = [
        one for one in constants()["generation"] if one["compute_capability"] <= compute_capability
    ][-1]
    return found


def choose(machine: Machine, collective: str, size_bytes: int) -> Prediction:
    """What NCCL would run: the fastest of `predictions`. Raises `NcclModelError` as that does."""
    return predictions(machine, collective, size_bytes)[0]


def predictions(machine: Machine, collective: str, size_bytes: int) -> list[Prediction]:
    """The times of every algorithm and protocol that NCCL enables here, the fastest first.

    `size_bytes` is nccl-tests' size: the vector, or all ranks' parts together. Raises `NcclModelError` for a collective
    that the model does not cover, a size below 0, and a single rank.
    """
    if collective not in COLLECTIVES:
        raise NcclModelError(f"{collective}: NCCL does not model it; expected one of {', '.join(COLLECTIVES)}")
    if size_bytes < 0:
        raise NcclModelError(f"a size of {size_bytes} bytes; expected 0 or more")
    if machine.ranks < 2:
        raise NcclModelError("one rank; the model begins at two")
    found = []
    for algorithm in enabled(machine, collective):
        for protocol in constants()["base_latency_us"][algorithm]:
            if protocol == "ll128" and not _has_ll128(machine):
                continue
            algbw = _algbw(machine, collective, algorithm, protocol) * _correction(
                machine, collective, algorithm, protocol, size_bytes
            )
            if algbw <= 0:
                continue
            latency_s = _latency_s(machine, collective, algorithm, protocol)
            if algorithm == "ring" and protocol == "simple" and collective == "all_reduce":
                latency_s *= _plateau(machine, size_bytes)
            time_s = latency_s + size_bytes / algbw
            found.append(Prediction(algorithm, protocol, time_s, latency_s, algbw))
    return sorted(found, key=lambda one: one.time_s)


def enabled(machine: Machine, collective: str) -> Collection[str]:
    """The algorithms that NCCL considers for a collective on this machine, without user settings."""
    one_gpu_a_node = machine.nodes == machine.ranks
    nvls = machine.nvls is not None and machine.nvls.count >= 2 and machine.link == "nvlink"
    found = ["ring"]
    if collective == "all_reduce":
        found.append("tree")
        if nvls and machine.nodes > 1:
            found.append("nvls_tree")
    elif collective in ("all_gather", "reduce_scatter") and one_gpu_a_node:
        found.append("pat")
    if nvls and machine.nodes == 1 and collective in ("all_reduce", "all_gather", "reduce_scatter"):
        # Over several nodes NVLS needs a network that reduces.
        arity = constants()["channels"]["nvls_arity"]
        if collective == "all_reduce" or machine.ranks <= arity:
            found.append("nvls")
    return found


def _has_ll128(machine: Machine) -> bool:
    """LL128 relies on NVLink's 128-byte stores; that the network cards are near their GPUs is taken for granted."""
    return machine.link == "nvlink" and machine.compute_capability >= 70


def _scale(machine: Machine) -> int:
    """The column of the tables of limits: one node, two, more."""
    return min(machine.nodes, 3) - 1


def _steps(collective: str, ranks: int) -> int:
    """Steps of a ring of so many ranks."""
    return {"all_reduce": 2 * (ranks - 1), "all_gather": ranks - 1, "reduce_scatter": ranks - 1}.get(collective, ranks)


def _algbw(machine: Machine, collective: str, algorithm: str, protocol: str) -> float:
    """Bytes/s of the collective's size; 0 where the combination is off."""
    if algorithm in ("nvls", "nvls_tree"):
        return _nvls_algbw(machine, collective, algorithm)
    table, share, scale = generation(machine.compute_capability), constants()["share"], _scale(machine)
    channels = machine.ring if algorithm == "ring" else machine.tree
    busbw = channels.count * (channels.intra if machine.nodes <= 2 else channels.inter) / _GB
    of_nodes = constants()["ll_most_across_nodes"][machine.cpu]
    ll_most = (table["ll_most"] if machine.nodes == 1 else of_nodes)[scale]
    if algorithm == "ring":
        if protocol == "ll":
            busbw = min(ll_most, busbw * share["ring_ll"])
        elif protocol == "ll128":
            busbw = min(busbw * share["ring_ll128"], channels.count * table["ring_ll128_channel"][scale])
        return busbw * _GB * machine.ranks / _steps(collective, machine.ranks)
    if algorithm == "pat":
        return float(busbw * _GB * constants()["pat"]["bandwidth_share"])
    busbw = min(busbw * share["tree"], channels.count * table["tree_channel"][scale])
    if protocol == "ll":
        busbw = min(busbw * share["tree_ll"], ll_most)
    elif protocol == "ll128":
        left = share["tree_ll128_one_node" if machine.nodes == 1 else "tree_ll128_nodes"]
        busbw = min(busbw * left, channels.count * table["tree_ll128_channel"][scale])
    return float(busbw * _GB / 2)


def _nvls_algbw(machine: Machine, collective: str, algorithm: str) -> float:
    channels = machine.nvls
    if channels is None:
        return 0.0
    table = generation(machine.compute_capability)
    intra = channels.intra * table["nvls_efficiency"] * (channels.count - 1) / channels.count
    ranks_a_node = machine.ranks / machine.nodes
    intra *= 2 if collective == "all_reduce" else (ranks_a_node - 1) / ranks_a_node  # reducing and sending overlap
    rate = intra
    if machine.nodes > 1:
        rate = min(rate, channels.inter * (2 if machine.nodes == 2 and algorithm == "nvls_tree" else 1))
    if algorithm == "nvls_tree":
        rate = min(rate, table["nvls_tree_channel"][_scale(machine)] * _GB)
    of_size = machine.ranks / _steps(collective, machine.ranks) if collective == "all_reduce" else 1.0
    return float(channels.count * rate * of_size)


def _latency_s(machine: Machine, collective: str, algorithm: str, protocol: str) -> float:
    data = constants()
    base = data["base_latency_us"][algorithm][protocol]
    hops = data["hop_latency_us"]
    hop = hops[machine.link][algorithm][protocol]
    # With one GPU a node nothing hides the network's latency, which is then a tree's.
    table = hops["network"]["tree" if machine.ranks == machine.nodes else algorithm]
    extra = machine.network_latency_s / _US * (2 if protocol == "simple" else 1)  # Simple flushes, too
    network = table[protocol] + extra
    rounds = machine.nodes.bit_length() - 1
    if algorithm == "ring":
        latency = base + _ring_hops(machine, collective, protocol, hop, network)
    elif algorithm == "tree":
        latency = base + 2 * ((machine.ranks // machine.nodes - 1) * hop + rounds * network)
    elif algorithm == "nvls":
        latency = hop + (network if machine.nodes > 1 else 0.0)
    elif algorithm == "nvls_tree":
        latency = base + hop + 2 * rounds * network
    else:
        pat = data["pat"]
        latency = base + rounds * network / pat["overlap"] + machine.ranks * pat["per_rank_us"]
    return float(latency * _US)


def _ring_hops(machine: Machine, collective: str, protocol: str, hop: float, network: float) -> float:
    """Microseconds of a ring's hops."""
    data = constants()
    steps = _steps(collective, machine.ranks)
    if collective in ("broadcast", "reduce"):
        hops = data["hop_latency_us"][machine.link if machine.nodes == 1 else "network"]
        if machine.same_channels:
            return float(hops["ring"][protocol])
        return float(steps * hops["tree" if protocol == "simple" else "ring"][protocol])
    between = 0
    if machine.nodes > 1:
        between = _steps(collective, machine.nodes)
        overhead = data["network_overhead_us"]
        hop = max(hop, overhead[machine.cpu] * (overhead["simple_factor"] if protocol == "simple" else 1))
    return (steps - between) * hop + between * network


def _correction(machine: Machine, collective: str, algorithm: str, protocol: str, size_bytes: int) -> float:
    """The share of its modelled rate that a tree reaches at this size."""
    place = (size_bytes >> 6).bit_length() - 1
    table: list[float] = constants()["tree_correction"][protocol]
    if collective != "all_reduce" or place < 0:
        return 1.0
    if algorithm == "tree" and place < len(table) - 1:
        return table[place]
    new = machine.compute_capability >= 100 and machine.cpu in ("intel", "amd")
    if algorithm == "nvls_tree" and new and place < len(table):
        return table[place]
    return 1.0


def _plateau(machine: Machine, size_bytes: int) -> float:
    """The factor on the latency of a Simple ring over several nodes."""
    plateau = constants()["ring_plateau"]
    channels = 2 * machine.ring.count  # a run doubles what the search found
    if machine.nodes == 1 or size_bytes // (channels * machine.ranks) < plateau["from_bytes"]:
        return 1.0
    return float(plateau["factor_before_ampere" if machine.compute_capability < 80 else "factor"])
