"""SimGrid's platform files: what is written is read again, and what SimGrid describes has its links and routes."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call, parse_specs
from clusterbench.collectives.collective import collective
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.formats.simgrid_xml import FORMAT
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.phases import price
from clusterbench.collectives.topology.graph import Kind, Topology, TopologyError, links, topology
from clusterbench.collectives.topology.simgrid.values import RATES, TIMES
from clusterbench.collectives.topology.spec import topology_from

WRITE = FORMAT.write
assert WRITE is not None  # the format is written too
HEAD = '<?xml version="1.0"?>\n<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">\n<platform version="4.1">\n'


def platform(body: str) -> Topology:
    return FORMAT.read(f"{HEAD}{body}\n</platform>", "p.xml")


def zone(body: str, routing: str = "Full") -> Topology:
    return platform(f'<zone id="z" routing="{routing}">\n{body}\n</zone>')


def cluster(hosts: int, more: str) -> Topology:
    return platform(
        f'<cluster id="c" prefix="n" suffix="" radical="0-{hosts - 1}" speed="1Gf" bw="1GBps" lat="1us" {more}/>'
    )


def hosts(*names: str) -> str:
    return "".join(f'<host id="{name}" speed="1Gf"/>\n' for name in names)


def finite(made: Topology, src: int, dst: int) -> list[int]:
    """The links of a route that have a bandwidth."""
    over = made.routes(src, dst).of(0)
    return [int(link) for link in over if np.isfinite(made.links.bandwidth[link])]


def count_finite(made: Topology) -> int:
    return int(np.isfinite(made.links.bandwidth).sum())


def refuse_broken_walks(made: Topology) -> None:
    """Every route is a walk from the one rank to the other."""
    for src, dst in permutations(range(len(made.ranks)), 2):
        at = made.ranks[src]
        for link in made.routes(src, dst).of(0):
            assert made.links.src[link] == at
            at = made.links.dst[link]
        assert at == made.ranks[dst]


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Ranks and switches, each linked with one before it, and some more links; some without an end to their rate."""
    ranks, switches = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    total = ranks + switches
    ends = [(k, draw(st.integers(ranks, max(ranks, k - 1)))) if k < ranks else (k, k - 1) for k in range(total)]
    ends = [(a, b) for a, b in ends if b >= ranks and a != b]
    more = draw(st.lists(st.tuples(st.integers(0, total - 1), st.integers(0, total - 1)), max_size=5))
    ends += [(a, b) for a, b in more if a != b]
    ends += [(b, a) for a, b in ends]
    rate = st.floats(1e3, 1e13) | st.just(math.inf)
    first = [draw(st.floats(1e3, 1e13)) if min(pair) < ranks else draw(rate) for pair in ends]
    late = [draw(st.floats(0, 1e-3)) for _ in ends]
    letters = st.text("abc.<>&\"' é→", min_size=1, max_size=5)
    names = draw(st.lists(letters, min_size=total, max_size=total, unique=True))
    ports = draw(st.lists(st.integers(0, total - 1), max_size=3, unique=True))
    kinds = [draw(st.sampled_from((Kind.CPU, Kind.GPU))) for _ in range(ranks)] + [Kind.SWITCH] * switches
    return topology(
        name="drawn", kinds=kinds, names=names, ranks=list(range(ranks)),
        links=links([a for a, _ in ends], [b for _, b in ends], first, late),
        hosts=[draw(st.integers(0, 3)) for _ in range(ranks)] + [-1] * switches,
        reducing=[False] * ranks + [draw(st.booleans()) for _ in range(switches)],
        ports=ports, port_bandwidth=[draw(st.floats(1e3, 1e13) | st.just(math.nan)) for _ in ports],
        estimated=draw(st.booleans()),
    )  # fmt: skip


@settings(max_examples=60)
@given(topologies())
def test_what_is_written_is_read_with_the_same_vertices_links_and_routes(made: Topology) -> None:
    text = WRITE(made)
    assert FORMAT.recognises(text)
    again = FORMAT.read(text, "drawn")
    assert list(again.names) == list(made.names)
    assert again.kinds.tolist() == made.kinds.tolist()
    assert again.hosts.tolist() == made.hosts.tolist()
    assert again.ranks.tolist() == made.ranks.tolist()
    assert again.estimated == made.estimated
    assert again.reducing.tolist() == made.reducing.tolist()
    assert again.ports.tolist() == made.ports.tolist()
    assert np.array_equal(again.port_bandwidth, made.port_bandwidth, equal_nan=True)
    assert again.searchable
    for column in ("src", "dst", "bandwidth", "latency_s"):
        assert getattr(again.links, column).tolist() == getattr(made.links, column).tolist()
    pairs = np.array(list(permutations(range(len(made.ranks)), 2)), np.int64).reshape(-1, 2)
    ours, theirs = made.routes(pairs[:, 0], pairs[:, 1]), again.routes(pairs[:, 0], pairs[:, 1])
    assert theirs.offsets.tolist() == ours.offsets.tolist()
    assert theirs.links.tolist() == ours.links.tolist()
    assert WRITE(again) == text


@pytest.mark.parametrize("text", ["fat-tree:nodes=2,node=dgx-h100,taper=2", "dragonfly", "dgx-1", "mi300x"])
def test_a_prediction_is_the_same_on_what_is_written_and_read_again(text: str) -> None:
    made = topology_from(text)
    again = FORMAT.read(WRITE(made), "p.xml")
    call = Call(collective("all_reduce"), ranks=len(made.ranks))
    for algorithm in ("ring", "recursive-doubling"):
        plan = schedule(parse_specs(algorithm)[0], call)
        assert price(plan, again, 1 << 20, Costs()).time_s == price(plan, made, 1 << 20, Costs()).time_s


@pytest.mark.parametrize(
    ("rate", "bytes_per_s"),
    [
        ("1Bps", 1), ("8bps", 1), ("1kBps", 1e3), ("1KiBps", 1024), ("1.5MBps", 1.5e6), ("2MiBps", 2 * 1024**2),
        ("100Gbps", 12.5e9), ("1Gibps", 2**27), ("3TBps", 3e12), ("1EBps", 1e18), ("1e9Bps", 1e9), ("1.25E8", 1.25e8),
    ],
)  # fmt: skip
def test_a_bandwidth_has_the_units_of_simgrid(rate: str, bytes_per_s: float) -> None:
    made = zone(f'{hosts("a", "b")}<link id="l" bandwidth="{rate}" latency="0"/>'
                '<route src="a" dst="b"><link_ctn id="l"/></route>')  # fmt: skip
    assert made.links.bandwidth[finite(made, 0, 1)].tolist() == [bytes_per_s]


@pytest.mark.parametrize(
    ("time", "time_s"),
    [("0", 0), ("2", 2), ("1s", 1), ("3ms", 3e-3), ("5us", 5e-6), ("7ns", 7e-9), ("9ps", 9e-12), ("1m", 60),
     ("1h", 3600), ("1d", 86400), ("1w", 604800), ("1e-6s", 1e-6)],
)  # fmt: skip
def test_a_latency_has_the_units_of_simgrid(time: str, time_s: float) -> None:
    made = zone(f'{hosts("a", "b")}<link id="l" bandwidth="1Bps" latency="{time}"/>'
                '<route src="a" dst="b"><link_ctn id="l"/></route>')  # fmt: skip
    assert made.routes(0, 1).sums(made.links.latency_s) == pytest.approx([time_s], rel=1e-15)


def test_there_are_all_prefixes_of_rates_and_all_units_of_time() -> None:
    assert len(RATES) == 2 * (9 + 8)
    assert len(TIMES) == 9


def test_a_flat_cluster_has_a_cable_a_host() -> None:
    made = cluster(4, "")
    assert count_finite(made) == 2 * 4
    assert all(len(finite(made, a, b)) == 2 for a, b in permutations(range(4), 2))
    assert set(finite(made, 0, 1)).isdisjoint(finite(made, 1, 0))
    refuse_broken_walks(made)


def test_a_backbone_lies_in_every_route_of_a_flat_cluster_once() -> None:
    made = cluster(3, 'bb_bw="2GBps" bb_lat="3us"')
    (backbone,) = np.flatnonzero(made.links.bandwidth == 2e9)
    for a, b in permutations(range(3), 2):
        assert finite(made, a, b)[1] == backbone
        assert made.routes(a, b).sums(made.links.latency_s) == pytest.approx([5e-6])
    refuse_broken_walks(made)


def test_both_directions_of_a_shared_cable_are_one_link() -> None:
    made = cluster(3, 'sharing_policy="SHARED"')
    assert count_finite(made) == 3
    assert finite(made, 0, 1) == finite(made, 1, 0)[::-1]
    refuse_broken_walks(made)


@pytest.mark.parametrize(
    ("count", "more", "switches"),
    [
        (3, "", 0),
        (8, 'topology="TORUS" topo_parameters="4,2"', 0),
        (8, 'topology="FAT_TREE" topo_parameters="2;4,2;1,2;1,1"', 4),
        (8, 'topology="DRAGONFLY" topo_parameters="2,1;1,1;2,1;2"', 4),
        (4, 'sharing_policy="SHARED"', 0),
    ],
)
def test_a_limiter_is_one_link_for_all_that_goes_through_a_vertex(count: int, more: str, switches: int) -> None:
    made = cluster(count, f'limiter_link="1.5GBps" {more}')
    limiters = set(np.flatnonzero(made.links.bandwidth == 1.5e9).tolist())
    assert len(limiters) == count + switches
    for a, b in permutations(range(count), 2):
        ours, theirs = (set(finite(made, *ends)) & limiters for ends in ((a, b), (b, a)))
        assert finite(made, a, b)[0] in ours
        assert finite(made, a, b)[-1] in theirs
        cables = len(finite(made, a, b)) - len(ours)
        assert len(ours) == (cables + 1 if more and "SHARED" not in more else 2)
    refuse_broken_walks(made)


def test_the_radical_numbers_the_hosts() -> None:
    made = platform('<cluster id="c" prefix="n" suffix=".x" radical="0-2,7" speed="1Gf" bw="1Bps" lat="0"/>')
    assert [made.names[rank] for rank in made.ranks] == ["n0.x", "n1.x", "n2.x", "n7.x"]


def test_routes_in_a_torus_go_the_shorter_way_in_each_dimension() -> None:
    made = cluster(3 * 2 * 4, 'topology="TORUS" topo_parameters="3,2,4"')
    assert count_finite(made) == 2 * 3 * 24
    for a, b in permutations(range(24), 2):
        apart = [abs(x - y) for x, y in zip((a % 3, a // 3 % 2, a // 6), (b % 3, b // 3 % 2, b // 6), strict=True)]
        around = sum(min(d, size - d) for d, size in zip(apart, (3, 2, 4), strict=True))
        assert len(finite(made, a, b)) == around
    refuse_broken_walks(made)


def test_a_torus_of_shared_cables_has_one_link_a_cable() -> None:
    made = cluster(5, 'topology="TORUS" topo_parameters="5" sharing_policy="SHARED"')
    assert count_finite(made) == 5
    assert finite(made, 0, 2) == finite(made, 2, 0)[::-1]
    refuse_broken_walks(made)


def test_a_fat_tree_has_the_links_that_the_documentation_counts() -> None:
    made = cluster(16, 'topology="FAT_TREE" topo_parameters="2;4,4;1,2;1,2"')
    # 16 cables to 4 leaves; from each leaf 2 cables to each of 2 switches of the upper level.
    assert int((made.kinds == Kind.SWITCH).sum()) == 4 + 2
    assert count_finite(made) == 2 * (16 + 4 * 2 * 2)
    for a, b in permutations(range(16), 2):
        assert len(finite(made, a, b)) == (2 if a // 4 == b // 4 else 4)
    refuse_broken_walks(made)


def test_a_fat_tree_goes_up_by_the_destination() -> None:
    made = cluster(16, 'topology="FAT_TREE" topo_parameters="2;4,4;1,4;1,1"')
    upward = {(a // 4, b): finite(made, a, b)[1] for a, b in permutations(range(16), 2) if a // 4 != b // 4}
    for a, b in permutations(range(16), 2):
        if a // 4 != b // 4:
            assert finite(made, a, b)[1] == upward[a // 4, b]
    for leaf in range(4):  # the four hosts of another leaf are reached over four cables
        assert len({upward[leaf, b] for b in range(4 * ((leaf + 1) % 4), 4 * ((leaf + 1) % 4) + 4)}) == 4


def test_a_fat_tree_of_three_levels_turns_at_the_lowest_common_switch() -> None:
    made = cluster(8, 'topology="FAT_TREE" topo_parameters="3;2,2,2;1,2,1;1,1,2"')
    for a, b in permutations(range(8), 2):
        height = 1 if a // 2 == b // 2 else 2 if a // 4 == b // 4 else 3
        assert len(finite(made, a, b)) == 2 * height
    refuse_broken_walks(made)


def test_a_dragonfly_has_the_links_and_routes_that_the_documentation_counts() -> None:
    made = cluster(54, 'topology="DRAGONFLY" topo_parameters="3,4;3,2;3,1;2"')
    rates = made.links.bandwidth[np.isfinite(made.links.bandwidth)]
    assert int((rates == 4e9).sum()) == 2 * 3  # groups in pairs, of four cables
    assert int((rates == 2e9).sum()) == 2 * 3 * 3 * 3  # in a group, chassis in pairs for each router, of two cables
    assert int((rates == 1e9).sum()) == 2 * (54 + 3 * 3 * 3)  # hosts, and routers of a chassis in pairs
    for a, b in permutations(range(54), 2):
        apart = len(finite(made, a, b))
        if a // 2 == b // 2:
            assert apart == 2
        elif a // 18 == b // 18:
            assert apart == 2 + (a // 2 % 3 != b // 2 % 3) + (a // 6 != b // 6)
        else:
            assert 3 <= apart <= 7
            assert int((made.links.bandwidth[finite(made, a, b)] == 4e9).sum()) == 1
    refuse_broken_walks(made)


DUPLEX = (
    f'{hosts("a", "b")}<link id="l" bandwidth="1GBps" latency="1us" sharing_policy="SPLITDUPLEX"/>'
    '<route src="a" dst="b"><link_ctn id="l" direction="UP"/></route>'
)


def test_a_split_duplex_link_is_two_links() -> None:
    made = zone(DUPLEX)
    assert count_finite(made) == 2
    assert finite(made, 0, 1) != finite(made, 1, 0)
    refuse_broken_walks(made)


def test_the_way_back_of_a_route_is_its_reverse_over_the_same_links() -> None:
    made = zone(
        f'{hosts("a", "b")}<link id="k" bandwidth="1GBps"/><link id="l" bandwidth="2GBps"/>'
        '<route src="a" dst="b"><link_ctn id="k"/><link_ctn id="l"/></route>'
    )
    assert finite(made, 0, 1) == finite(made, 1, 0)[::-1]
    assert count_finite(made) == 2
    refuse_broken_walks(made)


@pytest.mark.parametrize("routing", ["Floyd", "Dijkstra", "DijkstraCache"])
def test_a_searched_route_has_the_fewest_links(routing: str) -> None:
    made = zone(
        hosts("a", "b", "c")
        + '<router id="r"/><router id="s"/>'
        + "".join(f'<link id="{name}" bandwidth="{k}GBps"/>' for k, name in enumerate("tuvwxy", 1))
        + '<route src="a" dst="r"><link_ctn id="t"/></route><route src="r" dst="b"><link_ctn id="u"/></route>'
        '<route src="a" dst="s"><link_ctn id="v"/><link_ctn id="w"/></route>'
        '<route src="s" dst="b"><link_ctn id="x"/></route><route src="b" dst="c"><link_ctn id="y"/></route>',
        routing,
    )
    assert [made.links.bandwidth[link] / 1e9 for link in finite(made, 0, 2)] == [1, 2, 6]
    assert [made.links.bandwidth[link] / 1e9 for link in finite(made, 2, 0)] == [6, 2, 1]
    refuse_broken_walks(made)


NESTED = """
<zone id="z" routing="Full">
<cluster id="c" prefix="n" suffix="" radical="0-2" speed="1Gf" bw="1GBps" lat="1us" router_id="cr"/>
<zone id="d" routing="{inner}">
<host id="a" speed="1Gf"/>
<host id="b" speed="1Gf"/>
<router id="dr"/>
<link id="la" bandwidth="2GBps" latency="10us"/>
<link id="lb" bandwidth="3GBps" latency="20us"/>
<route src="a" dst="dr"><link_ctn id="la"/></route>
<route src="b" dst="dr"><link_ctn id="lb"/></route>
<route src="a" dst="b"><link_ctn id="la"/><link_ctn id="lb"/></route>
</zone>
<link id="wide" bandwidth="{wide}" latency="100us" sharing_policy="{policy}"/>
<zoneRoute src="c" dst="d" gw_src="cr" gw_dst="dr"><link_ctn id="wide"/></zoneRoute>
</zone>"""


@pytest.mark.parametrize("inner", ["Full", "Floyd"])
def test_a_route_between_zones_goes_over_their_gateways(inner: str) -> None:
    made = platform(NESTED.format(inner=inner, wide="4GBps", policy="SHARED"))
    assert [made.links.bandwidth[link] / 1e9 for link in finite(made, 0, 3)] == [1, 4, 2]
    assert [made.links.bandwidth[link] / 1e9 for link in finite(made, 4, 1)] == [3, 4, 1]
    assert made.routes(3, 0).sums(made.links.latency_s) == pytest.approx([111e-6])
    assert made.nodes == 5
    refuse_broken_walks(made)


def test_a_fat_pipe_that_never_binds_is_a_link_without_an_end() -> None:
    made = platform(NESTED.format(inner="Full", wide="1GBps", policy="FATPIPE"))
    assert [made.links.bandwidth[link] / 1e9 for link in finite(made, 0, 3)] == [1, 2]
    assert made.routes(3, 0).sums(made.links.latency_s) == pytest.approx([111e-6])


def test_a_fat_pipe_that_binds_is_refused_when_its_route_is_asked_for() -> None:
    made = platform(NESTED.format(inner="Full", wide="0.5GBps", policy="FATPIPE"))
    assert len(finite(made, 0, 1)) == 2  # inside the cluster
    with pytest.raises(TopologyError, match=r"p\.xml, line 5: the route from n0 to a .* FATPIPE, .* 5e\+08 bytes/s"):
        made.routes(0, 3)


def test_a_zone_of_routing_cluster_lists_a_link_up_and_down_for_each_host() -> None:
    made = zone(
        hosts("a", "b")
        + "".join(f'<link id="{end}{way}" bandwidth="1GBps" latency="1us"/>' for end in "ab" for way in "ud")
        + '<backbone id="bb" bandwidth="5GBps" latency="2us"/><host_link id="a" up="au" down="ad"/>'
        '<host_link id="b" up="bu" down="bd"/>',
        "Cluster",
    )
    assert count_finite(made) == 5
    assert made.routes(0, 1).sums(made.links.latency_s) == pytest.approx([4e-6])
    assert len(set(finite(made, 0, 1)) & set(finite(made, 1, 0))) == 1
    refuse_broken_walks(made)


def test_what_varies_with_time_is_warned_of() -> None:
    made = zone(f'{hosts("a", "b")}<link id="l" bandwidth="1Bps" bandwidth_file="x.profile"/>'
                '<route src="a" dst="b"><link_ctn id="l"/></route>')  # fmt: skip
    assert len(made.warnings) == 1
    assert "'l' varies with time" in made.warnings[0]


LINK = '<link id="l" bandwidth="1Bps"/>\n'
AB = hosts("a", "b")
BAD = [
    (AB + '<link id="l" bandwidth="fast"/>', 7, "bandwidth is 'fast'; expected a number"),
    (AB + '<link id="l" bandwidth="1Xps"/>', 7, "unknown unit 'Xps'"),
    (AB + '<link id="l" bandwidth="0Bps"/>', 7, "expected more than 0"),
    (AB + '<link id="l" bandwidth="-1Bps"/>', 7, "expected more than 0"),
    (AB + '<link id="l" bandwidth="nan"/>', 7, "expected a number"),
    (AB + '<link id="l" bandwidth="1e400Bps"/>', 7, "expected a finite number"),
    (AB + '<link id="l" bandwidth="1Bps" latency="-1s"/>', 7, "expected 0 or more"),
    (AB + '<link id="l"/>', 7, "<link> has no bandwidth"),
    (AB + '<link id="l" bandwidth="1Bps" sharing_policy="WIFI"/>', 7, "'WIFI' is not modelled"),
    (AB + LINK + LINK, 8, "second link named 'l'"),
    (AB + hosts("a"), 7, "second host, router or zone named 'a'"),
    (AB + LINK + '<route src="a" dst="x"><link_ctn id="l"/></route>', 8, "dst is 'x', which is not declared"),
    (AB + LINK + '<route src="a" dst="b">\n<link_ctn id="m"/></route>', 9, "link 'm' is not declared"),
    (AB + LINK + '<route src="a" dst="b"/>', 8, "a route without links"),
    (AB + LINK + '<route src="a" dst="b"><link_ctn id="l" direction="UP"/></route>', 8, "expected NONE"),
    (AB + LINK + '<route src="a" dst="b"><link_ctn id="l"/></route>\n<route src="b" dst="a"><link_ctn id="l"/></route>',
     9, "second route"),
    (AB + LINK + '<bypassRoute src="a" dst="b"><link_ctn id="l"/></bypassRoute>', 8, "way round the routes"),
    (AB + "<peer/>", 7, "Vivaldi"),
    (AB + "<unheard/>", 7, "unknown element <unheard>"),
    ('<link id="l" bandwidth="1Bps"/>', 3, "no hosts"),
    (AB + "<", 7, "expected XML"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "message"), BAD)
def test_a_platform_that_cannot_be_is_refused_with_file_and_line(body: str, line: int, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        zone(body)
    assert str(caught.value).startswith(f"p.xml, line {line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('radical="3-1"', "expected the lower number first"),
        ('radical="0-99999999"', "expected at most that"),
        ('radical="x"', "expected a whole number"),
        ('radical="0-7" topology="TORUS" topo_parameters="3,3"', "8 hosts in the radical; expected 9"),
        ('radical="0-7" topology="TORUS"', "has no topo_parameters"),
        ('radical="0-7" topology="FAT_TREE" topo_parameters="2;2,4;1,2"', "expected 4 groups"),
        ('radical="0-7" topology="FAT_TREE" topo_parameters="2;2,4;1;1,1"', "expected 4 groups"),
        ('radical="0-7" topology="FAT_TREE" topo_parameters="1;8;99999999;9"', "expected at most"),
        ('radical="0-7" topology="DRAGONFLY" topo_parameters="4,1;1,1;2,1;1"', "no more groups than routers"),
        (f'radical="0-7" topology="TORUS" topo_parameters="{",".join(["999999999"] * 600)}"', "600 dimensions"),
        (
            f'radical="0-7" topology="TORUS" topo_parameters="{",".join(["999999999"] * 16)}"',
            "expected more than 1048576,",
        ),
        (f'radical="0-7" topology="FAT_TREE" topo_parameters="600{(";1" + ",1" * 599) * 3}"', "600 levels"),
        ('radical="0-7" topology="HYPERCUBE"', "expected FLAT"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_with_file_and_line(more: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        platform(f'<cluster id="c" prefix="n" suffix="" speed="1Gf" bw="1Bps" lat="0" {more}/>')
    assert str(caught.value).startswith("p.xml, line 4: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "0 zones"),
        ('<zone id="z" routing="Vivaldi"/>', "routing 'Vivaldi' is not read"),
        ('<zone id="z" routing="Full"/><zone id="y" routing="Full"/>', "2 zones"),
        (NESTED.format(inner="Full", wide="1Bps", policy="SHARED").replace('gw_dst="dr"', 'gw_dst="n0"'), "outside"),
        (NESTED.format(inner="Full", wide="1Bps", policy="SHARED").replace('dst="d"', 'dst="a"'), "expected a zone"),
    ],
)
def test_zones_that_cannot_be_are_refused(body: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        platform(body)


def test_a_missing_route_names_the_zone_and_the_hosts() -> None:
    with pytest.raises(TopologyError, match=r"p\.xml, line 4: zone 'z' has no route from a to b"):
        zone(AB).routes(0, 1)


def test_an_old_version_names_the_program_that_converts_it() -> None:
    with pytest.raises(TopologyError, match=r"version '3'; .* simgrid_update_xml"):
        FORMAT.read('<platform version="3"><AS id="z" routing="Full"/></platform>', "p.xml")


def test_properties_that_cannot_be_and_links_whose_ends_do_not_meet_are_refused() -> None:
    made = topology(name="t", kinds=[Kind.CPU, Kind.CPU, Kind.SWITCH], names=["a", "b", "s"], ports=[2],
                    port_bandwidth=1e9, links=links([0, 2, 1, 2], [2, 1, 2, 0], 1e9, 1e-6))  # fmt: skip
    text = WRITE(made)
    for old, new, message in (
        (
            '<link_ctn id="0"/><link_ctn id="1"/>',
            '<link_ctn id="1"/><link_ctn id="0"/>',
            "begins at s; expected it at a",
        ),
        ('<link_ctn id="0"/><link_ctn id="1"/>', '<link_ctn id="0"/>', "end at s; expected b"),
        ('"clusterbench.to" value="s"', '"clusterbench.to" value="x"', "its ends are"),
        ('value="switch 0"', 'value="switch 0 dances"', "a vertex that 'dances'; expected 'reduces'"),
        ('value="1000000000.0 s"', 'value="1000000000.0 x"', "a port at 'x'"),
        ('value="1000000000.0 s"', 'value="0 s"', "a port of '0' bytes/s"),
    ):
        assert old in text
        with pytest.raises(TopologyError, match=rf"p\.xml, line [0-9]+: .*{message}"):
            FORMAT.read(text.replace(old, new, 1), "p.xml")


def test_ranks_that_simgrid_has_no_route_between_are_refused() -> None:
    wide = topology(name="t", kinds=[Kind.CPU, Kind.CPU], names=["a", "b"], links=links([0, 1], [1, 0], math.inf))
    with pytest.raises(TopologyError, match="no link of finite bandwidth from a to b"):
        WRITE(wide)
    twice = topology(name="t", kinds=[Kind.CPU, Kind.CPU], names=["a", "b"], links=links([0, 1], [1, 0], 1e9),
                     ranks=[0, 0, 1])  # fmt: skip
    with pytest.raises(TopologyError, match="two ranks on a"):
        WRITE(twice)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('<platform version="4.1"/>', True),
        (f"\n<!-- a > b --> {HEAD[22:]}", True),
        ("<system><platform></platform></system>", False),
        ("<!-- <platform> --><topology/>", False),
        ("<platforms/>", False),
        ("<!DOCTYPE platform [<!ELEMENT platform (zone)> <!-- a > b -->\n]>\n<platform/>", True),
        ("<!DOCTYPE platform [<!ELEMENT platform (zone)>]><system/>", False),
        (" " * 10_000 + "<" * 10_000, False),
    ],
)
def test_a_platform_is_recognised_by_its_root(text: str, is_one: bool) -> None:
    assert FORMAT.recognises(text) is is_one


@settings(max_examples=200)
@given(st.text("<>/\"'=& platformzneroucikswdhb14.\n", max_size=200) | st.integers(0, 1500))
def test_a_file_that_is_cut_or_spoiled_is_refused_or_read_and_nothing_else(spoiled: str | int) -> None:
    whole = f"{HEAD}{NESTED.format(inner='Floyd', wide='4GBps', policy='SHARED')}\n</platform>"
    text = whole[:spoiled] if isinstance(spoiled, int) else whole.replace("<router", f"{spoiled}<router", 1)
    refusals = []
    try:
        FORMAT.read(text, "p.xml")
    except TopologyError as error:
        refusals.append(str(error))
    assert all(refusal.startswith("p.xml") for refusal in refusals)
