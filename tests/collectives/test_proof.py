"""The proof accepts what is right (the contract shows that) and rejects every kind of mutant, naming the place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.compiler import (
    AREG,
    COPY,
    COUNT,
    DCHUNK,
    GROW,
    LENGTH,
    OP,
    OUTPUT,
    PEER,
    RECV,
    REDUCE,
    REQ,
    SCHUNK,
    SEND,
    SREG,
    STAGING,
    WAIT,
)
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.program import Program, compile_programs
from clusterbench.collectives.program_check import check_programs
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Phase, Schedule, phase

COLUMNS = ("src", "src_chunk", "dst", "dst_chunk", "count", "reduce", "step", "route")


def schedule_of(name: str = "ring", collective: str = "all_reduce", ranks: int = 4) -> Schedule:
    return algorithms()[name].schedule(COLLECTIVES[collective], ranks)


def mutated(schedule: Schedule, number: int, change: Callable[[Phase], Phase]) -> Schedule:
    """The schedule with one round changed."""
    rounds = [change(r) if i == number else r for i, r in enumerate(schedule.rounds())]
    return replace(schedule, phases=lambda: rounds)


def column_changed(name: str, transfer: int, value: int) -> Callable[[Phase], Phase]:
    def change(part: Phase) -> Phase:
        column = getattr(part, name).copy()
        column[transfer] = value
        return replace(part, **{name: column}, modulus=1 << 20)

    return change


def kept(part: Phase, which: np.ndarray) -> Phase:
    return replace(part, **{name: getattr(part, name)[which] for name in COLUMNS})


def without(transfer: int) -> Callable[[Phase], Phase]:
    return lambda part: kept(part, np.delete(np.arange(len(part)), transfer))


def twice(transfer: int) -> Callable[[Phase], Phase]:
    return lambda part: kept(part, np.append(np.arange(len(part)), transfer))


# Ring over four ranks: in round 0 rank r sends chunk r to rank r + 1; rounds 3 to 5 copy.
SCHEDULE_MUTANTS: dict[str, tuple[int, Callable[[Phase], Phase], str]] = {
    "a transfer is dropped while reducing": (1, without(2), r"chunk \d of rank \d lacks the contribution of rank"),
    "a transfer is dropped while copying": (4, without(1), "lacks the contribution"),
    "a contribution is added twice": (0, twice(3), "round 0.*added twice"),
    "chunks are crossed at the sender": (1, column_changed("src_chunk", 0, 2), "round 1.*holds a part of chunk"),
    "chunks are crossed at the receiver": (1, column_changed("dst_chunk", 0, 2), "round 1.*holds a part of chunk"),
    "the wrong rank sends": (2, column_changed("src", 1, 3), "lacks the contribution"),
    "the wrong rank receives": (3, column_changed("dst", 0, 2), "lacks the contribution|copy and another"),
    "a reduction copies instead": (1, column_changed("reduce", 0, 0), "lacks the contribution"),
    "a copy reduces instead": (3, column_changed("reduce", 0, 1), "round 3.*added twice"),
    "a chunk beyond the vector": (0, column_changed("src_chunk", 0, 4), "round 0.*within 0 to 3"),
    "a negative chunk": (0, column_changed("dst_chunk", 0, -1), "round 0.*within 0 to 3"),
    "a rank that is not there": (0, column_changed("dst", 0, 4), "round 0.*ranks 0 to 3"),
    "no chunks at all": (0, column_changed("count", 0, 0), "round 0.*at least 1 chunk"),
    "more chunks than there are": (0, column_changed("count", 3, 2), "round 0.*within 0 to 3"),
    "a copy beside another write": (3, twice(0), "round 3.*copy and another write"),
    "everything in the last round is dropped": (5, lambda part: kept(part, np.arange(0)), "lacks the contribution"),
}


@pytest.mark.parametrize("kind", SCHEDULE_MUTANTS)
def test_a_mutant_of_a_schedule_is_rejected(kind: str) -> None:
    number, change, complaint = SCHEDULE_MUTANTS[kind]
    with pytest.raises(ProofError, match=complaint):
        prove(mutated(schedule_of(), number, change))


def test_a_chunk_in_the_place_of_another_is_rejected() -> None:
    crossed = column_changed("dst_chunk", 0, 2)
    with pytest.raises(ProofError, match="chunk"):
        prove(mutated(schedule_of("ring", "all_gather"), 0, crossed))


def test_reading_a_chunk_without_a_value_is_rejected() -> None:
    early = column_changed("src_chunk", 0, 3)
    with pytest.raises(ProofError, match="has no value yet"):
        prove(mutated(schedule_of("ring", "all_gather"), 0, early))


def test_a_round_reads_the_values_before_it() -> None:
    """A swap of two ranks' chunks in one round is an exchange, not a chain."""
    what = COLLECTIVES["all_reduce"]
    swap = phase(src=[0, 1], dst=[1, 0], chunk=0, reduce=True, modulus=1)
    assert prove(Schedule(what, 2, 1, lambda: [swap])).additions == 1
    one_by_one = [phase(src=rank, dst=1 - rank, chunk=0, reduce=True, modulus=1) for rank in range(2)]
    with pytest.raises(ProofError, match="added twice"):
        prove(Schedule(what, 2, 1, lambda: one_by_one))


@settings(max_examples=60)
@given(data=st.data())
def test_no_transfer_of_any_algorithm_can_be_missed(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(algorithms())))
    collective = data.draw(st.sampled_from(sorted(algorithms()[name].cost)))
    schedule = schedule_of(name, collective, data.draw(st.integers(2, 9)))
    rounds = list(schedule.rounds())
    number = data.draw(st.integers(0, len(rounds) - 1))
    with pytest.raises(ProofError):
        prove(mutated(schedule, number, without(data.draw(st.integers(0, len(rounds[number]) - 1)))))


@settings(max_examples=40)
@given(order=st.permutations(range(6)))
def test_a_ring_in_any_order_of_ranks_is_proven(order: list[int]) -> None:
    ring = schedule_of("ring", "all_reduce", 6)
    places = np.array(order)

    def reordered() -> list[Phase]:
        return [replace(part, src=places[part.src], dst=places[part.dst]) for part in ring.phases()]

    assert prove(replace(ring, phases=reordered)).additions == 5


def changed_program(programs: list[Program], rank: int, change: Callable[[np.ndarray], np.ndarray]) -> list[Program]:
    return [replace(p, steps=change(p.steps.copy())) if p.rank == rank else p for p in programs]


def first_step(steps: np.ndarray, op: int) -> int:
    return int(np.flatnonzero(steps[:, OP] == op)[0])


def wait_before_send(steps: np.ndarray) -> np.ndarray:
    """Receive and wait before sending anything: two ranks that both do so wait for each other."""
    receive, send = first_step(steps, RECV), first_step(steps, SEND)
    request = steps[receive, REQ]
    wait = int(np.flatnonzero((steps[:, OP] == WAIT) & (steps[:, REQ] == request))[0])
    order = [i for i in range(len(steps)) if i != wait]
    order.insert(order.index(min(receive, send)) + 1 + (receive > send), wait)
    order.sort(key=lambda i: (i != receive and i != wait and steps[i, OP] not in (5, 6)) * 1)
    return steps[order]


def set_value(op: int, column: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(steps: np.ndarray) -> np.ndarray:
        steps[first_step(steps, op), column] = value
        return steps

    return change


def dropped(op: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda steps: np.delete(steps, first_step(steps, op), axis=0)


PROGRAM_MUTANTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "a send is forgotten": (dropped(SEND), "messages are sent"),
    "a receive is forgotten": (dropped(RECV), "messages are sent"),
    "a message to the wrong rank": (set_value(SEND, PEER, 3), "rank"),
    "a message of the wrong length": (set_value(SEND, COUNT, 2), "rank|outside"),
    "a reduction outside the output": (set_value(REDUCE, DCHUNK, 9), "chunk 9 lies outside the output"),
    "a read outside the staging area": (set_value(REDUCE, SCHUNK, 99), "outside the staging area"),
    "a send from the staging area": (set_value(SEND, SREG, STAGING), "outside|while a message"),
    "a reduction onto the wrong operand": (set_value(REDUCE, AREG, OUTPUT), "no value yet"),
    "a piece of the wrong length": (
        set_value(GROW, LENGTH, 3),
        "with 1 elements .* messages are sent|with 11 elements .* bytes",
    ),
    "a reduction turned into a copy": (set_value(REDUCE, OP, COPY), "at the end: chunk"),
}


@pytest.mark.parametrize("kind", PROGRAM_MUTANTS)
def test_a_mutant_of_a_program_is_rejected(kind: str) -> None:
    schedule = schedule_of()
    change, complaint = PROGRAM_MUTANTS[kind]
    programs = compile_programs(schedule, in_place=False)
    assert check_programs(schedule, programs) is None
    problem = check_programs(schedule, changed_program(programs, 1, change))
    assert problem is not None
    assert re.search(complaint, problem)


@pytest.mark.parametrize("name", sorted(algorithms()))
@pytest.mark.parametrize("collective", sorted(COLLECTIVES))
def test_no_wait_of_any_program_can_be_missed(name: str, collective: str) -> None:
    schedule = schedule_of(name, collective, 5)
    programs = compile_programs(schedule, in_place=False)
    for wait in np.flatnonzero(programs[2].steps[:, OP] == WAIT):
        without = changed_program(programs, 2, lambda steps, wait=wait: np.delete(steps, wait, axis=0))
        assert check_programs(schedule, without) is not None


@settings(max_examples=60)
@given(data=st.data())
def test_no_step_that_moves_data_can_be_missed(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(algorithms())))
    collective = data.draw(st.sampled_from(sorted(algorithms()[name].cost)))
    schedule = schedule_of(name, collective, data.draw(st.integers(2, 7)))
    programs = compile_programs(schedule, in_place=data.draw(st.booleans()))
    rank = data.draw(st.integers(0, schedule.ranks - 1))
    moving = np.flatnonzero(np.isin(programs[rank].steps[:, OP], (SEND, RECV, REDUCE, COPY)))
    step = data.draw(st.sampled_from(moving.tolist()))
    without = changed_program(programs, rank, lambda steps: np.delete(steps, step, axis=0))
    assert check_programs(schedule, without) is not None


def test_a_chunk_in_the_place_of_one_of_another_length_is_rejected() -> None:
    what = COLLECTIVES["all_gather"]

    def phases() -> list[Phase]:
        aside = phase(src=0, dst=1, chunk=0, dst_chunk=1, modulus=4)
        return [aside, phase(src=1, dst=1, chunk=1, dst_chunk=0, modulus=4)]

    with pytest.raises(ProofError, match="differ in length; use scratch chunks"):
        prove(Schedule(what, 2, 4, phases))


def test_ranks_that_all_wait_before_they_send_deadlock() -> None:
    schedule = schedule_of("recursive-doubling", "all_reduce", 2)
    programs = compile_programs(schedule, in_place=False)
    for rank in range(2):
        programs = changed_program(programs, rank, wait_before_send)
    problem = check_programs(schedule, programs)
    assert problem is not None
    assert problem.startswith("deadlock: rank 0, step")


def test_a_copy_into_the_input_is_rejected() -> None:
    schedule = schedule_of("ring", "all_gather")
    programs = compile_programs(schedule, in_place=False)

    def write_input(steps: np.ndarray) -> np.ndarray:
        steps[first_step(steps, COPY), 2] = 0
        return steps

    problem = check_programs(schedule, changed_program(programs, 2, write_input))
    assert problem is not None
    assert "writes to the input" in problem
