"""The contract of every algorithm that discovery finds: proven, equal to NumPy, and repeatable to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from collective_cases import count_for, named, numpy_results, roots, schedule_of, some_inputs, variants
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule import Schedule

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]
every_algorithm = pytest.mark.parametrize(
    ("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED]
)
COUNTS = (1, 3, 37)


def test_every_collective_is_served() -> None:
    assert {what.name for _, what in SERVED} == set(COLLECTIVES)


@every_algorithm
@pytest.mark.parametrize("ranks", [*range(1, 18), 32, 64])
def test_schedule_and_programs_are_proven(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is not None:
        assert ranks < algorithm.min_ranks
        return
    tried = variants(algorithm, ranks)
    for options in tried if ranks < 32 else [tried[0], tried[-1]]:
        for root in roots(what, ranks):
            with named(options=options, root=root):
                proof = prove(schedule_of(algorithm, what, ranks, root, options))
                assert proof.additions <= max(0, ranks - 1)
                if what.reduces:
                    # A sum of p terms needs additions in a row: each at best doubles the terms.
                    assert proof.additions >= np.ceil(np.log2(ranks))


def check_against_numpy(schedule: Schedule, count: int, *, in_place: bool, seed: int) -> None:
    what, ranks, root = schedule.collective, schedule.ranks, schedule.root
    counts = count_for(what, ranks, count, seed)
    inputs = some_inputs(what, ranks, counts, root)
    outputs = run_schedule(schedule, inputs, counts, in_place=in_place, seed=seed)
    for rank, expected in enumerate(numpy_results(what, inputs, counts, root)):
        np.testing.assert_array_equal(outputs[rank], expected, f"rank {rank} of {ranks}")


def places(what: Collective) -> tuple[bool, ...]:
    """In place and out of place; with uneven parts nothing lies in place."""
    return (False,) if what.uneven else (False, True)


@every_algorithm
@pytest.mark.parametrize("ranks", [*range(1, 18)])
def test_programs_compute_what_numpy_does(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is not None:
        assert ranks < algorithm.min_ranks
        return
    tried = variants(algorithm, ranks)
    if ranks > 9:  # the others in turn, as these take longer
        tried = [tried[0], *tried[1:][ranks % max(1, len(tried) - 1) :][:1]]
    for i, options in enumerate(tried):
        for j, root in enumerate(roots(what, ranks)):
            schedule = schedule_of(algorithm, what, ranks, root, options)
            for in_place in places(what):
                count = COUNTS[(ranks + i + j + in_place) % len(COUNTS)]
                with named(options=options, root=root, count=count, in_place=in_place):
                    check_against_numpy(schedule, count, in_place=in_place, seed=ranks + i)


@every_algorithm
@pytest.mark.parametrize("ranks", [32, 64])
def test_programs_of_many_ranks_compute_what_numpy_does(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    root = roots(what, ranks)[ranks // 32 - 1 if what.is_rooted else 0]
    options = variants(algorithm, ranks)[-1]
    with named(options=options, root=root):
        schedule = schedule_of(algorithm, what, ranks, root, options)
        check_against_numpy(schedule, 3, in_place=ranks == 32 and not what.uneven, seed=ranks)


@every_algorithm
@settings(max_examples=15)
@given(data=st.data())
def test_any_count_and_any_timing_give_the_same(algorithm: Algorithm, what: Collective, data: st.DataObject) -> None:
    ranks = data.draw(st.integers(algorithm.min_ranks, 12))
    options = data.draw(st.sampled_from(variants(algorithm, ranks)))
    root = data.draw(st.integers(0, ranks - 1)) if what.is_rooted else -1
    in_place = data.draw(st.sampled_from(places(what)))
    schedule = schedule_of(algorithm, what, ranks, root, options)
    check_against_numpy(
        schedule, data.draw(st.integers(1, 200)), in_place=in_place, seed=data.draw(st.integers(0, 1 << 32))
    )


@every_algorithm
def test_result_is_the_same_in_bits_on_every_rank_and_at_every_timing(algorithm: Algorithm, what: Collective) -> None:
    if not what.reduces:
        return
    for options in variants(algorithm, 7):
        schedule = schedule_of(algorithm, what, 7, 3 if what.is_rooted else -1, options)
        inputs = some_inputs(what, 7, 41, schedule.root, np.float32)
        first = run_schedule(schedule, inputs, 41, in_place=False, seed=1)
        again = run_schedule(schedule, inputs, 41, in_place=True, seed=2)
        for rank in range(7):
            assert first[rank].tobytes() == again[rank].tobytes()
            if what.gives == "whole":
                assert first[rank].tobytes() == first[0].tobytes()


@every_algorithm
def test_it_says_what_it_costs_and_where_it_is_from(algorithm: Algorithm, what: Collective) -> None:
    assert "α" in algorithm.cost[what.name]
    assert "β" in algorithm.cost[what.name]
    assert ("γ" in algorithm.cost[what.name]) == what.reduces
    assert "doi" in algorithm.source
    assert algorithm.summary
