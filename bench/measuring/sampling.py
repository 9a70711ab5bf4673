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
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clusterbench.results.record import Measurement
from clusterbench.results.statistics import (
    MIN_SAMPLES_CI95,
    Summary,
    half_width,
    median,
    median_interval,
    median_ranks,
)

OVERHEADS_PER_SAMPLE = 100
"""A sample lasts at least this many times the timer's overhead (Hoefler and Belli, SC'15: resolution << time)."""
FIRST_SAMPLES = 10
MAX_SAMPLES = 100_000
"""A row that is not precise by then is taken for as good as its budget allows."""
GROWTH = 1.5
PIECE_S = 1.0
"""Longest time between two signs of life, about; see `in_pieces`."""
SETTLING_SAMPLES = 8
"""Samples of the smaller of two blocks whose medians are compared to tell whether the warm-up is over."""

_FIGURES = ("n", "median_s", "ci95_low_s", "ci95_high_s", "min_s", "mean_s", "p95_s", "p99_s")

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
    spent_s: float = 0.0
    """Of all blocks, those of the warm-up too."""


def with_samples(row: Measurement, samples: Samples, summary: Summary, unit: str) -> Measurement:
    """`row` with the figures of its samples; `unit` says what one of them is, in words."""
    figures = {name: getattr(summary, name) for name in _FIGURES}
    return replace(row, **figures, sample_unit=unit, batch=samples.batch, warmup=samples.warmup, stop=samples.stop)


def sample(
    block: Callable[[int, int], Block],
    rules: Rules,
    overhead_s: float,
    agree: Callable[[bool], bool] = bool,
) -> Samples:
    """Measure by `rules`; `overhead_s` is the cost of one reading of the clock (see `timer_overhead_s`).

    `agree` makes one decision of all ranks' out of this one's: the interval comes from library functions whose last bit
    may differ between unlike processors, and ranks that disagree about the end would wait for each other.
    """
    batch, warmup, warm_s, warming_s = _calibrate(block, rules, overhead_s)
    if rules.iterations is not None:
        done = block(rules.iterations, batch)
        return Samples(done.seconds, batch, warmup, "fixed", warming_s + done.elapsed_s)
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
        if agree(_is_precise(seconds, rules.precision)):
            return Samples(seconds, batch, warmup, "precision", warming_s + spent_s)
        if spent_s >= rules.budget_s or total >= MAX_SAMPLES:
            return Samples(seconds, batch, warmup, "budget", warming_s + spent_s)
        # No more than the rest of the budget can hold, going by what a sample has cost so far.
        affordable = int((rules.budget_s - spent_s) / (spent_s / total))
        target = min(int(total * GROWTH) + 1, total + max(1, affordable), MAX_SAMPLES)


def in_pieces(block: Callable[[int, int], Block], alive: Callable[[], None]) -> Callable[[int, int], Block]:
    """`block` cut into pieces of about `PIECE_S` seconds, with a call of `alive` before each.

    So a long block, which is one compiled loop that nothing interrupts, is not taken for one that hangs.
    """

    call_s = PIECE_S / FIRST_SAMPLES
    """By the last piece; all ranks got the same times, so they cut alike."""

    def cut(samples: int, batch: int) -> Block:
        nonlocal call_s
        taken: list[NDArray[np.float64]] = []
        spent_s, left = 0.0, samples
        piece = max(1, min(MAX_SAMPLES, int(PIECE_S / (call_s * batch))))
        while left > 0:
            alive()
            done = block(min(piece, left), batch)
            taken.append(done.seconds)
            spent_s += done.elapsed_s
            left -= len(done.seconds)
            call_s = max(done.elapsed_s, 1e-9) / (len(done.seconds) * batch)
            piece = max(1, min(2 * piece, int(PIECE_S / (call_s * batch))))
        return Block(np.concatenate(taken), spent_s)

    return cut


def _is_precise(seconds: NDArray[np.float64], precision: float) -> bool:
    ranks = median_ranks(len(seconds))
    if ranks is None:
        return False
    middle_s = median(seconds)
    # No interval is narrower than that of independent samples, which is found in a tenth of the time.
    ordered = np.sort(seconds)  # of few, faster than a partition
    if not _is_within(middle_s, (float(ordered[ranks[0]]), float(ordered[ranks[1]])), precision):
        return False
    return _is_within(middle_s, median_interval(seconds), precision)


def _is_within(median_s: float, interval: tuple[float, float] | None, precision: float) -> bool:
    arm = None if interval is None else half_width(median_s, *interval)
    return arm is not None and arm <= precision


def _calibrate(block: Callable[[int, int], Block], rules: Rules, overhead_s: float) -> tuple[int, int, float, float]:
    """Warm up, and find how many calls make a sample.

    Returns the batch, the calls spent, seconds a sample, and seconds spent.

    There are two blocks at least: the first holds what only a first call costs, and nothing is decided by it alone.
    """
    calls, spent_s, batch, samples, blocks = 0, 0.0, 1, 1, 0
    previous = fastest = np.inf
    while True:
        result = block(samples, batch)
        calls += samples * batch
        spent_s += result.elapsed_s
        blocks += 1
        current = median(result.seconds)
        fastest = min(fastest, current)
        batch = _batch_for(fastest, overhead_s)
        if rules.warmup is not None:
            ends = calls >= rules.warmup
            samples = max(1, min(-(-(rules.warmup - calls) // batch), MAX_SAMPLES))
        else:
            settled = samples > SETTLING_SAMPLES and abs(current - previous) <= rules.precision * current
            ends = settled or spent_s >= rules.budget_s / 10
            samples = min(2 * samples, 1000)
        if ends and blocks > 1:
            return batch, calls, fastest * batch, spent_s
        previous = current


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
