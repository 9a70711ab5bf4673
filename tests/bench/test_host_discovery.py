"""This host's topology from a made-up /sys, a made-up NVML and a made-up lstopo, and from the real /sys."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clusterbench.bench.hosts import topology as host_topology
from clusterbench.bench.hosts.nvml import Gpu, busid, find_gpus
from clusterbench.bench.hosts.sysfs import read_host
from clusterbench.bench.hosts.topology import discover_host, own_socket
from clusterbench.collectives.topology.graph import Kind, Topology
from clusterbench.collectives.topology.link_rates import Socket, pcie_bandwidth

SOCKET = Socket("a made-up CPU", "", "", -1, -1, 20e9)


class Sys:
    """Writes files as Linux has them under /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def node(self, number: int, cpus: str, package: int) -> None:
        self.write(f"devices/system/node/node{number}/cpulist", cpus)
        first, _, last = cpus.partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            self.write(f"devices/system/cpu/cpu{cpu}/topology/physical_package_id", package)
            self.write(f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", cpu)

    def pci(
        self, path: str, kind: int, vendor: int = 0x8086, speed: str = "16.0 GT/s PCIe", lanes: int = 16,
        used: int = 16, numa: int = 0,
    ) -> Path:  # fmt: skip
        """A device of which `path` has the addresses from the root bridge on."""
        folder = f"devices/pci0000:00/{path}"
        for name, value in (("class", f"{kind:#08x}"), ("vendor", f"{vendor:#06x}"), ("max_link_speed", speed),
                            ("current_link_speed", "2.5 GT/s PCIe"), ("max_link_width", lanes),
                            ("current_link_width", used), ("numa_node", numa)):  # fmt: skip
            self.write(f"{folder}/{name}", value)
        link = self.root / "bus/pci/devices" / path.rpartition("/")[2]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.root / folder)
        return self.root / folder

    def card(self, kind: str, name: str, device: Path, **files: object) -> None:
        for file, text in files.items():
            self.write(f"class/{kind}/{name}/{file.replace('__', '/')}", text)
        (self.root / f"class/{kind}/{name}").mkdir(parents=True, exist_ok=True)
        (self.root / f"class/{kind}/{name}/device").symlink_to(device)


@pytest.fixture
def fake(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


BRIDGE, GPU, NIC, VGA = 0x060400, 0x030200, 0x020000, 0x030000
NVIDIA, ASPEED, MELLANOX = 0x10DE, 0x1A03, 0x15B3


def two_sockets(fake: Sys) -> None:
    """Two sockets; a PCIe switch with two GPUs and a card on the first, a display of the board on the second."""
    fake.node(0, "0-3", 0)
    fake.node(1, "4-7", 1)
    root, upper = "0000:00:01.0", "0000:00:01.0/0000:01:00.0"
    fake.pci(root, BRIDGE, speed="32.0 GT/s PCIe")
    fake.pci(upper, BRIDGE, speed="32.0 GT/s PCIe")
    for number, (kind, vendor) in enumerate([(GPU, NVIDIA), (GPU, NVIDIA), (NIC, MELLANOX)]):
        lower = f"{upper}/0000:02:0{number}.0"
        fake.pci(lower, BRIDGE, speed="32.0 GT/s PCIe")
        device = fake.pci(f"{lower}/0000:0{3 + number}:00.0", kind, vendor, speed="16.0 GT/s PCIe")
    fake.card("infiniband", "mlx5_0", device, ports__1__state="4: ACTIVE", ports__1__rate="200 Gb/sec (4X HDR)")
    fake.card("net", "ib0", device, speed=200000, operstate="up")
    fake.pci("0000:00:05.0", VGA, ASPEED, numa=1)


def rate(found: Topology, a: str, b: str) -> float:
    """Bytes/s of the one link from a to b."""
    names = list(found.names)
    at = np.flatnonzero((found.links.src == names.index(a)) & (found.links.dst == names.index(b)))
    assert len(at) == 1, f"{len(at)} links from {a} to {b}"
    return float(found.links.bandwidth[at[0]])


def test_the_pci_tree_is_that_of_switches_and_what_is_plugged_in(fake: Sys) -> None:
    two_sockets(fake)
    found = read_host([], SOCKET, fake.root)
    assert set(found.names) == {"cpu0", "cpu1", "gpu0", "gpu1", "0000:01:00.0", "mlx5_0"}
    for one in ("gpu0", "gpu1", "mlx5_0"):
        assert rate(found, one, "0000:01:00.0") == rate(found, "0000:01:00.0", one) == pcie_bandwidth(4, 16)
    assert rate(found, "0000:01:00.0", "cpu0") == pcie_bandwidth(5, 16)
    assert rate(found, "cpu0", "cpu1") == 20e9
    assert len(found.links) == 2 * 5
    assert [found.names[int(vertex)] for vertex in found.ranks] == ["gpu0", "gpu1"]
    assert [found.names[int(vertex)] for vertex in found.ports] == ["mlx5_0"]
    assert found.port_bandwidth.tolist() == [25e9]
    assert any("taken as 20 GB/s each way" in warning for warning in found.warnings)
    assert any("NVML does not know all GPUs" in warning for warning in found.warnings)


def test_nvlinks_are_those_that_nvml_tells_of(fake: Sys) -> None:
    two_sockets(fake)
    gpus = [
        Gpu("0000:04:00.0", "H100", 90, switch_links=18),
        Gpu("0000:03:00.0", "H100", 90, switch_links=18, peers={"0000:04:00.0": 2, "0000:99:00.0": 1}),
    ]
    found = read_host(gpus, SOCKET, fake.root)
    # The numbers are those of NVML, not the order on the bus.
    assert rate(found, "gpu0", "nvswitch") == rate(found, "nvswitch", "gpu1") == 18 * 25e9
    assert rate(found, "gpu1", "gpu0") == 2 * 25e9
    assert found.reducing.tolist() == [name == "nvswitch" for name in found.names]
    assert any("lead to 0000:99:00.0, which is no GPU here" in warning for warning in found.warnings)
    assert not any("does not know all GPUs" in warning for warning in found.warnings)


def test_a_gpu_of_an_unknown_generation_has_no_limit_and_a_warning(fake: Sys) -> None:
    two_sockets(fake)
    found = read_host([Gpu("0000:03:00.0", "an old GPU", 20, switch_links=1)], SOCKET, fake.root)
    assert rate(found, "gpu0", "nvswitch") == math.inf
    assert any("an old GPU are of no generation that is known" in warning for warning in found.warnings)


def test_a_narrow_link_is_told_of_and_counts_with_the_lanes_in_use(fake: Sys) -> None:
    fake.node(0, "0-1", 0)
    fake.pci("0000:00:01.0", BRIDGE)
    fake.pci("0000:00:01.0/0000:01:00.0", GPU, NVIDIA, used=4)
    found = read_host([], SOCKET, fake.root)
    assert rate(found, "gpu0", "cpu0") == pcie_bandwidth(4, 4)
    assert "The PCI link of 0000:01:00.0 has 4 lanes, where both ends have 16." in found.warnings


def test_functions_of_one_card_share_its_link(fake: Sys) -> None:
    fake.node(0, "0-1", 0)
    fake.pci("0000:00:01.0", BRIDGE)
    for function in (0, 1):
        device = fake.pci(f"0000:00:01.0/0000:01:00.{function}", NIC, MELLANOX)
        fake.card("net", f"eth{function}", device, speed=100000, operstate="up")
    found = read_host([], SOCKET, fake.root)
    assert rate(found, "0000:01:00", "numa0") == pcie_bandwidth(4, 16)
    assert rate(found, "eth0", "0000:01:00") == rate(found, "eth1", "0000:01:00") == math.inf
    assert found.port_bandwidth.tolist() == [12.5e9, 12.5e9]


def test_without_gpus_every_core_is_a_place_for_a_rank(fake: Sys) -> None:
    fake.node(0, "0-3", 0)
    fake.write("devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2")
    fake.write("devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2")
    found = read_host([], SOCKET, fake.root)
    assert [found.names[int(vertex)] for vertex in found.ranks] == ["core0", "core1", "core3"]
    assert rate(found, "core1", "numa0") == math.inf
    assert found.kinds[list(found.names).index("numa0")] == Kind.SWITCH
    assert any("bandwidth of memory is not in /sys" in warning for warning in found.warnings)


def test_several_nodes_of_a_socket_share_its_link_to_the_other(fake: Sys) -> None:
    for node in range(4):
        fake.node(node, str(node), node // 2)
    found = read_host([], SOCKET, fake.root)
    assert rate(found, "package0", "package1") == 20e9
    assert rate(found, "numa3", "package1") == math.inf


def test_cards_that_are_down_virtual_or_shares_of_others_are_left_out(fake: Sys) -> None:
    fake.node(0, "0", 0)
    down, share, unknown = (
        fake.pci(f"0000:00:0{n}.0", NIC, MELLANOX, speed="Unknown", lanes=0, used=0) for n in (1, 2, 3)
    )
    fake.card("net", "eth1", down, speed=-1, operstate="down")
    (share / "physfn").symlink_to(down)
    fake.card("net", "eth2", share, speed=1000, operstate="up")
    fake.card("net", "eth3", unknown, speed=-1, operstate="up")
    fake.write("class/net/lo/operstate", "unknown")
    found = read_host([], SOCKET, fake.root)
    assert [found.names[int(vertex)] for vertex in found.ports] == ["eth3"]
    assert np.isnan(found.port_bandwidth).all()
    assert {"eth1 is down and left out.", "The rate of eth3 is not known.",
            "The PCI link of 0000:00:03.0 is not in /sys and without limit."} <= set(found.warnings)  # fmt: skip


def test_a_card_off_the_pci_bus_is_linked_without_limit(fake: Sys) -> None:
    fake.node(0, "0", 0)
    (fake.root / "devices/vmbus/one").mkdir(parents=True)
    fake.card("net", "eth0", fake.root / "devices/vmbus/one", speed=40000, operstate="up")
    found = read_host([], SOCKET, fake.root)
    assert rate(found, "eth0", "numa0") == math.inf
    assert any("Where eth0 is plugged in is not known" in warning for warning in found.warnings)


def test_a_system_without_numa_nodes_has_one(fake: Sys) -> None:
    fake.write("devices/system/cpu/cpu0/topology/physical_package_id", 0)
    found = read_host([], SOCKET, fake.root)
    assert set(found.names) == {"numa0", "core0"}


def test_this_host_is_read_and_marked_as_estimated() -> None:
    found = discover_host()
    assert found.estimated
    assert len(found.ranks) >= 1
    assert found.source
    assert own_socket().bytes_per_s > 0


class FakeNvml:
    """As much of pynvml as is used: two GPUs, each with links to a switch, to the other, and to none."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVML_NVLINK_MAX_LINKS = 4
    NVML_FEATURE_ENABLED = 1
    NVML_NVLINK_DEVICE_TYPE_SWITCH = 2

    def __init__(self) -> None:
        self.is_open = False

    def nvmlInit(self) -> None:  # noqa: N802 # the names are NVML's
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:  # noqa: N802
        return 9, 0

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA H100"

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"00000000:0{handle + 3}:00.0".encode())

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:  # noqa: N802
        if link == 3:
            raise self.NVMLError("not supported")
        return int(link != 2)

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, handle: int, link: int) -> int:  # noqa: N802
        return 2 if link == 0 else 0

    def nvmlDeviceGetNvLinkRemotePciInfo(self, handle: int, link: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"00000000:0{4 - handle}:00.0")


def test_nvml_is_asked_for_gpus_and_their_links(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found, how = find_gpus()
    assert how == "NVML"
    assert found == [
        Gpu("0000:03:00.0", "NVIDIA H100", 90, 1, {"0000:04:00.0": 1}),
        Gpu("0000:04:00.0", "NVIDIA H100", 90, 1, {"0000:03:00.0": 1}),
    ]
    assert not nvml.is_open


def test_without_nvml_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpus() == ([], "NVML: the package nvidia-ml-py is not installed")


def test_bus_addresses_of_nvml_are_those_of_the_kernel() -> None:
    assert busid("00000000:1B:00.0") == "0000:1b:00.0"
    assert busid(b"00010001:1B:00.0") == "10001:1b:00.0"


def lstopo(folder: Path, answer: str, code: int = 0) -> None:
    (folder / "answer").write_text(answer)
    tool = folder / "lstopo"
    tool.write_text(f'#!/bin/sh\n[ "$*" = "--of xml -" ] || exit 9\ncat "{folder}/answer"\nexit {code}\n')
    tool.chmod(0o755)


HWLOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" os_index="0" cpuset="0x3" nodeset="0x1" gp_index="1">
    <object type="Package" os_index="0" cpuset="0x3" nodeset="0x1" gp_index="2">
      <object type="NUMANode" os_index="0" cpuset="0x3" nodeset="0x1" gp_index="3" local_memory="1"/>
      <object type="Core" os_index="0" cpuset="0x1" nodeset="0x1" gp_index="4">
        <object type="PU" os_index="0" cpuset="0x1" nodeset="0x1" gp_index="5"/>
      </object>
      <object type="Core" os_index="1" cpuset="0x2" nodeset="0x1" gp_index="6">
        <object type="PU" os_index="1" cpuset="0x2" nodeset="0x1" gp_index="7"/>
      </object>
    </object>
  </object>
</topology>
"""


def test_hwloc_is_asked_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_topology, "find_gpus", lambda: ([], "NVML: none"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    lstopo(tmp_path, HWLOC)
    found = discover_host()
    assert "/sys" not in found.source
    assert found.estimated


@pytest.mark.parametrize(("answer", "code", "said"), [("not xml", 0, "hwloc: "), (HWLOC, 3, "ended with 3")])
def test_where_hwloc_fails_sys_is_read_and_the_reason_told(
    answer: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_topology, "find_gpus", lambda: ([], "NVML: none"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    lstopo(tmp_path, answer, code)
    found = discover_host()
    assert found.source.startswith("Linux's /sys; NVML: none; hwloc: ")
    assert said in found.source
