"""When to stop, how many calls make a sample, and what was warm-up: the rules of every measurement of the suite.

A measurement is a function `block(samples, batch)` that times `samples` samples of `batch` calls each. For a collective
the block is one compiled loop on every rank and returns the maximum over ranks of each sample, so that all ranks see
the same numbers and take the same decisions without talking about them.

Rules
-----
batch
    A sample shorter than 100 times the timer's overhead is made of several calls (the row says how many), so that
    reading the clock costs at most 1 %.
warm-up
    Blocks that double in size are run and dropped until the medians of two neighbouring ones, of at least 8 samples,
    agree within the precision, or until a tenth of the time budget is spent; `warmup` fixes the number of calls
    instead.
stop
    Samples are taken in blocks that grow by half, until the 95 % interval of the median (order statistics) is
    narrower than `precision` to either side, or until the time budget ends; `iterations` fixes the number instead.
    Looking only at a geometric series of sample sizes keeps early stopping from narrowing the interval's coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.statistics import MIN_SAMPLES_CI95, median_interval

OVERHEADS_PER_SAMPLE = 100
"""A sample lasts at least this many times the timer's overhead (Hoefler and Belli, SC'15: resolution << time)."""
FIRST_SAMPLES = 10
GROWTH = 1.5
SETTLING_SAMPLES = 8
"""Samples of the smaller of two blocks whose medians are compared to tell whether the warm-up is over."""

Stop = Literal["precision", "budget", "fixed"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to measure one row."""

    precision: float = 0.02
    """Half-width of the median's 95 % interval, as a share of the median, at which sampling stops."""
    budget_s: float = 1.0
    """Time after which sampling stops anyway."""
    iterations: int | None = None
    """A fixed number of samples instead of the two rules above."""
    warmup: int | None = None
    """A fixed number of warm-up calls instead of detection."""
    max_samples: int = 100_000


@dataclass(frozen=True, slots=True)
class Block:
    """What one block returned: seconds per call for each sample, and the time the block took, agreed by all ranks."""

    seconds: NDArray[np.float64]
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one row, in the order taken."""

    seconds: NDArray[np.float64]
    batch: int
    warmup: int
    stop: Stop


def sample(block: Callable[[int, int], Block], rules: Rules, overhead_s: float) -> Samples:
    """Measure by `rules`; `overhead_s` is the cost of one reading of the clock (see `timer_overhead_s`)."""
    batch, warmup, warm_s = _calibrate(block, rules, overhead_s)
    if rules.iterations is not None:
        return Samples(block(rules.iterations, batch).seconds, batch, warmup, "fixed")
    taken: list[NDArray[np.float64]] = []
    total, spent_s = 0, 0.0
    target = FIRST_SAMPLES
    if warm_s * FIRST_SAMPLES > rules.budget_s:
        target = MIN_SAMPLES_CI95  # slow calls: no more than an interval needs at all
    while True:
        result = block(target - total, batch)
        taken.append(result.seconds)
        total = target
        spent_s += result.elapsed_s
        seconds = np.concatenate(taken)
        if _is_precise(seconds, rules.precision):
            return Samples(seconds, batch, warmup, "precision")
        if spent_s >= rules.budget_s or total >= rules.max_samples:
            return Samples(seconds, batch, warmup, "budget")
        # No more than the rest of the budget can hold, going by what a sample has cost so far.
        affordable = int((rules.budget_s - spent_s) / (spent_s / total))
        target = min(int(total * GROWTH) + 1, total + max(1, affordable), rules.max_samples)


def _is_precise(seconds: NDArray[np.float64], precision: float) -> bool:
    interval = median_interval(seconds)
    if interval is None:
        return False
    median = float(np.median(seconds))
    return max(median - interval[0], interval[1] - median) <= precision * median


def _calibrate(block: Callable[[int, int], Block], rules: Rules, overhead_s: float) -> tuple[int, int, float]:
    """Warm up, and find how many calls make a sample. Returns the batch, the calls spent, and seconds a sample."""
    calls, spent_s, batch, samples = 0, 0.0, 1, 1
    previous = np.inf
    while True:
        result = block(samples, batch)
        calls += samples * batch
        spent_s += result.elapsed_s
        current = float(np.median(result.seconds))
        batch = _batch_for(current, overhead_s)
        if rules.warmup is not None:
            if calls >= rules.warmup:
                return batch, calls, current * batch
            samples = max(1, -(-(rules.warmup - calls) // batch))
            continue
        settled = samples > SETTLING_SAMPLES and abs(current - previous) <= rules.precision * current
        if settled or spent_s >= rules.budget_s / 10:
            return batch, calls, current * batch
        previous = current
        samples = min(2 * samples, 1000)


def _batch_for(call_s: float, overhead_s: float) -> int:
    shortest_s = OVERHEADS_PER_SAMPLE * overhead_s
    if call_s >= shortest_s:
        return 1
    # A call too short to be seen at all is taken for one tenth of the overhead.
    return int(np.ceil(shortest_s / max(call_s, overhead_s / 10)))


@lru_cache(maxsize=1)
def timer_overhead_s() -> float:
    """Seconds that one reading of the compiled clock costs: the smallest difference of neighbouring readings."""
    from clusterbench.kernels.clock import smallest_step_s

    return smallest_step_s()
