"""Copies to and from GPUs: what is missing is said; the rest on a CuPy that is made up, copies at once, and records.

The latter proves what is asked of CuPy, in which order and on which stream, and that rows say what came back. It proves
nothing about a bus, an event or a graph of a real GPU.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_up_gpu import MadeUpCupy

from clusterbench.bench.cli import cli
from clusterbench.bench.hosts.gpu_state import GpuCondition
from clusterbench.bench.measuring import gpu_timing, transfer_runs
from clusterbench.bench.measuring.gpu_timing import GpuTimer
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.measuring.transfer_runs import TRANSFERS, run_transfers
from clusterbench.results.record import Measurement

FEW = Rules(iterations=7, warmup=1)


def _state(*slowed: str) -> GpuCondition:
    return GpuCondition(0, "u", "0000:17:00.0", 1500, 60, 400.0, slowed, ())


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_timing, "gpu_conditions", tuple)


def _run(cupy: Any = None) -> list[Measurement]:
    appended: list[Measurement] = []
    rows = run_transfers([1 << 20], FEW, 3, "r", lambda row, samples: appended.append(row), cupy)
    assert appended == rows
    return rows


def test_without_a_gpu_every_copy_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_runs.device, "nvidia_gpus", lambda: 0)
    rows = _run()
    assert [(row.name, row.verdict) for row in rows] == [(t.name, "INCONCLUSIVE") for t in TRANSFERS]
    assert all("NVIDIA GPU(s) with their driver; 0 here" in row.reason for row in rows)
    assert all(row.median_s is None for row in rows)


def test_one_gpu_has_no_peer_and_a_missing_cupy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_runs.device, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr(transfer_runs, "find_spec", lambda name: None)
    reasons = {row.name: row.reason for row in _run()}
    assert "it needs 2" in reasons["peer_copy"]
    assert "extra `cuda`" in reasons["host_to_device"]


def test_every_copy_is_timed_by_events_and_its_bytes_are_compared() -> None:
    cupy = MadeUpCupy()
    rows = _run(cupy)
    assert [row.shape for row in rows[:2]] == ["n=1048576,memory=pageable", "n=1048576,memory=pinned"]
    for row in rows:
        assert (row.verdict, row.wrong, row.n) == ("PASS", 0, 7)
        assert row.bytes_per_s == pytest.approx((1 << 20) / 1e-3)
        assert row.device == "Made-up GPU"
    assert {"to device", "to host", "to peer", "device 1"} <= set(cupy.asked)


def test_bytes_that_do_not_arrive_are_counted() -> None:
    rows = _run(MadeUpCupy(lose=64))
    assert all(row.verdict == "FAIL" and 0 < (row.wrong or 0) <= 64 for row in rows)


def test_a_graph_is_captured_once_and_replayed_a_sample() -> None:
    cupy = MadeUpCupy()
    timer = GpuTimer(cupy, lambda: None)
    block = timer.block(lambda: cupy.asked.append("call"), graph=True)
    for _ in range(2):
        assert len(block(3, 4).seconds) == 3
    assert cupy.asked[:7] == ["enter", "begin", "call", "call", "call", "call", "end"]
    assert cupy.asked.count("call") == 4
    assert cupy.asked.count("launch") == 6


def test_samples_of_a_slowed_gpu_are_marked_and_kept() -> None:
    cupy = MadeUpCupy()
    states = iter([_state(), _state("power cap"), _state("power cap"), _state()])
    timer = GpuTimer(cupy, lambda: next(states))
    assert len(timer.block(lambda: None)(4, 1).seconds) == 4
    assert timer.remark(4) == "SM clock 1500 to 1500 MHz, 400 to 400 W, 2 of 4 samples slowed by power cap"
    assert GpuTimer(cupy, lambda: None).remark(4) == "NVML does not say how the GPU ran"


def test_the_state_asked_for_is_that_of_the_gpu_at_the_same_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(_state("power cap"), index=0, pci_id="0000:3b:00.0")
    monkeypatch.setattr(gpu_timing, "gpu_conditions", lambda: (other, _state()))
    timer = GpuTimer(MadeUpCupy())
    timer.block(lambda: None)(2, 1)
    assert "power cap" not in timer.remark(2)


def test_the_command_ends_well_and_says_why_nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer_runs.device, "nvidia_gpus", lambda: 0)
    result = CliRunner().invoke(cli, ["kernels", "transfers", "--json"], standalone_mode=False)
    assert result.return_value == 0
    assert {row["name"] for row in json.loads(result.stdout)["rows"]} == {t.name for t in TRANSFERS}
    assert list((tmp_path / "clusterbench-out" / "journals").iterdir())
