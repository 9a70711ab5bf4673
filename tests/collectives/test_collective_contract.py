"""The contract of every algorithm that discovery finds: proven, equal to NumPy, and within its stated rounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.proof import prove

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]
every_algorithm = pytest.mark.parametrize(
    ("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED]
)


def numpy_result(what: Collective, inputs: list[np.ndarray], rank: int) -> np.ndarray:
    """What the collective gives a rank, by its definition."""
    whole = np.sum(inputs, axis=0, dtype=inputs[0].dtype) if what.reduces else np.concatenate(inputs)
    if what.gives == "whole":
        return whole
    return whole.reshape(len(inputs), -1)[rank]


def some_inputs(what: Collective, ranks: int, count: int) -> list[np.ndarray]:
    """Random integers of which every partial sum is representable."""
    length = count if what.takes == "part" else count * what.parts(ranks)
    return [np.random.default_rng(rank).integers(-1000, 1000, length, dtype=np.int32) for rank in range(ranks)]


@every_algorithm
@pytest.mark.parametrize("ranks", [*range(1, 18), 32, 64])
def test_schedule_and_programs_are_proven(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is not None:
        assert ranks < algorithm.min_ranks
        return
    proof = prove(algorithm.schedule(what, ranks))
    assert proof.additions <= max(0, ranks - 1)
    if ranks > 1:
        # A sum of p terms needs additions in a row: each at best doubles the terms.
        assert proof.additions >= (np.ceil(np.log2(ranks)) if what.reduces else 0)


@every_algorithm
@pytest.mark.parametrize("in_place", [False, True], ids=["out-of-place", "in-place"])
@pytest.mark.parametrize("count", [1, 3, 37])
def test_programs_compute_what_numpy_does(algorithm: Algorithm, what: Collective, in_place: bool, count: int) -> None:
    for ranks in (*range(1, 10), 16, 17):
        if algorithm.refusal(what, ranks) is not None:
            continue
        inputs = some_inputs(what, ranks, count)
        outputs = run_schedule(algorithm.schedule(what, ranks), inputs, count, in_place=in_place, seed=ranks)
        for rank, output in enumerate(outputs):
            np.testing.assert_array_equal(output, numpy_result(what, inputs, rank), f"rank {rank} of {ranks}")


@every_algorithm
@settings(max_examples=15)
@given(data=st.data())
def test_any_count_and_any_timing_give_the_same(algorithm: Algorithm, what: Collective, data: st.DataObject) -> None:
    ranks = data.draw(st.integers(algorithm.min_ranks, 12))
    count = data.draw(st.integers(1, 200))
    inputs = some_inputs(what, ranks, count)
    outputs = run_schedule(
        algorithm.schedule(what, ranks), inputs, count, in_place=data.draw(st.booleans()), seed=data.draw(st.integers())
    )
    for rank, output in enumerate(outputs):
        np.testing.assert_array_equal(output, numpy_result(what, inputs, rank))


@every_algorithm
def test_result_is_the_same_in_bits_on_every_rank_and_at_every_timing(algorithm: Algorithm, what: Collective) -> None:
    if not (what.reduces and what.gives == "whole"):
        return
    inputs = [np.random.default_rng(rank).standard_normal(41).astype(np.float32) for rank in range(7)]
    first = run_schedule(algorithm.schedule(what, 7), inputs, 41, in_place=False, seed=1)
    again = run_schedule(algorithm.schedule(what, 7), inputs, 41, in_place=True, seed=2)
    for output in (*first, *again):
        assert output.tobytes() == first[0].tobytes()


@every_algorithm
def test_it_says_what_it_costs_and_where_it_is_from(algorithm: Algorithm, what: Collective) -> None:
    assert "α" in algorithm.cost[what.name]
    assert "β" in algorithm.cost[what.name]
    assert "doi" in algorithm.source
    assert algorithm.summary
