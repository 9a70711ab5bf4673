"""Measurements become curves: rows are put together by collective, and apart by what differs within one."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterbench.bench.tables.size_curves import calibration_of_file, measured_pairs
from clusterbench.results.importing import ImportedFileError
from clusterbench.results.record import Measurement


def row(name: str, size_bytes: int, time_s: float | None = 1e-3, **changes: object) -> Measurement:
    fields = {"run_id": "r", "suite": "collectives", "name": name, "algorithm": "library", "ranks": 8, **changes}
    return Measurement(size_bytes=size_bytes, median_s=time_s, **fields)  # type: ignore[arg-type]  # a plain dictionary


def test_rows_go_together_by_collective_and_both_placements_count() -> None:
    rows = [
        row("all_reduce", 8, placement="out_of_place"), row("all_reduce", 8, 2e-3, placement="in_place"),
        row("all_gather", 64), row("all_gather", 0), row("all_gather", 128, None), row("triad", 8, suite="kernels"),
    ]  # fmt: skip
    assert measured_pairs(rows) == {"all_reduce": [(8.0, 1e-3), (8.0, 2e-3)], "all_gather": [(64.0, 1e-3)]}


def test_what_differs_within_a_collective_is_kept_apart() -> None:
    rows = [row("all_reduce", 8), row("all_reduce", 8, ranks=16), row("all_reduce", 8, algorithm="ring")]
    assert list(measured_pairs(rows)) == [
        "all_reduce, library, 8 ranks", "all_reduce, library, 16 ranks", "all_reduce, ring, 8 ranks",
    ]  # fmt: skip


def test_a_log_is_calibrated_and_its_held_out_sizes_predicted(tmp_path: Path) -> None:
    lines = ["# Collective test starting: all_reduce_perf"]
    lines += [f"#  Rank {i} Group 0 Pid 1 on host device {i} [0000:1b:00] GPU" for i in range(8)]
    lines += ["#  size  count  type  redop  root  time  algbw  busbw  #wrong  time  algbw  busbw  #wrong"]
    for power in range(20, 35):
        size = 1 << power
        lines.append(f"{size} {size // 4} float sum -1 " + f"{20 + size / 2.5e5:.2f} 1.00 1.75 0 " * 2)
    path = tmp_path / "made.log"
    path.write_text("\n".join([*lines, "# Avg bus bandwidth    : 1"]))
    table = calibration_of_file(path)
    assert [(one.collective, one.fitted_sizes, one.held_sizes) for one in table] == [
        ("all_reduce", 8, 7), ("all_reduce", 11, 4),
    ]  # fmt: skip
    assert all(one.held_error < 0.01 for one in table)
    path.write_text("nothing")
    with pytest.raises(ImportedFileError, match=r"made\.log"):
        calibration_of_file(path)
