"""NCCL's model of its own choice: against figures worked out from its source, published times, and its own rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.predictors.nccl_machine import machine
from clusterbench.collectives.predictors.nccl_model import (
    COLLECTIVES,
    Channels,
    Machine,
    NcclModelError,
    choose,
    constants,
    enabled,
    predictions,
)
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, both_ways, joined, links, topology
from clusterbench.collectives.topology.spec import topology_from

GB = 1e9
H100 = Machine(
    8, 1, 90,
    ring=Channels(12, 30 * GB, 30 * GB), tree=Channels(12, 30 * GB, 30 * GB), nvls=Channels(8, 40 * GB, 40 * GB),
)  # fmt: skip


def polaris(nodes: int) -> Machine:
    """Nodes of 4 A100 with two network cards of 25 GB/s, as at the Argonne facility."""
    channels = Channels(4, 20 * GB, 10 * GB)
    return Machine(4 * nodes, nodes, 80, ring=channels, tree=channels, cpu="amd")


def cluster(gpu: float, *, gpus: int = 8, nodes: int = 1, card: float = 50e9, reducing: bool = True) -> Topology:
    """Nodes of GPUs on a switch, with a card for each GPU where there are several nodes. Rates in bytes/s, one way."""
    kinds: list[Kind] = []
    hosts: list[int] = []
    reduces: list[bool] = []
    found = []
    cards: list[int] = []
    for host in range(nodes):
        first = len(kinds)
        many = gpus if nodes > 1 else 0
        kinds += [Kind.GPU] * gpus + [Kind.SWITCH] + [Kind.NIC] * many
        hosts += [host] * (gpus + 1 + many)
        reduces += [False] * gpus + [reducing] + [False] * many
        own = list(range(first, first + gpus))
        found.append(both_ways(links(own, first + gpus, gpu)))
        if many:
            cards += range(first + gpus + 1, first + gpus + 1 + gpus)
            found.append(both_ways(links(own, cards[-gpus:], 63e9)))
    if cards:
        found.append(both_ways(links(cards, len(kinds), card)))
        kinds, hosts, reduces = [*kinds, Kind.SWITCH], [*hosts, NO_HOST], [*reduces, False]
    names = [f"v{i}" for i in range(len(kinds))]
    return topology(name="made", kinds=kinds, names=names, links=joined(found), hosts=hosts, reducing=reduces)


def test_a_small_all_reduce_on_eight_h100_is_a_ring_of_fourteen_low_latency_hops() -> None:
    chosen = choose(H100, "all_reduce", 1024)
    assert (chosen.algorithm, chosen.protocol) == ("ring", "ll")
    assert chosen.latency_s == pytest.approx(6.6e-6 + 14 * 0.6e-6)
    assert chosen.time_s == pytest.approx(15.0e-6, rel=2e-3)


@pytest.mark.parametrize(("nodes", "expected_us"), [(2, 20.4), (8, 40.4), (256, 90.4), (540, 100.4)])
def test_a_small_all_reduce_over_nodes_is_a_tree_with_a_round_for_each_doubling(nodes: int, expected_us: float) -> None:
    chosen = choose(polaris(nodes), "all_reduce", 4)
    assert (chosen.algorithm, chosen.protocol) == ("tree", "ll")
    assert chosen.time_s == pytest.approx(expected_us * 1e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("collective", "algorithm", "measured_s"),
    [("all_reduce", "nvls", 62.34e-3), ("all_gather", "ring", 41.54e-3), ("reduce_scatter", "ring", 41.21e-3)],
)
def test_sixteen_gib_on_eight_h100_come_within_two_percent_of_published_times(
    collective: str, algorithm: str, measured_s: float
) -> None:
    chosen = choose(H100, collective, 16 << 30)
    assert (chosen.algorithm, chosen.protocol) == (algorithm, "simple")
    assert chosen.time_s == pytest.approx(measured_s, rel=0.02)


def test_a_ring_between_nodes_pays_for_posting_to_the_network_and_for_the_plateau() -> None:
    by_name = {(one.algorithm, one.protocol): one for one in predictions(polaris(2), "all_reduce", 1 << 30)}
    assert by_name["ring", "ll"].latency_s == pytest.approx((6.6 + 12 * 2.0 + 2 * 2.7) * 1e-6)
    assert by_name["ring", "simple"].latency_s == pytest.approx(1.4 * (8.4 + 12 * 6.0 + 2 * 14.0) * 1e-6)
    assert by_name["tree", "ll128"].latency_s == pytest.approx((14.0 + 2 * (3 * 1.25 + 8.5)) * 1e-6)


def test_nvls_reduces_and_sends_at_once_only_in_an_all_reduce() -> None:
    def rate(collective: str) -> float:
        found = predictions(H100, collective, 1 << 30)
        return next(one.algbw for one in found if one.algorithm == "nvls")

    assert rate("all_reduce") == pytest.approx(8 * 40 * GB * 0.85 * 7 / 8 * 2 * 8 / 14)
    assert rate("all_gather") == pytest.approx(8 * 40 * GB * 0.85 * 7 / 8 * 7 / 8)


def test_trees_are_slowed_where_the_source_says() -> None:
    def rate(size_bytes: int) -> float:
        found = predictions(H100, "all_reduce", size_bytes)
        return next(one.algbw for one in found if (one.algorithm, one.protocol) == ("tree", "simple"))

    full = 12 * 30 * GB * 0.92 / 2
    assert rate(256 << 10) == pytest.approx(full * 0.5)
    assert rate(64) == pytest.approx(full * 0.9)
    assert rate(16 << 30) == pytest.approx(full)


def test_ll128_needs_nvlink_and_nvls_needs_switches_that_reduce() -> None:
    without = replace(H100, link="pci", nvls=None)
    assert {one.protocol for one in predictions(without, "all_reduce", 1024)} == {"ll", "simple"}
    assert set(enabled(without, "all_reduce")) == {"ring", "tree"}
    assert set(enabled(H100, "all_reduce")) == {"ring", "tree", "nvls"}
    assert set(enabled(replace(H100, ranks=16, nodes=2), "all_reduce")) == {"ring", "tree", "nvls_tree"}
    assert set(enabled(H100, "broadcast")) == {"ring"}


def test_one_gpu_a_node_gathers_by_pat_and_meets_the_latency_of_the_network_at_every_hop() -> None:
    channels = Channels(1, 24 * GB, 24 * GB)
    spread = Machine(16, 16, 80, ring=channels, tree=channels)
    found = {(one.algorithm, one.protocol): one for one in predictions(spread, "all_gather", 1 << 20)}
    assert found["pat", "simple"].latency_s == pytest.approx((8.0 + 4 * 14.0 / 3.5 + 16 * 2.8) * 1e-6)
    assert found["pat", "simple"].algbw == pytest.approx(24 * GB * 0.75)
    assert found["ring", "ll"].latency_s == pytest.approx((6.6 + 15 * 5.0) * 1e-6)


@given(
    st.sampled_from(COLLECTIVES), st.integers(0, 1 << 40), st.integers(1, 300), st.integers(1, 16),
    st.sampled_from([60, 70, 80, 86, 90, 100, 120]), st.sampled_from(["intel", "amd", "other"]),
    st.sampled_from(["nvlink", "pci"]),
)  # fmt: skip
def test_the_choice_is_the_fastest_and_no_time_is_below_its_parts(
    collective: str, size_bytes: int, nodes: int, a_node: int, capability: int, cpu: str, link: str
) -> None:
    channels = Channels(8, 20 * GB, 12 * GB)
    asked = Machine(
        nodes * a_node, nodes, capability, channels, channels, channels if a_node > 1 else None,
        link=link, cpu=cpu,  # type: ignore[arg-type]  # drawn from the words of the type
    )  # fmt: skip
    if asked.ranks == 1:
        with pytest.raises(NcclModelError, match="one rank"):
            predictions(asked, collective, size_bytes)
        return
    found = predictions(asked, collective, size_bytes)
    assert choose(asked, collective, size_bytes) == min(found, key=lambda one: one.time_s)
    assert all(one.time_s == one.latency_s + size_bytes / one.algbw and one.latency_s > 0 for one in found)
    assert len({(one.algorithm, one.protocol) for one in found}) == len(found)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: choose(H100, "all_to_all", 8), "all_to_all: NCCL does not model it"),
        (lambda: choose(H100, "all_reduce", -1), "-1 bytes"),
        (lambda: replace(H100, nodes=9), "8 ranks on 9 nodes"),
        (lambda: replace(H100, compute_capability=35), "compute capability 35"),
        (lambda: replace(H100, ring=Channels(0, GB, GB)), "at least one channel"),
        (lambda: replace(H100, tree=Channels(1, 0.0, GB)), "rates above 0"),
    ],
)
def test_what_the_model_cannot_answer_is_said(ask: object, words: str) -> None:
    with pytest.raises(NcclModelError, match=words):
        ask()  # type: ignore[operator]  # a function from the table above


def test_the_constants_name_their_source_and_are_whole() -> None:
    data = constants()
    assert len(data["source"]["commit"]) == 40
    assert all(len(table) == 24 for table in data["tree_correction"].values())
    for link in ("nvlink", "pci", "network"):
        assert {name: set(row) for name, row in data["hop_latency_us"][link].items()} == {
            name: set(row) for name, row in data["base_latency_us"].items()
        }


@pytest.mark.parametrize(
    ("gpu", "capability", "ring", "heads", "head"),
    [
        (150e9, 70, (6, 20), 0, 0),
        (300e9, 80, (12, 20), 0, 0),
        (450e9, 90, (12, 30), 8, 40),
        (900e9, 100, (16, 45), 8, 80),
    ],
)
def test_a_node_of_eight_gpus_gives_the_channels_that_nccl_finds_there(
    gpu: float, capability: int, ring: tuple[int, int], heads: int, head: int
) -> None:
    found = machine(cluster(gpu))
    assert found.compute_capability == capability
    assert found.ring == found.tree == Channels(ring[0], ring[1] * GB, ring[1] * GB)
    assert found.nvls == (Channels(heads, head * GB, head * GB) if heads else None)
    assert any("guessed" in note for note in found.notes)


def test_between_nodes_the_cards_limit_the_channels() -> None:
    found = machine(cluster(450e9, nodes=4), compute_capability=90, cpu="intel")
    assert (found.ranks, found.nodes) == (32, 4)
    assert found.ring == Channels(8, 45 * GB, 45 * GB)  # 48 would fit a card, but seven of them only a GPU
    slow = machine(cluster(450e9, nodes=4, card=12.5e9), compute_capability=90)
    assert slow.ring == Channels(8, 12 * GB, 12 * GB)
    assert not any("guessed" in note or "vendor" in note for note in found.notes)


def test_gpus_of_several_hosts_on_one_nvlink_switch_are_one_node() -> None:
    hosts = [*(gpu // 4 for gpu in range(16)), NO_HOST]
    rack = topology(
        name="rack", kinds=[Kind.GPU] * 16 + [Kind.SWITCH], names=[f"v{i}" for i in range(17)], hosts=hosts,
        links=both_ways(links(range(16), 16, 900e9)), reducing=[False] * 16 + [True],
    )  # fmt: skip
    found = machine(rack)
    assert (found.ranks, found.nodes) == (16, 1)
    assert found.nvls is not None
    assert found.nvls.count == 16


def test_without_reducing_switches_there_is_no_nvls_and_without_nvlink_the_link_is_pci() -> None:
    assert machine(cluster(450e9, reducing=False)).nvls is None
    kinds = [Kind.GPU, Kind.GPU, Kind.SWITCH, Kind.CPU]
    made = both_ways(links([0, 1, 2], [2, 2, 3], 31.5e9))
    pci = machine(topology(name="pci", kinds=kinds, names=list("abcd"), links=made), compute_capability=80)
    assert pci.link == "pci"
    assert pci.ring.count * pci.ring.intra == pytest.approx(24 * GB, rel=0.2)


def test_published_machines_give_what_nccl_reports_of_them() -> None:
    assert machine(topology_from("dgx-a100")).ring == Channels(12, 20 * GB, 20 * GB)
    rack = machine(topology_from("gb200-nvl72"))
    assert (rack.ranks, rack.nodes) == (72, 1)
    large = machine(topology_from("fat-tree:nodes=128,node=dgx-h100"))
    assert (large.ranks, large.nodes, large.compute_capability) == (1024, 128, 90)
    assert large.ring == Channels(8, 45 * GB, 45 * GB)
    assert choose(large, "all_reduce", 4).algorithm == "tree"
    with pytest.raises(NcclModelError, match="wired at 64 GB/s"):
        machine(topology_from("mi300x"))


def test_a_topology_that_nccl_cannot_run_on_is_refused() -> None:
    cpus = topology(name="cpus", kinds=[Kind.CPU] * 2, names=["a", "b"], links=both_ways(links(0, 1, 1e9)))
    with pytest.raises(NcclModelError, match="cpus: a rank that is no GPU"):
        machine(cpus)
    apart = topology(name="apart", kinds=[Kind.GPU] * 2, names=["a", "b"], hosts=[0, 1], links=links([], [], []))
    with pytest.raises(NcclModelError, match="2 nodes without a network"):
        machine(apart)
