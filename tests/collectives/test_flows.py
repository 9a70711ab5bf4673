from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.simulator.fair import fair_rates
from clusterbench.collectives.simulator.flows import begin, end, no_flows, solve

LINKS = 5


@st.composite
def networks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Routes of some pairs over a few links, of which some have no limit, and which pairs begin or end together."""
    routes = draw(
        st.lists(st.lists(st.integers(0, LINKS - 1), min_size=1, max_size=3, unique=True), min_size=1, max_size=9)
    )
    capacity = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, 10.0, np.inf]), min_size=LINKS, max_size=LINKS))
    together = st.lists(st.integers(0, len(routes) - 1), min_size=1, max_size=len(routes), unique=True)
    first = np.cumsum([0, *map(len, routes)])
    return first, np.concatenate(routes).astype(np.int64), np.array(capacity), draw(st.lists(together, max_size=12))


@settings(max_examples=200)
@given(networks())
def test_rates_that_are_kept_up_are_those_that_are_solved_anew(
    network: tuple[np.ndarray, np.ndarray, np.ndarray, list[list[int]]],
) -> None:
    first, links, capacity, moments = network
    flows = no_flows(first, links, capacity)
    active = np.zeros(len(first) - 1, np.bool_)
    for now, pairs in enumerate(moments):
        was = flows.ends_s.copy()
        for pair in pairs:
            if active[pair]:
                end(flows, pair)
            else:
                begin(flows, pair, pair, 1e6, float(now))
            active[pair] = not active[pair]
        moved = solve(flows, float(now))
        rate, limit = fair_rates(first, links, capacity, active)
        limited = active & (limit >= 0)
        np.testing.assert_allclose(flows.rate[limited], rate[limited], rtol=1e-9)
        assert (flows.limit[active & (limit < 0)] == -1).all()
        assert (flows.ends_s[active & (limit < 0)] <= now).all()
        assert set(np.flatnonzero(active & (flows.ends_s != was))) <= set(moved) <= set(np.flatnonzero(active))
        for pair in np.flatnonzero(limited):
            assert flows.shared[pair] == sum(
                active[other] and flows.limit[pair] in links[first[other] : first[other + 1]]
                for other in range(len(active))
            )


def test_a_flow_that_shares_no_link_with_one_that_begins_keeps_its_end() -> None:
    flows = no_flows(np.array([0, 1, 2, 3]), np.array([0, 1, 1]), np.array([1.0, 1.0]))
    for pair in (0, 1):
        begin(flows, pair, pair, 10.0, 0.0)
    assert sorted(solve(flows, 0.0)) == [0, 1]
    begin(flows, 2, 2, 10.0, 4.0)
    assert sorted(solve(flows, 4.0)) == [1, 2]
    np.testing.assert_allclose(flows.ends_s, [10.0, 16.0, 24.0])
    end(flows, 1)
    assert list(solve(flows, 16.0)) == [2]
    np.testing.assert_allclose(flows.ends_s[[0, 2]], [10.0, 20.0])
