"""A plugin of pytest: a test suite benchmarks kernels, collectives and functions with the sampling and checks of here.

pytest finds it by its entry point. It costs a session that does not use it next to nothing: what measures is imported
when the first test does. docs/pytest.md shows how it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from clusterbench.bench.pytest_plugin.fixtures import (
    FIXTURES,
    SESSION,
    Alone,
    Beside,
    collective_benchmark,
    function_benchmark,
    kernel_benchmark,
)
from clusterbench.bench.pytest_plugin.options import add_options, settings_of
from clusterbench.bench.pytest_plugin.session import BenchmarkSession

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

__all__ = ["collective_benchmark", "function_benchmark", "kernel_benchmark"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--clusterbench-store` and its like."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and open what they name, so that a wrong one costs nothing."""
    session = BenchmarkSession(settings_of(config))
    config.stash[SESSION] = session
    has_table = config.pluginmanager.hasplugin("benchmark")
    config.pluginmanager.register(Beside() if has_table else Alone(), "clusterbench-table")
    if not hasattr(config, "workerinput"):  # those of xdist measure nothing
        session.prepare()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count the tests that compare: the more there are, the surer each must be."""
    used = sum(bool(FIXTURES & set(getattr(item, "fixturenames", ()))) for item in session.items)
    session.config.stash[SESSION].tests = used


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the environment of the run beside the rows, which are in `extra_info`."""
    run = config.stash[SESSION].run
    if run is not None:
        output_json["clusterbench"] = {"run": run.as_row()}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the journal and load the store; results that could not be stored fail the session."""
    if not session.config.stash[SESSION].finish() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what was kept for the session only."""
    if SESSION in config.stash:
        config.stash[SESSION].close()


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say where results are, what could not be told, and what is slower."""
    lines = config.stash[SESSION].lines()
    if lines:
        terminalreporter.section("clusterbench")
        for line in lines:
            terminalreporter.line(line)
