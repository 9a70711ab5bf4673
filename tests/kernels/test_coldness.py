"""Where data are found: lines are visited one by one, flushed without being changed, and judged by their time."""

from __future__ import annotations

import numpy as np
import pytest

from clusterbench.kernels.ceilings import coldness
from clusterbench.kernels.ceilings.coldness import Visit, visit


def test_a_visit_loads_what_it_is_told_to_and_a_flush_changes_nothing() -> None:
    data = np.arange(4096, dtype=np.uint32).view(np.uint8)
    before = data.copy()
    places = np.array([5, 700, 64], np.int64)
    assert coldness.meet(data, places, 0) == data[64]
    assert coldness.meet(data, places[:2], 0) == data[700]
    if coldness.can_flush():
        coldness.flush(data, places)
    assert np.array_equal(data, before)


def test_a_load_waits_for_the_one_before_it() -> None:
    # Were the value of a load not part of the next address, a mask of ones would change nothing.
    data = np.zeros(64, np.uint8)
    data[10], data[23] = 3, 7
    assert coldness.meet(data, np.array([10, 20], np.int64), -1) == 7


def test_a_visit_of_an_array_has_all_three_times_and_too_few_lines_have_none() -> None:
    rng = np.random.default_rng(1)
    found = visit(np.zeros((100, 100)), rng)
    assert found is not None
    assert found.met_ns > 0
    assert found.again_ns > 0
    assert (found.flushed_ns is not None) == coldness.can_flush()
    assert visit(np.zeros(coldness.FEWEST_LINES * 8 - 1), rng) is None


@pytest.mark.parametrize(
    ("met", "flushed", "answer"), [(100.0, 110.0, True), (40.0, 110.0, False), (100.0, None, None)]
)
def test_data_came_from_memory_where_they_took_as_long_as_flushed_ones(
    met: float, flushed: float | None, answer: bool | None
) -> None:
    found = Visit(met, 4.0, flushed)
    assert found.from_memory is answer
    assert "ns a line when met" in str(found)
