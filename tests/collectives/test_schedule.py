"""Schedules as data: phases expand to rounds by their formula, chunks cut the vector without padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES, NOTHING, UnknownCollectiveError, collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.schedule import Schedule, ScheduleError, layout, phase


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


def empty_schedule(name: str, ranks: int, per_part: int) -> Schedule:
    what = COLLECTIVES[name]
    return Schedule(what, ranks, what.parts(ranks) * per_part, list, root=0 if what.is_rooted else -1)


EVEN = sorted(name for name, what in COLLECTIVES.items() if not what.uneven)


@given(st.sampled_from(EVEN), st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_chunks_cut_the_vector_evenly_and_pad_nothing(name: str, ranks: int, per_part: int, count: int) -> None:
    schedule = empty_schedule(name, ranks, per_part)
    places = layout(schedule, ranks - 1, count)
    lengths = np.diff(places.given).reshape(-1, per_part)
    assert len(lengths) == schedule.collective.parts(ranks)
    assert places.given[0] == 0
    assert (lengths.sum(axis=1) == count).all()
    assert lengths.max() == -(-count // per_part)
    # Equal chunks, of which only the last that is not empty may be shorter.
    assert all((np.sort(row)[::-1] == row).all() and len(set(row[row > 0][:-1])) <= 1 for row in lengths)
    np.testing.assert_array_equal(places.taken, places.given)


@given(st.integers(1, 6), st.integers(1, 4), st.data())
def test_uneven_parts_lie_as_their_sender_and_their_receiver_see_them(
    ranks: int, per_part: int, data: st.DataObject
) -> None:
    elements = st.lists(st.integers(0, 20), min_size=ranks * ranks, max_size=ranks * ranks)
    counts = np.array(data.draw(elements), np.int64).reshape(ranks, ranks)
    schedule = empty_schedule("all_to_all_v", ranks, per_part)
    places = [layout(schedule, rank, counts) for rank in range(ranks)]
    for src in range(ranks):
        assert places[src].taken[-1] == counts[src].sum()
        assert places[src].given[-1] == counts[:, src].sum()
        for dst in range(ranks):
            sent = np.diff(places[src].taken)[dst * per_part : (dst + 1) * per_part]
            received = np.diff(places[dst].given)[src * per_part : (src + 1) * per_part]
            np.testing.assert_array_equal(sent, received)


def test_a_count_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"all_to_all_v over 3 ranks has counts of shape \(3, 3\); found \(\)"):
        layout(empty_schedule("all_to_all_v", 3, 1), 0, 5)
    with pytest.raises(ScheduleError, match=r"all_reduce over 3 ranks has counts of shape \(\); found \(3, 3\)"):
        layout(empty_schedule("all_reduce", 3, 1), 0, np.ones((3, 3), np.int64))


@pytest.mark.parametrize("name", sorted(COLLECTIVES))
def test_every_chunk_of_a_result_was_brought_by_a_rank(name: str) -> None:
    what, ranks = COLLECTIVES[name], 3
    root = 1 if what.is_rooted else -1
    chunks = what.parts(ranks) * 2
    brought = [what.brought(rank, ranks, chunks, root) for rank in range(ranks)]
    expected = [what.expected(rank, ranks, chunks, root) for rank in range(ranks)]
    known = set(np.concatenate(brought)) - {NOTHING}
    wanted = set(np.concatenate(expected)) - {NOTHING}
    assert wanted == known
    for rank in range(ranks):
        first, end = what.owned(what.gives, rank, ranks, chunks, root)
        held = np.flatnonzero(expected[rank] != NOTHING)
        assert held.tolist() == list(range(first, end))


def test_an_exchange_transposes_the_blocks() -> None:
    what = COLLECTIVES["all_to_all"]
    brought = np.array([what.brought(rank, 3, 6, -1) for rank in range(3)]).reshape(3, 3, 2)
    expected = np.array([what.expected(rank, 3, 6, -1) for rank in range(3)]).reshape(3, 3, 2)
    np.testing.assert_array_equal(expected, brought.transpose(1, 0, 2))


def test_a_ring_of_a_hundred_thousand_ranks_is_two_phases() -> None:
    ring = algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 100_000))
    phases = list(ring.phases())
    assert [len(p) * p.repetitions for p in phases] == [100_000 * 99_999] * 2


def test_chunks_move_round_and_round_in_their_windows() -> None:
    moving = phase(src=[0, 0], dst=1, chunk=[1, 5], dst_chunk=[0, 8], step=[-1, 2], modulus=3, repetitions=4)
    src_chunk, dst_chunk = moving.chunks_at(np.arange(4))
    assert src_chunk.tolist() == [[1, 5], [0, 4], [2, 3], [1, 5]]
    assert dst_chunk.tolist() == [[0, 8], [2, 7], [1, 6], [0, 8]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"src": [0, 1], "dst": [1, 0, 2], "chunk": 0, "modulus": 1}, "differ in length"),
        ({"src": 0, "dst": 1, "chunk": -3, "modulus": 3}, "chunk -3 of a phase; expected at least 0"),
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


@pytest.mark.parametrize(
    ("name", "root", "complaint"),
    [
        ("broadcast", -1, "root -1 of broadcast; expected a rank from 0 to 3"),
        ("gather", 4, "root 4 of gather; expected a rank from 0 to 3"),
        ("all_reduce", 0, "root 0 of all_reduce; expected -1, as it has none"),
    ],
)
def test_a_root_that_is_none_is_refused(name: str, root: int, complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint):
        Schedule(COLLECTIVES[name], 4, 4, list, root=root)


def test_a_collective_is_known_by_its_other_spellings() -> None:
    assert collective("AllReduce").name == "all_reduce"
    assert collective("reduce-scatter").name == "reduce_scatter"
    assert collective("bcast").name == "broadcast"
    assert collective("alltoallv").name == "all_to_all_v"
    with pytest.raises(UnknownCollectiveError, match="'all_reduc'; expected one of all_reduce"):
        collective("all_reduc")
