"""The rules of sampling, on a machine whose times are known: when it stops, what it batches, what it drops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.bench.measuring.sampling import Block, Rules, in_pieces, sample, timer_overhead_s
from clusterbench.results.statistics import median_interval

OVERHEAD_S = 20e-9


class Machine:
    """A block function over a known distribution; it counts what it was asked for."""

    def __init__(self, draw: Callable[[np.random.Generator, int], np.ndarray], slow_calls: int = 0) -> None:
        self.draw = draw
        self.slow_calls = slow_calls
        self.rng = np.random.default_rng(5)
        self.calls = 0
        self.blocks: list[tuple[int, int]] = []

    def __call__(self, samples: int, batch: int) -> Block:
        self.blocks.append((samples, batch))
        seconds = self.draw(self.rng, samples)
        slow = np.clip(self.slow_calls - self.calls - batch * np.arange(samples), 0, batch)
        seconds = seconds * (1 + 99 * slow / batch)
        self.calls += samples * batch
        return Block(seconds, float(seconds.sum() * batch))


def steady(time_s: float, noise: float = 0.0) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, n: time_s * (1 + noise * rng.standard_normal(n))


@pytest.mark.parametrize(("call_s", "batch"), [(1e-3, 1), (2e-6, 1), (1e-6, 2), (0.4e-6, 5), (15e-9, 134)])
def test_samples_shorter_than_a_hundred_clock_readings_are_batched(call_s: float, batch: int) -> None:
    assert sample(Machine(steady(call_s)), Rules(), OVERHEAD_S).batch == batch


def test_sampling_stops_at_the_precision_asked_for() -> None:
    result = sample(Machine(steady(1e-4, noise=0.1)), Rules(precision=0.01, budget_s=100), OVERHEAD_S)
    interval = median_interval(result.seconds)
    assert result.stop == "precision"
    assert interval is not None
    median = np.median(result.seconds)
    assert max(median - interval[0], interval[1] - median) <= 0.01 * median
    wide = sample(Machine(steady(1e-4, noise=0.1)), Rules(precision=0.1, budget_s=100), OVERHEAD_S)
    assert len(wide.seconds) < len(result.seconds)


def test_sampling_stops_when_the_budget_is_spent() -> None:
    result = sample(Machine(steady(1e-3, noise=0.5)), Rules(precision=1e-4, budget_s=0.5), OVERHEAD_S)
    assert result.stop == "budget"
    assert 0.5 <= result.seconds.sum() <= 0.6


def test_slow_calls_get_no_more_than_an_interval_needs() -> None:
    result = sample(Machine(steady(10.0, noise=0.2)), Rules(budget_s=1), OVERHEAD_S)
    assert len(result.seconds) == 6
    assert median_interval(result.seconds) is not None


def test_a_fixed_number_of_samples_and_of_warm_up_calls_is_kept() -> None:
    machine = Machine(steady(1e-6))
    result = sample(machine, Rules(iterations=7, warmup=50), OVERHEAD_S)
    assert (len(result.seconds), result.stop) == (7, "fixed")
    assert machine.blocks[-1] == (7, result.batch)
    assert 50 <= result.warmup < 55
    assert len(machine.blocks) == 3
    assert machine.calls == result.warmup + 7 * result.batch


@pytest.mark.parametrize("warmup", [0, 1])
def test_no_warm_up_means_the_two_calls_that_find_the_batch(warmup: int) -> None:
    assert sample(Machine(steady(1e-3)), Rules(iterations=6, warmup=warmup), OVERHEAD_S).warmup == 2


@pytest.mark.parametrize("rules", [Rules(budget_s=1e-4), Rules(iterations=6, warmup=1)])
def test_a_slow_first_call_does_not_decide_the_batch(rules: Rules) -> None:
    assert sample(Machine(steady(0.4e-6), slow_calls=1), rules, OVERHEAD_S).batch == 5


def test_slow_first_calls_are_taken_for_warm_up() -> None:
    result = sample(Machine(steady(1e-4, noise=0.01), slow_calls=20), Rules(budget_s=10), OVERHEAD_S)
    assert result.warmup >= 20
    assert result.seconds.max() < 2e-4


@settings(max_examples=50)
@given(
    call_s=st.floats(1e-8, 1e-2), noise=st.floats(0, 0.5), precision=st.floats(1e-3, 0.5), budget_s=st.floats(0.01, 1)
)
def test_it_always_ends_with_samples_that_add_up(
    call_s: float, noise: float, precision: float, budget_s: float
) -> None:
    machine = Machine(lambda rng, n: call_s * np.exp(noise * rng.standard_normal(n)))
    result = sample(machine, Rules(precision=precision, budget_s=budget_s), OVERHEAD_S)
    assert len(result.seconds) >= 6
    assert machine.calls == result.warmup + len(result.seconds) * result.batch
    assert result.stop in ("precision", "budget")


def test_the_clock_has_an_overhead() -> None:
    assert 0 < timer_overhead_s() < 1e-3


@pytest.mark.parametrize("call_s", [1e-6, 1e-3, 0.3, 5.0])
def test_a_long_block_is_cut_so_that_it_shows_that_it_lives(call_s: float) -> None:
    pieces: list[int] = []

    def block(samples: int, batch: int) -> Block:
        pieces.append(samples)
        return Block(np.arange(samples, dtype=float), samples * batch * call_s)

    lived = 0

    def alive() -> None:
        nonlocal lived
        lived += 1

    done = in_pieces(block, alive)(5000, 2)
    assert len(done.seconds) == sum(pieces) == 5000
    assert done.elapsed_s == pytest.approx(5000 * 2 * call_s)
    assert lived == len(pieces)
    # From the first piece on, which knows nothing yet, none lasts longer than a second, unless one call does.
    assert all(piece * 2 * call_s <= max(1.0, 2 * call_s) for piece in pieces[1:])
