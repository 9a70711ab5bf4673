"""The summary of a run: which of library and schedule is faster, and when that cannot be told."""

from __future__ import annotations

from typing import Any

import pytest

from clusterbench.bench.tables.summary import compared, print_summary
from clusterbench.results.record import Measurement


def row(**fields: Any) -> Measurement:
    given = {"run_id": "r", "suite": "collectives", "name": "all_reduce", "dtype": "float32", "ranks": 2, **fields}
    return Measurement(**given)


def timed(algorithm: str, low_us: float, high_us: float, **fields: Any) -> Measurement:
    median_s = (low_us + high_us) / 2e6
    interval = {"ci95_low_s": low_us / 1e6, "ci95_high_s": high_us / 1e6}
    return row(algorithm=algorithm, median_s=median_s, n=10, busbw=1e9, wrong=0, verdict="PASS", **interval, **fields)


def test_a_winner_needs_intervals_that_do_not_touch() -> None:
    library, ring = timed("library", 19, 21), timed("ring", 9, 11)
    assert compared(library, ring) == "schedule 2.00x"
    assert compared(timed("library", 9, 11), timed("ring", 19, 21)) == "library 2.00x"
    assert compared(timed("library", 9, 15), timed("ring", 14, 20)) == "cannot tell"


def test_with_more_ranks_than_cores_no_winner_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shared = {"note": "same; more ranks than cores", "size_bytes": 8, "placement": "out_of_place"}
    rows = [timed("library", 19, 21, **shared), timed("ring", 9, 11, **shared)]
    assert compared(*rows) == "cannot tell"
    print_summary(rows, [])
    assert "more ranks than cores: times are those of the scheduler, too" in " ".join(capsys.readouterr().out.split())


def test_without_an_interval_nothing_is_claimed() -> None:
    assert compared(row(algorithm="library", median_s=2e-5, n=3), timed("ring", 9, 11)) == "cannot tell"


def test_the_best_schedule_of_each_size_stands_beside_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        timed("library", 19, 21, size_bytes=1024, placement="out_of_place"),
        timed("ring", 29, 31, size_bytes=1024, placement="out_of_place"),
        timed("halving-doubling", 9, 11, size_bytes=1024, placement="out_of_place"),
        timed("ring", 1, 2, size_bytes=1024, placement="in_place"),
    ]
    print_summary(rows, ["kernels: did not end"])
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.strip().startswith("1K"))
    assert line.split() == ["1K", "20.00", "1.000", "halving-doubling", "10.00", "1.000", "schedule", "2.00x"]
    assert "failed: kernels: did not end" in said


def test_wrong_rows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary([row(algorithm="ring", wrong=3, verdict="FAIL", reason="rank 1: 3 wrong")], [])
    said = capsys.readouterr().out
    assert "wrong or impossible: 1" in said
    assert "FAIL: all_reduce ring float32: rank 1: 3 wrong" in said


def test_verified_sources_are_counted_and_the_highest_roof_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row(suite="roof", name="copy", bytes_per_s=10e9, n=5),
        row(suite="roof", name="copy", bytes_per_s=20e9, n=5),
        row(suite="kernels", name="triad", backend="triton", evidence="simulated", verdict="PASS"),
        row(suite="kernels", name="dot", backend="triton", evidence="simulated", verdict="FAIL", reason="no"),
    ]
    print_summary(rows, [])
    said = capsys.readouterr().out
    assert "copy 20.00 GB/s" in said
    assert "10.00" not in said
    assert "triton: 1 of 2 kernels verified in an interpreter or simulator" in said
