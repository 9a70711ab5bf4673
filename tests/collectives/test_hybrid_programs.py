"""Fused programs with messages between hosts: what the schedule computes, no race, no deadlock, nothing to spare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from collective_cases import named, roots, schedule_of, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Algorithm
from clusterbench.collectives.collective import COLLECTIVES, Collective
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.fusion.check import check_fused
from clusterbench.collectives.fusion.fuse import fuse
from clusterbench.collectives.fusion.steps import (
    INBOX,
    INPUT,
    OUTPUT,
    Complete,
    FusedProgram,
    Pass,
    Receive,
    Send,
    Step,
    Wait,
)  # fmt: skip
from clusterbench.collectives.transports.hybrid import hosts_in_blocks

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]
every_algorithm = pytest.mark.parametrize(
    ("algorithm", "what"), SERVED, ids=[f"{what.name}-{a.name}" for a, what in SERVED]
)


def ways(what: Collective) -> list[tuple[bool, bool]]:
    """In place or not, staged or not."""
    return [(in_place, staged) for in_place in ((False,) if what.uneven else (False, True)) for staged in (False, True)]


def host_lists(ranks: int) -> list[tuple[int, ...]]:
    """Ranks on hosts in blocks, the last perhaps smaller, and in turn."""
    blocks = {hosts_in_blocks(ranks, host_ranks) for host_ranks in (1, 2, 3)}
    in_turn = {tuple(rank % hosts for rank in range(ranks)) for hosts in (2, 3)}
    return sorted(blocks | in_turn)


@every_algorithm
@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 8])
def test_programs_do_what_the_schedule_does_without_a_race(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is not None:
        assert ranks < algorithm.min_ranks
        return
    for options in variants(algorithm, ranks)[:: 1 if ranks < 4 else -4]:
        for root in roots(what, ranks)[-1:]:
            schedule = schedule_of(algorithm, what, ranks, root, options)
            for hosts in host_lists(ranks):
                for in_place, staged in ways(what):
                    with named(options=options, root=root, hosts=hosts, in_place=in_place, staged=staged):
                        programs = fuse(schedule, in_place, staged, hosts)
                        assert check_fused(schedule, programs, in_place, staged, hosts) is None


@settings(max_examples=60)
@given(data=st.data())
def test_ranks_may_lie_on_hosts_anyhow(data: st.DataObject) -> None:
    algorithm, what = data.draw(st.sampled_from(SERVED))
    ranks = data.draw(st.integers(max(2, algorithm.min_ranks), 8))
    hosts = data.draw(st.lists(st.integers(0, 3), min_size=ranks, max_size=ranks))
    root = data.draw(st.integers(0, ranks - 1)) if what.is_rooted else -1
    options = data.draw(st.sampled_from(variants(algorithm, ranks)))
    schedule = schedule_of(algorithm, what, ranks, root, options)
    in_place, staged = data.draw(st.sampled_from(ways(what)))
    programs = fuse(schedule, in_place, staged, hosts)
    assert check_fused(schedule, programs, in_place, staged, hosts) is None
    for program in programs:
        for step in program.steps:
            if isinstance(step, Send | Receive):
                assert hosts[step.peer] != hosts[program.rank]
            elif isinstance(step, Wait):
                assert hosts[step.rank] == hosts[program.rank]


def worse(steps: tuple[Step, ...]) -> Iterator[tuple[str, list[Step]]]:
    """The steps with one of their messages changed for the worse."""
    for i, step in enumerate(steps):
        rest = [*steps[:i], *steps[i + 1 :]]
        if isinstance(step, Send | Receive):
            yield f"without {step}", rest
            if step.count > 1:
                yield f"{step} one chunk less", [*steps[:i], replace(step, count=step.count - 1), *steps[i + 1 :]]
            for k in range(i + 1, len(steps)):
                other = steps[k]
                if type(other) is type(step) and isinstance(other, Send | Receive) and other.peer == step.peer:
                    swapped = list(steps)
                    swapped[i], swapped[k] = other, step
                    yield f"{step} and {other} the other way round", swapped
                    break
        if isinstance(step, Complete):
            yield f"without {step}", rest
            if not all(isinstance(later, Complete) for later in steps[i:]):
                yield f"{step} at the end", [*rest, step]
        if isinstance(step, Wait):
            yield f"without {step}", rest


@every_algorithm
def test_a_message_or_a_wait_that_is_missing_late_or_in_another_order_is_found(
    algorithm: Algorithm, what: Collective
) -> None:
    hosts = (0, 0, 1, 1)
    schedule = schedule_of(algorithm, what, 4, 3 if what.is_rooted else -1, {})
    for in_place, staged in ways(what):
        programs = fuse(schedule, in_place, staged, hosts)
        for rank in (0, 3):
            for how, steps in worse(programs[rank].steps):
                with named(rank=rank, how=how, in_place=in_place, staged=staged):
                    changed = [replace(p, steps=tuple(steps)) if p.rank == rank else p for p in programs]
                    assert check_fused(schedule, changed, in_place, staged, hosts) is not None


def fused(
    algorithm: str, collective: str, hosts: tuple[int, ...], staged: bool = False, in_place: bool = False
) -> list[FusedProgram]:  # fmt: skip
    what = COLLECTIVES[collective]
    return fuse(schedule_of(algorithms()[algorithm], what, len(hosts), -1, {}), in_place, staged, hosts)


def test_neighbouring_chunks_travel_as_one_message_into_their_place() -> None:
    """Recursive doubling over two hosts of two: the last exchange is of two chunks, with a rank of the other host."""
    for program in fused("recursive-doubling", "all_gather", (0, 0, 1, 1), in_place=True):
        (send,) = (step for step in program.steps if isinstance(step, Send))
        (receive,) = (step for step in program.steps if isinstance(step, Receive))
        assert (send.count, receive.count) == (2, 2)
        assert (send.source[1], receive.target[1]) == (OUTPUT, OUTPUT)
        sources = {place[0] for step in program.steps if isinstance(step, Pass) for place in step.sources}
        assert {rank // 2 for rank in sources} == {program.rank // 2}


@pytest.mark.parametrize("staged", [False, True])
def test_what_is_reduced_is_received_aside_and_sent_straight_from_the_input(staged: bool) -> None:
    for program in fused("direct", "reduce_scatter", (0, 1), staged):
        (send,) = (step for step in program.steps if isinstance(step, Send))
        (receive,) = (step for step in program.steps if isinstance(step, Receive))
        assert send.source[1] == INPUT
        assert receive.target[1] >= INBOX
        (one,) = (step for step in program.steps if isinstance(step, Pass))
        assert receive.target in one.sources


def test_without_hosts_all_ranks_share_memory() -> None:
    for program in fused("ring", "all_reduce", (7, 7, 7)):
        assert not any(isinstance(step, Send | Receive | Complete) for step in program.steps)


def test_a_flag_of_another_host_is_out_of_reach() -> None:
    schedule = schedule_of(algorithms()["ring"], COLLECTIVES["all_gather"], 3, -1, {})
    problem = check_fused(schedule, fuse(schedule, False, False), False, False, (0, 0, 1))
    assert problem is not None
    assert "which is on another host" in problem


def test_messages_that_wait_for_each_other_are_a_deadlock() -> None:
    """Each side completes its send before it begins to receive: it works only where a message is buffered."""
    schedule = schedule_of(algorithms()["recursive-doubling"], COLLECTIVES["all_reduce"], 2, -1, {})
    programs = []
    for program in fuse(schedule, False, False, (0, 1)):
        send = next(step for step in program.steps if isinstance(step, Send))
        rest = [step for step in program.steps if step not in (send, Complete(send.message))]
        programs.append(replace(program, steps=(send, Complete(send.message), *rest)))
    problem = check_fused(schedule, programs, False, False, (0, 1))
    assert problem is not None
    assert problem.startswith("deadlock: rank 0, step 1")


def test_hosts_that_are_not_one_a_rank_are_refused() -> None:
    schedule = schedule_of(algorithms()["ring"], COLLECTIVES["all_gather"], 3, -1, {})
    with pytest.raises(ValueError, match="host_of has 2 entries; expected one for each of 3 ranks"):
        fuse(schedule, False, False, (0, 1))
