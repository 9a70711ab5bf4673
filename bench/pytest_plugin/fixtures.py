"""The fixtures: each gives a function that a test calls once, and that returns the row that was measured.

pytest-benchmark shows and saves what they measure, where it is there: its table has our samples, and its JSON our rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clusterbench.bench.pytest_plugin.results import BenchmarkError, Result, middle, refuse_wrong
from clusterbench.bench.pytest_plugin.session import BenchmarkSession

if TYPE_CHECKING:
    from clusterbench.collectives.schedule import Schedule
    from clusterbench.kernels.kernel import Kernel
    from clusterbench.results.record import Measurement

SESSION = pytest.StashKey[BenchmarkSession]()
FIXTURES = frozenset({"kernel_benchmark", "collective_benchmark", "function_benchmark"})
SIMULATED_GROUP = "simulated"
"""The group of simulated times in pytest-benchmark's table, so that they do not stand among measured ones."""

Measure = Callable[[bool], list[Result]]
"""Measure once, or, where the argument is true, only check."""


class Beside:
    """Plugin for a session with pytest-benchmark: its fixture is used, so that its options choose our tests, too."""

    @pytest.fixture
    def clusterbench_table(self, benchmark: Any) -> Any:
        """The fixture of pytest-benchmark."""
        return benchmark


class Alone:
    """Plugin for a session without pytest-benchmark."""

    @pytest.fixture
    def clusterbench_table(self) -> Any:
        """Nothing."""
        return None


@pytest.fixture
def kernel_benchmark(request: pytest.FixtureRequest, clusterbench_table: Any) -> Callable[..., Measurement]:
    """Benchmark a kernel on the CPU: its name in the catalogue, or a `Kernel`; `size` as 64M, of the largest array.

    It is verified around its tiles before it is timed, and on the timed arrays afterwards; see `clusterbench kernels`.
    """

    def measured(kernel: str | Kernel, *, dtype: str = "float32", size: str | int | None = None) -> Measurement:
        __tracebackhide__ = True
        from clusterbench.bench.pytest_plugin.kernels import measure_kernel

        session = request.config.stash[SESSION]
        return _benchmarked(
            request.node,
            clusterbench_table,
            lambda only_check: measure_kernel(session, kernel, dtype, size, only_check),
        )

    return measured


@pytest.fixture
def collective_benchmark(request: pytest.FixtureRequest, clusterbench_table: Any) -> Callable[..., Measurement]:
    """Benchmark a collective on ranks that are started for it, or, with `simulated_on`, simulate it on a topology.

    The arguments are those of `clusterbench collectives run`, of one point: `schedule` is a schedule of your own, or a
    file with one, in the place of `algorithm`; `topology` describes the ranks, for bounds.
    """

    def measured(
        collective: str,
        *,
        size: str | int,
        algorithm: str = "",
        schedule: Schedule | Path | str | None = None,
        ranks: int | None = None,
        dtype: str = "float32",
        op: str = "sum",
        root: int = 0,
        placement: str = "out-of-place",
        transport: str = "mpi",
        buffers: str = "host",
        topology: str = "",
        simulated_on: str = "",
        timeout_s: float = 300.0,
    ) -> Measurement:
        __tracebackhide__ = True
        from clusterbench.bench.pytest_plugin.collectives import Asked, measure_collective, simulate_collective

        session = request.config.stash[SESSION]
        asked = Asked(
            collective, str(size), algorithm, schedule, ranks, dtype, op, root, placement, transport, buffers,
            simulated_on or topology, timeout_s,
        )  # fmt: skip
        measure = simulate_collective if simulated_on else measure_collective
        return _benchmarked(request.node, clusterbench_table, lambda only_check: measure(session, asked, only_check))

    return measured


@pytest.fixture
def function_benchmark(request: pytest.FixtureRequest, clusterbench_table: Any) -> Callable[..., Measurement]:
    """Benchmark a function of your own; it must have done all its work when it returns.

    Its result is held against `expected`, elements within the absolute `error_bound`, or given to `check`, which raises
    or returns False; before it is timed, and once more afterwards. `traffic_bytes` and `operations` of a call give
    rates; `bound_s`, limited by `bound_by`, is the shortest time that is possible.
    """

    def measured(
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        expected: Any = None,
        error_bound: float = 0.0,
        check: Callable[[Any], object] | None = None,
        dtype: str = "",
        traffic_bytes: int = 0,
        operations: int = 0,
        bound_s: float | None = None,
        bound_by: str = "",
    ) -> Measurement:
        __tracebackhide__ = True
        from clusterbench.bench.pytest_plugin.functions import Function, measure_function, name_of

        session = request.config.stash[SESSION]
        name, shape = name_of(request.node)
        asked = Function(
            name, shape, lambda: function(*args, **(kwargs or {})), expected, error_bound, check, dtype, traffic_bytes,
            operations, bound_s, bound_by,
        )  # fmt: skip
        return _benchmarked(
            request.node, clusterbench_table, lambda only_check: measure_function(session, asked, only_check)
        )

    return measured


def _benchmarked(item: pytest.Item, table: Any, measure: Measure) -> Measurement:
    """Measure all launches, keep them, show them, and hold them against what the session holds results against."""
    __tracebackhide__ = True
    session = item.config.stash[SESSION]
    try:
        if table is not None and table.disabled:
            return middle(table.pedantic(_checked, (measure,)))
        results = _launches(item, table, measure)
        session.keep(results)
        if table is not None:
            _show(table, results)
        if session.baseline is not None:
            questions = session.baseline.check(session.journal.run, results, session.settings, session.tests)
            session.open_questions += [f"cannot tell: {item.nodeid}: {words}" for words in questions]
        return middle(results)
    except BenchmarkError as error:
        raise error.with_traceback(None) from None  # which lines of ours it went through says nothing to a user


def _launches(item: pytest.Item, table: Any, measure: Measure) -> list[Result]:
    """All launches; what is wrong is kept, too, and raised inside of pytest-benchmark, which leaves it out then."""
    session = item.config.stash[SESSION]

    def launches() -> list[Result]:
        results: list[Result] = []
        for _ in range(session.settings.launches):
            try:
                results += measure(False)
                refuse_wrong(results)
            except BenchmarkError as error:
                session.fail(f"{item.nodeid}: {error}")
                session.keep(results)
                raise
        return results

    found: list[Result] = launches() if table is None else table.pedantic(launches)
    return found


def _checked(measure: Measure) -> list[Result]:
    results = measure(True)
    refuse_wrong(results)
    return results


def _show(table: Any, results: Sequence[Result]) -> None:
    """Put our samples in the place of the one round that pytest-benchmark saw, which held checks and start-up, too."""
    from clusterbench.results.columns import spelled
    from clusterbench.results.record import SCHEMA_VERSION

    stats = table.stats
    stats.stats.data.clear()
    for result in results:
        stats.stats.data += [result.row.median_s] if result.samples is None else result.samples.tolist()
    stats.iterations = results[0].row.batch
    if results[0].row.evidence == "simulated" and stats.group is None:
        stats.group = SIMULATED_GROUP
    table.extra_info["clusterbench"] = {
        "schema_version": SCHEMA_VERSION,
        "rows": [spelled(result.row.as_row()) for result in results],
    }
