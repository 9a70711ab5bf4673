"""Verdicts: what is wrong, what cannot be, what is not known, and what passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench import exit_codes
from clusterbench.bench.judge import (
    IMPOSSIBLE,
    MEMORY,
    TOLERANCE,
    WIDEST,
    Bound,
    LevelRoof,
    Roof,
    exit_code,
    judge_time,
    kernel_bound,
    level_of,
)
from clusterbench.kernels.device import Level
from clusterbench.kernels.discovery import discover
from clusterbench.results.record import Measurement, Verdict
from clusterbench.results.statistics import Summary, summarise

KERNELS = discover()
ROOF = Roof(copy_bytes_per_s=40e9, read_bytes_per_s=50e9, flop_per_s={"float32": 200e9})
N = 1 << 26
CACHE = 1 << 20


def _times(median_s: float, spread: float = 0.01, n: int = 21) -> Summary:
    return summarise(np.linspace(median_s * (1 - spread), median_s * (1 + spread), n))


def test_a_copy_and_a_reader_meet_their_own_ceilings_exactly() -> None:
    copy = kernel_bound(KERNELS["copy"], {"n": N}, "float32", ROOF, MEMORY)
    assert copy.time_s == pytest.approx(8 * N / 40e9)
    assert copy.by == "copy bandwidth"
    dot = kernel_bound(KERNELS["dot"], {"n": N}, "float32", ROOF, MEMORY)
    assert dot.time_s == pytest.approx(8 * N / 50e9)
    assert dot.by == "read bandwidth"


def test_two_reads_and_a_write_are_bound_between_the_copy_and_the_reader() -> None:
    bound = kernel_bound(KERNELS["triad"], {"n": N}, "float32", ROOF, MEMORY)
    assert bound.time_s is not None
    assert 12 * N / 50e9 < bound.time_s < 12 * N / 40e9
    assert bound.by == "copy and read bandwidth"


def test_arithmetic_binds_a_matrix_product() -> None:
    bound = kernel_bound(KERNELS["gemm"], {"m": 512, "k": 512, "n": 512}, "float32", ROOF, "")
    assert bound == Bound(2 * 512**3 / 200e9, "multiply-add peak")


def test_memory_ceilings_say_nothing_about_arrays_that_fit_the_cache() -> None:
    assert kernel_bound(KERNELS["copy"], {"n": 1000}, "float32", ROOF, "") == Bound(None, "")
    assert kernel_bound(KERNELS["add"], {"n": 1000}, "float32", ROOF, "").by == "multiply-add peak"


LEVELS = (Level("L1", 1 << 15, 1 << 14), Level("L2", 1 << 18, 1 << 17), Level("L3", 1 << 20, 1 << 19))


def test_a_problem_lies_in_the_nearest_level_that_could_hold_it() -> None:
    sizes = {1 << 10: "L1", 1 << 13: "L2", 1 << 14: "L2", 1 << 16: "L3", 1 << 18: "L3", 1 << 20: MEMORY}
    for n, level in sizes.items():
        assert level_of(KERNELS["copy"], {"n": n}, "float32", LEVELS, CACHE) == level
    swept = KERNELS["cache_sweep"]
    assert level_of(swept, {"n": 1 << 20, "p": 4}, "int32", LEVELS, CACHE) == "L1"  # a task's part may lie there
    assert level_of(KERNELS["copy"], {"n": 8}, "float32", (), CACHE) == ""


def test_in_a_cache_a_copy_and_a_reader_meet_their_ceilings_and_others_the_longer_of_the_two() -> None:
    roof = Roof(levels={"L2": LevelRoof(1 << 18, copy_bytes_per_s=100e9, read_bytes_per_s=80e9)})

    def bound(name: str) -> Bound:
        return kernel_bound(KERNELS[name], {"n": 1000}, "float32", roof, "L2")

    assert bound("copy") == Bound(pytest.approx(8000 / 100e9), "L2 copy bandwidth")
    assert bound("dot") == Bound(pytest.approx((8000 - 4) / 80e9), "L2 read bandwidth")
    assert bound("triad") == Bound(pytest.approx(8000 / 80e9), "L2 read bandwidth")
    assert kernel_bound(KERNELS["copy"], {"n": 1000}, "float32", roof, "L1") == Bound(None, "")


def test_without_a_roof_there_is_no_bound() -> None:
    assert kernel_bound(KERNELS["triad"], {"n": N}, "float32", Roof(), CACHE) == Bound(None, "")


@given(st.floats(1e-6, 10), st.floats(0, 0.04), st.floats(0.5, 3))
def test_a_whole_interval_beyond_the_ceiling_is_doubted_and_far_beyond_it_is_invalid(
    median: float, spread: float, share: float
) -> None:
    summary = _times(median, spread)
    assert summary.ci95_high_s is not None
    verdict, reason = judge_time(Bound(share * median, "copy bandwidth"), summary)
    beyond = summary.ci95_high_s * (1 + TOLERANCE) < share * median
    far_beyond = summary.ci95_high_s * (1 + IMPOSSIBLE) < share * median
    assert verdict == ("INVALID" if far_beyond else "INCONCLUSIVE" if beyond else "PASS")
    assert beyond == ("measured copy bandwidth" in reason)


def test_too_few_samples_or_too_wide_an_interval_are_inconclusive() -> None:
    assert judge_time(Bound(None, ""), _times(1, n=5))[0] == "INCONCLUSIVE"
    assert judge_time(Bound(None, ""), _times(1, spread=3 * WIDEST, n=6))[0] == "INCONCLUSIVE"
    assert judge_time(Bound(None, ""), _times(1))[0] == "PASS"


def _row(verdict: Verdict | None, wrong: int | None = None, error: float | None = None) -> Measurement:
    return Measurement(run_id="r", suite="kernels", name="x", verdict=verdict, wrong=wrong, error_over_bound=error)


@pytest.mark.parametrize(
    ("rows", "strict", "code"),
    [
        ([_row("PASS"), _row(None)], False, exit_codes.GOOD),
        ([_row("INCONCLUSIVE")], False, exit_codes.GOOD),
        ([_row("INCONCLUSIVE", 0)], True, exit_codes.FAILED),
        ([_row("FAIL")], False, exit_codes.FAILED),
        ([_row("FAIL"), _row("FAIL", 3)], False, exit_codes.WRONG_DATA),
        ([_row("INVALID", 0)], False, exit_codes.WRONG_DATA),
        ([_row("FAIL", 0)], False, exit_codes.FAILED),
        ([_row("FAIL", 0, 0.5)], False, exit_codes.FAILED),
        ([_row("FAIL", 0, 1.5)], False, exit_codes.WRONG_DATA),
        ([_row("FAIL", None, float("nan"))], False, exit_codes.WRONG_DATA),
    ],
)
def test_the_exit_code_is_that_of_the_worst_row(rows: list[Measurement], strict: bool, code: int) -> None:
    assert exit_code(rows, strict=strict) == code
