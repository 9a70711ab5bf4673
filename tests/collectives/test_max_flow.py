"""Flows: as large as SciPy finds them, and as large as the smallest of all cuts, of which one is returned."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from clusterbench.collectives.bounds.max_flow import MOST_FLOW, UNLIMITED, max_flow, network
from clusterbench.collectives.schedule import Ints

Arrays = tuple[int, Ints, Ints, Ints]


@st.composite
def graphs(draw: Any, most: int = 7, largest: int = 50) -> Arrays:
    """Vertices and links with capacities from 0, parallel ones and loops among them."""
    size = draw(st.integers(2, most))
    vertex = st.integers(0, size - 1)
    found = draw(st.lists(st.tuples(vertex, vertex, st.integers(0, largest)), max_size=4 * size))
    src, dst, capacity = np.array(found, np.int64).reshape(-1, 3).T
    return size, src.copy(), dst.copy(), capacity.copy()


def cut_of(src: Ints, dst: Ints, capacity: Ints, inside: np.ndarray[Any, Any]) -> int:
    return int(capacity[inside[src] & ~inside[dst]].sum())


@given(graph=graphs(most=20))
def test_flow_is_that_of_scipy_and_equals_the_cut_returned(graph: Arrays) -> None:
    size, src, dst, capacity = graph
    apart = src != dst
    matrix = csr_array((capacity[apart].astype(np.int32), (src[apart], dst[apart])), shape=(size, size))
    expected = maximum_flow(matrix, 0, size - 1).flow_value
    flow = max_flow(
        network(size, src, dst, np.array([0, size - 1])), capacity, np.array([MOST_FLOW, 0]), np.array([0, UNLIMITED])
    )
    assert flow.value == expected
    assert flow.inside[0]
    assert not flow.inside[size - 1]
    assert cut_of(src, dst, capacity, flow.inside) == expected


@given(graph=graphs(), random=st.randoms(use_true_random=False))
def test_flow_from_several_to_several_is_the_smallest_of_all_cuts(graph: Arrays, random: Any) -> None:
    """Supplies outside a cut and demands inside it count as cut."""
    size, src, dst, capacity = graph
    supply, demand = (np.array([random.choice([0, 3, 20]) for _ in range(size)]) for _ in range(2))
    flow = max_flow(network(size, src, dst, np.arange(size)), capacity, supply, demand)
    values = {
        inside: cut_of(src, dst, capacity, np.array(inside))
        + int(supply[~np.array(inside)].sum() + demand[np.array(inside)].sum())
        for inside in product([False, True], repeat=size)
    }
    assert flow.value == min(values.values())
    assert values[tuple(flow.inside.tolist())] == flow.value


def test_more_than_everything_goes_over_a_link_without_limit() -> None:
    src, dst = np.array([0, 1]), np.array([1, 2])
    ready = network(3, src, dst, np.array([0, 2]))
    flow = max_flow(ready, np.array([UNLIMITED, 5]), np.array([MOST_FLOW, 0]), np.array([0, UNLIMITED]))
    assert flow.value == 5
    assert flow.inside.tolist() == [True, True, False]
    whole = max_flow(ready, np.array([UNLIMITED, UNLIMITED]), np.array([MOST_FLOW, 0]), np.array([0, UNLIMITED]))
    assert whole.value == MOST_FLOW


def test_supplies_that_leave_64_bits_are_refused() -> None:
    ready = network(2, np.array([0]), np.array([1]), np.array([0, 1]))
    with pytest.raises(OverflowError, match="expected at most"):
        max_flow(ready, np.array([1]), np.array([MOST_FLOW, MOST_FLOW]), np.array([0, 1]))


def test_a_network_is_used_again_and_again() -> None:
    ready = network(2, np.array([0]), np.array([1]), np.array([0, 1]))
    supply, demand = np.array([9, 0]), np.array([0, 9])
    assert [max_flow(ready, np.array([c]), supply, demand).value for c in (4, 7, 4, 0)] == [4, 7, 4, 0]
