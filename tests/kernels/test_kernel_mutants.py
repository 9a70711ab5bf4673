"""Wrong kernels: the judge must reject every one of them, by its data and not because it raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging.verify import Check, verify
from clusterbench.kernels.judging.worker import run_worker
from clusterbench.kernels.running.backends import detect

MUTANTS = discover(Path(__file__).parent / "mutants")
MODES = detect()


def _backend(name: str) -> str:
    (backend,) = MUTANTS[name].implementations
    return backend


@pytest.fixture(scope="module")
def checks() -> dict[str, list[Check]]:
    """All checks by mutant; those of a worker from one process a back end."""
    found: dict[str, list[Check]] = {name: [] for name in MUTANTS}
    for backend in MODES.values():
        mine = [kernel for name, kernel in MUTANTS.items() if _backend(name) == backend.name]
        if backend.in_worker:
            outcome = run_worker(backend, mine, ["float32", "float64"], 3, 100)
            assert outcome.error == ""
            made = list(outcome.checks)
        else:
            made = [check for kernel in mine for check in verify(kernel, backend, list(kernel.dtypes), 3)]
        for check in made:
            found[check.kernel].append(check)
    return found


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_rejected(name: str, checks: dict[str, list[Check]]) -> None:
    assert checks[name]
    assert [check.error for check in checks[name] if check.error] == []
    assert any(not check.passed for check in checks[name])


def test_the_first_wrong_element_is_named_with_what_was_expected(checks: dict[str, list[Check]]) -> None:
    swapped = [check for check in checks["triad_swapped_operands"] if not check.passed]
    assert {check.data for check in swapped} >= {"exact", "rounding"}
    for check in swapped:
        assert re.search(r"elements wrong, the first: a\[\d+\] is \S+, expected \S+", check.reason), check.reason


def test_operands_cut_to_tf32_pass_the_bound_of_a_long_sum_and_are_found_by_the_rms_error(
    checks: dict[str, list[Check]],
) -> None:
    long = [c for c in checks["gemm_tf32"] if c.data == "rounding" and c.dtype == "float32" and c.rms_limit > 50]
    assert long
    for check in long:
        assert (check.wrong, check.alarm, check.passed) == (0, True, False)
        assert check.error_over_bound < 1
        assert check.rms is not None
        assert check.rms > 50 * check.rms_limit


def test_the_mutation_score_is_one_hundred_per_cent(
    checks: dict[str, list[Check]], record_property: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    caught = [name for name, made in checks.items() if any(not check.passed for check in made)]
    score = f"{len(caught)} of {len(MUTANTS)}"
    record_property("mutation_score", score)  # type: ignore[operator] # a function to call
    with capsys.disabled():
        print(f"\nmutation score of the kernels' judge: {score}")  # noqa: T201 # the score is to be seen
    assert len(caught) == len(MUTANTS) >= 40


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("triad_short_loop", "never written"),
        ("add_whole_vectors", "never written"),
        ("copy_mask_long", "guard zones overwritten"),
        ("copy_input_spoiled", "guard zones overwritten"),
        ("dot_double_count", "wrong"),
        ("triad_narrow_product", "of its bound"),
    ],
)
def test_the_reason_says_what_is_wrong(name: str, word: str, checks: dict[str, list[Check]]) -> None:
    assert any(word in check.reason for check in checks[name])
