"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy, and the first example compiles: no test is judged by its time.
settings.register_profile("clusterbench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clusterbench")


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
