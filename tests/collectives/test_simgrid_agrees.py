"""A sample of the table of `tests/oracles/simgrid.py`: our simulator finds the times that SimGrid finds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import smpi

pytestmark = [
    pytest.mark.slow,
    pytest.mark.serial,
    pytest.mark.skipif(not smpi.installed(), reason=smpi.MISSING),
]
SCRIPT = Path(__file__).resolve().parents[1] / "oracles" / "simgrid.py"


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oracle_of_simgrid", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["flat cluster", "tapered fat tree", "torus", "dragonfly, no latency"])
def test_all_reduces_take_as_long_as_in_simgrid(oracle: ModuleType, name: str) -> None:
    rows = list(oracle.compared(name, 64, list(oracle.TWINS), ["1M"]))
    assert [row.algorithm for row in rows] == list(oracle.TWINS)
    for row in rows:
        assert abs(row.events_off) < 2e-3, row
        assert abs(row.phases_off) < 2e-3, row


def test_routes_of_different_latency_share_a_link_in_simgrid_by_their_latencies(oracle: ModuleType) -> None:
    """Which is why a dragonfly with latencies is the one of the topologies that differs, and by how much."""
    rows = list(oracle.compared("dragonfly", 64, list(oracle.TWINS), ["1M"]))
    off = {row.algorithm: row.events_off for row in rows}
    assert abs(off["ring"]) < 2e-3  # no two of its messages share a link
    assert 0.01 < off["recursive-doubling"] < 0.1
    assert 0.01 < off["halving-doubling"] < 0.1
