"""The machine as NCCL and RCCL see it: the XML of NCCL_TOPO_DUMP_FILE and NCCL_TOPO_FILE.

`system` holds `cpu`, each a NUMA node, and these a tree of `pci`; a `pci` is a switch, or holds a `gpu` or a `nic` with
its `net`s, or is known for one by its class only, as in the files that clouds ship. `nvlink`, `xgmi` and `c2c` stand in
a `gpu`. As NCCL does it: all CPUs of a host are joined, all NVSwitches of a host are one, a width of 0 is 16 lanes, a
speed of 0 is 10 Gb/s, the second level of a Broadcom switch is no level, and hosts fused into one file are told apart
by `host_hash`. Unlike NCCL, bandwidths are what the hardware permits (`topology/link_rates.toml`), and what NCCL passes
over in silence is an error here: a link to nowhere, or from one end only.

References: NCCL and RCCL, src/graph/xml.cc and src/graph/topo.cc.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf, isclose, isnan, nan

from clusterbench.collectives.formats._nccl_topo_tree import Gpu, Machine, add_cpu, number_devices
from clusterbench.collectives.formats._nccl_topo_writer import ROUNDING, composed
from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.file import Format
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, TopologyError, disconnected
from clusterbench.collectives.topology.link_rates import Nvlink, nvlink, socket, xgmi_rates
from clusterbench.collectives.topology.xml_tree import Element, read_xml, root_tag

VERSIONS = ("1", "2")
"""Of NCCL and of RCCL."""
NET_MBIT_PER_S = 10_000
"""What NCCL takes for a network speed that is not above 0."""


def read(text: str, where: str) -> Topology:
    """The topology in a file of NCCL or RCCL. Raises `TopologyError`."""
    root = read_xml(text, where)
    if root.tag != "system":
        raise root.error(f"<{root.tag}>; expected <system>, the root of NCCL's topology")
    version = root.needed("version")
    if version not in VERSIONS:
        raise root.error(f"version {version!r}; expected 1 (NCCL) or 2 (RCCL)")
    cpus = list(root.all("cpu"))
    hosts: dict[str, int] = {}
    for cpu in cpus:
        hosts.setdefault(cpu.attributes.get("host_hash", "").lower(), len(hosts))
    machine = Machine(Draft(where), hosts)
    for cpu in cpus:
        add_cpu(machine, cpu)
    if not machine.gpus and not machine.unknown:
        raise root.error('no GPUs; expected <gpu>, or <pci> whose class begins with "0x03" or "0x1200"')
    number_devices(machine.gpus, machine.draft)
    number_devices(machine.nics, machine.draft)
    _join_cpus(machine)
    _add_gpus(machine)
    ports = _add_nics(machine)
    _add_gpu_links(machine)
    _add_pci_links(machine)
    found = machine.draft.finished(
        ranks=_ranks(machine), ports=list(ports), port_bandwidth=list(ports.values()),
        source="rates of links by link_rates.toml",
    )  # fmt: skip
    if len(hosts) > 1 and (cut := disconnected(found)):
        a, b = (found.names[int(found.ranks[rank])] for rank in cut)
        raise root.error(f"no way from {a} to {b}; expected NVLink between the hosts of one file")
    return found


def write(topology: Topology) -> str:
    """The XML of a topology, which read again is the same graph, but for what the format has no words for.

    That are latencies, which NCCL has its own of, as a comment in the text says where there are any, and the names of
    CPUs, GPUs and switches, which are numbers and bus ids. Bandwidths of PCIe are as far off as those who quote them
    round. Raises `TopologyError` for what the format cannot express.
    """
    text, names = composed(topology)
    back = read(text, topology.name)
    same_speeds = (
        isclose(a, b, rel_tol=1e-3) or (isnan(a) and isnan(b))
        for a, b in zip(back.port_bandwidth.tolist(), topology.port_bandwidth.tolist(), strict=True)
    )
    if (
        _places(back, back.names) != _places(topology, names)
        or not _same_links(_links(back, back.names), _links(topology, names))
        or not all(same_speeds)
    ):
        raise TopologyError(
            f"{topology.name}: more than NCCL's XML can express; expected CPUs joined each to each, below them a tree "
            "of PCIe, the GPUs and network cards in it, and NVLink or xGMI between GPUs"
        )
    return text


def _places(topology: Topology, names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The names of what has ranks, of ports, and of switches that reduce."""
    ranks, ports = ([names[vertex] for vertex in places.tolist()] for places in (topology.ranks, topology.ports))
    return ranks, ports, sorted(names[vertex] for vertex in topology.reducing.nonzero()[0].tolist())


def _links(topology: Topology, names: Sequence[str]) -> dict[tuple[str, str], list[float]]:
    """Bandwidths by the names of the ends."""
    found: dict[tuple[str, str], list[float]] = {}
    links = topology.links
    for src, dst, bandwidth in zip(links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), strict=True):
        found.setdefault((names[src], names[dst]), []).append(bandwidth)
    return found


def _same_links(one: dict[tuple[str, str], list[float]], other: dict[tuple[str, str], list[float]]) -> bool:
    return one.keys() == other.keys() and all(
        len(one[ends]) == len(other[ends])
        and all(isclose(a, b, rel_tol=ROUNDING) for a, b in zip(sorted(one[ends]), sorted(other[ends]), strict=True))
        for ends in one
    )


def _join_cpus(machine: Machine) -> None:
    for host, vertex, element in machine.cpus:
        family, model = (element.whole(name, 0, -1) for name in ("familyid", "modelid"))
        kind = socket(element.attributes.get("arch", ""), element.attributes.get("vendor", ""), family, model)
        others = [other for other in machine.cpus_of[host] if other != vertex]
        for other in others:
            machine.draft.link(vertex, other, kind.bytes_per_s)
        if others:
            machine.draft.warn(
                f"Between CPUs {kind.bytes_per_s / 1e9:g} GB/s is what NCCL takes for {kind.name}; the file gives none."
            )


def _add_gpus(machine: Machine) -> None:
    for gpu in machine.gpus:
        name = machine.name(gpu.host, f"gpu{gpu.number}")
        gpu.vertex = machine.draft.vertex(Kind.GPU, name, gpu.element.where, gpu.host)
        machine.draft.join(gpu.parent, gpu.vertex, gpu.bandwidth)
        for c2c in gpu.element.all("c2c"):
            mbytes = c2c.whole("bw", 1) * c2c.whole("count", 1)
            machine.draft.join(gpu.vertex, gpu.cpu, mbytes * 1e6)
    if machine.gpus and not any(gpu.links for gpu in machine.gpus):
        machine.draft.warn("The file gives no links between GPUs other than PCIe; there may be some.")


def _add_nics(machine: Machine) -> dict[int, float]:
    """Bandwidth of each port, by the vertex of its card."""
    names = [nic.element.attributes.get("name") or f"nic{nic.number}" for nic in machine.nics]
    often = Counter((nic.host, name) for nic, name in zip(machine.nics, names, strict=True))
    ports = {}
    for nic, name in zip(machine.nics, names, strict=True):
        if often[nic.host, name] > 1:  # ports of one card
            name = f"{name}:{nic.element.attributes.get('port', '')}"
        vertex = machine.draft.vertex(Kind.NIC, machine.name(nic.host, name), nic.element.where, nic.host)
        machine.draft.join(nic.parent, vertex, nic.bandwidth)
        ports[vertex] = _port(machine, nic.element, name)
    return ports


def _port(machine: Machine, element: Element, name: str) -> float:
    if "speed" not in element.attributes:
        machine.draft.warn(f"The file gives no speed of the network card {name}.")
        return nan
    speed = element.whole("speed", -(10**15), -1)
    if speed <= 0:
        machine.draft.warn(f"The network card {name} has speed {speed}: taken for 10 Gb/s, as NCCL does.")
        speed = NET_MBIT_PER_S
    return speed * 1e6 / 8


def _add_gpu_links(machine: Machine) -> None:
    found = {(gpu.host, gpu.bus_id): gpu for gpu in machine.gpus}
    counts: dict[tuple[int, int], int] = {}
    first: dict[tuple[int, int], Element] = {}
    rates: dict[int, float] = {}
    for gpu in machine.gpus:
        for element in gpu.links:
            count = element.whole("count", 1)
            rate, generation = _link_rate(machine, gpu, element)
            other = _other_end(machine, found, gpu, element, generation)
            if other == gpu.vertex:
                name = machine.draft.names[other]
                machine.draft.warn(f"A link of {name} to itself is left out: to where it goes is not known.")
                continue
            if rates.setdefault(gpu.vertex, rate) != rate:
                raise element.error("both <nvlink> and <xgmi> in one <gpu>; expected one of them")
            counts[gpu.vertex, other] = counts.get((gpu.vertex, other), 0) + count
            first.setdefault((gpu.vertex, other), element)
    for (gpu_vertex, other), count in counts.items():
        bandwidth = count * rates[gpu_vertex]
        if machine.draft.kinds[other] != Kind.GPU:
            machine.draft.join(gpu_vertex, other, bandwidth)
            continue
        if counts.get((other, gpu_vertex)) != count:
            here, there = (machine.draft.names[v] for v in (gpu_vertex, other))
            raise first[gpu_vertex, other].error(
                f"{count} links from {here} to {there}, and {counts.get((other, gpu_vertex), 0)} back; "
                "expected as many both ways"
            )
        machine.draft.link(gpu_vertex, other, bandwidth)


def _link_rate(machine: Machine, gpu: Gpu, element: Element) -> tuple[float, Nvlink | None]:
    """Bytes/s of one link of a GPU, and the generation where it is NVLink."""
    if element.tag == "xgmi":
        gfx = gpu.element.needed("gcn").lower().split(":")[0].removeprefix("gfx")
        if gfx not in xgmi_rates():
            known = ", ".join(xgmi_rates())
            raise gpu.element.error(f"xGMI of architecture gcn={gfx!r}; expected one of {known}")
        return xgmi_rates()[gfx], None
    capability = gpu.element.whole("sm", 0)
    generation = nvlink(capability)
    if generation is None:
        raise gpu.element.error(f"NVLink of compute capability sm={capability}; expected 60 or above")
    if generation.capability != capability:
        machine.draft.warn(f"NVLink of compute capability {capability} is taken for that of {generation.capability}.")
    return generation.bytes_per_s, generation


def _other_end(
    machine: Machine, found: dict[tuple[int, str], Gpu], gpu: Gpu, element: Element, generation: Nvlink | None
) -> int:
    """The vertex that a link leads to: a GPU, the CPU of this one, or the NVSwitches."""
    target = element.needed("target").lower()
    class_ = element.attributes.get("tclass", "").lower().removeprefix("0x")
    hidden = target.startswith("fffffff:")
    if (gpu.host, target) in found:
        return found[gpu.host, target].vertex
    if class_.startswith("068001"):  # a bridge of POWER, behind which its CPU is
        return gpu.cpu
    if not hidden and (gpu.host, target) not in machine.nvswitch_ids and not class_.startswith("0680"):
        raise element.error(f"a link to {target}, which is neither a GPU nor an NVSwitch; expected one of them")
    # Of hosts in one file the hidden NVSwitches are in trays of their own, and join them.
    host = NO_HOST if hidden and len(machine.hosts) > 1 else gpu.host
    if host not in machine.nvswitches:
        name = "nvswitch" if host == NO_HOST else machine.name(host, "nvswitch")
        reduces = generation is not None and generation.reduces
        machine.nvswitches[host] = machine.draft.vertex(Kind.SWITCH, name, element.where, host, reduces)
        if host == NO_HOST:
            machine.draft.warn("NVSwitches that the hosts do not see are taken for one set of all hosts, as NCCL does.")
    return machine.nvswitches[host]


def _add_pci_links(machine: Machine) -> None:
    joined: set[tuple[int, int]] = set()
    for element, host, switch in machine.pci_links:
        target = element.needed("target").lower()
        if (host, target) not in machine.switches:
            raise element.error(f"a link to {target}, which is no PCIe switch; expected one")
        other = machine.switches[host, target]
        if other != switch and (other, switch) not in joined:  # written at both ends
            joined.update(((switch, other), (other, switch)))
            machine.draft.join(switch, other, inf)


def _ranks(machine: Machine) -> list[int] | None:
    """GPUs in the order of their ranks where all have one, else of hosts and devices; None where there are none."""
    if not machine.gpus:
        machine.draft.warn("The file names no device a GPU: ranks are placed on CPUs.")
        return None
    order = [gpu.element.whole("rank", 0, -1) if gpu.element.tag == "gpu" else -1 for gpu in machine.gpus]
    if min(order) < 0:
        return [gpu.vertex for gpu in machine.gpus]
    seen: set[int] = set()
    for number, gpu in zip(order, machine.gpus, strict=True):
        if number in seen:
            raise gpu.element.error(f"a second rank {number}; expected each once")
        seen.add(number)
    return [gpu.vertex for _, gpu in sorted(zip(order, machine.gpus, strict=True), key=lambda pair: pair[0])]


def _recognises(text: str) -> bool:
    return root_tag(text) == "system"


FORMAT = Format(
    name="nccl-topo-xml",
    summary="topology of NCCL and RCCL, as NCCL_TOPO_DUMP_FILE writes it",
    source="NCCL and RCCL, src/graph/xml.cc and topo.cc",
    recognises=_recognises,
    read=read,
    write=write,
)
