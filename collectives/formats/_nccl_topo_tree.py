"""The trees of PCIe in the XML of NCCL and RCCL: from each CPU down to the GPUs and network cards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf

from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.graph import Kind
from clusterbench.collectives.topology.link_rates import guessed_pcie, pcie_bandwidth, pcie_generations, pcie_widths
from clusterbench.collectives.topology.xml_tree import Element

MOST_CPUS = 1024
"""Of a host, as each is joined to each."""

UNKNOWN_WIDTHS = (0, 63, 255)
"""Lanes that Linux shows of a link that it knows nothing of, as of many in virtual machines: 255 is its
PCIE_LNK_WIDTH_UNKNOWN, and 63 the register's six bits where nothing answers."""

BUS_ID = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", re.ASCII)
"""Of PCI: domain, bus, device and function."""
_SPEED = re.compile(r"([+-]?[0-9]{1,4}(?:\.[0-9]{1,6})?) ?GT/s(?: PCIe)?", re.ASCII)


@dataclass(slots=True)
class Gpu:
    """A GPU: what its slot hangs on, and how fast."""

    element: Element
    """`gpu`, or where there is none its `pci`."""
    host: int
    cpu: int
    parent: int
    bandwidth: float
    bus_id: str
    number: int | None
    vertex: int = -1

    @property
    def links(self) -> list[Element]:
        """To other GPUs, NVSwitches and CPUs."""
        return [child for child in self.element.children if child.tag in ("nvlink", "xgmi")]


@dataclass(slots=True)
class Nic:
    """A port of a network card."""

    element: Element
    """`net`, or where there is none its `pci` or `nic`."""
    host: int
    parent: int
    bandwidth: float
    bus_id: str
    number: int | None


@dataclass(slots=True)
class Machine:
    """What has been read of a file."""

    draft: Draft
    hosts: dict[str, int]
    """Numbers by `host_hash`."""
    cpus: list[tuple[int, int, Element]] = field(default_factory=list)
    """Host, vertex, element."""
    cpus_of: dict[int, list[int]] = field(default_factory=dict)
    """Their vertices, by host."""
    gpus: list[Gpu] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    bus_ids: dict[tuple[int, str], int] = field(default_factory=dict)
    """The line on which each stands, by host and bus id."""
    switches: dict[tuple[int, str], int] = field(default_factory=dict)
    nvswitch_ids: set[tuple[int, str]] = field(default_factory=set)
    nvswitches: dict[int, int] = field(default_factory=dict)
    """Their one vertex, by host."""
    pci_links: list[tuple[Element, int, int]] = field(default_factory=list)
    """Element, host, switch."""
    unknown: int = 0
    """Devices without a class."""

    def name(self, host: int, local: str) -> str:
        """Of a vertex of a host: with the host's number where there are several."""
        return f"h{host}.{local}" if len(self.hosts) > 1 else local


def add_cpu(machine: Machine, element: Element) -> None:
    """A `cpu` and the trees below it. Raises `TopologyError`."""
    host = machine.hosts[element.attributes.get("host_hash", "").lower()]
    number = element.whole("numaid", -1)
    others = machine.cpus_of.setdefault(host, [])
    if len(others) >= MOST_CPUS:
        raise element.error(f"more than {MOST_CPUS} CPUs of a host; expected at most that")
    if number < 0:  # unknown to the kernel
        taken = {machine.draft.names[vertex] for vertex in others}
        number = next(n for n in range(MOST_CPUS) if machine.name(host, f"cpu{n}") not in taken)
    vertex = machine.draft.vertex(Kind.CPU, machine.name(host, f"cpu{number}"), element.where, host)
    others.append(vertex)
    machine.cpus.append((host, vertex, element))
    for child in element.children:
        if child.tag == "pci":
            _add_pci(machine, child, host, vertex, vertex, 0)
        elif child.tag == "nic":  # of no slot, such as a virtual one
            for net in list(child.all("net")) or [child]:
                machine.nics.append(Nic(net, host, vertex, inf, "", None))


def _add_pci(machine: Machine, element: Element, host: int, cpu: int, parent: int, broadcom: int) -> None:
    """A `pci` and what is below it; `broadcom` is the generation of the Broadcom switch that it is directly below."""
    bus_id = _bus_id(machine, element, host)
    gpus, pcis = list(element.all("gpu")), list(element.all("pci"))
    nets = [net for nic in element.all("nic") for net in list(nic.all("net")) or [element]]
    if len(gpus) > 1:
        raise gpus[1].error(f"a second <gpu> of {bus_id}; expected one")
    class_ = element.attributes.get("class", "").lower().removeprefix("0x")
    if not gpus and not nets and not pcis and not class_.startswith("0604"):
        if class_.startswith("0680"):
            machine.nvswitch_ids.add((host, bus_id))
            return
        if class_.startswith(("03", "1200")):
            gpus = [element]
        elif class_.startswith("02"):
            nets = [element]
        elif class_:
            machine.draft.warn(f"{bus_id} of class 0x{class_} is neither a GPU nor a network card, and is left out.")
            return
        else:
            machine.unknown += 1
            machine.draft.warn(f"{bus_id} has no class: it may be a GPU or a network card; no rank is placed on it.")
    bandwidth = _pcie(machine, element, bus_id)
    if pcis or len(gpus) + len(nets) != 1:
        if broadcom and _broadcom(element, 1) == broadcom:
            vertex = parent
            machine.draft.warn("Broadcom switches that show two levels are taken for one level, as NCCL does.")
            broadcom = 0
        else:
            vertex = machine.draft.vertex(Kind.SWITCH, machine.name(host, bus_id), element.where, host)
            machine.draft.join(parent, vertex, bandwidth)
            broadcom = _broadcom(element, 0)
        machine.switches[host, bus_id] = vertex
        parent, bandwidth = vertex, inf  # devices of one card share its slot
    for gpu in gpus:
        number = gpu.whole("dev", 0, -1) if gpu.tag == "gpu" else -1
        machine.gpus.append(Gpu(gpu, host, cpu, parent, bandwidth, bus_id, None if number < 0 else number))
    machine.nics.extend(Nic(net, host, parent, bandwidth, bus_id, None) for net in nets)
    machine.pci_links.extend((link, host, parent) for link in element.all("pcilink"))
    for pci in pcis:
        _add_pci(machine, pci, host, cpu, parent, broadcom)


def _bus_id(machine: Machine, element: Element, host: int) -> str:
    bus_id = element.needed("busid").lower()
    if not BUS_ID.fullmatch(bus_id):
        raise element.error(f"bus id {bus_id!r}; expected one such as 0000:1b:00.0")
    if (host, bus_id) in machine.bus_ids:
        raise element.error(f"bus id {bus_id}, as on line {machine.bus_ids[host, bus_id]}; expected each once")
    machine.bus_ids[host, bus_id] = element.line
    return bus_id


def _broadcom(element: Element, level: int) -> int:
    """The generation of a Broadcom PCIe switch, which shows itself as two levels, seen on one of them; else 0."""
    names = ("vendor", "device", "subsystem_vendor", "subsystem_device")
    vendor, device, subsystem, number = (element.attributes.get(name, "").lower() for name in names)
    if (vendor, subsystem) != ("0x1000", "0x1000") or not re.fullmatch("0x[0-9a-f]{4}", number):
        return 0
    if device == "0xc010":
        return 4 if number[2] == "a" else 0
    return 5 if device == "0xc030" and number[2] == str(level) else 0


def _pcie(machine: Machine, element: Element, bus_id: str) -> float:
    generation, width = guessed_pcie()
    text = element.attributes.get("link_speed", "")
    if text.strip() and not text.lower().startswith("unknown"):
        found = _SPEED.fullmatch(text.strip())
        known = pcie_generations()
        if not found or float(found[1]) not in known:
            raise element.error(f"link_speed {text!r}; expected one of {', '.join(f'{speed} GT/s' for speed in known)}")
        generation = known[float(found[1])]
    else:
        machine.draft.warn(f"{bus_id} has no speed of its link: taken for PCIe {generation}.")
    lanes = element.whole("link_width", 0, 0)
    if lanes not in UNKNOWN_WIDTHS:
        if lanes not in pcie_widths():
            raise element.error(f"link_width {lanes}; expected one of {', '.join(map(str, pcie_widths()))}")
        width = lanes
    else:
        machine.draft.warn(f"{bus_id} has no width of its link: taken for {width} lanes.")
    return pcie_bandwidth(generation, width)


def number_devices(devices: list[Gpu] | list[Nic], draft: Draft) -> None:
    """Give each its `dev`, or where it has none the next free number of its host by bus id; and sort them by these.

    Raises `TopologyError` where two GPUs of a host have the same; of ports it says no more than their order.
    """
    taken: dict[tuple[int, int], Element] = {}
    for device in devices:
        element = device.element
        if element.tag == "net":
            number = element.whole("dev", 0, -1)
            device.number = None if number < 0 else number
        if device.number is not None:
            before = taken.setdefault((device.host, device.number), element)
            if before is not element and element.tag == "gpu":
                raise element.error(f"dev {device.number}, as on line {before.line}; expected each number once")
            if before is not element:
                draft.warn(f"Two network ports have dev {device.number}: they are taken in the order of the file.")
    free: dict[int, int] = {}
    unnumbered = [device for device in devices if device.number is None]
    for device in sorted(unnumbered, key=_by_bus_id):
        number = free.get(device.host, 0)
        while (device.host, number) in taken:
            number += 1
        device.number, free[device.host] = number, number + 1
    devices.sort(key=lambda x: (x.host, x.number or 0))


def _by_bus_id(device: Gpu | Nic) -> tuple[int, str]:
    return device.host, device.bus_id
