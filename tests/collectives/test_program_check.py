"""Compiled programs are followed step by step: every kind of mutant is rejected, naming the rank and the step."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from collective_cases import schedule_of, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.programs.check import check_programs
from clusterbench.collectives.programs.program import Program, compile_programs
from clusterbench.collectives.programs.steps import (
    AREG,
    COPY,
    COUNT,
    DCHUNK,
    DREG,
    GROW,
    INPUT,
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
from clusterbench.collectives.schedule import Schedule

Steps = np.ndarray[Any, Any]
Change = Callable[[Steps], Steps]
SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.collectives]


def ring(collective: str = "all_reduce", ranks: int = 4) -> Schedule:
    return schedule_of(algorithms()["ring"], COLLECTIVES[collective], ranks, -1, {})


def changed(programs: list[Program], rank: int, change: Change) -> list[Program]:
    return [replace(p, steps=change(p.steps.copy())) if p.rank == rank else p for p in programs]


def first_step(steps: Steps, op: int) -> int:
    return int(np.flatnonzero(steps[:, OP] == op)[0])


def set_values(op: int, columns: tuple[int, ...], value: int) -> Change:
    def change(steps: Steps) -> Steps:
        steps[first_step(steps, op), list(columns)] = value
        return steps

    return change


def set_value(op: int, column: int, value: int) -> Change:
    return set_values(op, (column,), value)


def posted_never(op: int) -> Change:
    """Neither posted nor waited for."""

    def change(steps: Steps) -> Steps:
        posted = first_step(steps, op)
        waits = np.flatnonzero((steps[:, OP] == WAIT) & (steps[:, REQ] == steps[posted, REQ]))
        return np.delete(steps, [posted, waits[waits > posted][0]], axis=0)

    return change


def dropped(op: int) -> Change:
    return lambda steps: np.delete(steps, first_step(steps, op), axis=0)


MUTANTS: dict[str, tuple[Change, str]] = {
    "a send is forgotten": (posted_never(SEND), "rank 1 sends rank 2 5 messages, of which that receives 6"),
    "a receive is forgotten": (posted_never(RECV), "rank 0 sends rank 1 6 messages, of which that receives 5"),
    "a message is waited for that was never sent": (dropped(SEND), "rank 1, step .* that is not in flight"),
    "the length of another chunk": (set_value(REDUCE, LENGTH, 2), "rank 1, step .* length of another chunk"),
    "a message to the wrong rank": (set_value(SEND, PEER, 3), "rank 1 sends rank 2 5 messages"),
    "a message of the wrong length": (set_value(SEND, COUNT, 2), "rank 1, step .* sends 2 chunks|outside the input"),
    "a reduction outside the output": (set_value(REDUCE, DCHUNK, 9), "rank 1, step .* chunk 9 lies outside the output"),
    "a read outside the staging area": (set_value(REDUCE, SCHUNK, 99), "chunk 99 lies outside the staging area"),
    "a send from the staging area": (set_value(SEND, SREG, STAGING), "outside the staging|while a message"),
    "a reduction onto the wrong operand": (set_value(REDUCE, AREG, OUTPUT), "rank 1, step .* no value yet"),
    "a piece of the wrong length": (
        set_value(GROW, LENGTH, 3),
        "rank 0, step .* to rank 1, .* chunks of other lengths",
    ),
    "a reduction turned into a copy": (set_value(REDUCE, OP, COPY), "at the end: chunk . of the output of rank"),
    "a reduction into a different chunk": (
        set_values(REDUCE, (DCHUNK, LENGTH), 2),
        "rank 1, step .* reduces a chunk into a diff",
    ),
    "a reduction written to the input": (set_value(REDUCE, DREG, INPUT), "rank 1, step .* writes to the input"),
    "a wait for another message": (set_value(WAIT, REQ, 1), "rank 1, step .* (never waited for|while a message)"),
}


@pytest.mark.parametrize("kind", MUTANTS)
def test_a_mutant_of_a_program_is_rejected(kind: str) -> None:
    schedule = ring()
    change, complaint = MUTANTS[kind]
    programs = compile_programs(schedule, in_place=False)
    assert check_programs(schedule, programs) is None
    problem = check_programs(schedule, changed(programs, 1, change))
    assert problem is not None
    assert re.search(complaint, problem)


@pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED])
def test_no_wait_of_any_program_can_be_missed(algorithm: Algorithm, what: Collective) -> None:
    """Over five ranks, in the program of one; of an algorithm with options with the last of them."""
    ranks = max(5, algorithm.min_ranks)
    schedule = schedule_of(algorithm, what, ranks, 1 if what.is_rooted else -1, variants(algorithm, ranks)[-1])
    programs = compile_programs(schedule, in_place=False)
    waits = np.flatnonzero(programs[2].steps[:, OP] == WAIT)
    assert len(waits)
    for wait in waits:
        without = changed(programs, 2, lambda steps, wait=wait: np.delete(steps, wait, axis=0))
        problem = check_programs(schedule, without)
        assert problem is not None
        assert "rank 2, step" in problem


@settings(max_examples=150)
@given(data=st.data())
def test_no_step_that_moves_data_can_be_missed(data: st.DataObject) -> None:
    algorithm, what = data.draw(st.sampled_from(SERVED))
    ranks = data.draw(st.integers(max(2, algorithm.min_ranks), 7))
    root = data.draw(st.integers(0, ranks - 1)) if what.is_rooted else -1
    schedule = schedule_of(algorithm, what, ranks, root, data.draw(st.sampled_from(variants(algorithm, ranks))))
    programs = compile_programs(schedule, in_place=not what.uneven and data.draw(st.booleans()))
    rank = data.draw(st.integers(0, ranks - 1))
    moving = np.flatnonzero(np.isin(programs[rank].steps[:, OP], (SEND, RECV, REDUCE, COPY)))
    step = data.draw(st.sampled_from(moving.tolist()))
    without = changed(programs, rank, lambda steps: np.delete(steps, step, axis=0))
    assert check_programs(schedule, without) is not None


def wait_before_send(steps: Steps) -> Steps:
    """Receive and wait before sending anything: two ranks that both do so wait for each other."""
    receive, send = first_step(steps, RECV), first_step(steps, SEND)
    request = steps[receive, REQ]
    wait = int(np.flatnonzero((steps[:, OP] == WAIT) & (steps[:, REQ] == request))[0])
    order = [i for i in range(len(steps)) if i != wait]
    order.insert(order.index(min(receive, send)) + 1 + (receive > send), wait)
    order.sort(key=lambda i: (i != receive and i != wait and steps[i, OP] not in (5, 6)) * 1)
    return steps[order]


def test_ranks_that_all_wait_before_they_send_deadlock() -> None:
    schedule = schedule_of(algorithms()["recursive-doubling"], COLLECTIVES["all_reduce"], 2, -1, {})
    programs = compile_programs(schedule, in_place=False)
    for rank in range(2):
        programs = changed(programs, rank, wait_before_send)
    problem = check_programs(schedule, programs)
    assert problem is not None
    assert problem.startswith("deadlock: rank 0, step")


def test_a_copy_into_the_input_is_rejected() -> None:
    schedule = ring("all_gather")
    programs = compile_programs(schedule, in_place=False)
    problem = check_programs(schedule, changed(programs, 2, set_value(COPY, DREG, INPUT)))
    assert problem is not None
    assert "writes to the input" in problem


def test_blocks_that_arrive_in_each_others_slots_are_rejected() -> None:
    """Equal lengths, no race, no deadlock: only where the values come from tells."""
    schedule = schedule_of(algorithms()["pairwise"], COLLECTIVES["all_to_all"], 4, -1, {})
    programs = compile_programs(schedule, in_place=False)

    def crossed(steps: Steps) -> Steps:
        into_output = np.flatnonzero((steps[:, OP] == RECV) & (steps[:, DREG] == OUTPUT))
        assert len(into_output) >= 2
        for column in (DCHUNK, LENGTH):
            steps[into_output[[0, 1]], column] = steps[into_output[[1, 0]], column]
        return steps

    assert check_programs(schedule, programs) is None
    problem = check_programs(schedule, changed(programs, 3, crossed))
    assert problem is not None
    assert re.fullmatch("at the end: chunk . of the output of rank 3 is not what it must be", problem)


def test_a_piece_packed_where_a_message_is_being_sent_from_is_rejected() -> None:
    """A staging area is filled from its start again once it is sent, as when the program is lowered."""
    schedule = schedule_of(algorithms()["recursive-doubling"], COLLECTIVES["reduce_scatter"], 9, -1, {})
    programs = compile_programs(schedule, in_place=True)

    def packed_again(late: bool) -> Change:
        def change(steps: Steps) -> Steps:
            send = int(np.flatnonzero((steps[:, OP] == SEND) & (steps[:, SREG] == STAGING))[0])
            area = steps[send, SCHUNK]
            piece = int(np.flatnonzero((steps[:, OP] == COPY) & (steps[:, DREG] == STAGING))[0])
            assert steps[piece, DCHUNK] == area
            waits = np.flatnonzero((steps[:, OP] == WAIT) & (steps[:, REQ] == steps[send, REQ]))
            after = int(waits[waits > send][0]) if late else send
            return np.insert(steps, after + 1, steps[piece], axis=0)

        return change

    assert check_programs(schedule, changed(programs, 1, packed_again(late=True))) is None
    problem = check_programs(schedule, changed(programs, 1, packed_again(late=False)))
    assert problem is not None
    assert re.search("rank 1, step . of its program: touches the staging area while a message", problem)
