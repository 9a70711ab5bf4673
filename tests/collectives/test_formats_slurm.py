"""Slurm's topology.conf and topology.yaml, and the hostlists in them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.formats.slurm_topology import recognises
from clusterbench.collectives.topology.file import read_topology
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.hostlist import expanded

FIXTURES = Path(__file__).parent / "formats" / "slurm-topology"


def read(tmp_path: Path, text: str, name: str = "topology.conf") -> Topology:
    path = tmp_path / name
    path.write_text(text)
    return read_topology(path, "slurm-topology")


def hosts(topology: Topology) -> list[str]:
    return [topology.names[rank] for rank in topology.ranks]


def cables(topology: Topology) -> dict[tuple[str, str], list[float]]:
    """Bandwidths of the links outside of hosts, in GB/s, by the names of their hosts or switches."""
    found: dict[tuple[str, str], list[float]] = {}
    links, host = topology.links, topology.hosts
    for at in range(len(links)):
        if host[links.src[at]] != host[links.dst[at]] or host[links.src[at]] < 0:
            ends = [topology.names[vertex].partition(".nic")[0] for vertex in (links.src[at], links.dst[at])]
            found.setdefault((ends[0], ends[1]), []).append(float(links.bandwidth[at]) / 1e9)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a,b c", ["a", "b", "c"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[08-10],m", ["n08", "n09", "n10", "m"]),
        ("n[0-2,7]x", ["n0x", "n1x", "n2x", "n7x"]),
        ("r[0-1]n[01-02]", ["r0n01", "r0n02", "r1n01", "r1n02"]),
        ("[1101-1102]", ["1101", "1102"]),
        ("a[1][2]", ["a12"]),
        ("gpu-[1-2].cluster", ["gpu-1.cluster", "gpu-2.cluster"]),
    ],
)
def test_a_hostlist_stands_for_names_in_order(text: str, expected: list[str]) -> None:
    assert expanded(text, "FILE") == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("n[3-1]", "'3-1' in brackets"),
        ("n[1-", r"'n\[1-'; expected a name"),
        ("n[a-b]", "expected a name"),
        ("n[]", "expected a name"),
        ("n[1,,2]", "'' in brackets"),
        ("n1]", "expected a name"),
        ("torus3d{pod1}", "expected a name"),
        (" , ", "an empty list of names"),
        ("n[0-9999999999]", "more than 1048576 names; expected at most that in all"),
        ("n[0-9999]x[0-9999]", "more than 1048576 names"),
        ("n" + "[0-999999999999999999]" * 300, "more than 1048576 names"),
        ("n" * 256, "has 256 characters; expected at most 255"),
        ("n" * 254 + "[9-10]", "has 256 characters; expected at most 255"),
        ("n[1-99999999999999999999]", "in brackets"),
    ],
)
def test_a_hostlist_that_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(TopologyError, match=f"^FILE, line 3: .*{complaint}"):
        expanded(text, "FILE, line 3")


def _written(groups: Sequence[tuple[int, int, int]]) -> str:
    return ",".join(f"{low:0{width}d}-{low + more:0{width}d}" for low, more, width in groups)


a_group = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=3)


@given(st.lists(a_group, min_size=1, max_size=3))
def test_groups_in_brackets_are_multiplied_out(groups: list[list[tuple[int, int, int]]]) -> None:
    text = "".join(f"n[{_written(group)}]" for group in groups)
    numbers = [
        [str(number).zfill(max(width, len(str(low)))) for low, more, width in group
         for number in range(low, low + more + 1)]
        for group in groups
    ]  # fmt: skip
    assert expanded(text, "FILE") == ["".join(f"n{number}" for number in one) for one in product(*numbers)]


def test_a_tree_is_read_with_uplinks_as_fast_as_the_hosts_below() -> None:
    net = read_topology(FIXTURES / "tree.conf")
    assert hosts(net) == [f"n{number:02d}" for number in range(8)]
    found = cables(net)
    assert found["n00", "leaf0"] == found["leaf0", "n00"] == [50.0]
    assert found["n07", "leaf1"] == [50.0]
    # Four hosts below, and two switches above.
    assert found["leaf0", "spine1"] == found["leaf1", "spine[0]"] == [100.0]
    assert len(found) == 2 * (8 + 4)
    said = " / ".join(net.warnings)
    assert "LinkSpeed is left out" in said
    assert "links are guessed: 50 GB/s one way for a host and 350 ns" in said
    assert "together as fast as all hosts below it (no taper)" in said


def test_blocks_are_switches_below_those_of_larger_blocks() -> None:
    net = read_topology(FIXTURES / "block.conf")
    assert hosts(net)[:5] == ["r1n1", "r1n2", "r1n3", "r1n4", "r2n1"]
    found = cables(net)
    assert found["b1", "blocks8.0"] == found["b4", "blocks8.1"] == [200.0]
    assert found["blocks8.0", "all-blocks"] == [400.0]
    assert len(found) == 2 * (16 + 4 + 2)


def test_rings_go_round_and_are_apart() -> None:
    net = read_topology(FIXTURES / "ring.conf")
    found = cables(net)
    assert found["node04", "node01"] == found["node07", "node05"] == [50.0]
    assert len(found) == 2 * (4 + 3)
    assert "the network is in several parts: no way from node01 to node05" in net.warnings
    between = net.routes([0], [2])
    assert len(between.of(0)) == 6  # twice out of a host, over the cable, and into the next


def test_the_default_that_names_no_hosts_gives_way_to_the_first_that_does() -> None:
    net = read_topology(FIXTURES / "several.yaml")
    assert hosts(net) == ["node01", "node02", "node03", "node04", "node05"]
    assert cables(net)["s2", "root"] == [150.0]
    assert "the topology 'none' is flat and names no hosts: 'racks' is read in its place" in net.warnings


@pytest.mark.parametrize(("true", "false"), [("true", "false"), ("Yes", "no"), ("on", "OFF")])
def test_the_default_of_the_cluster_is_read(tmp_path: Path, true: str, false: str) -> None:
    text = (
        (FIXTURES / "several.yaml")
        .read_text()
        .replace("- topology: domains", f"- topology: domains\n  cluster_default: {true}")
    )
    net = read(tmp_path, text.replace("true\n  flat", f"{false}\n  flat"))
    assert cables(net)["b1", "blocks4"] == [100.0]
    assert hosts(net) == ["node01", "node02", "node03", "node04"]
    assert "of 3 topologies 'domains' is read" in net.warnings


def test_a_torus_has_its_hosts_where_the_regions_say() -> None:
    net = read_topology(FIXTURES / "torus.yaml")
    assert len(net.ranks) == 10
    found = cables(net)
    assert found["node1", "node2"] == found["node3", "node1"] == [50.0]  # along x, and round
    assert found["node1", "node4"] == [50.0, 50.0]  # along y, where two places are joined both ways round
    assert found["node2", "node7"] == [50.0, 50.0]  # along z
    assert ("node8", "node7") in found
    assert not any("node1" in pair and "node7" in pair for pair in found)
    assert "2 places have no host; their cables are left out" in net.warnings


def test_yaml_may_be_written_in_one_line() -> None:
    assert hosts(read_topology(FIXTURES / "ring.yaml")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "- block:\n    blocks:\n    - block: k\n      nodes: a,b\n  topology: t\n",
        "- cluster_default: true\n  topology: t\n  tree:\n    switches:\n    - nodes: a,b\n      switch: s\n",
        "# sorted\n---\n-\n  ring: {rings: [{nodes: 'a,b', ring: r}]}\n  topology: t\n",
        '[\n{\n"topology": "t", "tree": {"switches": [{"switch": "s", "nodes": "a,b"}]}}]',
    ],
)
def test_a_yaml_is_recognised_whatever_its_first_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "net").write_text(text)
    assert hosts(read_topology(tmp_path / "net")) == ["a", "b"]


@pytest.mark.parametrize("text", ["- name: x\n  block: y\n", "- topology\n", "topology: t\n", "[1, 2]"])
def test_another_yaml_is_not_taken_for_slurms(text: str) -> None:
    assert not recognises(text)


@pytest.mark.parametrize("start", ["-", "[", "- {", "-\n", "- 'topology'", "SwitchName"])
def test_a_text_of_spaces_is_looked_at_in_a_time_that_grows_with_its_length(start: str) -> None:
    # With a square of its length it would take an hour; nothing is timed.
    assert not recognises(f"{start}{' ' * 500_000}x")


def test_a_host_on_two_leaves_has_two_cards(tmp_path: Path) -> None:
    net = read(tmp_path, "SwitchName=s1 Nodes=a,b\nSwitchName=s2 Nodes=a,b\n")
    assert list(net.names) == ["a", "a.nic0", "a.nic1", "b", "b.nic0", "b.nic1", "s1", "s2"]
    assert cables(net)["a", "s1"] == cables(net)["a", "s2"] == [50.0]


def test_a_switch_without_hosts_is_said(tmp_path: Path) -> None:
    net = read(tmp_path, "SwitchName=s1 Nodes=a\nSwitchName=s2\nSwitchName=s3 Switches=s[1-2]\n")
    assert "1 switches have no hosts below them, and no links: s2" in net.warnings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SwitchName=s1 Nodes=a\n\nSwitchName=s1 Nodes=b", r", line 3: a second 's1'"),
        ("SwitchName=s1 Switches=s2", r", line 1: 's2' below s1; expected another switch"),
        ("SwitchName=s1 Switches=s1", r", line 1: 's1' below s1; expected another switch"),
        ("SwitchName=a Nodes=n\nSwitchName=b Switches=c\nSwitchName=c Switches=b", r", line 2: .* in a circle"),
        ("SwitchName=a Nodes=n Switches=b\nSwitchName=b", r", line 1: a has hosts and switches below it"),
        ("SwitchName=a Nodes=n,a", r", line 1: a host and a switch are named 'a'"),
        ("SwitchName=a Nodes=n[1-3", r", line 1: 'n\[1-3'; expected a name"),
        ("SwitchName=a Nodes=n Nods=m", r", line 1: switchname, nodes, nods; expected SwitchName="),
        ("SwitchName=a Nodes=n Nodes=m", r", line 1: a second Nodes="),
        ("SwitchName=a Nodes=", r", line 1: 'Nodes='; expected KEY=VALUE"),
        ("SwitchName=a Nodes=n\\\n,m x", r", line 1: 'x'; expected KEY=VALUE"),
        ("# only\nNodes=n", r", line 2: nodes; expected SwitchName="),
        ("# nothing", r": no switch, block or ring"),
        ("Include other.conf", r", line 1: 'Include other.conf'; expected KEY=VALUE"),
        ("SwitchName=a Nodes=n\nBlockName=b Nodes=n", r", line 2: blockname in a file of switchname"),
        ("SwitchName=a Nodes=n\nBlockSizes=4", r", line 2: BlockSizes without blocks"),
        ("BlockName=a Nodes=n\nBlockSizes=4,tbd", r", line 2: block size 'tbd'"),
        ("BlockName=a Nodes=n\nBlockSizes=4,12", r", line 2: block size 12 after 4; expected a power of two"),
        ("BlockName=a Nodes=n\nBlockName=b Nodes=n", r", line 2: n is in a block already"),
        ("RingName=a Nodes=n[1-3],n2", r", line 1: n2 has a place already"),
        ("RingName=a", r", line 1: ring a has no nodes"),
        ("SwitchName=a Nodes=n[1-9999999]", r", line 1: .* more than 1048576 names"),
    ],
)  # fmt: skip
def test_a_conf_that_cannot_be_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(TopologyError, match=rf"topology\.conf{complaint}"):
        read(tmp_path, text)


def test_many_long_lists_are_refused_together(tmp_path: Path) -> None:
    lines = [f"SwitchName=s{number} Nodes=n{number}x[1-400000]" for number in range(4)]
    with pytest.raises(TopologyError, match=r"line 3: .* more than 1048576 names"):
        read(tmp_path, "\n".join(lines))


def test_names_without_numbers_are_counted_as_well() -> None:
    assert expanded("a,b", "FILE", 2) == ["a", "b"]
    with pytest.raises(TopologyError, match=r"^FILE: with 'c' more than"):
        expanded("a,b,c", "FILE", 2)


TORUS = "- topology: t\n  torus3d:\n    toruses:\n    - name: p\n      dims: {x: 2, y: 2, z: 1}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- topology: t\n  flat: true", r", line 2: topology 't' is flat, and names no hosts"),
        ("- topology: t\n", r", line 1: topology 't' has none; expected one of block, flat"),
        ("- topology: t\n  flat: true\n  tree: {}", r", line 1: topology 't' has flat and tree"),
        ("- topology: t\n  cluster_default: tbd\n  flat: true", r", line 2: cluster_default is 'tbd'; expected"),
        ("- topology: t\n  # \u00e9\n  flat: \x07", r", line 3: a character '\\x07'; expected YAML"),
        ("- topology: t\n  graph: true", r", line 2: a topology has 'graph'; expected topology, cluster_default"),
        ("- tree: {}", r", line 1: a topology has no topology"),
        ("- topology: t\n  tree: {switches: [{switch: a, nods: n}]}", r", line 2: a switch has 'nods'"),
        ("- topology: t\n  tree: {switches: [{switch: a, children: a}]}", r", line 2: 'a' below a"),
        ("- topology: t\n  tree: {switches: 's[1-3]'}", r", line 2: switches is 's\[1-3\]'; expected a list"),
        ("- topology: t\n  block: {blocks: [{nodes: n}]}", r", line 2: a block has no block"),
        ("- topology: t\n  block: {block_sizes: [0], blocks: [{block: b, nodes: n}]}", r", line 2: block size '0'"),
        (TORUS + "      nodes: n[1-3]", r", line 4: torus 'p' has 3 nodes; expected 4"),
        (TORUS, r", line 4: torus 'p'; expected either nodes or regions"),
        (TORUS.replace("x: 2", "x: 99999999"), r", line 4: torus 'p' has 199999998 places"),
        (TORUS + "      regions:\n      - {anchor: {x: 1, y: 0, z: 0}, dims: {x: 2, y: 1, z: 1}, nodes: 'n[1-2]'}",
         r", line 7: a region of"),
        ("- topology: &a t\n  flat: *a", r", line 1: an anchor or alias 'a'"),
        ("- topology: !!python/name:os.system x", r", line 1: a tag "),
        ("- topology: t\n  topology: t", r", line 2: a second 'topology'"),
        ("- topology: t\n  tree: [", r", line \d: .*; expected YAML"),
        ("- topology: t\n---\n- topology: u", r", line 2: a second document"),
        ("- topology: " + "[" * 100 + "]" * 100, r", line 1: values inside one another 65 deep"),
        ("- topology: {[a]: b}", r", line 1: a key is a list"),
    ],
)  # fmt: skip
def test_a_yaml_that_cannot_be_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(TopologyError, match=rf"topology\.yaml{complaint}"):
        read(tmp_path, text, "topology.yaml")
