"""The network of this host as Linux's /sys shows it: interfaces and InfiniBand ports, with what sets their speed.

Loops, bridges and other interfaces without a device of their own are left out. What cannot be read is None.
Sources: Linux's Documentation/ABI/testing/sysfs-class-net and ABI/stable/sysfs-class-infiniband.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clusterbench.bench.hosts.settings import device_node, number
from clusterbench.kernels.device import read_text

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of a card."""

    name: str
    state: str | None
    speed_mbit: int | None
    mtu: int | None
    driver: str | None
    pci_id: str | None
    numa_node: int | None


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """A port of an InfiniBand (or RoCE) device."""

    device: str
    port: int
    state: str | None
    """As the kernel writes it: `4: ACTIVE`."""
    link_layer: str | None
    rate: str | None
    """As the kernel writes it: `400 Gb/sec (4X NDR)`."""
    model: str | None
    firmware: str | None
    mtu: int | None
    """Of its network interface; None of a port that has none."""
    pci_id: str | None
    numa_node: int | None

    @property
    def active(self) -> bool:
        """Whether the port is up."""
        return "ACTIVE" in (self.state or "")


def interfaces(root: Path = ROOT) -> tuple[Interface, ...]:
    """The interfaces that have a device, by name."""
    found = []
    for entry in sorted((root / "sys/class/net").glob("*")):
        if not (entry / "device").exists():
            continue
        speed = number(read_text(entry / "speed"))
        found.append(
            Interface(
                name=entry.name,
                state=read_text(entry / "operstate"),
                speed_mbit=speed if speed is not None and speed > 0 else None,
                mtu=number(read_text(entry / "mtu")),
                driver=_link(entry / "device/driver"),
                pci_id=_link(entry / "device"),
                numa_node=device_node(entry / "device"),
            )
        )
    return tuple(found)


def rdma_ports(root: Path = ROOT) -> tuple[RdmaPort, ...]:
    """The ports of all InfiniBand and RoCE devices, by name."""
    found = []
    for device in sorted((root / "sys/class/infiniband").glob("*")):
        mtus = [number(read_text(path)) for path in sorted((device / "device/net").glob("*/mtu"))]
        for port in sorted((device / "ports").glob("[0-9]*"), key=lambda path: int(path.name)):
            found.append(
                RdmaPort(
                    device=device.name,
                    port=int(port.name),
                    state=read_text(port / "state"),
                    link_layer=read_text(port / "link_layer"),
                    rate=read_text(port / "rate"),
                    model=read_text(device / "board_id") or read_text(device / "hca_type"),
                    firmware=read_text(device / "fw_ver"),
                    mtu=mtus[0] if mtus else None,
                    pci_id=_link(device / "device"),
                    numa_node=device_node(device / "device"),
                )
            )
    return tuple(found)


def _link(path: Path) -> str | None:
    """The name of what a link leads to."""
    return path.resolve().name if path.exists() else None
