"""This host from Linux's /sys: NUMA nodes, cores, the PCI tree, network cards and GPUs.

A NUMA node of a host with GPUs is a CPU, as in NCCL's topologies. In a host without any, each core is one, for a rank
to be placed on, and the nodes lie between them. Of latencies, and of the bandwidth of memory, /sys says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clusterbench.bench.hosts.nvml import Gpu
from clusterbench.bench.hosts.settings import numbers
from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.graph import Kind, Topology
from clusterbench.collectives.topology.link_rates import Socket, nvlink, pcie_bandwidth, pcie_generations
from clusterbench.kernels.device import read_text

SYS = Path("/sys")

_BUSID = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# The PCI Code and ID Assignment Specification: class 03 is display, 12 an accelerator. Boards have small display
# controllers of other vendors, and Intel's processors have one of class 0300.
_GPU_CLASSES = {0x10DE: (0x0300, 0x0302), 0x1002: (0x0300, 0x0302, 0x0380, 0x1200), 0x8086: (0x0380,)}
_SRIOV = "physfn"
"""Link of a virtual function to the card that it is a share of."""


@dataclass(slots=True)
class _Host:
    """What has been found so far."""

    root: Path
    draft: Draft
    nodes: dict[int, int] = field(default_factory=dict)
    """The vertex of each NUMA node."""
    bridges: dict[str, int] = field(default_factory=dict)
    """The vertex of each PCI switch, by the address of its upper end, and of slots with several devices."""
    slots: dict[str, int] = field(default_factory=dict)
    """How many devices of a slot are drawn."""

    def device(self, busid: str) -> Path:
        return self.root / "bus/pci/devices" / busid


@dataclass(frozen=True, slots=True)
class _Card:
    """A network card: its name, its PCI address where it has one, and bytes/s of its ports, NaN where not known."""

    name: str
    busid: str | None
    bandwidth: float


def read_host(gpus: Sequence[Gpu], socket: Socket, root: Path = SYS) -> Topology:
    """This host's topology; `gpus` are those that NVML knows, `socket` is the kind of its CPUs.

    GPUs that NVML does not know are taken from the PCI tree, without the links between them.
    """
    draft = Draft("/sys")
    host = _Host(root, draft)
    known = {gpu.busid: gpu for gpu in gpus}
    listed = [*known, *(busid for busid in _gpus_on_bus(root) if busid not in known)]
    cores = _add_nodes(host, socket, with_cores=not listed)
    cards = list(_cards(host))
    for busid in (*listed, *(card.busid for card in cards if card.busid)):
        slot = busid.rpartition(".")[0]
        host.slots[slot] = host.slots.get(slot, 0) + 1
    ranks = [draft.vertex(Kind.GPU, f"gpu{number}", busid) for number, busid in enumerate(listed)]
    for vertex, busid in zip(ranks, listed, strict=True):
        _attach(host, vertex, busid)
    _add_nvlinks(host, dict(zip(listed, ranks, strict=True)), known)
    ports = []
    for card in cards:
        ports.append(draft.vertex(Kind.NIC, card.name, card.busid or card.name))
        _attach(host, ports[-1], card.busid)
    draft.warn("Latencies are not in /sys and are taken as 0.")
    return draft.finished(
        ranks=ranks or cores,
        ports=ports,
        port_bandwidth=[card.bandwidth for card in cards],
        source="Linux's /sys" + (" and NVML" if gpus else ""),
    )


def _add_nodes(host: _Host, socket: Socket, with_cores: bool) -> list[int]:
    """NUMA nodes, their cores if asked for, and the sockets between them; the vertices of the cores."""
    draft, cpus = host.draft, host.root / "devices/system/cpu"
    found = {
        int(path.name[4:]): numbers(read_text(path / "cpulist") or "")
        for path in host.root.glob("devices/system/node/node[0-9]*")
    }
    found = {node: listed for node, listed in sorted(found.items()) if listed}  # others are memory only
    if not found:
        found = {0: sorted(int(path.name[3:]) for path in cpus.glob("cpu[0-9]*"))}
    cores = []
    packages: dict[int, list[int]] = {}
    for node, listed in found.items():
        kind, name = (Kind.SWITCH, f"numa{node}") if with_cores else (Kind.CPU, f"cpu{node}")
        host.nodes[node] = draft.vertex(kind, name, str(host.root))
        package = _integer(read_text(cpus / f"cpu{listed[0]}/topology/physical_package_id")) if listed else None
        packages.setdefault(max(0, package or 0), []).append(host.nodes[node])
        for cpu in listed if with_cores else ():
            siblings = numbers(read_text(cpus / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu))
            if cpu == min(siblings):
                cores.append(draft.vertex(Kind.CPU, f"core{cpu}", str(host.root)))
                draft.join(cores[-1], host.nodes[node], math.inf)
    if cores:
        draft.warn("The bandwidth of memory is not in /sys: links between cores and NUMA nodes are without limit.")
    _join_packages(host, packages, socket)
    return cores


def _join_packages(host: _Host, packages: dict[int, list[int]], socket: Socket) -> None:
    """Every socket with every other; the nodes of a socket that has several through one vertex."""
    draft, ends = host.draft, []
    for package, nodes in sorted(packages.items()):
        end = nodes[0]
        if len(nodes) > 1:
            end = draft.vertex(Kind.SWITCH, f"package{package}", str(host.root))
            for node in nodes:
                draft.join(node, end, math.inf)
            draft.warn("What the NUMA nodes of one socket exchange is not in /sys and without limit.")
        ends.append(end)
    for number, a in enumerate(ends):
        for b in ends[:number]:
            draft.join(a, b, socket.bytes_per_s)
    if len(ends) > 1:
        draft.warn(
            f"What sockets exchange is not in /sys and taken as {socket.bytes_per_s / 1e9:g} GB/s each way, "
            f"which NCCL assumes of {socket.name}."
        )


def _gpus_on_bus(root: Path) -> list[str]:
    """The addresses of GPUs on the PCI bus, in order."""
    found = []
    for device in sorted((root / "bus/pci/devices").glob("*")):
        vendor, kind = (_integer(read_text(device / name)) or 0 for name in ("vendor", "class"))
        if kind >> 8 in _GPU_CLASSES.get(vendor, ()) and not (device / _SRIOV).exists():
            found.append(device.name)
    return found


def _add_nvlinks(host: _Host, vertices: dict[str, int], known: dict[str, Gpu]) -> None:
    draft, nvswitch = host.draft, -1
    for busid, vertex in vertices.items():
        gpu = known.get(busid)
        if gpu is None:
            draft.warn("NVML does not know all GPUs: links between those that it does not know are left out.")
            continue
        if not gpu.switch_links and not gpu.peers:
            continue
        generation = nvlink(gpu.capability)
        rate = generation.bytes_per_s if generation else math.inf
        if generation is None:
            draft.warn(f"The NVLinks of {gpu.model} are of no generation that is known, and without limit.")
        if gpu.switch_links and nvswitch < 0:
            nvswitch = draft.vertex(Kind.SWITCH, "nvswitch", "NVML", reducing=bool(generation and generation.reduces))
        if gpu.switch_links:
            draft.join(vertex, nvswitch, gpu.switch_links * rate)
        for peer, count in gpu.peers.items():
            if peer in vertices:
                draft.link(vertex, vertices[peer], count * rate)
            else:
                draft.warn(f"{count} NVLinks of {busid} lead to {peer}, which is no GPU here, and are left out.")


def _cards(host: _Host) -> Iterator[_Card]:
    """The network cards that are up, by the names of their InfiniBand device or else their interface."""
    seen: dict[str, str] = {}
    for kind in ("infiniband", "net"):
        for entry in sorted((host.root / "class" / kind).glob("*")):
            device = entry / "device"
            if not device.exists() or (device / _SRIOV).exists():
                continue  # a bridge, a loop or a tunnel, or a share of another card
            real = str(device.resolve())
            addresses = _BUSID.findall(real)
            busid = addresses[-1] if addresses else None
            if (busid or real) in seen:
                continue  # the network interface of an InfiniBand device, or the card's second port
            rate = _infiniband_rate(entry) if kind == "infiniband" else _interface_rate(entry)
            if rate is None:
                host.draft.warn(f"{entry.name} is down and left out.")
                continue
            seen[busid or real] = entry.name
            if math.isnan(rate):
                host.draft.warn(f"The rate of {entry.name} is not known.")
            yield _Card(entry.name, busid, rate)


def _infiniband_rate(entry: Path) -> float | None:
    """Of all ports that are active, such as `400 Gb/sec (4X NDR)`; None where none is."""
    total = None
    for port in sorted(entry.glob("ports/*")):
        if "ACTIVE" in (read_text(port / "state") or ""):
            match = re.match(r"(\d+(?:\.\d+)?) Gb/sec", read_text(port / "rate") or "")
            total = (total or 0.0) + (float(match[1]) * 1e9 / 8 if match else math.nan)
    return total


def _interface_rate(entry: Path) -> float | None:
    """From Mbit/s; None of an interface that is down."""
    if read_text(entry / "operstate") == "down":
        return None
    mbits = _integer(read_text(entry / "speed")) or 0
    return mbits * 1e6 / 8 if mbits > 0 else math.nan


def _attach(host: _Host, vertex: int, busid: str | None) -> None:
    """Link a device to what is above it on the PCI bus, the last being a NUMA node."""
    name = host.draft.names[vertex]
    if busid is None or not host.device(busid).exists():
        host.draft.warn(f"Where {name} is plugged in is not known: it is linked to the first NUMA node without limit.")
        host.draft.join(vertex, next(iter(host.nodes.values())), math.inf)
        return
    above = [part for part in _BUSID.findall(str(host.device(busid).resolve())) if part != busid]
    # The first bridge is the port of the CPU; then come the upper and the lower ends of switches in turn.
    end = _node_of(host, busid)
    for number, upper in enumerate(above[1::2], 1):
        if upper not in host.bridges:
            host.bridges[upper] = host.draft.vertex(Kind.SWITCH, upper, upper)
            host.draft.join(host.bridges[upper], end, _bandwidth(host, upper, above[2 * number - 2]))
        end = host.bridges[upper]
    rate = _bandwidth(host, busid, above[-1] if above else None)
    slot = busid.rpartition(".")[0]
    if host.slots[slot] > 1:  # several functions of one card share its link
        if slot not in host.bridges:
            host.bridges[slot] = host.draft.vertex(Kind.SWITCH, slot, slot)
            host.draft.join(host.bridges[slot], end, rate)
        end, rate = host.bridges[slot], math.inf
    host.draft.join(vertex, end, rate)


def _node_of(host: _Host, busid: str) -> int:
    """The vertex of the NUMA node that a device is plugged into."""
    node = _integer(read_text(host.device(busid) / "numa_node"))
    if node in host.nodes:
        return host.nodes[node]
    first = next(iter(host.nodes.items()))
    if len(host.nodes) > 1:
        host.draft.warn(f"The NUMA node of {busid} is not known and taken for node {first[0]}.")
    return first[1]


def _bandwidth(host: _Host, busid: str, above: str | None) -> float:
    """Of the PCI link between a device and what is above it.

    The rate is the highest that both ends have, as idle devices lower theirs; the lanes are those in use.
    """
    ends = [host.device(name) for name in (busid, above) if name]
    speeds = [_speed(read_text(end / "max_link_speed")) for end in ends]
    lanes = [_integer(read_text(end / "max_link_width")) or 0 for end in ends]
    used = _integer(read_text(ends[0] / "current_link_width")) or 0
    generations = [pcie_generations()[speed] for speed in speeds if speed in pcie_generations()]
    most = min((count for count in lanes if 0 < count < 64), default=0)
    count = used if 0 < used < 64 else most
    if not generations or not count:
        host.draft.warn(f"The PCI link of {busid} is not in /sys and without limit.")
        return math.inf
    if count < most:
        host.draft.warn(f"The PCI link of {busid} has {count} lanes, where both ends have {most}.")
    return pcie_bandwidth(min(generations), count)


def _speed(text: str | None) -> float | None:
    """GT/s of `16.0 GT/s PCIe`."""
    match = re.match(r"(\d+(?:\.\d+)?) GT/s", text or "")
    return float(match[1]) if match else None


def _integer(text: str | None) -> int | None:
    """A number as /sys writes it, with 0x before it where it is hexadecimal; None where there is none."""
    try:
        return int(text or "", 0)
    except ValueError:
        return None
