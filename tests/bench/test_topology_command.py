"""`clusterbench topology`: what is shown, converted, bounded and discovered, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mpi
import numpy as np
import pytest
from click.testing import CliRunner, Result

from clusterbench.bench.cli import cli
from clusterbench.bench.tables.topology_rows import document, link_rows
from clusterbench.bench.tables.topology_view import print_topology
from clusterbench.collectives.topology.fabric import fabrics
from clusterbench.collectives.topology.file import formats
from clusterbench.collectives.topology.graph import Kind, TopologyError, both_ways, links, topology
from clusterbench.collectives.topology.papers import PAPERS
from clusterbench.collectives.topology.presets import preset_names
from clusterbench.collectives.topology.spec import COMMON, topology_from

RACKS = "leaf-spine:racks=2,hosts=2,taper=2"
SLURM = "SwitchName=s0 Nodes=n[0-1]\nSwitchName=s1 Nodes=n[2-3]\nSwitchName=top Switches=s[0-1]\n"


def run(*args: str) -> Result:
    """A command that ends well."""
    result = CliRunner().invoke(cli, ["topology", *args])
    assert result.exit_code == 0, result.output or result.exception
    return result


def refusal(*args: str) -> str:
    """The message of a command that is refused, as a person sees it."""
    result = CliRunner().invoke(cli, ["topology", *args])
    error = result.exception
    code = getattr(error, "exit_code", None) or getattr(error, "code", None)
    assert code == 2, result.output or error
    return result.output if isinstance(error, SystemExit) else str(error)


def test_a_host_is_shown_as_a_tree_with_its_rates() -> None:
    text = run("show", "dgx-h100").stdout
    assert text.startswith("dgx-h100: 8 GPUs, 2 CPUs, 8 network cards, 9 switches; 66 links; 8 ranks on 1 host\n")
    lines = [line.lstrip("│├└─ ") for line in text.splitlines()]
    assert "gpu0 (rank 0)  63  also nvswitch 450" in lines
    assert "nvswitch, reduces  also gpu0 … gpu7 (8) 450" in lines
    starts = [line.partition(" ")[0] for line in lines]
    assert starts.index("cpu0") < starts.index("pcie0") < starts.index("gpu0") < starts.index("cpu1")


def test_the_ways_between_ranks_are_a_matrix_and_its_classes() -> None:
    lines = [line.split() for line in run("show", RACKS).stdout.splitlines()]
    assert ["0", "A", "12.5", "B", "12.5", "B", "12.5"] in lines
    assert ["3", "B", "12.5", "B", "12.5", "A", "12.5"] in lines
    assert ["A", "cpu", "–", "net", "switch", "–", "cpu", "12.5", "0.7", "4", "0", "→", "1"] in lines
    assert ["B", "cpu", "–", "3", "net", "switch", "–", "cpu", "12.5", "1.4", "8", "0", "→", "2"] in lines


def test_the_levels_of_a_network_are_shown_with_their_taper() -> None:
    text = run("show", RACKS).stdout
    assert "host 0, and 3 more like it" in text
    assert "network: 2 switches at level 1, 1 switch at level 2" in text
    assert "level 1 sends 25 GB/s up of 50 GB/s that it may get from below: taper 2" in text


def test_of_many_ranks_the_ways_of_one_are_shown() -> None:
    text = run("show", "fat-tree:nodes=4,node=dgx-h100").stdout
    assert "Ways from rank 0 to 31 of 31 others" in text
    assert "from \\ to" not in text


def test_where_routes_are_searched_for_the_ways_to_fewer_ranks_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "topology.conf"
    path.write_text("SwitchName=s Nodes=n[0-199]\n")
    assert "Ways from rank 0 to 64 of 199 others" in run("show", str(path)).stdout
    assert "Ways from rank 0 to 199 of 199 others" in run("show", "single-switch:nodes=200").stdout


def test_what_has_a_route_that_cannot_be_is_refused_before_anything_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "flat.xml"
    path.write_text(
        '<platform version="4.1"><cluster id="c" prefix="n" suffix="" radical="0-3" speed="1Gf" bw="10GBps" lat="1us" '
        'bb_bw="1GBps" bb_lat="1us" bb_sharing_policy="FATPIPE"/></platform>'
    )
    result = CliRunner().invoke(cli, ["topology", "show", str(path)])
    assert "FATPIPE" in str(result.exception)
    assert result.stdout == ""


def test_links_that_differ_by_direction_and_parallel_ones_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    found = topology(
        name="t", kinds=[Kind.CPU, Kind.GPU, Kind.GPU], names=["cpu", "a", "b"],
        links=links([1, 0, 0, 2, 2, 0], [0, 1, 1, 0, 0, 2], [50e9, 20e9, 5e9, 25e9, 25e9, math.inf]),
    )  # fmt: skip
    print_topology(found)
    text = capsys.readouterr().out
    assert "a (rank 0)  50 ← 20 + 5\n" in text
    assert "b (rank 1)  2 × 25 ← ∞\n" in text


def test_where_there_is_no_way_that_is_said_and_the_rest_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_topology(topology(name="t", kinds=[Kind.GPU, Kind.GPU], names=["a", "b"], links=links([0], [1], 1e9)))
    text = capsys.readouterr().out
    assert "No way leads from rank 0 to rank 1 or back" in text
    assert "a (rank 0)" in text


def test_of_hosts_that_all_differ_some_are_shown_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = 7
    gpu = np.arange(hosts)
    found = topology(
        name="t", kinds=[Kind.GPU] * hosts + [Kind.SWITCH], names=[*(f"h{i}" for i in range(hosts)), "s"],
        links=both_ways(links(gpu, hosts, 1e9 * (1 + gpu))), hosts=[*range(hosts), -1],
    )  # fmt: skip
    print_topology(found)
    text = capsys.readouterr().out
    assert "h3 (rank 3)  → s 4\n" in text
    assert "h4 (rank 4)" not in text
    assert "and 3 more hosts, of 3 further kinds" in text


def test_the_document_has_everything_and_rates_in_bytes_per_second() -> None:
    parsed = json.loads(run("show", "dgx-h100", "--json").stdout)
    assert list(parsed) == ["schema_version", "topology", "vertices", "links", "warnings"]
    about = parsed["topology"]
    assert (about["name"], about["ranks"], about["hosts"], about["estimated"]) == ("dgx-h100", 8, 1, False)
    assert len(parsed["vertices"]) == about["vertices"] == 27
    assert len(parsed["links"]) == about["links"] == 66
    gpu = next(vertex for vertex in parsed["vertices"] if vertex["name"] == "gpu3")
    assert gpu == {"name": "gpu3", "kind": "gpu", "host": 0, "ranks": [3], "reducing": False, "is_port": False,
                   "port_bandwidth": None}  # fmt: skip
    nic = next(vertex for vertex in parsed["vertices"] if vertex["name"] == "nic0")
    assert (nic["is_port"], nic["port_bandwidth"]) == (True, 50e9)
    found = {(link["from"], link["to"]): link["bandwidth"] for link in parsed["links"]}
    assert found["gpu0", "nvswitch"] == 450e9


def test_csv_has_a_row_a_link() -> None:
    rows = list(csv.DictReader(io.StringIO(run("show", RACKS, "--csv").stdout)))
    assert len(rows) == 12
    assert list(rows[0]) == ["link", "from", "to", "bandwidth", "latency_s"]
    assert {(row["from"], row["to"]) for row in rows} >= {("h0", "leaf0"), ("leaf0", "h0"), ("leaf1", "spine0")}


def test_a_bandwidth_without_limit_is_null() -> None:
    found = topology(name="t", kinds=[Kind.GPU, Kind.GPU], names=["a", "b"], links=both_ways(links(0, 1, math.inf)))
    assert math.isinf(link_rows(found)[0]["bandwidth"])
    from clusterbench.bench.output import json_value

    assert json_value(document(found))["links"][0]["bandwidth"] is None


def test_the_picture_is_written_beside_what_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    assert "dgx-h100" in run("show", "dgx-h100", "--svg", str(path)).stdout
    assert ElementTree.parse(path).getroot().get("class") == "topology"
    only = run("show", "dgx-h100", "--svg", "-").stdout
    assert only == path.read_text()


def test_what_a_file_does_not_say_is_a_warning_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "topology.conf"
    path.write_text(SLURM)
    result = run("show", str(path))
    assert "4 hosts" in result.stdout
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings
    assert "warning" not in result.stdout
    assert json.loads(run("show", str(path), "--json").stdout)["warnings"] == [
        warning.removeprefix("warning: ") for warning in warnings
    ]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "any.txt"
    path.write_text(SLURM)
    assert run("show", str(path), "--format", "slurm-topology").stdout == run("show", str(path)).stdout
    assert "unknown format 'slurm'" in refusal("show", str(path), "--format", "slurm")


def test_a_network_file_gets_the_inside_of_its_hosts_by_node(tmp_path: Path) -> None:
    path = tmp_path / "topology.conf"
    path.write_text(SLURM)
    parsed = json.loads(run("show", str(path), "--node", "dgx-h100", "--json").stdout)
    assert (parsed["topology"]["ranks"], parsed["topology"]["hosts"]) == (32, 4)


@pytest.mark.parametrize("name", [name for name, format_ in formats().items() if format_.write])
def test_every_format_that_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "converted"
    run("convert", "dgx-h100", "-o", str(path), "--to", name)
    found, expected = topology_from(str(path)), topology_from("dgx-h100")
    assert len(found.ranks) == len(expected.ranks)
    assert found.vertices == expected.vertices
    assert found.kinds[found.reducing].tolist() == [Kind.SWITCH]
    assert found.kinds[found.ports].tolist() == expected.kinds[expected.ports].tolist()
    assert found.port_bandwidth.tolist() == expected.port_bandwidth.tolist()
    # NCCL's files have whole lanes and megabytes.
    assert np.sort(found.links.bandwidth) == pytest.approx(np.sort(expected.links.bandwidth), rel=1e-3)
    assert run("convert", "dgx-h100", "-o", "-", "--to", name).stdout == path.read_text()
    (before,), (after,) = bounds("dgx-h100"), bounds(str(path))
    assert after["bound_s"] == pytest.approx(before["bound_s"], rel=1e-3)
    assert after["limit"] == before["limit"]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "converted"
    assert "this format is only read; expected one of" in refusal(
        "convert", "dgx-h100", "-o", str(path), "--to", "slurm-topology"
    )
    assert "no format of that name" in refusal("convert", "dgx-h100", "-o", str(path), "--to", "word")
    assert not path.exists()
    assert "expected a file that can be written" in refusal(
        "convert", "dgx-h100", "-o", str(tmp_path / "none" / "x"), "--to", "simgrid-xml"
    )


def test_a_network_in_several_parts_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "topology.conf"
    path.write_text("SwitchName=a Nodes=n1\nSwitchName=b Nodes=n2\n")
    said = refusal("convert", str(path), "-o", str(tmp_path / "x"), "--to", "simgrid-xml")
    assert f"{path}: no way from n1 to n2" in said or f"{path}: no way from n2 to n1" in said


def test_names_of_formats_may_have_underscores() -> None:
    assert run("convert", "dgx-h100", "-o", "-", "--to", "SimGrid_XML").stdout.startswith("<?xml")


def test_a_format_that_cannot_express_a_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(TopologyError):
        formats()["nccl-topo-xml"].write(topology_from(RACKS))  # type: ignore[misc] # this one is written
    assert refusal("convert", RACKS, "-o", str(tmp_path / "x"), "--to", "nccl-topo-xml")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["show", "dgx-h1000"], "did you mean 'dgx-h100'?"),
        (["show", "fat-tree:nodes=-1"], "nodes"),
        (["show", "dgx-h100", "--svg", "/"], "--svg"),
        (["bound", "dgx-h100", "--collective", "gossip"], "unknown collective 'gossip'"),
        (["bound", "dgx-h100", "--collective", "broadcast", "-r", "8"], "8"),
        (["bound", "dgx-h100", "--collective", "all_to_all_v"], "expected one with parts of one size"),
        (["show", "teccl-ndv2:nodes=0"], "teccl-ndv2:nodes=0: nodes=0"),
        (["bound", "dgx-h100", "-r", "1"], "there is no root in all_reduce"),
        (["bound", "dgx-h100", "-b", "2G", "-e", "1G"], "expected -b to be at most -e"),
        (["bound", "dgx-h100", "-b", "0"], "expected at least 1 byte"),
        (["discover", "-b", "0"], "expected at least 1 byte"),
    ],
)
def test_what_cannot_be_is_refused_and_named(args: list[str], said: str) -> None:
    assert said in refusal(*args)


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "nonsense.txt"
    path.write_text("nonsense\n")
    assert f"{path}: of no known format" in refusal("show", str(path))


def bounds(*args: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run("bound", *args, "--json").stdout)["rows"]
    return rows


def test_the_bound_of_one_switch_is_that_of_its_links() -> None:
    (row,) = bounds("single-switch:nodes=4", "--collective", "all_gather")
    # Three quarters of 1 GiB have to come to each rank over 12.5 GB/s.
    assert row["size_bytes"] == 1 << 30
    assert row["bound_s"] == pytest.approx(0.75 * (1 << 30) / 12.5e9)
    assert row["busbw"] == pytest.approx(12.5e9)
    assert row["exact_algbw"] == "50000000000/3"
    assert row["by"]
    assert row["complete"]


def test_sizes_go_from_the_least_to_the_largest_and_small_ones_are_latency() -> None:
    rows = bounds("single-switch:nodes=4", "-b", "8", "-e", "32M", "-f", "2048")
    assert [row["size_bytes"] for row in rows] == [8, 16384, 33554432]
    assert rows[0]["limit"] == "latency"
    assert rows[0]["bound_s"] == rows[0]["latency_s"] > 0
    assert rows[-1]["limit"] == "end-point"


def test_an_all_reduce_has_a_class_too_and_others_none() -> None:
    (row,) = bounds("single-switch:nodes=4")
    assert row["class_s"] >= row["bound_s"] * (1 - 1e-6)
    assert "along trees" in row["class_name"]
    (row,) = bounds("single-switch:nodes=4", "--collective", "alltoall")
    assert (row["collective"], row["class_s"]) == ("all_to_all", None)


def test_the_root_counts_for_a_rooted_collective() -> None:
    first, other = (bounds(RACKS, "--collective", "broadcast", *root)[0]["bound_s"] for root in ((), ("--root", "3")))
    assert first == other > 0


def test_a_person_reads_what_limits() -> None:
    text = run("bound", "dgx-h100").stdout
    assert text.startswith("all_reduce on dgx-h100, 8 ranks: no algorithm is faster\n")
    assert "exact algbw by bandwidth alone: 513 GB/s" in text
    assert "in-network: links out of rank 0 (gpu0)" in text
    assert "class: reduce-scatter + all-gather along trees" in text


def test_this_host_is_discovered() -> None:
    parsed = json.loads(run("discover", "--json").stdout)
    assert parsed["topology"]["estimated"]
    assert parsed["topology"]["ranks"] >= 1
    assert parsed["warnings"]


FEW = ("-n", "6", "-w", "1", "-b", "4099", "--window", "3")


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_of_one_host_are_discovered_as_such(ranks: int, tmp_path: Path) -> None:
    command = ("topology", "discover", *FEW, "--journal")
    finished, printed = mpi.each(ranks, [(*command, str(tmp_path), "--json"), (*command, str(tmp_path / "other"))])
    parsed = mpi.document(finished)
    assert list(parsed) == ["schema_version", "run", "groups", "topology", "vertices", "links", "warnings"]
    about = parsed["topology"]
    assert (about["ranks"], about["hosts"], about["estimated"]) == (ranks, 1, True)
    everyone = parsed["groups"][0]
    assert everyone["ranks"] == list(range(ranks))
    assert "host" in everyone["by"]
    assert everyone["latency_s"] > 0
    assert everyone["bandwidth"] > 0
    assert parsed["run"]["status"] == "finished"
    assert sum("rank" in vertex["name"] for vertex in parsed["vertices"]) >= ranks
    assert all(link["bandwidth"] is None or link["bandwidth"] > 0 for link in parsed["links"])
    (journal,) = tmp_path.glob("*.topology.jsonl")
    assert journal.stat().st_size > 0
    assert printed.exit_code == 0, printed.stderr
    assert f"ranks 0-{ranks - 1}: " in printed.stdout
    assert f"measured, {ranks} ranks on 1 host" in printed.stdout


def test_every_fabric_option_host_and_format_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "topology.md").read_text()
    options = {name for fabric in fabrics().values() for name in fabric.options} | set(COMMON)
    expected = (*formats(), *fabrics(), *preset_names(), *PAPERS, *options)
    assert [name for name in expected if f"`{name}`" not in text] == []


def test_the_formats_that_are_written_are_documented_as_such() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "topology.md").read_text()
    shown = {name: bool(written) for name, written in re.findall(r"^\| `([a-z-]+)` \| yes \| (yes)? ?\|", text, re.M)}
    assert {name: shown[name] for name in formats()} == {
        name: format_.write is not None for name, format_ in formats().items()
    }


TWO_NAMES = """
import socket, sys
from clusterbench.bench.launching.launch import launcher_rank
# Only the names of the hosts are made up: two ranks of this host take it for one, and two for another.
socket.gethostname = lambda: "ab"[launcher_rank() // 2] + ".example.org"
from clusterbench.bench.cli import main
main(["topology", "discover", *sys.argv[1:]])
"""


@pytest.mark.mpi
def test_ranks_of_several_hosts_are_grouped_by_their_names(tmp_path: Path) -> None:
    finished = mpi.ranks(4, "-c", TWO_NAMES, "--json", "--journal", str(tmp_path), *FEW)
    parsed = mpi.document(finished)
    assert parsed["topology"]["hosts"] == 2
    by_host = [group for group in parsed["groups"] if "host" in group["by"]]
    assert [group["ranks"] for group in by_host] == [[0, 1], [2, 3]]
    assert [group["hosts"] for group in by_host] == [["a.example.org"], ["b.example.org"]]
    names = {vertex["name"]: vertex["host"] for vertex in parsed["vertices"]}
    assert names["a.rank0"] == names["a.ranks0-1"] == 0
    assert names["b.rank3"] == 1
    assert names["ranks0-3"] is None
    assert any("crossed it at once" in warning for warning in parsed["warnings"])
