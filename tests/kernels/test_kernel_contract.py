"""The contract of every kernel of the catalogue, in every mode that runs here; a new file is under it unasked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clusterbench.kernels.backends import Backend, detect
from clusterbench.kernels.bounds import unit_roundoff
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.kernel import BACKENDS, Kernel
from clusterbench.kernels.verify import make_inputs, shapes_around, verify
from clusterbench.kernels.worker import Outcome, run_worker

KERNELS = discover()
MODES = detect()
REQUIRED = ("numba", "triton", "numba-cuda", "cupy")
"""Back ends that must run where the tests run, so that none is skipped in silence."""
CASES = [(kernel, backend) for kernel in KERNELS.values() for backend in kernel.implementations]
IDS = [f"{kernel.name}-{backend}" for kernel, backend in CASES]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What each back end that needs a worker says of the whole catalogue; one process each."""
    backends = [backend for backend in MODES.values() if backend.in_worker and backend.mode != "absent"]
    with ThreadPoolExecutor() as pool:
        done = pool.map(lambda b: run_worker(b, list(KERNELS.values()), ["float32", "float64"], 7, 200), backends)
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
    expected = 2 * len(kernel.dtypes) * len(shapes_around(kernel.implementations[backend].tile))
    assert len(checks) == expected
    assert [check.reason for check in checks if not check.passed] == []


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_compulsory_traffic_is_each_array_once(kernel: Kernel) -> None:
    shape = {name: 10 + i for i, name in enumerate(kernel.dimensions)}
    arrays = {**kernel.inputs, **kernel.outputs}
    large = [a for a in arrays if any(isinstance(d, str) for d in arrays[a])]  # a scalar result is not counted
    assert kernel.traffic_bytes(shape, "float32") == 4 * sum(int(np.prod(kernel.extent(a, shape))) for a in large)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_exact_data_make_every_order_of_summation_equal(kernel: Kernel) -> None:
    shape = dict.fromkeys(kernel.dimensions, 50)
    inputs = make_inputs(kernel, shape, "float32", "exact", np.random.default_rng(0))
    scalars = kernel.scalar_values("float32")
    narrow = kernel.reference(*inputs.values(), *scalars)
    wide = kernel.reference(*(a.astype(np.float64) for a in inputs.values()), *map(float, scalars))
    assert np.array_equal(narrow.astype(np.float64), wide)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_bound_has_the_shape_of_the_result_and_grows_with_u(kernel: Kernel) -> None:
    shape = dict.fromkeys(kernel.dimensions, 9)
    inputs = make_inputs(kernel, shape, "float64", "rounding", np.random.default_rng(0))
    arguments = (*inputs.values(), *kernel.scalar_values("float64"))
    narrow = kernel.bound(shape, unit_roundoff("float32"), *arguments)
    wide = kernel.bound(shape, unit_roundoff("float64"), *arguments)
    assert narrow.shape == kernel.reference(*arguments).shape
    assert np.all(narrow >= wide)
    assert np.all(wide >= 0)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_first_forty_lines_answer_the_readers_questions(kernel: Kernel) -> None:
    head = Path(kernel.file).read_text(encoding="utf-8").splitlines()[:40]
    for question in ("Costs:", "How wrong:", "No GPU:", "Source:"):
        assert any(line.startswith(question) for line in head)
