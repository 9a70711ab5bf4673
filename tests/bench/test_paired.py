"""The paired runner: A and B in turns, and an answer that says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterbench.bench.measuring.paired import Arm, PairedError, run_paired


def arms(factor: float, noise: float = 0.01, seed: int = 0) -> tuple[Arm, Arm, list[str]]:
    """Two arms on a machine that gets slower and slower, and the order in which they were called."""
    rng = np.random.default_rng(seed)
    calls: list[str] = []

    def arm(name: str, time_s: float) -> Arm:
        def block() -> NDArray[np.float64]:
            calls.append(name)
            return time_s * (1 + 0.02 * len(calls)) * (1 + noise * rng.exponential(1.0, 20))

        return block

    return arm("A", 1e-3), arm("B", 1e-3 * factor), calls


@pytest.mark.parametrize(("factor", "change"), [(1.2, "worse"), (0.8, "better"), (1.0, "same")])
def test_a_change_is_seen_on_a_machine_that_drifts(factor: float, change: str) -> None:
    a, b, _ = arms(factor, noise=0.001)
    found = run_paired(a, b, pairs=40, tolerance=0.05)
    assert found.change == change
    assert found.ratio.value == pytest.approx(factor, rel=0.03)


def test_half_of_the_pairs_run_a_first_in_an_order_of_the_seed() -> None:
    orders = []
    for seed in (1, 1, 2):
        a, b, calls = arms(1.0)
        found = run_paired(a, b, pairs=10, warmup_pairs=2, seed=seed)
        assert "".join(calls) == "ABAB" + found.order
        pairs = [found.order[i : i + 2] for i in range(0, 20, 2)]
        assert (pairs.count("AB"), pairs.count("BA")) == (5, 5)
        orders.append(found.order)
    assert orders[0] == orders[1] != orders[2]


def test_a_whole_launch_may_return_its_single_figure() -> None:
    found = run_paired(lambda: 1.0, lambda: 3.0, pairs=6, warmup_pairs=0)
    assert found.change == "worse"
    assert found.ratio.value == 3.0
    assert "B / A = 3.000" in found.line()
    assert "new / old" in found.line("old", "new")


def test_a_block_counts_by_its_median() -> None:
    found = run_paired(lambda: [1.0, 1.0, 100.0], lambda: [1.0, 1.0, 1.0], pairs=6)
    assert found.a_s.tolist() == [1.0] * 6
    assert found.change == "same"


def test_fewer_than_six_pairs_cannot_tell() -> None:
    found = run_paired(lambda: 1.0, lambda: 2.0, pairs=5)
    assert found.change == "cannot tell"
    assert found.ratio.low is None


def test_a_spent_budget_ends_the_pairs_once_six_are_counted() -> None:
    found = run_paired(lambda: 1.0, lambda: 1.0, pairs=1000, budget_s=0.0)
    assert len(found.a_s) == len(found.b_s) == 6
    assert len(found.order) == 12


@pytest.mark.parametrize("returned", [0.0, -1.0, float("nan"), [], [[1.0]]])
def test_an_arm_that_returns_no_time_is_named(returned: object) -> None:
    with pytest.raises(PairedError, match="arm B") as caught:
        run_paired(lambda: 1.0, lambda: returned)  # type: ignore[arg-type, return-value] # the wrong value is the test
    assert caught.value.exit_code == 2


def test_a_comparison_without_pairs_is_refused() -> None:
    with pytest.raises(PairedError, match="pairs is 0"):
        run_paired(lambda: 1.0, lambda: 1.0, pairs=0)
