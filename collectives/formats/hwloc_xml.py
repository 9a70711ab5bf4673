"""The machine as hwloc sees it: the XML that `lstopo file.xml` writes, of hwloc 1, 2 and 3.

Objects nest: a Machine, in it Packages (Sockets in version 1) and NUMA nodes, down to the threads, and beside these the
bridges and devices of PCI with what the operating system calls them. Here a package is a CPU; where there are none, a
NUMA node that contains something is one, or else the whole machine. A bridge with several branches that lead to GPUs or
network cards is a switch; one with a single branch is passed through, by the slowest link on the way. GPUs are those
that a driver knows, or NVIDIA's and AMD's by class, so that a display on the board is none. Links between GPUs, and to
NVSwitches and CPUs, come from the matrices `NVLinkBandwidth` and `XGMIBandwidth`. Without GPUs ranks are on CPUs.

References: hwloc 2.9, include/hwloc.h, and hwloc/topology-xml.c, topology-nvml.c and topology-rsmi.c.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

from clusterbench.collectives.formats._hwloc_pci import Device, Port, number_gpus, pruned
from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.file import Format, whole_number
from clusterbench.collectives.topology.graph import Kind, Topology
from clusterbench.collectives.topology.link_rates import guessed_pcie, pcie_bandwidth, reducing_nvswitches, socket
from clusterbench.collectives.topology.xml_tree import Element, read_xml, root_tag

PACKAGES = ("Package", "Socket")
MATRICES = ("NVLinkBandwidth", "XGMIBandwidth", "XeLinkBandwidth")
"""Of links between GPUs, in MB/s one way."""
MOST_CPUS = 1024
MOST_OBJECTS = 4096
"""Of a matrix."""

_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(slots=True)
class _Machine:
    draft: Draft
    version: int
    cpus: dict[int, int]
    """Vertices of CPUs, by the identity of their objects."""
    has_os_devices: bool
    vertices: dict[int, int] = field(default_factory=dict)
    """Vertices by the identity of objects that are one, or lie in one."""
    devices: list[tuple[Device, int, float]] = field(default_factory=list)
    """Each with what it hangs on, and how fast."""
    switches: list[Device] = field(default_factory=list)
    """NVSwitches."""


def read(text: str, where: str) -> Topology:
    """The topology in a file of hwloc. Raises `TopologyError`."""
    root = read_xml(text, where)
    if root.tag != "topology":
        raise root.error(f"<{root.tag}>; expected <topology>, the root of hwloc's XML")
    version = root.attributes.get("version", "1.0")
    if not re.fullmatch(r"[123]\.[0-9]{1,3}", version, re.ASCII):
        raise root.error(f"version {version!r}; expected 1, 2 or 3 of hwloc's XML")
    objects = [element for element in root.walk() if element.tag == "object"]
    machines = [element for element in objects if _type(element) == "Machine"]
    if len(machines) != 1:
        raise (machines[1] if machines else root).error(f"{len(machines)} objects of type Machine; expected one")
    draft = Draft(where)
    has_os_devices = any(_type(element) == "OSDev" for element in objects)
    machine = _Machine(draft, int(version[0]), _cpus(draft, machines[0], objects), has_os_devices)
    if not any(_type(element) in ("Bridge", "PCIDev") for element in objects):
        draft.warn("The file has no PCI devices, though the machine may.")
    _join_cpus(machine, root, objects)
    _visit(machine, machines[0], machine.cpus.get(id(machines[0])))
    gpus, ports = _add_devices(machine)
    _add_matrices(machine, root, objects)
    return draft.finished(
        ranks=gpus or None, ports=ports, port_bandwidth=[nan] * len(ports), source="the file; rates of links that it "
        "does not give by link_rates.toml",
    )  # fmt: skip


def _type(element: Element) -> str:
    return element.attributes.get("type", "")


def _cpus(draft: Draft, machine: Element, objects: Sequence[Element]) -> dict[int, int]:
    """A vertex of each CPU, by the identity of its object."""
    found = (
        [element for element in objects if _type(element) in PACKAGES]
        or [element for element in objects if _type(element) == "NUMANode" and any(element.all("object"))]
        or [machine]
    )
    if len(found) > MOST_CPUS:
        raise found[MOST_CPUS].error(f"more than {MOST_CPUS} packages; expected at most that")
    numbers = [element.attributes.get("os_index", "") for element in found]
    if len(set(numbers)) < len(found) or not all(re.fullmatch(r"0|[1-9][0-9]{0,5}", n, re.ASCII) for n in numbers):
        numbers = [str(number) for number in range(len(found))]
    return {
        id(element): draft.vertex(Kind.CPU, f"cpu{number}", element.where)
        for element, number in zip(found, numbers, strict=True)
    }


def _join_cpus(machine: _Machine, root: Element, objects: Sequence[Element]) -> None:
    """Links between CPUs: the file does not give them."""
    elements = {id(element): element for element in objects}
    everywhere = _infos([root, *root.all("object")])
    for number, vertex in machine.cpus.items():
        infos = everywhere | _infos([elements[number]])
        arch = infos.get("Architecture", "")
        vendor = infos.get("CPUVendor", "")
        if not arch:
            arch = "ppc64" if infos.get("CPUModel", "").startswith("POWER") else "x86_64" if vendor else ""
        family, model = (
            int(infos[name]) if _WHOLE.fullmatch(infos.get(name, "")) else -1
            for name in ("CPUFamilyNumber", "CPUModelNumber")
        )
        kind = socket(arch, vendor, family, model)
        for other in machine.cpus.values():
            if other != vertex:
                machine.draft.link(vertex, other, kind.bytes_per_s)
                machine.draft.warn(
                    f"Between CPUs {kind.bytes_per_s / 1e9:g} GB/s is what NCCL takes for {kind.name}; the file gives "
                    "none."
                )


def _infos(elements: Sequence[Element]) -> dict[str, str]:
    return {
        info.attributes.get("name", ""): info.attributes.get("value", "")
        for element in elements
        for info in element.all("info")
    }


def _visit(machine: _Machine, element: Element, cpu: int | None) -> None:
    """Everything below an object that is in a CPU, or in none."""
    nearest = cpu
    for child in element.all("object"):
        if _type(child) in ("Bridge", "PCIDev"):
            port = pruned(child, machine.version, machine.has_os_devices, machine.draft)
            if port:
                if nearest is None:
                    nearest = _local_cpu(machine, element, child)
                _grow(machine, port, nearest, None)
            continue
        inside = machine.cpus.get(id(child), cpu)
        if inside is not None:
            machine.vertices[id(child)] = inside
        _visit(machine, child, inside)


def _local_cpu(machine: _Machine, element: Element, child: Element) -> int:
    """The CPU of PCI devices that stand beside several."""
    below = [machine.cpus[id(one)] for one in element.walk() if id(one) in machine.cpus]
    candidates = below or list(machine.cpus.values())
    if len(candidates) > 1:
        name = machine.draft.names[candidates[0]]
        machine.draft.warn(
            f"Line {child.line}: PCI devices of no one CPU, as the file has it, are taken to be at {name}."
        )
    return candidates[0]


def _grow(machine: _Machine, port: Port, parent: int, slowest: float | None) -> None:
    """A pruned tree of PCI below a vertex; `slowest` is the bandwidth of the links passed since."""
    known = [speed for speed in (slowest, port.bandwidth) if speed is not None]
    bandwidth = min(known, default=None)
    if port.device:
        if port.device.kind == "nvswitch":
            machine.switches.append(port.device)
            return
        machine.devices.append((port.device, parent, _guessed(machine, port, bandwidth)))
    elif port.is_host:
        for below in port.below:
            _grow(machine, below, parent, None)
    elif sum(below.leads_to_device for below in port.below) > 1:
        vertex = machine.draft.vertex(Kind.SWITCH, port.name, port.where)
        machine.draft.join(parent, vertex, _guessed(machine, port, bandwidth))
        for below in port.below:
            _grow(machine, below, vertex, None)
    else:
        for below in port.below:
            _grow(machine, below, parent, bandwidth)


def _guessed(machine: _Machine, port: Port, bandwidth: float | None) -> float:
    if bandwidth is not None:
        return bandwidth
    generation, width = guessed_pcie()
    machine.draft.warn(f"{port.name} has no speed of its link: taken for PCIe {generation} of {width} lanes.")
    return pcie_bandwidth(generation, width)


def _add_devices(machine: _Machine) -> tuple[list[int], list[int]]:
    """GPUs, in the order of their numbers, and network cards, in that of the file."""
    found = number_gpus([one for one in machine.devices if one[0].kind == "gpu"])
    gpus: list[int] = []
    nics: list[int] = []
    for number, device, parent, bandwidth in found:
        gpus.append(machine.draft.vertex(Kind.GPU, f"gpu{number}", device.where))
        machine.draft.join(parent, gpus[-1], bandwidth)
        machine.vertices.update(dict.fromkeys(device.objects, gpus[-1]))
    for device, parent, bandwidth in machine.devices:
        if device.kind == "nic":
            name = device.name or f"nic{len(nics)}"
            nics.append(machine.draft.vertex(Kind.NIC, name, device.where))
            machine.draft.join(parent, nics[-1], bandwidth)
            machine.vertices.update(dict.fromkeys(device.objects, nics[-1]))
    if nics:
        machine.draft.warn("The file gives no speed of the network cards.")
    return gpus, nics


def _add_matrices(machine: _Machine, root: Element, objects: Sequence[Element]) -> None:
    """Links of GPUs to one another, to CPUs and to NVSwitches, which are one vertex. Raises `TopologyError`."""
    matrices = [element for element in root.children if element.attributes.get("name") in MATRICES]
    names = [element.attributes["name"] for element in matrices]
    nvswitch = None
    if matrices and machine.switches:
        reducing = any(device.number in reducing_nvswitches() for device in machine.switches)
        nvswitch = machine.draft.vertex(Kind.SWITCH, "nvswitch", machine.switches[0].where, reducing=reducing)
        for device in machine.switches:
            machine.vertices.update(dict.fromkeys(device.objects, nvswitch))
    for number, element in enumerate(matrices):
        if names[number] in names[:number]:
            raise element.error(f"a second matrix {names[number]}; expected one")
        found: dict[tuple[int, int], int] = {}
        ends = [machine.vertices.get(id(one)) for one in _matrix_objects(element, objects)]
        if None in ends:
            machine.draft.warn(f"{element.attributes['name']} has objects that are no GPU, CPU or NVSwitch: left out.")
        for place, value in enumerate(_matrix_values(element, len(ends))):
            src, dst = ends[place // len(ends)], ends[place % len(ends)]
            if value and src is not None and dst is not None and src != dst:
                found[src, dst] = found.get((src, dst), 0) + value
        for (src, dst), value in found.items():
            if found.get((dst, src)) != value:
                a, b = machine.draft.names[src], machine.draft.names[dst]
                raise element.error(
                    f"{value} MB/s from {a} to {b}, and {found.get((dst, src), 0)} back; expected the same both ways"
                )
            machine.draft.link(src, dst, value * 1e6)
    if len(machine.devices) > 1 and not matrices:
        machine.draft.warn("The file gives no links between GPUs other than PCIe; there may be some.")


def _matrix_objects(element: Element, objects: Sequence[Element]) -> list[Element]:
    """What the rows and columns of a matrix stand for."""
    indexes = " ".join(child.text for child in element.all("indexes")).split()
    size = element.whole("nbobjs", 0)
    if size != len(indexes) or not 0 < size <= MOST_OBJECTS:
        raise element.error(f"{len(indexes)} objects and nbobjs {size}; expected the same, and 1 to {MOST_OBJECTS}")
    attribute = "gp_index" if element.tag == "distances2hetero" or element.needed("indexing") == "gp" else "os_index"
    by_number = {(_type(one), one.attributes[attribute]): one for one in objects if attribute in one.attributes}
    found = []
    for index in indexes:
        kind, colon, number = index.partition(":")
        key = (kind, number) if colon else (element.needed("type"), index)
        if key not in by_number:
            raise element.error(f"a link to {' '.join(key)}, which is no object of the file; expected one")
        found.append(by_number[key])
    return found


def _matrix_values(element: Element, size: int) -> list[int]:
    texts = " ".join(child.text for child in element.all("u64values")).split()
    if len(texts) != size * size:
        raise element.error(f"{len(texts)} values of {size} objects; expected {size * size}")
    where = element.where
    return [whole_number(text, where, "a bandwidth of") for text in texts]


def _recognises(text: str) -> bool:
    return root_tag(text) == "topology"


FORMAT = Format(
    name="hwloc-xml",
    summary="topology of a machine that hwloc's lstopo writes",
    source="hwloc, hwloc/topology-xml.c",
    recognises=_recognises,
    read=read,
)
