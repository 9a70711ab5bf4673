"""JSON with the keys of nccl-tests: what is written is read back by its importer, with the same figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import importer_files
import pytest

from clusterbench.results.columns import to_frame
from clusterbench.results.importing import import_file
from clusterbench.results.journal import write_journal
from clusterbench.results.nccl_json import export_nccl_json
from clusterbench.results.store import Store

SAME = (
    "name", "algorithm", "transport", "backend", "dtype", "op", "root", "placement", "count", "size_bytes", "ranks",
    "nodes", "host", "device", "batch", "warmup", "n", "sample_unit", "wrong", "verdict", "evidence",
)  # fmt: skip
TIMES = ("median_s", "mean_s", "min_s", "algbw", "busbw")
OF_SAMPLES = ("ci95_low_s", "ci95_high_s", "p95_s")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run.log"
    path.write_text(importer_files.NCCL_TESTS)
    return path


def test_a_log_that_was_imported_is_the_same_after_a_way_through_json(log: Path, tmp_path: Path) -> None:
    first = import_file(log)
    paths, left_out = export_nccl_json(
        to_frame(first.measurements), {}, {first.run.run_id: first.run}, tmp_path / "out.json"
    )
    assert (paths, left_out) == ([tmp_path / "out.json"], 0)
    document = json.loads(paths[0].read_text())
    assert document["nccl_version"] == 22902
    assert document["out_of_bounds"] == {"count": 0, "okay": True}
    assert document["results"][0]["out_of_place"]["time"] == pytest.approx(25.0)
    again = import_file(paths[0])
    assert again.run.failures == ()
    for a, b in zip(first.measurements, again.measurements, strict=True):
        assert [getattr(a, name) for name in SAME] == [getattr(b, name) for name in SAME]
        for name in TIMES:
            assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-12)


def test_samples_of_single_calls_are_written_and_give_the_same_interval(
    tmp_path: Path, synthetic: Callable[..., Any]
) -> None:  # fmt: skip
    made = synthetic()
    rows = [row for row in made.collectives(("all_gather",)) if row[0].algorithm == "ring"]
    path = write_journal(tmp_path, made.run(), rows)
    with Store.open(f"sqlite:///{tmp_path}/results.db") as store:
        store.load(path)
        frame = store.frame()
        runs = {run.run_id: run for run in store.runs()}
        (target,), left_out = export_nccl_json(frame, store.samples(frame.index), runs, tmp_path / "out.json")
    assert left_out == 0
    again = import_file(target)
    by_point = {(row.placement, row.size_bytes): row for row in again.measurements}
    for (row, samples), kept in zip(rows, again.samples, strict=False):
        back = by_point[row.placement, row.size_bytes]
        assert (back.algorithm, back.transport, back.n) == ("ring", "mpi", len(samples))
        assert kept is not None
        for name in (*TIMES, *OF_SAMPLES):
            assert getattr(back, name) == pytest.approx(getattr(row, name), rel=1e-12)


def test_several_tests_are_several_files_and_what_nccl_tests_has_not_is_left_out(
    tmp_path: Path, synthetic: Callable[..., Any]
) -> None:  # fmt: skip
    made = synthetic()
    rows = [row for row, _ in made.collectives(("all_reduce", "broadcast")) + made.kernels() + made.messages()]
    simulated, _ = made.row(suite="collectives", name="all_reduce", evidence="simulated", median_s=1.0)
    paths, left_out = export_nccl_json(to_frame([*rows, simulated]), {}, {}, tmp_path / "out.json")
    assert len(paths) == len(set(paths)) == 2 * 4  # these messages have no placement
    assert tmp_path / "out-all_reduce-ring-mpi-4.json" in paths
    assert left_out == len(rows) + 1 - 2 * 4 * 2 * 8
    for path in paths:
        assert import_file(path).measurements


def test_a_point_that_was_measured_again_is_a_further_result(log: Path, tmp_path: Path) -> None:
    rows = import_file(log).measurements
    (path,), _ = export_nccl_json(to_frame([*rows, *rows[:3]]), {}, {}, tmp_path / "out.json")
    assert len(import_file(path).measurements) == len(rows) + 3
