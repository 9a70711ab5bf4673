"""SimGrid takes the platforms that are written, and finds the times and routes in them that are found here."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from random import Random

import pytest
import smpi

from clusterbench.collectives.formats.simgrid_xml import FORMAT
from clusterbench.collectives.topology.graph import Kind, Topology, both_ways, joined, links, topology
from clusterbench.collectives.topology.spec import topology_from

pytestmark = pytest.mark.skipif(not smpi.installed(), reason=smpi.MISSING)
WRITE = FORMAT.write
assert WRITE is not None  # the format is written too


def two_leaves() -> Topology:
    """Two switches of three hosts each, with one thinner link between them, and different rates and latencies."""
    near = links([0, 1, 2, 3, 4, 5], [6, 6, 6, 7, 7, 7], [1e9, 2e9, 3e9, 1.5e9, 2.5e9, 1e9], [1e-6, 2e-6, 3e-6] * 2)
    far = links([6], [7], 0.7e9, 5e-6)
    return topology(
        name="leaves",
        kinds=[Kind.CPU] * 6 + [Kind.SWITCH] * 2,
        names=["h 0", "h&1", "h2", "h3", "h4", "h5", "leaf0", "leaf1"],
        links=joined((both_ways(near), both_ways(far))),
        hosts=[0, 1, 2, 3, 4, 5, -1, -1],
    )


ENVELOPE_BYTES = 16
"""That SimGrid sends with each message (Request::start in src/smpi/mpi/smpi_request.cpp)."""


def alone_s(made: Topology, src: int, dst: int, size_bytes: int) -> float:
    """Seconds of one message on idle links."""
    route = made.routes(src, dst).of(0)
    return float(made.links.latency_s[route].sum() + (size_bytes + ENVELOPE_BYTES) / made.links.bandwidth[route].min())


def taken_s(rows: list[list[float]]) -> dict[tuple[int, int], float]:
    """Seconds of each message: from when both its ends were there to when the later one was through."""
    begins: dict[tuple[int, int], float] = {}
    ends: dict[tuple[int, int], float] = {}
    for src, dst, begin, end in rows:
        pair = int(src), int(dst)
        begins[pair] = max(begin, begins.get(pair, 0.0))
        ends[pair] = max(end, ends.get(pair, 0.0))
    return {pair: ends[pair] - begins[pair] for pair in ends}


def names_of(made: Topology) -> list[str]:
    return [made.names[rank] for rank in made.ranks]


@pytest.mark.parametrize("size_bytes", [1000, 1 << 20])
@pytest.mark.parametrize(
    "text", ["two leaves", "leaf-spine:racks=2,hosts=3,taper=3", "fat-tree:nodes=2,node=dgx-h100", "dgx-1", "mi300x"]
)
def test_a_message_between_each_pair_takes_as_long_in_simgrid(text: str, size_bytes: int, tmp_path: Path) -> None:
    made = two_leaves() if text == "two leaves" else topology_from(text)
    file = tmp_path / "p.xml"
    file.write_text(WRITE(made))
    taken = taken_s(smpi.smpirun(file, names_of(made), "pairs", str(size_bytes)).rows)
    assert len(taken) == len(made.ranks) * (len(made.ranks) - 1)
    for pair, time_s in taken.items():
        assert time_s == pytest.approx(alone_s(made, *pair, size_bytes), rel=1e-6)


def test_a_ring_shares_the_links_in_simgrid_as_here(tmp_path: Path) -> None:
    made = two_leaves()
    file = tmp_path / "p.xml"
    file.write_text(WRITE(made))
    size_bytes = 1 << 24
    rows = smpi.smpirun(file, names_of(made), "ring", str(size_bytes)).rows
    # Each link carries one message; a rank is through when its own message and that of its neighbour are.
    alone = [alone_s(made, rank, (rank + 1) % 6, size_bytes) for rank in range(6)]
    expected = sorted(max(alone[rank], alone[rank - 1]) for rank in range(6))
    assert sorted(end - begin for begin, end in rows) == pytest.approx(expected, rel=1e-6)


def test_messages_share_a_link_in_simgrid_by_the_latencies_of_their_routes(tmp_path: Path) -> None:
    """Which is where SimGrid differs from max-min fair rates, and why its times differ on a dragonfly."""
    near = links([0, 1, 2, 3], [4, 5, 4, 5], 4e9, [1e-6, 0.0, 5e-6, 0.0])
    made = topology(
        name="shared",
        kinds=[Kind.CPU] * 4 + [Kind.SWITCH] * 2,
        names=["a", "b", "c", "d", "left", "right"],
        links=joined((both_ways(near), both_ways(links([4], [5], 1e9, 1e-6)))),
    )
    file = tmp_path / "p.xml"
    file.write_text(WRITE(made))
    rows = smpi.smpirun(file, names_of(made), "ring", str(1_000_000_000)).rows
    # a → b (2 µs) and c → d (6 µs) go to the right at 3/4 and 1/4 of 1e9 bytes/s, and the second at all of it when the
    # first is through; b → c (6 µs) and d → a (2 µs) go to the left alike. Each rank is in one of either kind.
    assert sorted(end - begin for begin, end in rows) == pytest.approx([4 / 3, 2.0, 2.0, 2.0], rel=1e-4)


CLUSTERS = {
    "flat": (4, ""),
    "backbone": (4, 'bb_bw="0.6GBps" bb_lat="3us"'),
    "shared": (4, 'sharing_policy="SHARED" limiter_link="0.5GBps"'),
    "torus": (24, 'topology="TORUS" topo_parameters="3,2,4"'),
    "fat tree": (16, 'topology="FAT_TREE" topo_parameters="2;4,4;1,4;1,1"'),
    "fat tree of three levels": (8, 'topology="FAT_TREE" topo_parameters="3;2,2,2;1,2,1;1,1,2"'),
    "limited torus": (8, 'topology="TORUS" topo_parameters="4,2" limiter_link="0.5GBps"'),
    "limited fat tree": (8, 'topology="FAT_TREE" topo_parameters="2;4,2;1,2;1,1" limiter_link="0.5GBps"'),
    "dragonfly": (18, 'topology="DRAGONFLY" topo_parameters="3,4;1,1;3,2;2"'),
}


def searched(routing: str, seed: int) -> str:
    """A zone of five hosts and four routers in a random graph, in which many ways have equally many links."""
    drawn = Random(seed)
    names = [f"h{k}" for k in range(5)] + [f"r{k}" for k in range(4)]
    pairs = [(a, b) for a in range(9) for b in range(a)]
    edges = [(k, k + 1) for k in range(8)] + drawn.sample(pairs, 9)
    edges = list({(min(edge), max(edge)) for edge in edges})
    drawn.shuffle(edges)
    body = "".join(f'<host id="{name}" speed="1Gf"/>' for name in names[:5])
    body += "".join(f'<router id="{name}"/>' for name in names[5:])
    body += "".join(f'<link id="l{k}" bandwidth="1GBps" latency="{1 << k}us"/>' for k in range(len(edges)))
    for k, (a, b) in enumerate(edges):
        body += f'<route src="{names[a]}" dst="{names[b]}"><link_ctn id="l{k}"/></route>'
    return f'<zone id="z" routing="{routing}">{body}</zone>'


NESTED = """
<zone id="z" routing="Full">
<cluster id="c" prefix="n" suffix="" radical="0-2" speed="1Gf" bw="1GBps" lat="1us" router_id="cr"/>
<zone id="d" routing="Floyd">
<host id="a" speed="1Gf"/><host id="b" speed="1Gf"/><router id="dr"/>
<link id="la" bandwidth="2GBps" latency="10us" sharing_policy="SPLITDUPLEX"/>
<link id="lb" bandwidth="0.3GBps" latency="20us"/>
<route src="a" dst="dr"><link_ctn id="la" direction="UP"/></route>
<route src="b" dst="dr"><link_ctn id="lb"/></route>
</zone>
<link id="wide" bandwidth="0.6GBps" latency="100us"/>
<zoneRoute src="c" dst="d" gw_src="cr" gw_dst="dr"><link_ctn id="wide"/></zoneRoute>
</zone>"""
PLATFORMS = {
    **{
        name: f'<cluster id="c" prefix="n" suffix="" radical="0-{hosts - 1}" speed="1Gf" bw="1GBps" lat="1us" {more}/>'
        for name, (hosts, more) in CLUSTERS.items()
    },
    **{f"{routing} {seed}": searched(routing, seed) for routing in ("Floyd", "Dijkstra") for seed in range(3)},
    "nested": NESTED,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLATFORMS)
def test_the_routes_of_a_platform_are_as_long_and_as_wide_as_in_simgrid(name: str, tmp_path: Path) -> None:
    file = tmp_path / "p.xml"
    file.write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">\n'
        f'<platform version="4.1">{PLATFORMS[name]}</platform>'
    )
    made = FORMAT.read(file.read_text(), str(file))
    for size_bytes in (1, 1_000_000):  # the one shows how long a route is, the other how wide
        taken = taken_s(smpi.smpirun(file, names_of(made), "pairs", str(size_bytes)).rows)
        assert sorted(taken) == sorted(permutations(range(len(made.ranks)), 2))
        for pair, time_s in taken.items():
            assert time_s == pytest.approx(alone_s(made, *pair, size_bytes), rel=1e-4)
