"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy, and the first example compiles: no test is judged by its time.
settings.register_profile("clusterbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clusterbench")

HERE = Path(__file__).parent
SERIAL = (HERE / "bench", HERE)
"""Folders whose own tests start processes, or look at times."""


@pytest.fixture(scope="session", autouse=True)
def no_table_of_choices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was calibrated on this machine decides no test, and no test leaves a table in the user's cache."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that do not run beside others."""
    for item in items:
        if item.path.parent in SERIAL or item.path.name == "test_report_browser.py":
            item.add_marker(pytest.mark.serial)
