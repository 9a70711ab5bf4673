"""Pictures of topologies and what they are made of: levels, hosts that are alike, trees of hosts, bundles of links."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.topology.drawing import topology_svg
from clusterbench.collectives.topology.graph import Kind, Links, Topology, both_ways, joined, links, topology
from clusterbench.collectives.topology.layout import BOX_HEIGHT, MOST_BOXES, layout, ranges
from clusterbench.collectives.topology.structure import alike_hosts, bundles, host_tree, levels, pruned, twins

NAMESPACE = "{http://www.w3.org/2000/svg}"


def clos(hosts: int, gpus: int = 2, leaves: int = 2, name: str = "clos") -> Topology:
    """Hosts of a CPU, GPUs on a switch between them, and a network card, under leaves under one spine."""
    inside = ["cpu", *(f"gpu{i}" for i in range(gpus)), "nvswitch", "nic"]
    kinds = [Kind.CPU, *[Kind.GPU] * gpus, Kind.SWITCH, Kind.NIC]
    size, switch, nic = len(inside), gpus + 1, gpus + 2
    spine = hosts * size + leaves
    parts: list[Links] = []
    for host in range(hosts):
        at = host * size
        gpu = at + 1 + np.arange(gpus)
        parts += [links(gpu, at, 50e9, 1e-6), links(gpu, at + switch, 450e9, 1e-7), links(at + nic, at, 50e9, 1e-6)]
        parts.append(links(at + nic, hosts * size + host % leaves, 25e9, 5e-7))
    parts.append(links(hosts * size + np.arange(leaves), spine, 100e9, 5e-7))
    return topology(
        name=name,
        kinds=kinds * hosts + [Kind.SWITCH] * (leaves + 1),
        names=[f"h{host}.{one}" for host in range(hosts) for one in inside]
        + [f"leaf{i}" for i in range(leaves)]
        + ["spine"],
        links=both_ways(joined(parts)),
        hosts=[host for host in range(hosts) for _ in inside] + [-1] * (leaves + 1),
        ports=[],
    )


def drawn(found: Topology) -> tuple[ElementTree.Element, list[str]]:
    """The parsed picture, and all of its texts but tooltips."""
    root = ElementTree.fromstring(topology_svg(found))
    return root, [element.text or "" for element in root.iter(f"{NAMESPACE}text")]


def test_levels_are_counted_from_the_hosts() -> None:
    found = clos(4)
    level = levels(found)
    assert (level[found.hosts >= 0] == 0).all()
    assert [int(level[found.names.index(name)]) for name in ("leaf0", "leaf1", "spine")] == [1, 1, 2]


def test_a_switch_without_a_way_to_a_host_has_no_level() -> None:
    found = topology(
        name="t", kinds=[Kind.GPU, Kind.GPU, Kind.SWITCH], names=["a", "b", "c"],
        links=both_ways(links(0, 1, 1e9)), hosts=[0, 0, -1],
    )  # fmt: skip
    assert levels(found).tolist() == [0, 0, -1]
    assert "c" in drawn(found)[1]


def test_bundles_count_the_links_of_a_level_each_way() -> None:
    found = bundles(clos(6))
    assert [(b.low, b.high, b.bandwidth, b.latency_s, b.up, b.down) for b in found] == [
        (0, 1, 25e9, 5e-7, 6, 6),
        (1, 2, 100e9, 5e-7, 2, 2),
    ]


def test_links_that_lead_one_way_are_counted_that_way() -> None:
    found = topology(
        name="t", kinds=[Kind.GPU, Kind.GPU, Kind.SWITCH], names=["a", "b", "s"],
        links=links([0, 1, 2, 2], [2, 2, 0, 1], [1e9, 1e9, 2e9, 2e9]), hosts=[0, 1, -1],
    )  # fmt: skip
    assert [(b.bandwidth, b.up, b.down) for b in bundles(found)] == [(2e9, 0, 2), (1e9, 2, 0)]


def test_hosts_are_alike_whatever_switch_they_are_plugged_into() -> None:
    assert [same.tolist() for same in alike_hosts(clos(5))] == [[0, 1, 2, 3, 4]]


@settings(max_examples=40)
@given(st.integers(2, 6), st.data())
def test_a_host_with_one_link_that_differs_is_not_alike(hosts: int, data: st.DataObject) -> None:
    found = clos(hosts)
    changed = data.draw(st.integers(0, len(found.links) - 1))
    src, dst = int(found.links.src[changed]), int(found.links.dst[changed])
    touched = {int(found.hosts[src]), int(found.hosts[dst])} - {-1}
    bandwidth = found.links.bandwidth.copy()
    bandwidth[changed] *= 0.5
    worse = Links(found.links.src, found.links.dst, bandwidth, found.links.latency_s)
    other = topology(name="t", kinds=found.kinds, names=found.names, links=worse, hosts=found.hosts, ports=[])
    same = alike_hosts(other)
    if touched:
        (odd,) = touched
        assert sorted(map(len, same)) == sorted([1, hosts - 1])
        assert [odd] in [hosts.tolist() for hosts in same]
    else:
        assert len(same) == 1


def test_the_order_in_which_links_are_listed_makes_no_difference_between_hosts() -> None:
    found = clos(3)
    order = np.random.default_rng(1).permutation(len(found.links))
    mixed = Links(*(getattr(found.links, name)[order] for name in Links.__slots__))
    other = topology(name="t", kinds=found.kinds, names=found.names, links=mixed, hosts=found.hosts, ports=[])
    assert [same.tolist() for same in alike_hosts(other)] == [[0, 1, 2]]


def test_the_tree_of_a_host_begins_at_its_cpu_and_has_every_vertex_once() -> None:
    found = clos(1, gpus=3)
    tree = host_tree(found, np.flatnonzero(found.hosts == 0))
    lines = [(found.names[branch.vertex].partition(".")[2], branch.depth) for branch in tree]
    assert lines == [("cpu", 0), ("gpu0", 1), ("gpu1", 1), ("gpu2", 1), ("nic", 1), ("nvswitch", 0)]


def test_leaves_that_differ_in_their_name_only_stand_together() -> None:
    found = clos(1, gpus=3)
    groups = twins(found, host_tree(found, np.flatnonzero(found.hosts == 0)))
    assert [len(group) for group in groups] == [1, 3, 1, 1]


def test_ranges_are_short() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_a_small_topology_is_drawn_whole() -> None:
    found = clos(3)
    root, texts = drawn(found)
    for name in ("h0", "h1", "h2", "leaf0", "leaf1", "spine"):
        assert texts.count(name) == 1
    assert texts.count("gpu0") == 3
    assert [f"rank {rank}" for rank in range(6)] == sorted(text for text in texts if text.startswith("rank"))
    lines = [path for path in root.iter(f"{NAMESPACE}path") if path.get("class") == "link"]
    assert len(lines) == len(found.links) // 2


def test_a_picture_needs_nothing_from_outside_and_no_script() -> None:
    text = topology_svg(clos(3))
    assert "<script" not in text
    assert re.findall(r'(?:href|src)="', text) == []
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_each_line_tells_its_figures_and_is_the_wider_the_more_it_carries() -> None:
    root, _ = drawn(clos(2))
    said = {
        path[0].text or "": float(path.get("stroke-width", "0"))
        for path in root.iter(f"{NAMESPACE}path")
        if path.get("class") == "link"
    }
    (to_leaf,) = (width for text, width in said.items() if text == "nic – leaf0: 25 GB/s each way, 0.5 µs")
    to_switch = [width for text, width in said.items() if "nvswitch: 450 GB/s each way, 0.1 µs" in text]
    assert min(to_switch) > to_leaf


def test_links_that_differ_by_direction_say_both() -> None:
    found = topology(
        name="t", kinds=[Kind.GPU, Kind.GPU], names=["a", "b"], links=links([0, 1], [1, 0], [4e9, math.inf])
    )
    tooltips = [title.text for title in drawn(found)[0].iter(f"{NAMESPACE}title")]
    assert "a – b: 4 GB/s →, no limit ←, 0 µs" in tooltips


def test_of_many_hosts_one_is_drawn_and_the_picture_says_so() -> None:
    found = clos(20)
    assert found.vertices > MOST_BOXES
    _, texts = drawn(found)
    assert "20 hosts: each host is one box, and below them is one of 20 that are alike" in texts
    assert texts.count("2 ranks") == 20
    assert texts.count("nvswitch") == 1


def test_of_more_hosts_than_can_be_told_apart_levels_are_drawn_with_their_sums() -> None:
    _, texts = drawn(clos(100))
    assert "100 hosts: each level is one box, and below them is one of 100 that are alike" in texts
    assert {"100 hosts", "200 ranks", "level 1: 2 switches", "level 2: 1 switch"} <= set(texts)
    assert "100 × 25 GB/s = 2500 GB/s" in texts


def test_a_host_that_differs_is_told_of() -> None:
    found = clos(30)
    bandwidth = found.links.bandwidth.copy()
    bandwidth[0] = 1e9
    odd = Links(found.links.src, found.links.dst, bandwidth, found.links.latency_s)
    other = topology(name="t", kinds=found.kinds, names=found.names, links=odd, hosts=found.hosts, ports=[])
    (note,) = (text for text in drawn(other)[1] if "alike" in text)
    assert "one of 1 that are alike; 29 differ from it" in note


def test_a_single_host_of_many_cores_draws_them_as_one() -> None:
    cores = 200
    found = topology(
        name="t", kinds=[Kind.SWITCH] + [Kind.CPU] * cores, names=["numa0", *(f"core{i}" for i in range(cores))],
        links=both_ways(links(np.arange(1, cores + 1), 0, math.inf)), hosts=0,
    )  # fmt: skip
    assert f"core0 … core{cores - 1} ({cores})" in drawn(found)[1]


def trays(count: int, odd: int = -1) -> Topology:
    """One host of so many CPUs with two GPUs each, all of them on one switch; the GPUs of an odd one are slower."""
    cpu = np.arange(count)
    gpu = count + np.arange(2 * count)
    bandwidth = np.where(np.arange(2 * count) // 2 == odd, 1e9, 4e9)
    return topology(
        name="t", kinds=[Kind.CPU] * count + [Kind.GPU] * 2 * count + [Kind.SWITCH],
        names=[*(f"cpu{i}" for i in cpu), *(f"gpu{i}" for i in range(2 * count)), "switch"],
        links=both_ways(joined([links(gpu, np.repeat(cpu, 2), bandwidth), links(gpu, 3 * count, 9e9)])), hosts=0,
    )  # fmt: skip


def test_of_many_parts_of_a_host_that_are_alike_some_are_kept() -> None:
    found = trays(10)
    kept, more = pruned(found, host_tree(found, np.arange(found.vertices)))
    names = [found.names[branch.vertex] for branch in kept]
    assert names == [name for i in range(4) for name in (f"cpu{i}", f"gpu{2 * i}", f"gpu{2 * i + 1}")] + ["switch"]
    assert more == {3: 6}


def test_of_five_parts_none_is_left_out() -> None:
    found = trays(5)
    tree = host_tree(found, np.arange(found.vertices))
    assert pruned(found, tree) == (tree, {})


def test_a_part_that_differs_inside_is_kept() -> None:
    found = trays(12, odd=6)
    kept, more = pruned(found, host_tree(found, np.arange(found.vertices)))
    names = {found.names[branch.vertex] for branch in kept}
    assert {"cpu6", "gpu12", "gpu13"} <= names
    assert more == {3: 2}
    assert "cpu11" in names, "five behind the odd one are all kept"


def test_the_picture_of_a_large_host_says_how_many_parts_are_like_those_drawn() -> None:
    texts = drawn(trays(36))[1]
    assert texts.count("and 32 more like it") == 1
    assert "of parts of a host that are alike not all are drawn by themselves" in texts
    assert "cpu3" in texts
    assert "cpu4" not in texts


def test_names_with_points_are_not_cut_unless_the_whole_host_has_the_same_head() -> None:
    found = topology(
        name="t", kinds=[Kind.CPU, Kind.SWITCH, Kind.GPU], names=["cpu0", "0000:18:00.0", "gpu0"],
        links=both_ways(links([0, 1], [1, 2], 1e9)), hosts=0,
    )  # fmt: skip
    assert "0000:18:00.0" in drawn(found)[1]


@pytest.mark.parametrize("hosts", [1, 2, 7, 40, 90])
@pytest.mark.parametrize("gpus", [1, 4])
def test_boxes_do_not_overlap_and_lie_inside_the_picture(hosts: int, gpus: int) -> None:
    found = layout(clos(hosts, gpus=gpus, leaves=5))
    boxes = [(box.x - box.width / 2, box.x + box.width / 2, box.y, box.y + BOX_HEIGHT) for box in found.boxes]
    for number, (left, right, top, bottom) in enumerate(boxes):
        assert left >= -1e-6
        assert right <= found.width + 1e-6
        assert top >= 0
        assert bottom <= found.height + 1e-6
        for other_left, other_right, other_top, other_bottom in boxes[:number]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
    for frame in found.frames:
        assert frame.left >= -1e-6
        assert frame.right <= found.width + 1e-6


def test_names_from_outside_are_text_and_nothing_else() -> None:
    found = clos(1, name='<script>&"\x00')
    root, texts = drawn(found)
    assert any(text.startswith("<script>&") for text in texts)
    assert list(root.iter(f"{NAMESPACE}script")) == []
