"""Topologies of papers: what their definitions say, for the numbers of nodes that they are defined for."""

from __future__ import annotations

import numpy as np
import pytest

from clusterbench.collectives.topology.graph import NO_HOST, Kind, TopologyError, disconnected
from clusterbench.collectives.topology.papers import paper_topology


@pytest.mark.parametrize(
    ("name", "nodes", "ranks", "links"),
    [
        ("teccl-ndv2", 1, 8, 32),
        ("teccl-ndv2", 2, 16, 66),
        ("teccl-ndv2", 4, 32, 136),
        ("teccl-dgx2", 1, 16, 32),
        ("teccl-dgx2", 2, 32, 80),
        ("forestcoll-a100", 1, 8, 16),
        ("forestcoll-a100", 2, 16, 96),
        ("forestcoll-mi250", 1, 16, 56),
        ("forestcoll-mi250", 2, 32, 176),
    ],
)
def test_a_definition_has_its_ranks_and_links(name: str, nodes: int, ranks: int, links: int) -> None:
    made = paper_topology(name, nodes)
    assert (len(made.ranks), len(made.links), made.nodes) == (ranks, links, nodes)
    assert disconnected(made) is None
    assert (made.kinds[made.ranks] == Kind.GPU).all()
    assert made.source
    # Meshes and switches are full duplex; only the cables between TE-CCL's chassis are one way.
    one_way = {
        (src, dst)
        for src, dst in zip(made.links.src.tolist(), made.links.dst.tolist(), strict=True)
        if not ((made.links.src == dst) & (made.links.dst == src)).any()
    }
    assert len(one_way) == {("teccl-ndv2", 2): 2, ("teccl-ndv2", 4): 8, ("teccl-dgx2", 2): 16}.get((name, nodes), 0)


def test_links_between_chassis_of_te_ccl_go_where_they_go_there() -> None:
    def between(name: str, nodes: int) -> set[str]:
        made = paper_topology(name, nodes)
        hosts = made.hosts[made.links.src], made.hosts[made.links.dst]
        return {made.link_name(int(link)) for link in np.flatnonzero(hosts[0] != hosts[1])}

    assert between("teccl-ndv2", 2) == {"h0.gpu0 → h1.gpu1", "h1.gpu0 → h0.gpu1"}
    assert {"h2.gpu0 → switch", "switch → h2.gpu1"} < between("teccl-ndv2", 4)
    assert {"h0.gpu15 → h1.gpu14", "h1.gpu1 → h0.gpu0"} < between("teccl-dgx2", 2)


def test_cards_of_forestcoll_are_on_two_switches_in_turn() -> None:
    made = paper_topology("forestcoll-a100", 2)
    switches = np.flatnonzero(made.hosts == NO_HOST)
    of_switch = [{made.names[int(v)] for v in made.links.src[made.links.dst == switch]} for switch in switches]
    assert of_switch[0] == {f"h{host}.nic{card}" for host in (0, 1) for card in (0, 2, 4, 6)}
    assert len(of_switch[1]) == 8
    assert "no latencies" in made.warnings[0]


@pytest.mark.parametrize(("name", "nodes"), [("teccl-dgx2", 3), ("teccl-ndv2", 0), ("forestcoll-a100", 10**6)])
def test_numbers_of_nodes_without_a_definition_are_refused(name: str, nodes: int) -> None:
    with pytest.raises(TopologyError, match="expected 1 to"):
        paper_topology(name, nodes)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TopologyError, match="forestcoll-mi250"):
        paper_topology("dgx-1")
