"""`make bench`: every kernel on the CPU, timed by the suite's own sampling, and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clusterbench.bench.measuring.kernel_runs import Plan, run_kernels
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.kernels.discovery import discover
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement

CASES = [(kernel, dtype) for kernel in discover().values() for dtype in kernel.dtypes if kernel.has("numba", dtype)]


@pytest.mark.parametrize(("kernel", "dtype"), CASES, ids=[f"{kernel.name}-{dtype}" for kernel, dtype in CASES])
def test_kernel(benchmark: Any, journal: Journal, show_samples: Callable[..., None], kernel: Any, dtype: str) -> None:
    plan = Plan((kernel,), (dtype,), Rules(), seed=0, run_id=journal.run.run_id, verify=False)
    taken: list[tuple[Measurement, np.ndarray]] = []

    def append(row: Measurement, samples: np.ndarray | None) -> None:
        journal.append(row, samples)
        if row.suite == "kernels" and samples is not None:
            taken.append((row, samples))

    benchmark.pedantic(run_kernels, args=(plan,), kwargs={"append": append}, rounds=1, iterations=1)
    ((row, samples),) = taken
    assert row.verdict not in ("FAIL", "INVALID"), row.reason
    show_samples(row, samples)
