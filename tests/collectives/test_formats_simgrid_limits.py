"""SimGrid's platform files: what needs routes that they do not list is refused, and so are those too large to read."""

from __future__ import annotations

import pytest

from clusterbench.collectives.formats.simgrid_xml import FORMAT
from clusterbench.collectives.topology.cluster_files import cluster_of_files
from clusterbench.collectives.topology.faults import with_faults
from clusterbench.collectives.topology.graph import Topology, TopologyError
from clusterbench.collectives.topology.simgrid import cluster_reader, reader
from clusterbench.collectives.topology.spec import topology_from


def zone(body: str) -> Topology:
    return FORMAT.read(f'<platform version="4.1">\n<zone id="z" routing="Full">\n{body}</zone></platform>', "p.xml")


def cluster(hosts: int, more: str) -> Topology:
    return zone(
        f'<cluster id="c" prefix="n" suffix="" radical="0-{hosts - 1}" speed="1Gf" bw="1GBps" lat="1us" {more}/>'
    )


FULL = """
<host id="a" speed="1Gf"/><host id="b" speed="1Gf"/><host id="c" speed="1Gf"/>
<link id="la" bandwidth="12.5GBps"/><link id="lb" bandwidth="12.5GBps"/><link id="lc" bandwidth="12.5GBps"/>
<link id="slow" bandwidth="1GBps" latency="10us"/>
<route src="a" dst="c"><link_ctn id="la"/><link_ctn id="slow"/><link_ctn id="lc"/></route>
<route src="a" dst="b"><link_ctn id="la"/><link_ctn id="lb"/></route>
<route src="b" dst="c"><link_ctn id="lb"/><link_ctn id="lc"/></route>"""


def test_where_only_routes_are_known_no_others_are_made_up() -> None:
    made = zone(FULL)
    with pytest.raises(TopologyError, match=r"p\.xml: its routes are listed, and not where each link begins"):
        cluster_of_files(made, topology_from("dgx-h100"))
    with pytest.raises(TopologyError, match=r"'down:slow\.in>slow\.out': the routes of p\.xml are listed"):
        with_faults(made, ["down:slow.in>slow.out"])
    slower = with_faults(made, ["link:slow.in>slow.out=0.5"]).topology
    assert slower.links.bandwidth[slower.routes(0, 2).of(0)].min() == 0.5e9
    with pytest.raises(TopologyError, match="its routes are listed"):
        cluster_of_files(cluster(4, 'bb_bw="1GBps" bb_sharing_policy="FATPIPE"'), topology_from("dgx-h100"))


def test_where_links_have_their_ends_others_are_found() -> None:
    flat = cluster_of_files(cluster(4, ""), topology_from("dgx-h100"))
    assert len(flat.ranks) == 32
    assert flat.links.bandwidth[flat.routes(0, 31).of(0)].min() == 1e9
    assert any("routes are searched for" in warning.lower() for warning in flat.warnings)
    ring = with_faults(cluster(8, 'topology="TORUS" topo_parameters="8"'), ["down:n0-n1"]).topology
    assert len(ring.routes(0, 1).of(0)) == 7


def test_all_clusters_of_a_platform_together_have_so_many_cables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_reader, "MOST_CABLES", 12)
    ring = '<cluster id="{0}" prefix="{0}" suffix="" radical="0-5" speed="1Gf" bw="1Bps" lat="0" topology="TORUS" ' \
           'topo_parameters="3,2"/>\n'  # fmt: skip
    assert zone(ring.format("c")).vertices == 6
    with pytest.raises(TopologyError, match=r"p\.xml, line 4: with this cluster more than 12 cables"):
        zone(ring.format("c") + ring.format("d"))


def test_all_zones_of_routing_floyd_together_are_searched_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_SEARCHED", 3)
    inner = '<zone id="{0}" routing="Floyd"><host id="{0}1" speed="1Gf"/><host id="{0}2" speed="1Gf"/>{1}</zone>\n'
    three = "".join(inner.format(name, "") for name in "wxy")
    assert len(zone(three).ranks) == 6
    with pytest.raises(TopologyError, match=r"p\.xml, line 6: 2 elements in a zone of routing Floyd; expected up to 3"):
        zone(three + inner.format("v", ""))
    with pytest.raises(TopologyError, match=r"4 elements in a zone of routing Floyd; expected up to 3"):
        zone(inner.format("x", '<host id="u" speed="1Gf"/><host id="t" speed="1Gf"/>'))
