"""`clusterbench simulate`: rows like those of a measurement, with evidence `simulated` and the bound beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called import Called, clusterbench

from clusterbench.results.journal import read_journal

ROW_FIELDS = 13


def simulate(*words: str) -> Called:
    return clusterbench("simulate", *words)


def test_the_table_is_that_of_a_measurement_and_says_that_it_is_simulated() -> None:
    ran = simulate("--topology", "dgx-h100", "-b", "1K", "-e", "1G", "-f", "1024", "--algorithm", "ring,nccl")
    assert ran.returncode == 0, ran.stderr
    rows = [line.split() for line in ran.stdout.splitlines() if not line.startswith("#")]
    assert [len(row) for row in rows] == [ROW_FIELDS] * 6
    assert ran.stdout.count("evidence: simulated") == 2
    assert "# Algorithm: ring transport: simulated" in ran.stdout
    assert "of the bound of" in ran.stdout
    assert "NCCL's own model" in ran.stdout


def test_rows_have_bounds_shares_and_the_words_of_the_explanation(tmp_path: Path) -> None:
    journal = tmp_path / "journals"
    ran = simulate("--topology", "leaf-spine:racks=2,hosts=4,taper=4", "-b", "1M", "-e", "1M", "--algorithm", "all",
                   "--mode", "events", "--json", "--journal", str(journal))  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert len(document["rows"]) > 8
    for row in document["rows"]:
        assert row["evidence"] == "simulated"
        assert 0 < row["bound_share"] <= 1 + 1e-9, row["algorithm"]
        assert row["bound_by"]
        assert row["note"].startswith("by events: ")
        assert row["topology"] == "leaf-spine:racks=2,hosts=4,taper=4"
        assert row["busbw"] == pytest.approx(row["size_bytes"] / row["median_s"] * 14 / 8)
    (path,) = journal.iterdir()
    assert len(read_journal(path).measurements) == len(document["rows"])


@pytest.mark.parametrize("mode", ["phases", "events"])
def test_a_fault_slows_the_collective_and_is_named_as_the_culprit(mode: str) -> None:
    words = ["--topology", "leaf-spine:racks=2,hosts=4", "-b", "1M", "-e", "1M", "--algorithm", "ring", "--mode", mode]
    well, degraded, late, hardly = (
        json.loads(simulate(*words, *more, "--json").stdout)["rows"][0]
        for more in (
            [],
            ["--fault", "link:leaf0-spine0=0.05"],
            ["--fault", "late:3=20ms"],
            ["--fault", "link:h1>leaf0=0.999999"],
        )
    )
    assert hardly["culprit"] in ("", "h1 → leaf0")
    assert well["culprit"] == ""
    assert degraded["median_s"] > 2 * well["median_s"]
    assert "leaf0" in degraded["culprit"]
    assert "spine0" in degraded["culprit"]
    assert late["median_s"] == pytest.approx(well["median_s"] + 0.02, rel=0.05)
    assert late["culprit"] == "rank 3"


def test_all_leaves_out_what_would_be_too_large_and_says_so() -> None:
    ran = simulate("--topology", "single-switch:nodes=4100", "-b", "64M", "-e", "64M", "--csv")
    assert ran.returncode == 0, ran.stderr
    assert "left out of all: direct" in ran.stderr
    assert ",ring," in ran.stdout


@pytest.mark.parametrize("words", [["--mode", "closed", "--collective", "all_to_all"], ["--algorithm", "nccl"]])
def test_a_model_without_shared_links_claims_no_share_of_a_bound_that_it_is_below(words: list[str]) -> None:
    ran = simulate("--topology", "leaf-spine:racks=4,hosts=4,taper=64,node=dgx-h100", "-b", "8G", "-e", "8G",
                   "--json", *words)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for row in json.loads(ran.stdout)["rows"]:
        assert row["bound_share"] is None or row["bound_share"] <= 1 + 1e-9
        assert (row["median_s"] < row["bound_s"]) == ("faster than the bound" in row["note"])


def test_calibration_says_how_well_sizes_that_were_held_out_are_predicted(tmp_path: Path) -> None:
    path = tmp_path / "all_reduce.log"
    sizes = [2**k for k in range(10, 31)]
    rows = "".join(
        f"{size:12d} {size // 4:13d} float sum -1 {10 + size / 200e3:.2f} 1.0 1.0 0 {10 + size / 200e3:.2f} 1.0 1.0 0\n"
        for size in sizes
    )
    devices = "".join(
        f"#  Rank {rank:2d} Group  0 Pid {9 + rank:6d} on host device {rank:2d} [0000:1b:00] NVIDIA H100 80GB HBM3\n"
        for rank in range(8)
    )
    heading = (
        "# nThread 1 nGpus 8 minBytes 1024 maxBytes 1073741824 step: 2(factor) warmup iters: 5 iters: 20\n"
        "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw "
        "#wrong\n"
    )
    path.write_text(devices + heading + rows)
    ran = simulate("--calibrate", str(path), "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)["rows"]
    assert found
    assert all(row["held_error"] < 0.02 for row in found)
    assert simulate("--calibrate", str(path)).stdout.count("every second size") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--topology is missing"),
        (["--topology", "nowhere"], "unknown topology 'nowhere'"),
        (["--topology", "dgx-h100", "--collective", "all"], "unknown collective 'all'"),
        (["--topology", "dgx-h100", "--collective", "all_to_all_v"], "expected one with parts of one size"),
        (["--topology", "dgx-h100", "--collective", "broadcast", "-r", "8"], "-r is 8; expected 0 to 7"),
        (["--topology", "dgx-h100", "--algorithm", "nonsense"], "unknown algorithm 'nonsense'"),
        (["--topology", "dgx-h100", "--algorithm", ","], "no algorithm"),
        (["--topology", "dgx-h100", "--fault", "late:8=1ms"], "rank '8'; expected 0 to 7"),
        (["--topology", "dgx-h100", "--alpha", "-1"], "--alpha"),
        (["--topology", "dgx-h100", "--mode", "closed", "--fault", "link:gpu0-nvswitch=0.5"], "knows no single links"),
        (["--topology", "dgx-h100", "--collective", "all_to_all", "--algorithm", "pairwise,nccl"], "all_to_all"),
        (["--topology", "dgx-h100", "-b", "2", "-e", "1"], "expected -b to be at most -e"),
        (["--topology", "single-switch:nodes=2,node=host", "--algorithm", "nccl"], "GPU"),
    ],
)
def test_wrong_usage_ends_with_code_2_and_says_what_was_expected(words: list[str], message: str) -> None:
    ran = simulate(*words)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert ran.stdout == ""
