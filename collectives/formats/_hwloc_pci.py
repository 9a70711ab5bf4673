"""The PCI objects of hwloc's XML: bridges, and the devices behind them that matter here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.xml_tree import Element

NVIDIA, AMD = "10de", "1002"
OPENFABRICS = {1: "3", 2: "3", 3: "32"}
"""`osdev_type` of an InfiniBand or RoCE device by version of the XML: a number, and then a bit mask."""

_PCI_TYPE = re.compile(r"([0-9a-f]{4}) \[([0-9a-f]{4}):([0-9a-f]{4})\].*", re.ASCII | re.IGNORECASE)
_SPEED = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,12})?", re.ASCII)
_DRIVERS = (re.compile(r"(?:nvml|rsmi)([0-9]{1,4})", re.ASCII), re.compile(r"cuda([0-9]{1,4})", re.ASCII))
"""What the operating system calls GPUs, the names with the drivers' own numbers first."""
_COMPUTES = re.compile(r"(?:nvml|rsmi|cuda|ze|opencl|ve)[0-9].*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, a network card or an NVSwitch."""

    kind: str
    """`gpu`, `nic` or `nvswitch`."""
    name: str
    """Of a network card."""
    numbers: tuple[int, ...]
    """Of a GPU, the driver's and CUDA's; −1 where there is none."""
    number: str
    """Of the kind of device, as PCI has it."""
    objects: tuple[int, ...]
    """Identities of the PCI object and those in it."""
    where: str


@dataclass(frozen=True, slots=True)
class Port:
    """A bridge with what is below it, or a device."""

    name: str
    where: str
    bandwidth: float | None
    """Bytes/s; None where it is not known."""
    is_host: bool
    """Whether it is a bridge from a CPU to PCI, which is no link."""
    device: Device | None
    below: tuple[Port, ...] = ()

    @property
    def leads_to_device(self) -> bool:
        """To a GPU or a network card; NVSwitches are reached by other links."""
        if self.device:
            return self.device.kind != "nvswitch"
        return any(below.leads_to_device for below in self.below)


def pruned(element: Element, version: int, has_os_devices: bool, draft: Draft) -> Port | None:
    """A `Bridge` or `PCIDev` without what leads to no device; None where nothing is left. Raises `TopologyError`."""
    name = element.attributes.get("pci_busid") or f"bridge at line {element.line}"
    if element.attributes.get("type") == "PCIDev":
        device = _device(element, version, has_os_devices, draft)
        return Port(name, element.where, _bandwidth(element), False, device) if device else None
    ports = (
        pruned(child, version, has_os_devices, draft)
        for child in element.all("object")
        if child.attributes.get("type") in ("Bridge", "PCIDev")
    )
    below = tuple(port for port in ports if port)
    is_host = element.attributes.get("bridge_type", "").startswith("0-")
    return Port(name, element.where, _bandwidth(element), is_host, None, below) if below else None


def _bandwidth(element: Element) -> float | None:
    text = element.attributes.get("pci_link_speed", "0")
    if not _SPEED.fullmatch(text):
        raise element.error(f"pci_link_speed {text!r}; expected a number of GB/s from 0")
    return float(text) * 1e9 or None  # hwloc writes 0 where it does not know


def _device(element: Element, version: int, has_os_devices: bool, draft: Draft) -> Device | None:
    found = _PCI_TYPE.fullmatch(element.needed("pci_type"))
    if not found:
        raise element.error(f'pci_type {element.needed("pci_type")!r}; expected such as "0302 [10de:20b0]"')
    class_, vendor, number = (part.lower() for part in found.groups())
    inside = [child for child in element.all("object") if child.attributes.get("type") == "OSDev"]
    names = [child.attributes.get("name", "") for child in inside]
    objects = (id(element), *map(id, inside))
    numbers = tuple(next((int(hit[1]) for name in names if (hit := driver.fullmatch(name))), -1) for driver in _DRIVERS)
    place = element.attributes.get("pci_busid", f"line {element.line}")
    if element.attributes.get("subtype") == "NVSwitch" or (class_ == "0680" and vendor == NVIDIA):
        return Device("nvswitch", "", (), number, objects, element.where)
    by_class = class_ in ("0302", "0380", "1200") and vendor in (NVIDIA, AMD)
    if by_class or (class_ == "0300" and vendor == NVIDIA) or any(_COMPUTES.fullmatch(name) for name in names):
        return Device("gpu", "", numbers, number, objects, element.where)
    if class_.startswith("03"):
        draft.warn(f"{place} is a display that no driver of GPUs knows, and is left out.")
    if not class_.startswith("02") and class_ != "0c06":  # InfiniBand of old cards
        return None
    if not names and has_os_devices:
        draft.warn(f"{place} is a network card that the operating system has no device for, and is left out.")
        return None
    fabric = [child for child in inside if child.attributes.get("osdev_type") == OPENFABRICS[version]]
    name = (fabric or inside)[0].attributes.get("name", "") if inside else ""
    return Device("nic", name, (), number, objects, element.where)


def number_gpus(gpus: Sequence[tuple[Device, int, float]]) -> list[tuple[int, Device, int, float]]:
    """Each with its number in front, sorted by it: the driver's, or CUDA's, or else that in the file."""
    for choice in range(len(_DRIVERS)):
        numbers = [device.numbers[choice] for device, _, _ in gpus]
        if -1 not in numbers and len(set(numbers)) == len(gpus):
            break
    else:
        numbers = list(range(len(gpus)))
    return sorted(((number, *gpu) for number, gpu in zip(numbers, gpus, strict=True)), key=lambda one: one[0])
