"""Fabrics and hosts: every route is a way, as short as there is, and the numbers are those of the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from clusterbench.collectives.topology.fabric import fabrics
from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError, disconnected
from clusterbench.collectives.topology.presets import preset, preset_names
from clusterbench.collectives.topology.spec import topology_from

CASES = [
    "single-switch:nodes=16",
    "single-switch:nodes=3,node=dgx-h100",
    "leaf-spine:racks=3,hosts=4,taper=4,spines=2",
    "leaf-spine:racks=2,hosts=2,node=dgx-1,ecmp=5",
    "fat-tree:nodes=40,radix=8",
    "fat-tree:nodes=100,radix=8,taper=3,ecmp=1",
    "fat-tree:nodes=20,node=dgx-a100,rails=yes,down=4",
    "fat-tree:nodes=30,levels=4,radix=4,down=2",
    "dragonfly",
    "dragonfly:groups=4,routers=4,hosts=2,globals=3,ecmp=1",
    "dragonfly:groups=2,routers=1,hosts=3,globals=1",
    "torus:dims=4x4x4",
    "torus:dims=2x3x5",
    "torus:dims=1x6,ecmp=2",
    *("dgx-1", "dgx-a100", "dgx-h100", "gb200-nvl72", "hgx-b200", "mi300x"),
]


def all_pairs(machine: Topology, choice: int = 0) -> tuple[np.ndarray, np.ndarray]:
    ranks = len(machine.ranks)
    if ranks > 80:
        generator = np.random.default_rng(7)
        return generator.integers(0, ranks, 2000), generator.integers(0, ranks, 2000)
    src, dst = np.indices((ranks, ranks))
    return src.ravel(), dst.ravel()


@pytest.mark.parametrize("text", CASES)
@pytest.mark.parametrize("choice", [0, 3])
def test_every_route_leads_from_its_source_to_its_destination(text: str, choice: int) -> None:
    machine = topology_from(text)
    src, dst = all_pairs(machine)
    routes = machine.routes(src, dst, choice)
    assert len(routes) == len(src)
    for number in range(len(routes)):
        at = machine.ranks[src[number]]
        for link in routes.of(number):
            assert machine.links.src[link] == at
            at = machine.links.dst[link]
        assert at == machine.ranks[dst[number]]


@pytest.mark.parametrize(
    "text", [text for text in CASES if ":" in text and "dragonfly" not in text and "node=" not in text]
)
def test_routes_of_fabrics_have_as_few_links_as_there_can_be(text: str) -> None:
    machine = topology_from(text)
    src, dst = all_pairs(machine)
    ones = np.ones(len(machine.links))
    graph = coo_array((ones, (machine.links.src, machine.links.dst)), shape=(machine.vertices,) * 2)
    hops = shortest_path(graph.tocsr(), unweighted=True)[machine.ranks[src], machine.ranks[dst]]
    np.testing.assert_array_equal(machine.routes(src, dst).lengths, hops)


@pytest.mark.parametrize("text", [text for text in CASES if "dragonfly" in text])
def test_routes_of_a_dragonfly_cross_one_link_between_groups_and_one_inside_each_at_most(text: str) -> None:
    machine = topology_from(text)
    src, dst = all_pairs(machine)
    group = np.array([int(name[5:].partition(".")[0]) if name.startswith("group") else -1 for name in machine.names])
    routes = machine.routes(src, dst)
    for number in range(len(routes)):
        ends = [(group[machine.links.src[x]], group[machine.links.dst[x]]) for x in routes.of(number)]
        between_routers = [(a, b) for a, b in ends if a >= 0 and b >= 0]
        assert sum(a != b for a, b in between_routers) <= 1
        inside = [a for a, b in between_routers if a == b]
        assert len(inside) == len(set(inside))


@pytest.mark.parametrize("text", CASES)
def test_every_link_of_fabrics_and_hosts_has_its_like_in_the_other_direction(text: str) -> None:
    links = topology_from(text).links
    there = sorted(zip(links.src.tolist(), links.dst.tolist(), links.bandwidth.tolist(), strict=True))
    back = sorted(zip(links.dst.tolist(), links.src.tolist(), links.bandwidth.tolist(), strict=True))
    assert there == back


def test_the_cases_cover_every_fabric_and_every_host() -> None:
    named = {text.partition(":")[0] for text in CASES} | {"host"}
    assert set(fabrics()) <= named
    assert set(preset_names()) <= named


@pytest.mark.parametrize("name", preset_names())
def test_hosts_are_connected_and_say_where_their_figures_come_from(name: str) -> None:
    host = preset(name)
    assert disconnected(host) is None
    assert len(host.source) > 10
    assert len(host.ports)
    assert not np.isnan(host.port_bandwidth).any()


@pytest.mark.parametrize(
    ("name", "out"), [("dgx-a100", 300e9), ("dgx-h100", 450e9), ("hgx-b200", 900e9), ("gb200-nvl72", 900e9),
                      ("mi300x", 448e9), ("dgx-1", 150e9)],
)  # fmt: skip
def test_gpus_of_a_host_send_to_one_another_at_the_vendors_rate(name: str, out: float) -> None:
    host = preset(name)
    links = host.links
    fast = (links.src == host.ranks[0]) & np.isin(host.kinds[links.dst], (Kind.GPU, Kind.SWITCH))
    fast &= np.array([not host.names[int(vertex)].startswith("pcie") for vertex in links.dst])
    assert links.bandwidth[fast].sum() == out


@given(hosts=st.integers(1, 6), racks=st.integers(1, 5), spines=st.integers(1, 4), taper=st.sampled_from([1, 2, 3, 4]))
@settings(max_examples=25, deadline=None)
def test_the_uplinks_of_a_rack_have_its_hosts_bandwidth_over_the_taper(
    hosts: int, racks: int, spines: int, taper: int
) -> None:
    machine = topology_from(f"leaf-spine:hosts={hosts},racks={racks},spines={spines},taper={taper},bandwidth=12G")
    leaf = hosts * racks
    up = (machine.links.src == leaf) & (machine.links.dst >= leaf + racks)
    assert machine.links.bandwidth[up].sum() == pytest.approx(hosts * 12e9 / taper)
    assert up.sum() == spines


@given(nodes=st.integers(2, 90), radix=st.sampled_from([4, 8, 16]), taper=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_a_fat_tree_has_no_switch_of_more_ports_than_its_radix(nodes: int, radix: int, taper: int) -> None:
    try:
        machine = topology_from(f"fat-tree:nodes={nodes},radix={radix},taper={taper}")
    except TopologyError as error:
        assert "leaves; expected at most" in str(error)  # noqa: PT017 # only some draws are too large
        return
    ports = np.bincount(machine.links.src, minlength=machine.vertices)
    assert ports[machine.kinds == Kind.SWITCH].max() <= radix
    assert disconnected(machine) is None


@pytest.mark.parametrize("shift", [1, 4, 5, 17])
def test_shifts_over_a_full_fat_tree_share_no_link(shift: int) -> None:
    machine = topology_from("fat-tree:nodes=32,radix=8")
    ranks = np.arange(32)
    routes = machine.routes(ranks, (ranks + shift) % 32)
    assert np.bincount(routes.links).max() == 1


def test_hashed_routes_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    src, dst = np.repeat(np.arange(16), 16), np.tile(np.arange(16, 32), 16)
    one, again, other = (
        topology_from(f"fat-tree:nodes=32,radix=8,ecmp={seed}").routes(src, dst).links for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_rails_put_the_same_port_of_neighbouring_nodes_under_one_leaf() -> None:
    machine = topology_from("fat-tree:nodes=8,node=dgx-h100,rails=yes,down=4")
    for rail in range(8):
        same = machine.routes([rail, rail], [8 + rail, 24 + rail])
        assert [machine.names[int(machine.links.dst[link])] for link in same.of(0)].count(f"leaf{rail}") == 1
        assert not any("spine" in machine.link_name(int(link)) for link in same.of(0))
    across = machine.routes(0, 8 + 1)
    assert any("spine" in machine.link_name(int(link)) for link in across.of(0))


def test_choices_of_a_route_take_other_ports_and_then_other_switches() -> None:
    machine = topology_from("leaf-spine:racks=2,hosts=1,spines=3,node=dgx-h100")
    ways = {tuple(machine.routes(0, 8, choice).of(0).tolist()) for choice in range(24)}
    assert len(ways) == 24


def test_every_gpu_leaves_by_the_port_beside_it() -> None:
    machine = topology_from("single-switch:nodes=2,node=dgx-a100")
    routes = machine.routes(np.arange(8), 8 + np.arange(8))
    ports = [next(int(v) for v in machine.links.dst[routes.of(r)] if machine.kinds[v] == Kind.NIC) for r in range(8)]
    assert sorted(machine.names[port] for port in ports) == [f"h0.nic{i}" for i in range(8)]
    assert (routes.lengths == 6).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dgx-h10", "did you mean 'dgx-h100'"),
        ("fat-tree:nods=3", "no option 'nods'; it has"),
        ("fat-tree:nodes=0", "nodes=0; expected a whole number from 1"),
        ("fat-tree:nodes=2,nodes=3", "nodes is given twice"),
        ("fat-tree:nodes", "expected OPTION=VALUE"),
        ("fat-tree:nodes=4,node=none", "unknown host 'none'"),
        ("fat-tree:nodes=9,radix=4,levels=2,down=1", "9 ports need 9 leaves; expected at most 4"),
        ("fat-tree:nodes=9,rails=perhaps", "rails=perhaps; expected yes or no"),
        ("fat-tree:nodes=9,bandwidth=-3", "bandwidth=-3; expected a number above 0"),
        ("fat-tree:nodes=9,bandwidth=0", "bandwidth=0; expected a number above 0"),
        ("fat-tree:nodes=9,latency=tbd", "latency=tbd; expected a number above 0"),
        ("dragonfly:groups=40", "expected at least one for each of the 39 other groups"),
        ("torus:dims=3xx3", "dims=; expected a whole number"),
        ("torus:dims=4x4,node=dgx-h100", "a torus joins nodes of one port; found 8"),
        ("torus:dims=1048576x1048576x1048576x1048576", "nodes; expected at most 1048576"),
        ("torus:dims=2x2x2x2x7x37x43x163x661x919x1045507", "nodes; expected at most 1048576"),
        ("fat-tree:nodes=256,radix=64,down=64", "down=64 with 64 uplinks needs 128 ports; expected at most radix=64"),
        ("dragonfly:globals=1000000", "links; expected at most"),
        ("dragonfly:groups=2,routers=100000,hosts=1", "links; expected at most"),
        ("leaf-spine:racks=1000,spines=1000000", "links; expected at most"),
        ("leaf-spine:taper=x", "taper=x; expected a number"),
        ("forestcoll-a100:nodes=0", "nodes=0; expected a whole number from 1"),
        ("dgx-h100:ranks=file.none", "file.none: No such file"),
    ],
)
def test_what_is_written_wrongly_is_refused_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        topology_from(text)
    assert message in str(caught.value)


def test_a_text_longer_than_any_file_name_is_read_as_what_it_says() -> None:
    assert len(topology_from(f"leaf-spine:{' ' * 5000}racks=2,hosts=3").ranks) == 6
    for text in ("x" * 5000, f"leaf-spine:node={'x' * 5000}"):
        with pytest.raises(TopologyError, match="expected"):
            topology_from(text)


def test_routes_between_neighbours_of_a_long_ring_take_memory_for_what_they_are() -> None:
    """And not for the longest that there might be: 100,000 times 50,000 links."""
    points = np.arange(100_000)
    routes = topology_from("torus:dims=100000").routes(points, (points + 1) % 100_000)
    assert (routes.lengths == 1).all()
