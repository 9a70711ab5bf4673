"""Schedules as data: phases expand to rounds by their formula, chunks cut the vector without padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.collective import COLLECTIVES, UnknownCollectiveError, collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.schedule import Schedule, ScheduleError, chunk_offsets, phase


@given(st.integers(1, 50), st.integers(-60, 60), st.integers(0, 20), st.data())
def test_chunks_of_a_repetition_follow_the_formula(
    modulus: int, step: int, repetitions: int, data: st.DataObject
) -> None:
    first = data.draw(st.lists(st.integers(0, modulus - 1), min_size=1, max_size=5))
    one = phase(src=0, dst=1, chunk=first, step=step, modulus=modulus, repetitions=repetitions)
    rounds = list(one.rounds())
    assert len(rounds) == repetitions
    for k, part in enumerate(rounds):
        assert part.src_chunk.tolist() == [(c + k * step) % modulus for c in first]
        assert part.repetitions == 1


@given(st.sampled_from(sorted(COLLECTIVES)), st.integers(1, 12), st.integers(1, 6), st.integers(1, 1000))
def test_chunks_cut_the_vector_evenly_and_pad_nothing(name: str, ranks: int, per_part: int, count: int) -> None:
    what = COLLECTIVES[name]
    parts = what.parts(ranks)
    offsets = chunk_offsets(Schedule(what, ranks, parts * per_part, list), count)
    lengths = np.diff(offsets).reshape(parts, per_part)
    assert offsets[0] == 0
    assert (lengths.sum(axis=1) == count).all()
    assert lengths.max() == -(-count // per_part)
    # Equal chunks, of which only the last that is not empty may be shorter.
    assert all((np.sort(row)[::-1] == row).all() and len(set(row[row > 0][:-1])) <= 1 for row in lengths)


def test_a_ring_of_a_hundred_thousand_ranks_is_two_phases() -> None:
    ring = algorithms()["ring"].schedule(COLLECTIVES["all_reduce"], 100_000)
    phases = list(ring.phases())
    assert [len(p) * p.repetitions for p in phases] == [100_000 * 99_999] * 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"src": [0, 1], "dst": [1, 0, 2], "chunk": 0, "modulus": 1}, "differ in length"),
        ({"src": 0, "dst": 1, "chunk": 3, "modulus": 3}, "chunk 3 of a phase; expected 0 to 2"),
        ({"src": 0, "dst": 1, "chunk": 0, "dst_chunk": -1, "modulus": 3}, "dst_chunk -1"),
        ({"src": 0, "dst": 1, "chunk": 0, "modulus": 0}, "modulus 0"),
    ],
)
def test_a_malformed_phase_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint):
        phase(**arguments)  # type: ignore[arg-type] # on purpose


def test_a_schedule_whose_chunks_do_not_fit_its_parts_is_refused() -> None:
    with pytest.raises(ScheduleError, match="5 chunks for all_gather over 4 ranks; expected a multiple of 4"):
        Schedule(COLLECTIVES["all_gather"], 4, 5, list)


def test_a_collective_is_known_by_its_other_spellings() -> None:
    assert collective("AllReduce").name == "all_reduce"
    assert collective("reduce-scatter").name == "reduce_scatter"
    with pytest.raises(UnknownCollectiveError, match="'all_reduc'; expected one of all_reduce"):
        collective("all_reduc")
