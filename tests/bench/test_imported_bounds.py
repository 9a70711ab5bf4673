"""Rows of other tools' logs meet a topology: bounds, expectations, verdicts, and which rows switches helped."""

from __future__ import annotations

import io
from dataclasses import replace

import importer_files
import numpy as np
import pytest

from clusterbench.bench.stored.imported_bounds import judged
from clusterbench.collectives.bounds.bounds import limits
from clusterbench.collectives.predictors.nccl_machine import machine
from clusterbench.collectives.predictors.nccl_model import choose
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.spec import topology_from
from clusterbench.results import notes
from clusterbench.results.importing import Imported, Source, known_importers
from clusterbench.results.record import Measurement

KNOWN = known_importers()
GIB = 1 << 30


def imported(name: str, text: str | None = None, ranks: int | None = None) -> Imported:
    source = Source("a.log", io.BytesIO((text or importer_files.EXAMPLES[name]).encode()), ranks)
    return KNOWN[name].read(source)


def with_row(**changes: object) -> Imported:
    """One row of 8 ranks, an all_reduce of 1 GiB."""
    first = imported("nccl-tests")
    row = replace(first.measurements[0], size_bytes=GIB, count=GIB // 4, **changes)  # type: ignore[arg-type] # of fields
    return replace(first, measurements=(row,), samples=(None,))


def held(found: Imported, topology: str) -> list[Measurement]:
    return list(judged(found, topology_from(topology), topology, "a.log")[0].measurements)


def only(found: Imported, topology: str) -> Measurement:
    (row,) = held(found, topology)
    return row


def test_a_row_gets_its_bound_its_expectation_and_a_verdict() -> None:
    topology = topology_from("dgx-h100")
    for row in held(imported("nccl-tests"), "dgx-h100"):
        assert row.bound_s == limits(topology, "all_reduce").at(row.size_bytes).bound_s
        assert row.bound_share == pytest.approx((row.bound_s or 0) / (row.median_s or 1))
        found = choose(machine(topology), "all_reduce", row.size_bytes)
        assert row.expected_s == found.time_s
        assert notes.expecting_model(row.note) == f"NCCL's model: {found.algorithm}, {found.protocol}"
        assert (row.topology, row.verdict, row.reason) == ("dgx-h100", "PASS", "")
        assert "rank 0" in row.bound_by


def test_what_is_faster_than_end_points_over_nvlink_is_labelled_in_network_and_not_invalid() -> None:
    rows = {(row.size_bytes, row.placement): row for row in held(imported("nccl-tests"), "dgx-h100")}
    large = rows[4 * GIB, "out_of_place"]
    assert notes.is_in_network(large.note)
    assert f"in-network: {478.74 / 450:.0%} of what end points alone" in large.note
    assert large.verdict == "PASS"
    assert not notes.is_in_network(rows[1 << 25, "out_of_place"].note)


def test_without_switches_that_reduce_such_a_row_is_doubted_and_not_called_invalid() -> None:
    # 240 GB/s of algorithm bandwidth is 420 GB/s of bus bandwidth; end points have 300 + 31.5 each.
    row = only(with_row(median_s=GIB / 240e9), "dgx-a100")
    assert row.verdict == "INCONCLUSIVE"
    assert "127% of what end points alone can do, and no switch of the topology reduces" in row.reason
    assert not notes.is_in_network(row.note)


def test_what_hardware_permits_to_no_algorithm_is_invalid_beyond_a_tolerance() -> None:
    row = only(with_row(median_s=GIB / 600e9), "dgx-h100")  # out of a GPU go 513 GB/s
    assert row.verdict == "INVALID"
    assert "at 117% of what the topology permits, by links out of rank 0" in row.reason
    assert only(with_row(median_s=GIB / 530e9), "dgx-h100").verdict == "PASS"


def test_wrong_data_stay_wrong_however_fast() -> None:
    row = only(with_row(median_s=GIB / 600e9, wrong=3, verdict="FAIL", reason="3 wrong elements"), "dgx-h100")
    assert (row.verdict, row.reason) == ("FAIL", "3 wrong elements")


def test_samples_are_judged_by_their_interval() -> None:
    found = replace(with_row(), samples=(np.linspace(1e-3, 3e-3, 20),))
    row = only(found, "dgx-h100")
    assert (row.verdict, "the machine is not quiet" in row.reason) == ("INCONCLUSIVE", True)


def test_a_collective_that_nccls_model_does_not_know_is_simulated() -> None:
    row = only(with_row(name="all_to_all", op="", median_s=3e-3), "dgx-h100")
    assert notes.expecting_model(row.note) == "simulation of the fastest algorithm"
    assert row.expected_s is not None
    assert (row.bound_s or 0) <= row.expected_s * (1 + 1e-9)


@pytest.mark.parametrize("topology", ["mi300x", "single-switch:nodes=8"])
def test_machines_that_nccls_model_does_not_know_are_simulated(topology: str) -> None:
    row = only(with_row(median_s=1.0), topology)
    assert notes.expecting_model(row.note) == "simulation of the fastest algorithm"
    assert row.verdict == "PASS"


def test_fewer_processes_are_the_first_of_all_and_groups_and_windows_have_no_bound() -> None:
    topology = topology_from("single-switch:nodes=8")
    text = importer_files.IMB + (
        "# Benchmarking Multi-Allreduce\n# ( 2 groups of 4 processes each running simultaneous )\n"
        " #bytes #repetitions t_min[usec] t_max[usec] t_avg[usec]\n 1024 1000 3.00 5.00 4.00\n"
    )
    found, without = judged(imported("imb", text), topology, "single-switch:nodes=8", "a.log")
    by_name = {(row.name, row.ranks, row.size_bytes, row.shape): row for row in found.measurements}
    four = by_name["all_reduce", 4, 1024, ""]
    first = replace(topology, ranks=topology.ranks[:4])
    assert four.bound_s == limits(first, "all_reduce").at(1024).bound_s
    message = by_name["pingpong", 2, 1024, "bytes=1024,src=0,dst=1"]
    assert message.bound_s == pytest.approx(0.7e-6 + 1024 / 12.5e9)
    assert by_name["all_reduce", 4, 1024, "bytes=1024,groups=2"].bound_s is None
    assert without == [
        "rows without a bound: 1, they move no data",
        "rows without a bound: 1, several groups ran at once",
    ]  # fmt: skip
    _, without = judged(imported("osu"), topology, "single-switch:nodes=8", "a.log")
    assert without == ["rows without a bound: 1, they have several messages in flight"]


def test_other_ranks_than_the_topology_has_are_refused_with_what_says_so() -> None:
    with pytest.raises(TopologyError) as caught:
        held(imported("nccl-tests"), "single-switch:nodes=4")
    assert "a.log (the test from line 1 on): all_reduce ran on 8 ranks" in str(caught.value)
    assert "--topology single-switch:nodes=4 has 4; expected a topology of the ranks that ran" in str(caught.value)


def test_a_measured_topology_makes_no_row_invalid() -> None:
    topology = replace(topology_from("dgx-h100"), estimated=True)
    (row,) = judged(with_row(median_s=GIB / 600e9), topology, "measured.json", "a.log")[0].measurements
    assert row.verdict == "PASS"
    assert row.bound_by.endswith(", an estimate")


def test_rows_that_are_of_no_collective_are_left_as_they_are() -> None:
    found = imported("pytest-benchmark")
    after, without = judged(found, topology_from("dgx-h100"), "dgx-h100", "a.log")
    assert after.measurements == found.measurements
    assert without == ["rows without a bound: 2, they are of no collective"]


@pytest.mark.parametrize(
    ("device", "topology", "words"),
    [
        ("NVIDIA A100-SXM4-80GB", "dgx-h100", ["the file is of NVIDIA A100-SXM4-80GB, and the topology of H100"]),
        ("NVIDIA H100 80GB HBM3", "dgx-h100", []),
        ("", "dgx-h100", []),
        ("NVIDIA A100-SXM4-80GB", "single-switch:nodes=8", []),
    ],
)
def test_a_log_of_other_devices_than_the_topology_is_named_after_is_said_to_be(
    device: str, topology: str, words: list[str]
) -> None:
    assert judged(with_row(device=device), topology_from(topology), topology, "a.log")[1] == words
