"""The plan of an emulated network: who is joined by what, at which rates, and where packets go. No right is needed."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_planes import two_planes

from clusterbench.bench.emulation import batches
from clusterbench.bench.emulation.faults import emulated_faults, late_hosts
from clusterbench.bench.emulation.late import end_relays, refuse_ended
from clusterbench.bench.emulation.plan import EmulationError, Plan, emulated_topology, outline, plan
from clusterbench.bench.emulation.rates import carried_rate, chosen_scale, parsed_rate, rate_text
from clusterbench.bench.emulation.shaping import FRAME_BYTES, HEADER_FACTOR, bucket_bytes, shaped_bound_s
from clusterbench.collectives.bounds.bounds import bound
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.spec import topology_from

NETWORKS = [
    "single-switch:nodes=5",
    "leaf-spine:racks=2,hosts=4,taper=4",
    "leaf-spine:racks=4,hosts=2,spines=3,ecmp=7,ranks=random:1",
    "leaf-spine:racks=2,hosts=2,node=dgx-a100,ranks=round-robin",
    "fat-tree:nodes=8,taper=2",
    "dragonfly:groups=3",
    "torus:dims=3x2x2",
    "teccl-ndv2:nodes=2",
    "teccl-dgx2:nodes=2",
    "forestcoll-a100:nodes=2",
]


def planned(text: str, scale: float = 1e-3) -> Plan:
    return plan(outline(topology_from(text)), scale)


def walk(made: Plan, sender: int, address: str) -> list[int]:
    """The cables over which a packet goes, until it is where its address is or has no way."""
    at, way = sender, []
    while address not in (made.addresses(at) if at < len(made.hosts) else ()):
        cable = made.next_cable(at, sender, address)
        if cable is None or len(way) > len(made.names):
            return []
        way.append(cable)
        at = made.cables[cable].far(at)
    return way


@pytest.mark.parametrize("text", NETWORKS)
def test_every_pair_of_hosts_is_joined_without_loops_by_the_ways_of_the_topology(text: str) -> None:
    topology = topology_from(text)
    made, found = planned(text), outline(topology)
    for (src, dst, last), way in found.ways.items():
        address = made.cables[last].near(dst).address
        assert walk(made, src, address) == list(way)
    for src in range(len(made.hosts)):
        for dst in range(len(made.hosts)):
            assert src == dst or walk(made, src, made.addresses(dst)[0])
    # A pair of ranks, of the first of each host, takes just the cables of its route.
    first = {host: rank for rank, host in reversed(list(enumerate(made.ranks)))}
    for src in first:
        for dst in first:
            if src != dst:
                links = topology.routes(first[src], first[dst]).of(0).tolist()
                cables = [found.cable_of[link] for link in links if link in found.cable_of]
                assert walk(made, src, made.cables[cables[-1]].near(dst).address) == cables


@pytest.mark.parametrize("text", NETWORKS)
def test_each_direction_has_the_rate_of_its_link_times_the_scale(text: str) -> None:
    topology = topology_from(text)
    made, found = planned(text, 1 / 977), outline(topology)
    between = found.node[topology.links.src] != found.node[topology.links.dst]
    wanted = sorted(round(rate / 977) for rate in topology.links.bandwidth[between])
    assert sorted(made.rates) == wanted
    assert len({(end.node, end.name) for cable in made.cables for end in cable.ends}) == 2 * len(made.cables)
    addresses = [address for host in range(len(made.hosts)) for address in made.addresses(host)]
    assert len(set(addresses)) == len(addresses)
    assert len(set(made.names)) == len(made.names)


@settings(max_examples=20)
@given(racks=st.integers(1, 4), hosts=st.integers(2, 4), spines=st.integers(1, 3), taper=st.sampled_from([1, 4, 16]))
def test_a_tapered_uplink_is_as_slow_as_its_taper_says(racks: int, hosts: int, spines: int, taper: int) -> None:
    made = planned(f"leaf-spine:racks={racks},hosts={hosts},spines={spines},taper={taper}")
    host = made.cables[0].ends[0].rate
    uplinks = {
        end.rate for cable in made.cables for end in cable.ends if min(e.node for e in cable.ends) >= len(made.hosts)
    }
    assert all(rate == pytest.approx(host * hosts / taper / spines, abs=0.5) for rate in uplinks)


def test_a_fault_takes_from_its_link_only() -> None:
    faulty = emulated_faults(
        topology_from("leaf-spine:racks=2,hosts=2"), ["link=leaf0-spine0:0.5", "link:h3>leaf1=0.25"]
    )
    made, whole = plan(outline(faulty.topology), 1e-3), planned("leaf-spine:racks=2,hosts=2")
    shares = {
        (made.names[end.node], made.names[cable.far(end.node)]): end.rate / before.rate
        for cable, healthy in zip(made.cables, whole.cables, strict=True)
        for end, before in zip(cable.ends, healthy.ends, strict=True)
    }
    slower = {ends: share for ends, share in shares.items() if share != 1}
    assert slower == {("leaf0", "spine0"): 0.5, ("spine0", "leaf0"): 0.5, ("h3", "leaf1"): 0.25}


def test_a_link_that_is_down_is_gone_and_gone_round() -> None:
    faulty = emulated_faults(topology_from("leaf-spine:racks=2,hosts=2,spines=2"), ["down:leaf0-spine0"])
    made = plan(outline(faulty.topology), 1e-3)
    ends = [{made.names[end.node] for end in cable.ends} for cable in made.cables]
    assert {"leaf0", "spine0"} not in ends
    assert [made.names[made.cables[cable].far(4)] for cable in walk(made, 0, made.addresses(2)[0])[1:2]] == ["spine1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("single-switch:nodes=33", "33 hosts; expected at most 32"),
        ("dgx-h100", "is one host"),
        ("leaf-spine:racks=8,hosts=4,spines=200", "hosts and switches; expected at most"),
    ],
)
def test_what_cannot_be_emulated_is_refused_with_the_limit(text: str, said: str) -> None:
    with pytest.raises(EmulationError, match=said):
        outline(topology_from(text))


def test_a_rate_that_the_cores_cannot_carry_is_refused_and_the_chosen_one_is_not() -> None:
    found = outline(topology_from("leaf-spine:racks=2,hosts=4,taper=4"))
    most = carried_rate(found, 2)
    scale = chosen_scale(found, 2, None)
    assert 0.9 * most <= scale * found.fastest_host_link() <= most
    assert carried_rate(found, 4) == pytest.approx(2 * most)
    with pytest.raises(EmulationError, match=f"2 cores carry {re.escape(rate_text(most))}"):
        chosen_scale(found, 2, most * 1.01)
    with pytest.raises(EmulationError, match="the link leaf0 → spine0 would have 8 kbit/s"):
        chosen_scale(outline(topology_from("leaf-spine:racks=2,hosts=4,taper=400")), 2, 100e3)


def test_a_relay_that_ends_by_itself_is_told_with_its_cable() -> None:
    faulty = emulated_faults(topology_from("leaf-spine:racks=2,hosts=2"), ["host=h2:late=5ms"])
    made = plan(outline(faulty.topology), 1e-3, late_hosts(faulty))
    with subprocess.Popen(["sleep", "60"]) as running, subprocess.Popen(["sh", "-c", "exit 3"]) as ended:
        refuse_ended(made, [running])
        ended.wait()
        with pytest.raises(EmulationError, match="frames between h2 and leaf1 ended with 3 before COMMAND did"):
            refuse_ended(made, [ended])
        end_relays([running, ended])


@pytest.mark.parametrize("fault", ["late:2=5ms", "host=h2:late=5ms", "host:h2:late=5ms"])
def test_what_a_late_host_sends_is_held_back_on_its_cable_and_nothing_else(fault: str) -> None:
    faulty = emulated_faults(topology_from("leaf-spine:racks=2,hosts=2"), [fault])
    assert faulty.faults == ("late:2=5ms",)
    made = plan(outline(faulty.topology), 1e-3, late_hosts(faulty))
    (cable,) = made.late_cables()
    late = {made.names[end.node]: s for end, s in zip(made.cables[cable].ends, made.delays(cable), strict=True)}
    assert late == {"h2": 0.005, "leaf1": 0.0}
    # Its cable is two, which meet where frames wait, and the others are as they are without a fault.
    lines, usual = (set(batches.making(p).splitlines()) for p in (made, planned("leaf-spine:racks=2,hosts=2")))
    (gone,) = usual - lines
    assert len(lines - usual) == 3
    for end in gone.removeprefix("link add name ").split(" type veth peer name "):
        assert sum(end in line for line in lines) == 1
    assert batches.namespaces(made)[-1] == f"clusterbench-late-{cable}"


def test_a_host_that_is_late_is_late_in_the_topology_that_rows_are_held_against() -> None:
    faulty = emulated_faults(topology_from("leaf-spine:racks=2,hosts=2"), ["host=h1:late=5ms", "late:1=2ms"])
    machine = emulated_topology(faulty.topology, 1e-3, 1 / HEADER_FACTOR, late_hosts(faulty))
    ranks = np.arange(4)
    there = machine.routes(np.full(3, 1), ranks[ranks != 1]).sums(machine.links.latency_s)
    back = machine.routes(ranks[ranks != 1], np.full(3, 1)).sums(machine.links.latency_s)
    assert there.tolist() == pytest.approx([0.007] * 3)
    assert back.tolist() == [0.0] * 3
    assert bound(machine, "broadcast", 8, 1).bound_s >= 0.007


def test_hosts_and_links_that_are_not_there_are_refused() -> None:
    topology = topology_from("leaf-spine:racks=2,hosts=2")
    with pytest.raises(EmulationError, match="no host h7 with ranks; expected one of h0, h1, h2, h3"):
        emulated_faults(topology, ["host=h7:late=5ms"])
    with pytest.raises(TopologyError, match="expected a time such as"):
        emulated_faults(topology, ["host=h1:late=5"])
    with pytest.raises(TopologyError, match="is no link of"):
        emulated_faults(topology, ["link=leaf0-spine7:0.5"])


@pytest.mark.parametrize(("text", "rate"), [("12.5M", 12.5e6), ("100Mbit", 12.5e6), ("1gbit", 125e6), ("8000", 8000.0)])
def test_rates_are_bytes_or_bits(text: str, rate: float) -> None:
    assert parsed_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1M", "fast", "1e9", "nan"])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected bytes/s"):
        parsed_rate(text)


def test_the_bound_of_a_shaped_link_counts_headers_and_the_bucket() -> None:
    # One link is the limit: two hosts on a switch exchange all they have, as an all-gather of 2 ranks does.
    topology = topology_from("single-switch:nodes=2")
    scale = 1e6 / 12.5e9
    size, rate = 1 << 20, 1e6
    payload = bound(emulated_topology(topology, scale, 1 / HEADER_FACTOR), "all_gather", size).bound_s
    assert payload == pytest.approx(size / 2 * HEADER_FACTOR / rate)
    assert shaped_bound_s(payload, [rate]) == pytest.approx((size / 2 * HEADER_FACTOR - bucket_bytes(rate)) / rate)
    assert Fraction(9014, 8948) == Fraction(HEADER_FACTOR).limit_denominator(10000)
    assert bucket_bytes(1.0) == 2 * FRAME_BYTES
    assert np.isinf(emulated_topology(topology_from(NETWORKS[3]), scale).links.bandwidth[0])


def test_batches_name_each_interface_once_and_shape_what_has_a_rate() -> None:
    made = planned("leaf-spine:racks=2,hosts=4,spines=2,ecmp=3")
    text = batches.making(made)
    assert text.count("netns add clusterbench-") == len(made.names)
    addresses = re.findall(r"address (\S+)", text)
    assert len(set(addresses)) == len(addresses) == 2 * len(made.cables)
    for node in range(len(made.names)):
        lines = batches.addressing(made, node).splitlines()
        ends = made.interfaces(node)
        assert sum(line.endswith(" up") for line in lines) == len(ends) + 1
        assert len(batches.shaping(made, node).splitlines()) == len(ends)
        ways = [line for line in lines if line.startswith("route add")]
        assert all((f"rto_min {batches.RESEND_S}s" in way) == bool(made.addresses(node)[0]) for way in ways)
        # Of both ends of its cables each node knows the other's hardware address, and never its own.
        for number, end in ends:
            far = next(at for at, other in enumerate(made.cables[number].ends) if other is not end)
            assert f"lladdr {batches.hardware_address(number, far)} dev {end.name} nud permanent" in "\n".join(lines)


def test_rails_of_different_planes_are_interfaces_and_each_address_is_reached_over_its_plane(tmp_path: Path) -> None:
    made = planned(str(two_planes(tmp_path / "planes.txt", 3)))
    assert [end.name for _, end in made.interfaces(0)] == ["eth0", "eth1"]
    assert made.addresses(1) == ["10.200.0.2", "10.200.1.2"]
    for rail, address in enumerate(made.addresses(2)):
        way = walk(made, 0, address)
        assert [made.names[made.cables[cable].far(0)] for cable in way[:1]] == [f"plane{rail}"]
        assert made.cables[way[-1]].near(2).address == address


def test_an_imported_file_is_a_network_too(tmp_path: Path) -> None:
    path = tmp_path / "topology.conf"
    path.write_text(
        "SwitchName=leaf0 Nodes=a[0-2]\nSwitchName=leaf1 Nodes=B.x[3-4]\nSwitchName=top Switches=leaf[0-1]\n"
    )
    made = planned(str(path))
    assert len(made.hosts) == 5
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in made.names)
    assert all(walk(made, 0, made.addresses(dst)[0]) for dst in range(1, 5))
