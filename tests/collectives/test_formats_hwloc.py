"""hwloc's XML of versions 1, 2 and 3: packages, the tree of PCI, GPUs told from displays, the matrices of links."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topology_files import WHERE, changed, edges, mangled, port_speeds, rank_names, read_or_refused, refusal

from clusterbench.collectives.formats.hwloc_xml import FORMAT
from clusterbench.collectives.topology.graph import Kind, Topology

FILES = Path(__file__).parent / "formats" / "hwloc-xml"

# Version 3: a root port with a switch of two ports, behind one of which a GPU is and behind the other a card of two
# functions; at the other package a GPU behind a slower bridge, an NVSwitch, a display on the board and a disk.
V3 = (FILES / "version-3.xml").read_text(encoding="utf-8")

V1 = (FILES / "version-1.xml").read_text(encoding="utf-8")

GEN3, GEN3X8, SKYLAKE = 15.8, 7.88, 10.0


def read(text: str) -> Topology:
    return FORMAT.read(text, WHERE)


def test_every_link_of_a_machine() -> None:
    found = read(V3)
    one_way = {
        ("cpu0", "cpu1"): [SKYLAKE],
        ("cpu0", "0000:11:00.0"): [GEN3],
        ("0000:11:00.0", "gpu1"): [GEN3],
        ("0000:11:00.0", "0000:12:01.0"): [GEN3],
        ("0000:12:01.0", "mlx5_0"): [GEN3],
        ("0000:12:01.0", "eth0"): [GEN3],
        ("cpu1", "gpu0"): [GEN3X8],
        ("gpu0", "gpu1"): [25.0],
        ("gpu1", "nvswitch"): [100.0],
        ("gpu0", "nvswitch"): [100.0],
        ("cpu0", "gpu1"): [20.0],
    }
    assert edges(found) == one_way | {(b, a): speed for (a, b), speed in one_way.items()}
    assert rank_names(found) == ["gpu0", "gpu1"]
    assert list(port_speeds(found)) == ["mlx5_0", "eth0"]
    assert all(isnan(speed) for speed in port_speeds(found).values())
    assert not found.reducing.any()


def test_all_that_is_guessed_is_said() -> None:
    said = "\n".join(read(V3).warnings)
    for part in (
        "Between CPUs 10 GB/s is what NCCL takes for Intel Skylake",
        "0000:23:00.0 is a display that no driver of GPUs knows",
        "no speed of the network cards",
    ):
        assert part in said
    assert len(read(V3).warnings) == 3


def test_version_2_numbers_the_types_of_devices() -> None:
    text = V3.replace('version="3.0"', 'version="2.0"').replace('osdev_type="32"', 'osdev_type="3"')
    assert edges(read(text)) == edges(read(V3))
    assert list(port_speeds(read(V3.replace('osdev_type="32"', 'osdev_type="3"')))) == ["ib0", "eth0"]


def test_version_1() -> None:
    found = read(V1)
    assert edges(found) == {
        ends: [speed]
        for a, b, speed in (("cpu0", "gpu0", 4.0), ("cpu0", "mlx4_0", 15.8), ("cpu0", "cpu1", 16.0))
        for ends in ((a, b), (b, a))
    }
    assert any("0000:02:00.0 has no speed of its link" in sentence for sentence in found.warnings)


def test_numa_nodes_stand_for_packages_and_the_machine_for_both() -> None:
    plain = '<topology version="{}"><object type="Machine">{}</object></topology>'
    node = '<object type="NUMANode" os_index="{}"><object type="PU" os_index="0"/></object>'
    found = read(plain.format("1.0", node.format(0) + node.format(1)))
    assert rank_names(found) == ["cpu0", "cpu1"]
    found = read(plain.format("2.0", '<object type="NUMANode" os_index="7"/><object type="PU" os_index="0"/>'))
    assert rank_names(found) == ["cpu0"]
    assert any("no PCI devices" in sentence for sentence in found.warnings)


def test_packages_of_one_number_are_numbered_in_order() -> None:
    found = read(V3.replace('"Package" os_index="1"', '"Package" os_index="0"'))
    assert {"cpu0", "cpu1"} <= set(found.names)


def test_devices_beside_several_packages_are_at_the_first_and_that_is_said() -> None:
    bridge = (
        '<object type="Bridge" bridge_type="0-1"><object type="PCIDev" pci_busid="0000:01:00.0" '
        'pci_type="1200 [1002:74a1]" pci_link_speed="63.0"/></object>'
    )
    packages = '<object type="Package" os_index="0"/><object type="Package" os_index="1"/>'
    found = read(f'<topology version="2.0"><object type="Machine">{packages}{bridge}</object></topology>')
    assert edges(found)["cpu0", "gpu0"] == [63.0]
    assert any("PCI devices of no one CPU" in sentence and "at cpu0" in sentence for sentence in found.warnings)


def test_gpus_are_told_from_displays() -> None:
    def kinds(pci_type: str, inside: str = "") -> int:
        device = f'<object type="PCIDev" pci_busid="0000:01:00.0" pci_type="{pci_type}">{inside}</object>'
        bridge = f'<object type="Bridge" bridge_type="0-1">{device}</object>'
        text = f'<topology version="2.0"><object type="Machine">{bridge}</object></topology>'
        return int((read(text).kinds == Kind.GPU).sum())

    rsmi = '<object type="OSDev" name="rsmi0" osdev_type="1"/>'
    assert [kinds(one) for one in ("0302 [10de:20b0]", "0380 [1002:738c]", "1200 [1002:74a1]", "0300 [10de:2204]")] == [
        1
    ] * 4
    assert [kinds(one) for one in ("0300 [1002:515e]", "0300 [102b:0532]", "0200 [15b3:1017]", "0380 [8086:1912]")] == [
        0
    ] * 4
    assert kinds("0300 [1002:67df]", rsmi) == 1


def test_cards_that_the_system_has_no_device_for_are_left_out() -> None:
    found = read(changed(V3)('<object type="OSDev" gp_index="22" name="eth0" osdev_type="16"/>', ""))
    assert list(port_speeds(found)) == ["mlx5_0"]
    assert ("0000:11:00.0", "mlx5_0") in edges(found)
    assert any("0000:14:00.1 is a network card that" in sentence for sentence in found.warnings)


def test_gpus_without_numbers_are_numbered_in_the_order_of_the_file() -> None:
    text = V3
    for number in (0, 1):
        text = text.replace(f'name="cuda{number}"', 'name="opencl0"').replace(f'name="nvml{number}"', 'name="opencl1"')
    assert edges(read(text))["cpu1", "gpu1"] == [GEN3X8]


def test_nvswitches_with_sharp_reduce() -> None:
    found = read(V3.replace("10de:1ac2", "10de:22a3"))
    assert [found.names[v] for v in np.flatnonzero(found.reducing)] == ["nvswitch"]


def test_xgmi_is_a_matrix_of_one_type() -> None:
    matrix = V3[V3.index("  <distances2hetero") : V3.index('  <info name="Architecture')]
    xgmi = (
        '<distances2 type="OSDev" nbobjs="2" kind="25" name="XGMIBandwidth" indexing="gp"><indexes length="6">16 35 '
        '</indexes><u64values length="9">0 50000 50000 0 </u64values></distances2>\n'
    )
    found = read(changed(V3)(matrix, xgmi))
    assert edges(found)["gpu0", "gpu1"] == [50.0]
    assert "nvswitch" not in {end for ends in edges(found) for end in ends}
    none = read(changed(V3)(matrix, ""))
    assert any("no links between GPUs other than PCIe" in sentence for sentence in none.warnings)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('version="3.0"', 'version="4.0"', 3, "version '4.0'; expected 1, 2 or 3"),
        ('type="Machine"', 'type="Group"', 3, "0 objects of type Machine; expected one"),
        ('type="NUMANode"', 'type="Machine"', 10, "2 objects of type Machine"),
        ('pci_link_speed="15.75"', 'pci_link_speed="-15.75"', 13, "pci_link_speed '-15.75'; expected a number"),
        ('pci_link_speed="15.75"', 'pci_link_speed="nan"', 13, "pci_link_speed 'nan'"),
        ("0302 [10de", "tbd [10de", 16, "pci_type 'tbd [10de"),
        ('pci_type="0302 [10de:1db8]" ', "", 16, "<object> has no pci_type"),
        ('name="eth0"', 'name="mlx5_0"', 26, "a second 'mlx5_0'"),
        ('nbobjs="5"', 'nbobjs="4"', 56, "5 objects and nbobjs 4; expected the same"),
        ("25000 50000 50000 20000", "25000 50000 50000", 56, "24 values of 5 objects; expected 25"),
        ("25000 50000 50000 20000", "25000 50000 tbd 20000", 56, "a bandwidth of 'tbd'"),
        ("25000 50000 50000 20000", "25000 50000 -5 20000", 56, "a bandwidth of '-5'"),
        ("25000 50000 50000 20000", "26000 50000 50000 20000", 56, "26000 MB/s from gpu1 to gpu0, and 25000 back"),
        ("OSDev:16", "OSDev:99", 56, "a link to OSDev 99, which is no object of the file"),
        ("</topology>", "", 65, "expected XML"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_line(old: str, new: str, line: int, message: str) -> None:
    found = refusal(FORMAT, changed(V3)(old, new))
    assert found.startswith(f"{WHERE}, line {line}: ")
    assert message in found


def test_a_second_matrix_of_one_name_is_refused() -> None:
    matrix = V3[V3.index("  <distances2hetero") : V3.index('  <info name="Architecture')]
    assert "a second matrix NVLinkBandwidth" in refusal(FORMAT, changed(V3)(matrix, matrix + matrix))


def test_entities_are_refused() -> None:
    evil = changed(V3)('"hwloc2.dtd">', '"hwloc2.dtd" [<!ENTITY a SYSTEM "file:///etc/passwd">]>')
    assert "an entity 'a'" in refusal(FORMAT, evil)


def test_only_a_topology_is_recognised() -> None:
    assert FORMAT.recognises(V3)
    assert FORMAT.recognises(V1)
    assert not any(FORMAT.recognises(text) for text in ("", "<system/>", "topology", "<platform/>"))
    assert "<system>; expected <topology>" in refusal(FORMAT, "<system/>")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from((V3, V1)).flatmap(mangled))
def test_a_mangled_file_is_read_or_refused(text: str) -> None:
    read_or_refused(FORMAT, text)
