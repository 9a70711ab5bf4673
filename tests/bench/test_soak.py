"""A soak repeats the same work, and says which call gave another result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clusterbench.bench import exit_codes
from clusterbench.bench.cli import cli
from clusterbench.bench.hosts.gpu_state import GpuCondition
from clusterbench.bench.judge import exit_code
from clusterbench.bench.measuring import soak
from clusterbench.bench.measuring.kernel_runs import Plan
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.kernels.catalog import gemm, nstream, triad
from clusterbench.kernels.kernel import Array, Implementation, Kernel, KernelError
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement


def _plan(*kernels: Kernel) -> Plan:
    return Plan(kernels, ("float32",), Rules(), seed=3, run_id="test", size_bytes=1 << 14)


def _run(*kernels: Kernel, seconds: float = 0.05) -> list[Measurement]:
    return soak.run_soak(_plan(*kernels), seconds, lambda what, advance: None, lambda row, samples: None)


def _failing(at_call: int, index: int) -> Kernel:
    """A triad that flips the last bit of one element in one call; call 1 is the one that is checked."""
    calls = 0

    def flipping(a: Array, b: Array, c: Array, k: float) -> None:
        nonlocal calls
        calls += 1
        triad.on_cpu(a, b, c, k)
        if calls == at_call:
            a.view(np.uint32)[index] ^= 1

    return replace(triad.KERNEL, implementations={"numba": Implementation(flipping, tile={"n": 64})})


def test_equal_results_pass_and_every_kernel_takes_its_turn() -> None:
    rows = _run(gemm.KERNEL, triad.KERNEL)
    assert {row.name for row in rows} == {"gemm", "triad"}
    assert [(row.wrong, row.verdict) for row in rows] == [(0, "PASS")] * 2
    assert abs(rows[0].n - rows[1].n) <= 1
    assert all(row.n > 1 and row.error_over_bound is not None and row.error_over_bound <= 1 for row in rows)


def test_one_flipped_bit_is_counted_and_its_call_named() -> None:
    (row,) = _run(_failing(at_call=3, index=77))
    assert (row.wrong, row.verdict) == (1, "FAIL")
    assert "1 of 4096 elements of a in call 2" in row.reason  # the call before the first is that which is checked
    assert exit_code([row]) == exit_codes.WRONG_DATA


def test_a_first_result_that_is_wrong_is_soaked_no_further() -> None:
    def wrong(a: Array, b: Array, c: Array, k: float) -> None:
        a[:] = b

    (row,) = _run(replace(triad.KERNEL, implementations={"numba": Implementation(wrong, tile={"n": 64})}), seconds=60)
    assert (row.n, row.verdict) == (0, "FAIL")
    assert "the first result is wrong already" in row.reason


def test_what_is_not_the_same_work_each_time_is_refused() -> None:
    with pytest.raises(KernelError, match="'nstream' updates an array in place"):
        _run(nstream.KERNEL)
    with pytest.raises(KernelError, match="'triad' has no numba implementation for float32"):
        _run(replace(triad.KERNEL, implementations={"cupy": triad.KERNEL.implementations["cupy"]}))


def test_clocks_and_temperatures_are_told_as_ranges_and_what_nobody_tells_is_left_out() -> None:
    def gpu(mhz: int, celsius: int, *slowed_by: str) -> GpuCondition:
        return GpuCondition(0, "GPU-1", "0000:17:00.0", mhz, celsius, None, slowed_by, ())

    readings = [
        soak.Reading(0, 2400.0, None, (gpu(1980, 41),)),
        soak.Reading(1, 2100.4, None, (gpu(1755, 83, "temperature, by hardware"),)),
    ]
    assert soak.state_text(readings) == (
        "CPU clock 2100 to 2400 MHz; GPU 0 clock 1755 to 1980 MHz; GPU 0 41 to 83 °C; "
        "GPU 0 slowed by temperature, by hardware"
    )
    assert soak.state_text([soak.Reading(0, None, None, ())]) == ""


def test_the_drift_is_that_of_the_last_tenth() -> None:
    seconds = np.repeat([1.0, 1.5], 50)
    assert "took +50.0% of the first's time" in soak.drift_text(seconds, np.cumsum(seconds))
    assert soak.drift_text(seconds[:15], np.cumsum(seconds[:15])) == ""


def test_the_command_prints_rows_and_writes_a_journal(tmp_path: Path) -> None:
    arguments = ["kernels", "soak", "triad", "--seconds", "0.05", "--size", "16K", "--json", "--journal", str(tmp_path)]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.return_value == exit_codes.GOOD, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["name"], row["verdict"], row["wrong"]) == ("triad", "PASS", 0)
    (file,) = tmp_path.glob("*.jsonl")
    assert [kept.name for kept in read_journal(file).measurements] == ["triad"]
