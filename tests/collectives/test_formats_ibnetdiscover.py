"""Networks as `ibnetdiscover` writes them, in both forms, with what real files have in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clusterbench.collectives.topology.file import read_topology
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, TopologyError

FIXTURES = Path(__file__).parent / "formats" / "ibnetdiscover"
GB = 1e9


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "net.txt"
    path.write_text(text)
    return read_topology(path)


def cables(topology: Topology, one: str, other: str) -> list[float]:
    """Bandwidths of the links from one vertex to another, in GB/s."""
    a, b = topology.names.index(one), topology.names.index(other)
    of_both = (topology.links.src == a) & (topology.links.dst == b)
    return (topology.links.bandwidth[of_both] / GB).tolist()


def block(what: str, ports: int, guid: str, name: str, *lines: str) -> str:
    """A node as it is written by default."""
    word = {"S": "switch", "H": "ca", "R": "rt"}[what]
    header = f'{ {"S": "Switch", "H": "Ca", "R": "Rt"}[what] }\t{ports} "{what}-{guid}"\t\t# "{name}"'
    return "\n".join([f"vendid=0x2c9\n{word}guid=0x{guid}", header, *lines, "", ""])


def to_switch(port: int, guid: str, far: int, name: str, rate: str = "4xHDR") -> str:
    return f'[{port}]\t"S-{guid}"[{far}]\t\t# "{name}" lid 1 {rate}'


def to_host(port: int, guid: str, far: int, name: str, rate: str = "4xHDR") -> str:
    return f'[{port}]\t"H-{guid}"[{far}](p{guid}) \t\t# "{name}" lid 1 {rate}'


def from_host(port: int, guid: str, far: int, name: str, rate: str = "4xHDR") -> str:
    return f'[{port}](p) \t"S-{guid}"[{far}]\t\t# lid 2 lmc 0 "{name}" lid 1 {rate}'


TWO_HOSTS = (
    block("S", 40, "a", "sw", to_host(1, "c", 1, "n1 HCA-1"), to_host(2, "d", 1, "n2 HCA-1"))
    + block("H", 1, "c", "n1 HCA-1", from_host(1, "a", 1, "sw"))
    + block("H", 1, "d", "n2 HCA-1", from_host(1, "a", 2, "sw"))
)


def test_hosts_have_a_card_for_each_cable_in_the_order_of_their_adapters() -> None:
    net = read_topology(FIXTURES / "blocks.txt")
    assert [net.names[rank] for rank in net.ranks] == ["node1", "node2", "node10"]
    assert list(net.names) == [
        "node1", "node1.nic0", "node1.nic1", "node2", "node2.nic0", "node2.nic1", "node10", "node10.nic0",
        "MF0;leaf1:MQM8700/U1", "MF0;leaf2:MQM8700/U1", "MF0;spine1:MQM9700/U1",
    ]  # fmt: skip
    assert net.hosts.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, NO_HOST, NO_HOST, NO_HOST]
    assert net.kinds.tolist() == [Kind.CPU, Kind.NIC, Kind.NIC] * 2 + [Kind.CPU, Kind.NIC] + [Kind.SWITCH] * 3
    assert len(net.ports) == 0


def test_rates_are_those_of_widths_and_speeds_both_ways_and_up_to_the_cpu() -> None:
    net = read_topology(FIXTURES / "blocks.txt")
    for one, other, expected in (
        ("node1.nic0", "MF0;leaf1:MQM8700/U1", [25.0]),  # 4 lanes of HDR: 200 Gbit/s
        ("node10.nic0", "MF0;leaf1:MQM8700/U1", [12.5]),  # 2 lanes
        ("node2.nic1", "MF0;leaf2:MQM8700/U1", [12.5]),  # 4 lanes of EDR
        ("MF0;leaf1:MQM8700/U1", "MF0;spine1:MQM9700/U1", [25.0, 25.0]),  # two cables
        ("node10", "node10.nic0", [12.5]),
    ):
        assert cables(net, one, other) == expected
        assert cables(net, other, one) == expected


def test_what_is_no_host_is_left_out_and_said() -> None:
    net = read_topology(FIXTURES / "blocks.txt")
    said = " / ".join(net.warnings)
    assert "1 adapters have no link, and are left out: node3 HCA-1" in said
    assert "1 links lead to routers" in said
    assert "latencies are guessed: 350 ns a link" in said
    assert "one end only" not in said
    assert not any("Aggregation" in name for name in net.names)


def test_a_switch_with_an_aggregation_node_reduces() -> None:
    for file, switch in (("blocks.txt", "MF0;spine1:MQM9700/U1"), ("ports.txt", "ib-l2s01")):
        net = read_topology(FIXTURES / file)
        assert [net.names[vertex] for vertex in np.flatnonzero(net.reducing)] == [switch]


def test_the_form_with_a_line_a_port_is_read() -> None:
    net = read_topology(FIXTURES / "ports.txt")
    assert list(net.names) == ["o0001", "o0001.nic0", "o0002", "o0002.nic0", "ib-l1s01", "ib-l2s01"]
    assert cables(net, "o0001.nic0", "ib-l1s01") == [12.5]
    assert cables(net, "ib-l2s01", "ib-l1s01") == [12.5]
    assert "1 switches have no link, and are left out: Infiniscale-IV Mellanox Technologies" in net.warnings


def test_groups_of_a_chassis_and_full_information_are_read() -> None:
    net = read_topology(FIXTURES / "grouped-full.txt")
    assert list(net.names) == ["n1", "n1.nic0", "n2", "n2.nic0", "line", "spine"]
    assert cables(net, "n2.nic0", "line") == [5.0]
    assert net.warnings == ("latencies are guessed: 350 ns a link",)


def test_routes_lead_over_the_fabric() -> None:
    net = read_topology(FIXTURES / "blocks.txt")
    route = net.routes([0], [2]).of(0)
    assert net.names[net.links.src[route[0]]] == "node1"
    assert net.names[net.links.dst[route[-1]]] == "node10"


@pytest.mark.parametrize(
    ("rate", "expected"),
    [("4xSDR", 1.0), ("1xQDR", 1.0), ("4xFDR10", 5.0), ("4xFDR", 4 * 14.0625 * 64 / 66 / 8), ("12xEDR", 37.5),
     ("2xNDR", 25.0), ("4xNDR", 50.0), ("4xXDR", 100.0), ("8xDDR", 4.0)],
)  # fmt: skip
def test_every_generation_is_known(tmp_path: Path, rate: str, expected: float) -> None:
    net = read(tmp_path, TWO_HOSTS.replace("4xHDR", rate))
    assert cables(net, "n1.nic0", "sw") == pytest.approx([expected], rel=1e-12)


@pytest.mark.parametrize("rate", ["", "4x???", "?????"])
def test_a_rate_that_the_tool_did_not_know_is_guessed(tmp_path: Path, rate: str) -> None:
    net = read(tmp_path, TWO_HOSTS.replace("4xHDR", rate))
    assert cables(net, "n1.nic0", "sw") == [50.0]
    assert "2 links have no known rate; 50 GB/s one way is guessed" in net.warnings


def test_a_rate_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"net\.txt, line 4: a link of '4xZDR'; expected one of 1xSDR"):
        read(tmp_path, TWO_HOSTS.replace("4xHDR", "4xZDR"))


def test_the_lower_of_two_rates_counts(tmp_path: Path) -> None:
    net = read(tmp_path, TWO_HOSTS.replace("4xHDR", "2xHDR", 1))
    assert cables(net, "n1.nic0", "sw") == [12.5]
    assert "1 links have another rate at either end; the lower is taken" in net.warnings


def test_spaces_do_for_tabs(tmp_path: Path) -> None:
    spaced, tabbed = read(tmp_path, TWO_HOSTS.replace("\t", "    ")), read(tmp_path, TWO_HOSTS)
    assert list(spaced.names) == list(tabbed.names)
    assert spaced.warnings == tabbed.warnings


def test_a_link_seen_from_one_end_is_taken_and_said(tmp_path: Path) -> None:
    net = read(tmp_path, TWO_HOSTS.split("vendid=0x2c9\ncaguid=0xd")[0])
    assert cables(net, "n2.nic0", "sw") == [25.0]
    assert "1 links are seen from one end only" in net.warnings


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"S-a"[2]', '"S-a"[1]', "line 5: port 2 of 'sw' leads to port 1 of 'n2 HCA-1', and on line 15 that to"),
        ('"S-a"[2]', '"S-b"[2]', "line 5: port 2 of 'sw' leads to port 1 of 'n2 HCA-1', and on line 15 that to"),
        ("[2]\t", "[1]\t", "line 5: port 1 of 'sw' leads to port 1 of 'n2 HCA-1', and on line 4 to port 1 of 'n1"),
        ("[2]\t", "[41]\t", r"line 5: port 41 of a node with 40 ports"),
        ("[2]\t", "[0]\t", r"line 5: port 0; expected 1 to 255"),
        ('Switch\t40 "S-a"', "Switch\t40 S-a", r"line 3: 'Switch\\t40 S-a"),
        ('Switch\t40 "S-a"', "", r"line 4: .* expected a port of a switch or an adapter"),
        ("lid 1 4xHDR\n\n", "li", r"line 5: "),
    ],
)  # fmt: skip
def test_ends_that_do_not_agree_and_lines_cut_off_are_refused(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(TopologyError, match=rf"net\.txt, ({complaint})"):
        read(tmp_path, TWO_HOSTS.replace(old, new))


PORT_LINES = [line for line in (FIXTURES / "blocks.txt").read_text().split("\n") if line.startswith("[")]


@pytest.mark.parametrize("line", [line for line in PORT_LINES if "Aggregation" not in line and "d1" not in line])
def test_a_link_that_is_lost_at_one_end_is_never_lost_in_silence(tmp_path: Path, line: str) -> None:
    whole = read_topology(FIXTURES / "blocks.txt")
    net = read(tmp_path, (FIXTURES / "blocks.txt").read_text().replace(line + "\n", "", 1))
    assert sorted(net.links.bandwidth) == sorted(whole.links.bandwidth)
    assert "1 links are seen from one end only" in net.warnings


def test_one_far_port_is_not_for_two_cables(tmp_path: Path) -> None:
    text = block("S", 40, "a", "sw", to_host(1, "c", 1, "n1 HCA-1"), to_host(2, "c", 1, "n1 HCA-1"))
    with pytest.raises(
        TopologyError, match="line 5: port 2 of 'sw' leads to port 1 of 'n1 HCA-1', and on line 4 that to"
    ):
        read(tmp_path, text)


def test_adapters_without_the_name_of_a_host_are_hosts_of_their_own(tmp_path: Path) -> None:
    generic = "MT4129 ConnectX7   Mellanox Technologies"
    net = read(tmp_path, TWO_HOSTS.replace("n1 HCA-1", generic).replace("n2 HCA-1", generic))
    assert [net.names[rank] for rank in net.ranks] == ["H-c", "H-d"]
    assert net.warnings[0].startswith("2 adapters have a description that names no host")


def test_hosts_of_one_name_with_the_same_adapter_are_kept_apart(tmp_path: Path) -> None:
    net = read(tmp_path, TWO_HOSTS.replace("n1 HCA-1", "localhost mlx5_0").replace("n2 HCA-1", "localhost mlx5_0"))
    assert [net.names[rank] for rank in net.ranks] == ["H-c", "H-d"]
    assert "1 names are of several hosts" in net.warnings[0]


def test_switches_of_one_name_are_named_by_guid(tmp_path: Path) -> None:
    text = block("S", 40, "a", "sw", to_host(1, "c", 1, "n1 HCA-1"), to_switch(3, "b", 3, "sw")) + block(
        "S", 40, "b", "sw", to_host(1, "d", 1, "sw HCA-1"), to_switch(3, "a", 3, "sw")
    )
    net = read(tmp_path, text)
    assert list(net.names) == ["n1", "n1.nic0", "sw", "sw.nic0", "S-a", "S-b"]


def test_identifiers_made_unreadable_and_descriptions_with_marks_are_read(tmp_path: Path) -> None:
    text = TWO_HOSTS.replace('"S-a"', '"S-00xx..a"').replace('"sw"', '"Voltaire 4036 # v4036"')
    assert read(tmp_path, text).names[-1] == "Voltaire 4036 # v4036"


def test_lines_of_other_programs_are_said(tmp_path: Path) -> None:
    net = read(tmp_path, "ibwarn: [77] mad_rpc: timed out\n" + TWO_HOSTS)
    assert "1 lines are not of ibnetdiscover: line 1, for one" in net.warnings


def test_a_fabric_without_hosts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"net\.txt: no adapter with a link; expected hosts"):
        read(tmp_path, block("H", 1, "c", "n1 HCA-1"))


def test_a_network_in_parts_is_said_and_has_no_routes_between_them(tmp_path: Path) -> None:
    net = read(tmp_path, block("S", 40, "a", "s1", to_host(1, "c", 1, "n1 HCA-1")) + block(
        "S", 40, "b", "s2", to_host(1, "d", 1, "n2 HCA-1")
    ))  # fmt: skip
    assert "the network is in several parts: no way from n1 to n2" in net.warnings
    with pytest.raises(TopologyError, match="no way from n1 to n2"):
        net.routes([0], [1])
