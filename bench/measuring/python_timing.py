"""Sampling of calls that start in Python: kernels, which do their own threads, and the ceilings of the roof."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import numpy as np

from clusterbench.bench.measuring.sampling import Block, Samples, with_samples
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Summary

SAMPLE_UNIT = "one call on all cores, started from Python; the mean of a batch where the row has one"


def measured(base: Measurement, samples: Samples, summary: Summary) -> Measurement:
    """`base` with the figures of these samples."""
    return with_samples(base, samples, summary, SAMPLE_UNIT)


def python_block(call: Callable[[], object]) -> Callable[[int, int], Block]:
    """A block for `sampling.sample` of calls that start in Python and return when all is done."""

    def block(samples: int, batch: int) -> Block:
        seconds = np.empty(samples)
        begin = perf_counter_ns()
        for i in range(samples):
            before = perf_counter_ns()
            for _ in range(batch):
                call()
            seconds[i] = (perf_counter_ns() - before) * 1e-9 / batch
        return Block(seconds, (perf_counter_ns() - begin) * 1e-9)

    return block


def reading_s() -> float:
    """What one reading of Python's clock costs: the smallest difference of neighbouring readings, at least 1 ns."""
    steps = []
    for _ in range(1000):
        before = perf_counter_ns()
        steps.append(perf_counter_ns() - before)
    return max(min(steps), 1) * 1e-9
