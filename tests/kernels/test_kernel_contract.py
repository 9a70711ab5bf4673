"""The contract of every kernel of the catalogue, in every mode that runs here; a new file is under it unasked."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clusterbench.kernels.bounds import unit_roundoff
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.element_types import accumulator, element_type, is_float
from clusterbench.kernels.judging.data import make_inputs
from clusterbench.kernels.judging.verify import checks_expected, verify
from clusterbench.kernels.judging.worker import Outcome, run_worker
from clusterbench.kernels.kernel import BACKENDS, Kernel
from clusterbench.kernels.running.backends import Backend, detect

KERNELS = discover()
MODES = detect()
REQUIRED = ("numba", "triton", "numba-cuda", "cupy")
"""Back ends that must run where the tests run, so that none is skipped in silence."""
DTYPES = list(dict.fromkeys(dtype for kernel in KERNELS.values() for dtype in kernel.dtypes))
CASES = [(kernel, backend) for kernel in KERNELS.values() for backend in kernel.implementations]
IDS = [f"{kernel.name}-{backend}" for kernel, backend in CASES]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What each back end that needs a worker says of the whole catalogue; one process each."""
    backends = [backend for backend in MODES.values() if backend.in_worker and backend.mode != "absent"]
    with ThreadPoolExecutor() as pool:
        done = pool.map(lambda b: run_worker(b, list(KERNELS.values()), DTYPES, 7, 400), backends)
        return {backend.name: outcome for backend, outcome in zip(backends, done, strict=True)}


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_back_end_runs_here(name: str) -> None:
    assert MODES[name].mode != "absent", MODES[name].reason


def test_the_required_back_ends_are_all_there_are() -> None:
    assert set(REQUIRED) == set(BACKENDS) == set(MODES)


@pytest.mark.parametrize(("kernel", "backend"), CASES, ids=IDS)
def test_an_implementation_passes_every_check(kernel: Kernel, backend: str, outcomes: dict[str, Outcome]) -> None:
    mode: Backend = MODES[backend]
    if mode.in_worker:
        assert outcomes[backend].error == ""
        checks = [check for check in outcomes[backend].checks if check.kernel == kernel.name]
    else:
        checks = list(verify(kernel, mode, list(kernel.dtypes), 7))
    dtypes = [dtype for dtype in kernel.dtypes if kernel.has(backend, dtype)]
    assert len(checks) == checks_expected(kernel, backend) * len(dtypes)
    assert [check.reason for check in checks if not check.passed] == []


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_compulsory_traffic_is_each_array_once(kernel: Kernel) -> None:
    shape = {name: 10 + i for i, name in enumerate(kernel.dimensions)}
    arrays = {**kernel.inputs, **kernel.outputs}
    large = [a for a in arrays if any(isinstance(d, str) for d in arrays[a])]  # a scalar result is not counted
    for dtype in kernel.dtypes:
        once = sum(kernel.size_bytes(a, shape, dtype) for a in large)
        found = kernel.traffic_bytes(shape, dtype)
        assert found > 2 * once if kernel.passes else found == once


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_exact_data_make_every_order_of_summation_equal(kernel: Kernel) -> None:
    shape = dict.fromkeys(kernel.dimensions, 50)
    for dtype in kernel.dtypes:
        inputs = make_inputs(kernel, shape, dtype, "exact", np.random.default_rng(0)).values()
        sums: Any = element_type(accumulator(dtype)).type
        expected = [_each(kernel.reference(*_as(inputs, kind), *map(kind, kernel.scalars.values())))
                    for kind in (sums, np.float64)]  # fmt: skip
        for narrow, wide in zip(*expected, strict=True):
            assert np.array_equal(narrow.astype(np.float64), wide)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_bound_has_the_shape_of_the_result_and_grows_with_u(kernel: Kernel) -> None:
    shape = dict.fromkeys(kernel.dimensions, 9)
    data = "rounding" if "rounding" in kernel.data else "exact"
    inputs = make_inputs(kernel, shape, kernel.dtypes[-1], data, np.random.default_rng(0)).values()
    arguments = (*_as(inputs, np.float64), *map(np.float64, kernel.scalars.values()))
    results = _each(kernel.reference(*arguments))
    narrow = _each(kernel.bound(shape, unit_roundoff("float32"), *arguments))
    wide = _each(kernel.bound(shape, unit_roundoff("float64"), *arguments))
    assert [bound.shape for bound in narrow] == [result.shape for result in results]
    for larger, least in zip(narrow, wide, strict=True):
        assert np.all(larger >= least)
        assert np.all(least >= 0)


def _each(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _as(arrays: Iterable[Any], kind: Any) -> list[Any]:
    """Floating-point arrays in another type; indices as they are."""
    return [array.astype(kind) if is_float(array.dtype) else array for array in arrays]


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_first_forty_lines_answer_the_readers_questions(kernel: Kernel) -> None:
    head = Path(kernel.file).read_text(encoding="utf-8").splitlines()[:40]
    for question in ("Costs:", "How wrong:", "No GPU:", "Source:"):
        assert any(line.startswith(question) for line in head)
