"""Programs of schedules that no algorithm makes: local copies, scratch, several reductions, cut messages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives import program
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.compiler import RECV, SEND
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.program import compile_programs, lower
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Phase, Schedule, chunk_offsets, phase

RANKS = 3


def replayed(schedule: Schedule, inputs: list[np.ndarray], count: int) -> list[np.ndarray]:
    """What the rounds of an all_reduce schedule do to the inputs, by their definition, chunk by chunk."""
    offsets = chunk_offsets(schedule, count)
    vector = [slice(first, end) for first, end in pairwise(offsets)]
    memory = [[x[s].copy() for s in vector] + [np.zeros(0, x.dtype)] * schedule.scratch_chunks for x in inputs]
    for part in schedule.rounds():
        before = [[chunk.copy() for chunk in chunks] for chunks in memory]
        order = sorted(
            range(len(part)), key=lambda t: next(
                i for i in range(len(part)) if (part.src[i], part.dst[i]) == (part.src[t], part.dst[t])
            ),
        )  # fmt: skip
        for t in order:
            for i in range(part.count[t]):
                value = before[part.src[t]][part.src_chunk[t] + i]
                target = memory[part.dst[t]]
                place = part.dst_chunk[t] + i
                target[place] = target[place] + value if part.reduce[t] else value.copy()
    return [np.concatenate(chunks[: schedule.chunks]) for chunks in memory]


@st.composite
def rounds(draw: st.DrawFn, chunks: int, scratch: int) -> list[Phase]:
    """Random rounds: transfers between any ranks, local ones too, of one chunk each, copied or reduced."""
    space = chunks + scratch
    made = []
    for _ in range(draw(st.integers(1, 5))):
        transfers = draw(
            st.lists(
                st.tuples(
                    st.integers(0, RANKS - 1), st.integers(0, RANKS - 1), st.integers(0, space - 1),
                    st.integers(0, space - 1), st.booleans(),
                ),
                min_size=1, max_size=5,
            )
        )  # fmt: skip
        src, dst, chunk, dst_chunk, reduce = zip(*transfers, strict=True)
        made.append(phase(src=src, dst=dst, chunk=chunk, dst_chunk=dst_chunk, reduce=reduce, modulus=space))
    return made


def is_followable(schedule: Schedule) -> bool:
    """Whether the schedule breaks no rule but that of its result, so that it can be compiled and replayed."""
    try:
        prove(schedule, programs=False)
    except ProofError as error:
        return str(error).startswith("at the end")
    return True


@settings(max_examples=400)
@given(data=st.data())
def test_programs_do_what_their_rounds_do(data: st.DataObject) -> None:
    chunks, scratch = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2))
    made: list[Phase] = []
    for part in data.draw(rounds(chunks, scratch)):
        if is_followable(Schedule(COLLECTIVES["all_reduce"], RANKS, chunks, lambda part=part: [*made, part], scratch)):
            made.append(part)
    schedule = Schedule(COLLECTIVES["all_reduce"], RANKS, chunks, lambda: made, scratch)
    count = data.draw(st.integers(1, 7))
    inputs = [np.random.default_rng(rank).integers(1, 100, count, dtype=np.int64) for rank in range(RANKS)]
    expected = replayed(schedule, inputs, count)
    outputs = run_schedule(
        schedule, inputs, count, in_place=data.draw(st.booleans()), seed=data.draw(st.integers(0, 9))
    )
    for rank in range(RANKS):
        np.testing.assert_array_equal(outputs[rank], expected[rank])


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


@pytest.mark.parametrize("name", sorted(algorithms()))
@pytest.mark.parametrize("in_place", [False, True])
def test_messages_longer_than_mpi_counts_are_cut(name: str, in_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "MESSAGE_BYTES", 64)
    schedule = algorithms()[name].schedule(COLLECTIVES["all_reduce"], 5)
    for compiled in compile_programs(schedule, in_place):
        lowered = lower(compiled, 1000, 4)
        messages = lowered.steps[np.isin(lowered.steps[:, 0], (SEND, RECV))]
        assert messages[:, 7].max() <= 64
        assert messages[:, 8].max() < lowered.requests
    inputs = [np.random.default_rng(rank).integers(-99, 99, 1000, dtype=np.int32) for rank in range(5)]
    for output in run_schedule(schedule, inputs, 1000, in_place=in_place):
        np.testing.assert_array_equal(output, np.sum(inputs, axis=0))
