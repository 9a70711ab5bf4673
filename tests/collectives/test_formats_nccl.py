"""NCCL's and RCCL's topology XML: what it says is read, what cannot be is refused, what is written is read again."""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topology_files import WHERE, changed, edges, mangled, port_speeds, rank_names, read_or_refused, refusal

from clusterbench.collectives.formats.nccl_topo_xml import FORMAT
from clusterbench.collectives.topology.draft import Draft
from clusterbench.collectives.topology.graph import NO_HOST, Kind, Topology, TopologyError, both_ways, links, topology
from clusterbench.collectives.topology.link_rates import nvlinks, pcie_bandwidth, pcie_widths, sockets, xgmi_rates

FILES = Path(__file__).parent / "formats" / "nccl-topo-xml"
NVIDIA = (FILES / "two-sockets.xml").read_text(encoding="utf-8")

RCCL = (FILES / "amd-mesh.xml").read_text(encoding="utf-8")

CLOUD = (FILES / "cloud.xml").read_text(encoding="utf-8")

GEN5, GEN4, GEN3X8 = 63.0, 31.5, 7.88
INTEL, AMD = 22.0, 16.0


def read(text: str) -> Topology:
    return FORMAT.read(text, WHERE)


def two_hosts(target: str = "fffffff:ffff:ff") -> str:
    """Two hosts with a GPU each, of the same bus id."""
    return (
        '<system version="1">'
        + "".join(
            f'\n<cpu host_hash="{hash_}" numaid="0" arch="arm64"><pci busid="0008:01:00.0" class="0x030200" '
            f'link_speed="64.0 GT/s PCIe" link_width="16"><gpu dev="0" sm="103" rank="{rank}">'
            f'<nvlink target="{target}" count="18" tclass="0x068000"/></gpu></pci>\n<pci busid="0008:02:00.0" '
            f'class="0x080100" link_speed="64.0 GT/s PCIe" link_width="16"><nic><net name="rail0" dev="0" '
            f'speed="800000"/></nic></pci></cpu>'
            for rank, hash_ in enumerate(("0xAB", "0xcd"))
        )
        + "</system>"
    )


def test_every_link_of_an_nvidia_machine() -> None:
    found = read(NVIDIA)
    one_way = {
        ("cpu0", "cpu1"): [INTEL],
        ("cpu0", "0000:10:00.0"): [GEN5],
        ("0000:10:00.0", "gpu0"): [GEN5],
        ("0000:10:00.0", "gpu1"): [GEN5],
        ("0000:10:00.0", "mlx5_1"): [GEN5],
        ("0000:10:00.0", "0000:14:00.0"): [GEN3X8],
        ("0000:14:00.0", "mlx5_0:1"): [inf],
        ("0000:14:00.0", "mlx5_0:2"): [inf],
        ("cpu1", "gpu2"): [GEN4, 220.0],
        ("cpu1", "eth0"): [inf],
        ("gpu0", "nvswitch"): [450.0],
        ("gpu1", "nvswitch"): [450.0],
        ("gpu2", "nvswitch"): [450.0],
    }
    assert edges(found) == one_way | {(b, a): speed for (a, b), speed in one_way.items()}
    assert rank_names(found) == ["gpu0", "gpu1", "gpu2"]
    assert port_speeds(found) == {"mlx5_0:1": 12.5, "mlx5_1": 50.0, "mlx5_0:2": 25.0, "eth0": 1.25}
    assert list(port_speeds(found)) == ["mlx5_0:1", "mlx5_1", "mlx5_0:2", "eth0"]
    assert [found.names[v] for v in np.flatnonzero(found.reducing)] == ["nvswitch"]
    assert set(found.hosts.tolist()) == {0}
    (sentence,) = found.warnings
    assert sentence.startswith("Between CPUs 22 GB/s is what NCCL takes for Intel Sapphire Rapids")


def test_every_link_of_an_amd_machine() -> None:
    found = read(RCCL)
    assert edges(found) == {
        ends: speeds
        for a, b, *speeds in (
            ("cpu0", "gpu0", GEN4), ("cpu0", "gpu1", GEN4), ("cpu0", "gpu2", GEN4),
            ("gpu0", "gpu1", 64.0), ("gpu0", "gpu2", 128.0),
        )
        for ends in ((a, b), (b, a))
    }  # fmt: skip
    assert not found.reducing.any()


def test_devices_known_by_class_only_are_numbered_by_bus_id() -> None:
    found = read(CLOUD)
    assert rank_names(found) == ["gpu0", "gpu1"]
    assert port_speeds(found).keys() == {"nic0"}
    assert isnan(port_speeds(found)["nic0"])
    said = " ".join(found.warnings)
    assert "0003:00:00.0 of class 0x010802 is neither a GPU nor a network card" in said
    assert "no links between GPUs other than PCIe" in said
    assert "no speed of the network card nic0" in said
    assert "cpu0" in {found.names[v] for v in np.flatnonzero(found.kinds == Kind.CPU)}
    lower = changed(CLOUD)('busid="0001:00:00.0"', 'busid="0009:00:00.0"')
    assert read(lower).link_name(int(np.flatnonzero(read(lower).links.dst == read(lower).ranks[0])[0])).endswith("gpu0")


def test_devices_without_a_class_are_shown_and_hold_no_ranks() -> None:
    found = read('<system version="1"><cpu numaid="3"><pci busid="0000:00:16.0"/></cpu></system>')
    assert rank_names(found) == ["cpu3"]
    assert "0000:00:16.0" in found.names
    assert any("has no class" in sentence for sentence in found.warnings)
    assert any("ranks are placed on CPUs" in sentence for sentence in found.warnings)


def test_a_link_without_figures_is_taken_as_nccl_takes_it() -> None:
    plain = '<system version="1"><cpu numaid="-1"><pci busid="0000:01:00.0" class="0x030000"{}/></cpu></system>'
    for figures in (
        "",
        ' link_speed="" link_width="0"',
        ' link_speed="Unknown" link_width=""',
        ' link_speed="Unknown" link_width="63"',
        ' link_width="255"',
    ):
        found = read(plain.format(figures))
        assert edges(found)["cpu0", "gpu0"] == [15.8]
        assert sum("0000:01:00.0 has no" in sentence for sentence in found.warnings) == 2
    found = read(plain.format(' link_speed="64.0 GT/s PCIe" link_width="0"'))
    assert edges(found)["cpu0", "gpu0"] == [121.0]


def test_a_port_without_speed_is_not_known_and_one_of_speed_0_is_what_nccl_takes() -> None:
    change = changed(NVIDIA)
    assert isnan(port_speeds(read(change('speed="400000" ', "")))["mlx5_1"])
    for speed in ("0", "-1"):
        found = read(change('speed="400000"', f'speed="{speed}"'))
        assert port_speeds(found)["mlx5_1"] == 1.25
        assert any("taken for 10 Gb/s" in sentence for sentence in found.warnings)


def test_a_link_of_a_gpu_to_itself_is_left_out() -> None:
    found = read(changed(NVIDIA)('target="0000:c4:00.0" count="18"', 'target="0000:20:00.0" count="18"'))
    assert ("gpu2", "nvswitch") not in edges(found)
    assert any("A link of gpu2 to itself" in sentence for sentence in found.warnings)


def test_hosts_of_one_file_are_told_apart_and_joined_by_hidden_nvswitches() -> None:
    found = read(two_hosts())
    assert rank_names(found) == ["h0.gpu0", "h1.gpu0"]
    assert list(port_speeds(found)) == ["h0.rail0", "h1.rail0"]
    hosts = dict(zip(found.names, found.hosts.tolist(), strict=True))
    assert (hosts["h0.cpu0"], hosts["h1.rail0"], hosts["nvswitch"]) == (0, 1, NO_HOST)
    assert edges(found)["h0.gpu0", "nvswitch"] == [900.0]
    assert ("h0.cpu0", "h1.cpu0") not in edges(found)
    assert any("one set of all hosts" in sentence for sentence in found.warnings)


def test_hosts_with_nothing_between_them_are_refused() -> None:
    assert "no way from h0.gpu0 to h1.gpu0" in refusal(FORMAT, two_hosts("0000:c4:00.0"))


def test_power_bridges_lead_to_the_cpu() -> None:
    change = changed(NVIDIA)
    link = 'target="{}:00.0" count="{}" tclass="0x06800{}"'
    old, new = link.format("0000:c4", 18, 0), link.format("0004:00", 3, 1)
    found = read(change(old, new))
    assert edges(found)["cpu1", "gpu2"] == [GEN4, 75.0, 220.0]


def test_pci_links_between_switches_cost_nothing() -> None:
    link = '<pcilink target="0000:{}:00.0"/>'
    switch = '<pci busid="0000:{0}:00.0" class="0x060400" link_speed="16 GT/s" link_width="16">{1}{2}</pci>'
    gpu = '<pci busid="0000:{}:00.0" class="0x030200" link_speed="16 GT/s" link_width="16"/>'
    pairs = ("10", "20"), ("20", "10")
    both = "".join(switch.format(here, link.format(there), gpu.format(here[0] + "1")) for here, there in pairs)
    found = read(f'<system version="1"><cpu numaid="0">{both}</cpu></system>')
    assert edges(found)["0000:10:00.0", "0000:20:00.0"] == [inf]
    nowhere = f'<system version="1"><cpu numaid="0">{both.replace(link.format("10"), link.format("30"))}</cpu></system>'
    assert "0000:30:00.0, which is no PCIe switch" in refusal(FORMAT, nowhere)


@pytest.mark.parametrize(
    ("outer", "inner", "levels"),
    [
        (("0xc010", "0xa096"), ("0xc010", "0xa096"), 1),
        (("0xc030", "0x0072"), ("0xc030", "0x1003"), 1),
        (("0xc030", "0x0072"), ("0xc030", "0x0072"), 2),
        (("0xc010", "0xa096"), ("0xc030", "0x1003"), 2),
    ],
)
def test_the_second_level_of_a_broadcom_switch_is_no_level(
    outer: tuple[str, str], inner: tuple[str, str], levels: int
) -> None:
    switch = (
        '<pci busid="0000:{}:00.0" class="0x060400" vendor="0x1000" device="{}" subsystem_vendor="0x1000" '
        'subsystem_device="{}" link_speed="16 GT/s" link_width="16">'
    )
    gpu = '<pci busid="0000:30:00.0" class="0x030200" link_speed="16 GT/s" link_width="16"/>'
    text = switch.format("10", *outer) + switch.format("20", *inner) + gpu + "</pci></pci>"
    found = read(f'<system version="1"><cpu numaid="0">{text}</cpu></system>')
    assert int((found.kinds == Kind.SWITCH).sum()) == levels
    assert (("0000:10:00.0", "gpu0") in edges(found)) == (levels == 1)


def test_an_nvswitch_among_the_pci_devices_is_no_device() -> None:
    switch = '<pci busid="0000:c4:00.0" class="0x068000" link_speed="5 GT/s" link_width="4"/>'
    text = changed(NVIDIA)('    <nic>\n      <net name="eth0', f'    {switch}\n    <nic>\n      <net name="eth0')
    text = text.replace(' tclass="0x068000"', "")
    text = text.replace('<nvlink target="0000:c5:00.0" count="9"/>', '<nvlink target="0000:c4:00.0" count="9"/>')
    assert edges(read(text)) == edges(read(NVIDIA))


def test_ports_of_one_number_are_taken_in_the_order_of_the_file() -> None:
    found = read(changed(NVIDIA)('dev="3"', 'dev="1"'))
    assert list(port_speeds(found)) == ["mlx5_0:1", "mlx5_1", "eth0", "mlx5_0:2"]
    assert any("Two network ports have dev 1" in sentence for sentence in found.warnings)


def test_ranks_order_the_gpus() -> None:
    text = NVIDIA.replace('rank="2"', 'rank="7"').replace('rank="0"', 'rank="9"')
    assert rank_names(read(text)) == ["gpu1", "gpu2", "gpu0"]


REFUSALS = [
    ('version="1"', 'version="3"', 2, "version '3'; expected 1 (NCCL) or 2 (RCCL)"),
    (' version="1"', "", 2, "<system> has no version"),
    ('count="9"', 'count="0"', 7, "count '0'; expected a whole number from 1"),
    ('count="9"', 'count="-9"', 7, "count '-9'"),
    ('count="9"', 'count="tbd"', 7, "count 'tbd'"),
    ('link_width="16"', 'link_width="-16"', 4, "link_width '-16'"),
    ('link_width="16"', 'link_width="17"', 4, "link_width 17; expected one of 1, 2, 4"),
    ("32.0 GT/s PCIe", "0 GT/s", 4, "link_speed '0 GT/s'; expected one of 2.5 GT/s"),
    ("32.0 GT/s PCIe", "-32.0 GT/s PCIe", 4, "link_speed '-32.0 GT/s PCIe'"),
    ("32.0 GT/s PCIe", "tbd", 4, "link_speed 'tbd'"),
    ('speed="400000"', 'speed="4e5"', 18, "speed '4e5'"),
    ('bw="44000"', 'bw="0"', 33, "bw '0'; expected a whole number from 1"),
    ('tclass="0x068000"', 'tclass="0x030200"', 7, "0000:c4:00.0, which is neither a GPU nor an NVSwitch"),
    ('busid="0000:12:00.0"', 'busid="0000:11:00.0"', 11, "bus id 0000:11:00.0, as on line 5"),
    ('busid="0000:12:00.0"', 'busid="12:00"', 11, "bus id '12:00'; expected one such as"),
    ('numaid="1"', 'numaid="0"', 29, "a second 'cpu0'"),
    ('numaid="1"', 'numaid="-2"', 29, "numaid '-2'"),
    ('numaid="1"', 'numaid=""', 29, "numaid ''"),
    ('dev="2" sm', 'dev="1" sm', 31, "dev 1, as on line 6"),
    ('rank="2"', 'rank="1"', 31, "a second rank 1"),
    ('sm="90"', 'sm="50"', 6, "compute capability sm=50; expected 60 or above"),
    ('sm="90" ', "", 6, "<gpu> has no sm"),
    ('name="eth0"', 'name="gpu0"', 37, "a second 'gpu0'"),
    ('<gpu dev="1"', '<gpu dev="5"/><gpu dev="1"', 6, "a second <gpu> of 0000:11:00.0"),
    ("</system>", "", 41, "expected XML"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), REFUSALS)
def test_what_cannot_be_is_refused_with_file_and_line(old: str, new: str, line: int, message: str) -> None:
    found = refusal(FORMAT, changed(NVIDIA)(old, new))
    assert found.startswith(f"{WHERE}, line {line}: ")
    assert message in found


def test_links_between_gpus_must_be_there_from_both_ends() -> None:
    back = '        <xgmi target="0000:01:00.0" count="1" tclass="0x120000"/>\n'
    assert "line 5: 1 links from gpu0 to gpu1, and 0 back" in refusal(FORMAT, changed(RCCL)(back, ""))
    assert "1 links from gpu0 to gpu1, and 3 back" in refusal(FORMAT, changed(RCCL)(back, back.replace('"1"', '"3"')))


def test_xgmi_of_an_unknown_architecture_is_refused() -> None:
    assert "gcn='900'; expected one of 906" in refusal(FORMAT, changed(RCCL)('gcn="942"', 'gcn="900"'))
    assert "<gpu> has no gcn" in refusal(FORMAT, changed(RCCL)('gcn="942" ', ""))


def test_a_file_without_gpus_is_refused() -> None:
    text = '<system version="1"><cpu numaid="0"><nic><net name="eth0" dev="0" speed="1"/></nic></cpu></system>'
    assert "no GPUs; expected <gpu>" in refusal(FORMAT, text)
    assert "no GPUs" in refusal(FORMAT, '<system version="1"/>')


def test_entities_are_refused() -> None:
    evil = '<!DOCTYPE system [<!ENTITY a "0">]>\n' + NVIDIA.replace('numaid="0"', 'numaid="&a;"')
    assert "an entity" in refusal(FORMAT, evil)


def test_only_a_system_is_recognised() -> None:
    assert all(FORMAT.recognises(text) for text in (NVIDIA, RCCL, CLOUD, "\n<?xml version='1.0'?>\n" + NVIDIA))
    others = "", "<systems/>", "<topology/>", "system", "<graphs version='1'/>"
    assert not any(FORMAT.recognises(text) for text in others)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from((NVIDIA, RCCL, CLOUD, two_hosts())).flatmap(mangled))
def test_a_mangled_file_is_read_or_refused(text: str) -> None:
    read_or_refused(FORMAT, text)


def same(one: Topology, other: Topology) -> None:
    assert edges(one) == edges(other)
    assert rank_names(one) == rank_names(other)
    assert port_speeds(one) == pytest.approx(port_speeds(other), nan_ok=True)
    assert sorted(zip(one.names, one.kinds, one.reducing, strict=True)) == sorted(
        zip(other.names, other.kinds, other.reducing, strict=True)
    )


@pytest.mark.parametrize("text", [NVIDIA, RCCL, CLOUD, two_hosts()])
def test_what_is_written_is_read_again(text: str) -> None:
    first = read(text)
    written = FORMAT.write(first) if FORMAT.write else ""
    same(read(written), first)
    assert FORMAT.recognises(written)


@st.composite
def machines(draw: st.DrawFn) -> Topology:
    """Any machine that the format has words for: CPUs, trees of PCIe, NVLink or xGMI, ports."""
    made = Draft("drawn")
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))  # branches of each CPU
    kind = draw(st.sampled_from([kind for kind in sockets() if kind.arch]))
    cpus = [made.vertex(Kind.CPU, f"cpu{number}", "") for number in range(len(sizes))]
    for a in cpus:
        for b in cpus:
            if a != b:
                made.link(a, b, kind.bytes_per_s)
    speeds = st.builds(pcie_bandwidth, st.integers(1, 6), st.sampled_from(pcie_widths()))
    gpus: list[int] = []
    homes: list[int] = []
    nics: list[int] = []
    free = iter(range(1000))

    def branch(parent: int, cpu: int, depth: int) -> None:
        what = draw(st.sampled_from("gns" if depth else "gggns"))
        if what == "s" and depth < 3:
            switch = made.vertex(Kind.SWITCH, f"0000:{next(free):02x}:00.0", "")
            made.join(parent, switch, draw(speeds))
            for _ in range(draw(st.integers(0, 3))):
                branch(switch, cpu, depth + 1)
        elif what == "n":
            nics.append(made.vertex(Kind.NIC, f"mlx5_{len(nics)}", ""))
            made.join(parent, nics[-1], draw(speeds))
        else:
            gpus.append(made.vertex(Kind.GPU, f"gpu{len(gpus)}", ""))
            homes.append(cpu)
            made.join(parent, gpus[-1], draw(speeds))

    for cpu, size in zip(cpus, sizes, strict=True):
        for _ in range(size):
            branch(cpu, cpu, 0)
    if not gpus:
        gpus.append(made.vertex(Kind.GPU, "gpu0", ""))
        homes.append(cpus[0])
        made.join(cpus[0], gpus[0], draw(speeds))
    _add_links(draw, made, gpus, homes)
    order = draw(st.permutations(range(len(nics))))
    ports = st.integers(1, 800_000).map(lambda mbit: mbit * 125e3) | st.just(nan)
    return made.finished(
        ranks=draw(st.permutations(gpus)), ports=[nics[place] for place in order],
        port_bandwidth=[draw(ports) for _ in nics], source="",
    )  # fmt: skip


def _add_links(draw: st.DrawFn, made: Draft, gpus: list[int], homes: list[int]) -> None:
    choice = draw(st.sampled_from(("none", "switch", "mesh", "xgmi")))
    if choice == "switch":
        link = draw(st.sampled_from(nvlinks()))
        switch = made.vertex(Kind.SWITCH, "nvswitch", "", reducing=link.reduces)
        for gpu in gpus:
            made.join(gpu, switch, draw(st.integers(1, 18)) * link.bytes_per_s)
    elif choice != "none":
        rates = xgmi_rates().values() if choice == "xgmi" else [link.bytes_per_s for link in nvlinks()]
        rate = draw(st.sampled_from(sorted(set(rates))))
        for place, a in enumerate(gpus):
            for b in gpus[place + 1 :]:
                if draw(st.booleans()):
                    made.join(a, b, draw(st.integers(1, 4)) * rate)
    if draw(st.booleans()):
        made.join(gpus[0], homes[0], draw(st.integers(250_000, 900_000)) * 1e6)


@settings(max_examples=200, deadline=None)
@given(machines())
def test_any_machine_that_can_be_expressed_comes_back(made: Topology) -> None:
    assert FORMAT.write is not None
    text = FORMAT.write(made)
    same(read(text), made)
    assert "  " not in re.sub(r"^ +", "", text, flags=re.MULTILINE)


def machine(**changes: object) -> Topology:
    """A CPU, a switch, two GPUs on it and a card, with something changed."""
    kinds = [Kind.CPU, Kind.SWITCH, Kind.GPU, Kind.GPU, Kind.NIC]
    names = ["cpu0", "switch", "gpu0", "gpu1", "ib0"]
    wires = both_ways(links([0, 1, 1, 1], [1, 2, 3, 4], 32e9))
    given_: dict[str, object] = {
        "name": "made", "kinds": kinds, "names": names, "links": wires, "port_bandwidth": 25e9,
    }  # fmt: skip
    return topology(**(given_ | changes))  # type: ignore[arg-type] # the changes are of the right types


def written(made: Topology) -> str:
    assert FORMAT.write is not None
    return FORMAT.write(made)


def test_names_of_switches_become_bus_ids_and_rounded_rates_come_back_exact() -> None:
    back = read(written(machine()))
    assert rank_names(back) == ["gpu0", "gpu1"]
    assert edges(back)["cpu0", "f000:00:00.0"] == [31.5]
    assert port_speeds(back) == {"ib0": 25.0}


def test_latencies_are_left_out_with_a_comment() -> None:
    made = machine()
    slow = replace(made, links=replace(made.links, latency_s=made.links.latency_s + 1e-6))
    assert written(slow).startswith("<!-- latencies of links are left out: NCCL has its own -->\n<system")
    assert "<!--" not in written(made)
    same(read(written(slow)), read(written(made)))


WIRES = both_ways(links([0, 1, 1, 1], [1, 2, 3, 4], 32e9))


def more(src: int, dst: int, bandwidth: float, both: bool = True) -> Topology:
    one = links([*WIRES.src[:4], src], [*WIRES.dst[:4], dst], [*WIRES.bandwidth[:4], bandwidth])
    return machine(links=both_ways(one) if both else replace(
        WIRES, src=np.append(WIRES.src, src), dst=np.append(WIRES.dst, dst),
        bandwidth=np.append(WIRES.bandwidth, bandwidth), latency_s=np.append(WIRES.latency_s, 0.0),
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: machine(ranks=[2]), "1 ranks and 2 GPUs; expected a rank on each GPU"),
        (lambda: machine(ports=[]), "0 ports and 1 network cards"),
        (lambda: machine(hosts=[0, NO_HOST, 0, 0, 0]), "switch lies in no host"),
        (lambda: machine(links=links([0, 1, 1, 1], [1, 2, 3, 4], 32e9)), "more than NCCL's XML can express"),
        (lambda: machine(links=both_ways(links([1, 1, 1], [2, 3, 4], 32e9))), "is below no CPU"),
        (lambda: machine(links=both_ways(links([0, 1, 1, 1], [1, 2, 3, 4], 40e9))), "has 40 GB/s; expected PCIe"),
        (lambda: machine(port_bandwidth=inf), "a port of inf bytes/s"),
        (lambda: machine(port_bandwidth=1.0), "a port of 1 bytes/s"),
        (lambda: machine(names=["cpu0", "switch", "gpu0", "gpu1", 'a"b']), "a network card named"),
        (lambda: machine(reducing=[False, True, False, False, False]), "more than NCCL's XML can express"),
        (lambda: more(2, 3, 33e9), "links between GPUs of 33 GB/s; expected multiples of one of"),
        (lambda: more(2, 3, 25e9, both=False), "expected as many both ways"),
        (lambda: more(0, 4, 32e9), "a second way; expected a tree"),
        (lambda: more(2, 4, 32e9), "more than NCCL's XML can express"),
        (lambda: more(0, 2, 123.4567e3), "expected a whole number of MB/s"),
    ],
)
def test_what_the_format_cannot_express_is_refused(made: object, message: str) -> None:
    with pytest.raises(TopologyError) as refused:
        written(made())  # type: ignore[operator] # a function without arguments
    assert str(refused.value).startswith("made")
    assert message in str(refused.value)
