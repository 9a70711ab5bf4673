"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy, and the first example compiles: no test is judged by its time.
settings.register_profile("clusterbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clusterbench")

HERE = Path(__file__).parent
SERIAL = (HERE / "bench", HERE)
"""Folders whose own tests start processes, or look at times."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that do not run beside others."""
    for item in items:
        if item.path.parent in SERIAL or item.path.name == "test_report_browser.py":
            item.add_marker(pytest.mark.serial)
