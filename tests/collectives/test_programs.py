"""Programs of schedules that no algorithm makes: local copies, scratch, several reductions, cut messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from collective_cases import count_for, numpy_results, schedule_of, some_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.programs import program
from clusterbench.collectives.programs.program import compile_programs, lower
from clusterbench.collectives.programs.steps import RECV, SEND
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Phase, Schedule, ScheduleError, layout, phase

RANKS = 3
Transfer = tuple[int, int, int, int, int, bool]
"""Source, its chunk, destination, its chunk, chunks, whether it reduces."""
Array = np.ndarray[Any, Any]
SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]


def replayed(schedule: Schedule, inputs: list[Array], count: int) -> list[list[Array | None]]:
    """What the rounds of a schedule do to the chunks of every rank, by their definition; None where there is none."""
    memory = []
    for rank in range(schedule.ranks):
        offsets = layout(schedule, rank, count).taken
        first, end = schedule.takes(rank)
        chunks: list[Array | None] = [None] * (schedule.chunks + schedule.scratch_chunks)
        for chunk in range(first, end):
            chunks[chunk] = inputs[rank][offsets[chunk] - offsets[first] : offsets[chunk + 1] - offsets[first]].copy()
        memory.append(chunks)
    for part in schedule.rounds():
        before = [list(chunks) for chunks in memory]
        order = sorted(
            range(len(part)), key=lambda t: next(
                i for i in range(len(part)) if (part.src[i], part.dst[i]) == (part.src[t], part.dst[t])
            ),
        )  # fmt: skip
        for t in order:
            for i in range(part.count[t]):
                value = before[part.src[t]][part.src_chunk[t] + i]
                target, place = memory[part.dst[t]], part.dst_chunk[t] + i
                target[place] = target[place] + value if part.reduce[t] else value
    return memory


@st.composite
def transfers(draw: st.DrawFn, what: Collective, space: int) -> list[Transfer]:
    """Transfers of a round, between any ranks, local ones too; mostly of a chunk to its own place, or to scratch."""
    rank, chunk = st.integers(0, RANKS - 1), st.integers(0, space - 1)
    reduces = st.booleans() if what.reduces else st.just(False)
    place, count = st.none() | st.just(space - 1) | chunk, st.integers(1, 3)
    drawn = draw(st.lists(st.tuples(rank, chunk, rank, place, count, reduces), max_size=6))
    return [(src, first, dst, first if at is None else at, n, does) for src, first, dst, at, n, does in drawn]


def round_of(listed: list[Transfer], space: int) -> Phase:
    src, chunk, dst, dst_chunk, count, reduce = zip(*listed, strict=True)
    return phase(src=src, dst=dst, chunk=chunk, dst_chunk=dst_chunk, count=count, reduce=reduce, modulus=space)


def followable(schedule: Schedule, drawn: list[list[Transfer]]) -> list[Phase]:
    """The drawn rounds, without the transfers that break a rule."""
    space = schedule.chunks + schedule.scratch_chunks
    made: list[Phase] = []
    for listed in drawn:
        kept: list[Transfer] = []
        for transfer in listed:
            rounds = [*made, round_of([*kept, transfer], space)]
            if is_followable(replace(schedule, phases=lambda rounds=rounds: rounds)):
                kept.append(transfer)
        if kept:
            made.append(round_of(kept, space))
    return made


def is_followable(schedule: Schedule) -> bool:
    """Whether the schedule breaks no rule but that of its result, so that it can be compiled and replayed."""
    try:
        prove(schedule, programs=False)
    except ProofError as error:
        return str(error).startswith("at the end")
    return True


def completion(schedule: Schedule, memory: list[list[Array | None]]) -> list[Phase]:
    """A last round in which every rank gets some value, from whoever has one, for each chunk that it must hold."""
    missing = [
        (next(r for r in range(RANKS) if memory[r][chunk] is not None), rank, chunk)
        for rank in range(RANKS)
        for chunk in range(*schedule.gives(rank))
        if memory[rank][chunk] is None
    ]
    if not missing:
        return []
    src, dst, chunk = zip(*missing, strict=True)
    return [phase(src=src, dst=dst, chunk=chunk, modulus=schedule.chunks)]


@pytest.mark.parametrize("name", sorted(name for name, what in COLLECTIVES.items() if not what.uneven))
@settings(max_examples=60)
@given(data=st.data())
def test_programs_do_what_their_rounds_do(name: str, data: st.DataObject) -> None:
    what = COLLECTIVES[name]
    chunks = data.draw(st.integers(1, 3 if what.parts(RANKS) == 1 else 2)) * what.parts(RANKS)
    scratch = data.draw(st.integers(0, 2))
    root = data.draw(st.integers(0, RANKS - 1)) if what.is_rooted else -1
    schedule = Schedule(what, RANKS, chunks, list, scratch, root)
    made = followable(schedule, data.draw(st.lists(transfers(what, chunks + scratch), max_size=4)))
    schedule = replace(schedule, phases=lambda: made)
    count = data.draw(st.integers(1, 7))
    inputs = some_inputs(what, RANKS, count, root, np.int64)
    made.extend(completion(schedule, replayed(schedule, inputs, count)))
    expected = replayed(schedule, inputs, count)
    outputs = run_schedule(
        schedule, inputs, count, in_place=data.draw(st.booleans()), seed=data.draw(st.integers(0, 9))
    )
    for rank in range(RANKS):
        first, end = schedule.gives(rank)
        chunks_of_rank = [chunk for chunk in expected[rank][first:end] if chunk is not None]
        np.testing.assert_array_equal(outputs[rank], np.concatenate([np.zeros(0, np.int64), *chunks_of_rank]))


def test_a_local_copy_through_scratch_is_followed() -> None:
    what = COLLECTIVES["all_reduce"]

    def phases() -> list[Phase]:
        return [
            phase(src=[0, 1], dst=[0, 1], chunk=0, dst_chunk=1, modulus=2),
            phase(src=[0, 1], dst=[1, 0], chunk=1, dst_chunk=0, reduce=True, modulus=2),
        ]

    schedule = Schedule(what, 2, 1, phases, scratch_chunks=1)
    assert prove(schedule).additions == 1
    outputs = run_schedule(schedule, [np.arange(5), np.arange(5) * 10], 5, in_place=False)
    for output in outputs:
        np.testing.assert_array_equal(output, np.arange(5) * 11)


def test_uneven_parts_cannot_be_put_aside() -> None:
    """Only its two ends know the length of such a part, so a third rank has no place for it."""
    what = COLLECTIVES["all_to_all_v"]
    aside = phase(src=[0, 1], dst=[1, 0], chunk=[1, 0], dst_chunk=2, modulus=3)
    home = phase(src=[0, 1], dst=[0, 1], chunk=2, dst_chunk=[1, 0], modulus=3)
    schedule = Schedule(what, 2, 2, lambda: [aside, home], scratch_chunks=1)
    prove(schedule, programs=False)
    with pytest.raises(ScheduleError, match="rank 0: all_to_all_v puts a chunk aside"):
        lower(compile_programs(schedule, in_place=False)[0], np.ones((2, 2), np.int64), 4)


@pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED])
def test_messages_longer_than_mpi_counts_are_cut(algorithm: Any, what: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "MESSAGE_BYTES", 64)
    ranks = max(5, algorithm.min_ranks)
    schedule = schedule_of(algorithm, what, ranks, 2 if what.is_rooted else -1, {})
    count = count_for(what, ranks, 200, 1)
    inputs = some_inputs(what, ranks, count, schedule.root)
    for in_place in (False, True)[: 1 if what.uneven else 2]:
        for compiled in compile_programs(schedule, in_place):
            lowered = lower(compiled, count, 4)
            messages = lowered.steps[np.isin(lowered.steps[:, 0], (SEND, RECV))]
            assert messages[:, 7].max(initial=0) <= 64
            assert messages[:, 8].max(initial=0) < lowered.requests
        outputs = run_schedule(schedule, inputs, count, in_place=in_place)
        for output, expected in zip(outputs, numpy_results(what, inputs, count, schedule.root), strict=True):
            np.testing.assert_array_equal(output, expected)


def schedule_from(name: str, ranks: int, chunks: int, scratch: int, rounds: list[list[Transfer]]) -> Schedule:
    what = COLLECTIVES[name]
    made = [round_of(listed, chunks + scratch) for listed in rounds]
    return Schedule(what, ranks, chunks, lambda: made, scratch, 0 if what.is_rooted else -1)


@pytest.mark.parametrize("in_place", [False, True])
def test_messages_that_share_chunks_of_which_one_is_still_in_the_input_are_sent_right(in_place: bool) -> None:
    """The first lies in the input; the second, of the same round, lies half elsewhere and is brought together."""
    copies = [[(0, 0, 1, 0, 1)], [(1, 0, 0, 0, 1)], [(0, 1, 1, 1, 2), (0, 0, 2, 0, 2)], [(1, 2, 2, 2, 1)]]
    rounds = [[(*transfer, False) for transfer in listed] for listed in copies]
    schedule = schedule_from("broadcast", 3, 3, 0, rounds)
    assert prove(schedule).rounds == 4
    inputs = some_inputs(COLLECTIVES["broadcast"], 3, 7, 0)
    for output in run_schedule(schedule, inputs, 7, in_place=in_place):
        np.testing.assert_array_equal(output, inputs[0])


@pytest.mark.parametrize("in_place", [False, True])
def test_a_message_of_more_chunks_than_the_vector_has_is_packed_and_unpacked(in_place: bool) -> None:
    rounds = [[(0, 0, 0, 1, 1, False)], [(0, 0, 1, 0, 1, True), (0, 1, 1, 1, 1, False)], [(1, 0, 0, 0, 1, False)]]
    schedule = schedule_from("all_reduce", 2, 1, 1, rounds)
    assert prove(schedule).additions == 1
    inputs = some_inputs(COLLECTIVES["all_reduce"], 2, 5, -1)
    for output in run_schedule(schedule, inputs, 5, in_place=in_place):
        np.testing.assert_array_equal(output, inputs[0] + inputs[1])
