"""Fused programs of every algorithm: the same operations as the schedule, no race, and nothing in them to spare."""

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
from clusterbench.collectives.fusion.steps import OUTPUT, START, Finish, FusedProgram, Pass, Step, Wait
from clusterbench.collectives.schedule import Schedule

SERVED = [(a, COLLECTIVES[name]) for a in algorithms().values() for name in a.cost]
NAMES = [f"{what.name}-{a.name}" for a, what in SERVED]
every_algorithm = pytest.mark.parametrize(("algorithm", "what"), SERVED, ids=NAMES)


def ways(what: Collective) -> list[tuple[bool, bool]]:
    """In place or not, staged or not."""
    return [(in_place, staged) for in_place in ((False,) if what.uneven else (False, True)) for staged in (False, True)]


def changed(programs: list[FusedProgram], rank: int, steps: list[Step]) -> list[FusedProgram]:
    return [replace(one, steps=tuple(steps)) if one.rank == rank else one for one in programs]


@every_algorithm
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 7, 8, 12])
def test_programs_do_what_the_schedule_does_without_a_race(algorithm: Algorithm, what: Collective, ranks: int) -> None:
    if algorithm.refusal(what, ranks) is not None:
        assert ranks < algorithm.min_ranks
        return
    tried = variants(algorithm, ranks)
    for options in tried if ranks < 5 else tried[-1:]:
        for root in roots(what, ranks):
            schedule = schedule_of(algorithm, what, ranks, root, options)
            for in_place, staged in ways(what):
                with named(options=options, root=root, in_place=in_place, staged=staged):
                    assert check_fused(schedule, fuse(schedule, in_place, staged), in_place, staged) is None


def without_one(steps: tuple[Step, ...]) -> Iterator[tuple[str, list[Step]]]:
    """The steps without one of them, for each that may not be missed."""
    for i, step in enumerate(steps):
        yield f"without {step}", [*steps[:i], *steps[i + 1 :]]


def worse(steps: tuple[Step, ...]) -> Iterator[tuple[str, list[Step]]]:
    """The steps with one of them changed for the worse."""
    for i, step in enumerate(steps):
        if isinstance(step, Wait) and step.round > START:
            yield f"{step} for an earlier round", [*steps[:i], replace(step, round=step.round - 1), *steps[i + 1 :]]
        if isinstance(step, Finish) and step.round > START:
            start = max((k + 1 for k in range(i) if isinstance(steps[k], Finish)), default=0)
            yield f"{step} before its passes", [*steps[:start], step, *steps[start:i], *steps[i + 1 :]]
        if isinstance(step, Pass):
            rank, region, chunk = step.targets[0]
            moved = replace(step, targets=((rank, region, chunk + 1), *step.targets[1:]))
            yield f"{step} elsewhere", [*steps[:i], moved, *steps[i + 1 :]]
            if len(step.sources) > 1:
                first, second, *others = step.sources
                swapped = replace(step, sources=(second, first, *others))
                yield f"{step} the other way round", [*steps[:i], swapped, *steps[i + 1 :]]


def is_idle(programs: list[FusedProgram], rank: int, missing: Step) -> bool:
    """Whether nobody waits in the call for what is missing: that a rank has entered is for the next call but one."""
    waited = any(Wait(rank, START) == step for program in programs for step in program.steps)
    return isinstance(missing, Finish) and missing.round == START and not waited


@every_algorithm
def test_no_step_can_be_missed(algorithm: Algorithm, what: Collective) -> None:
    for ranks in (max(2, algorithm.min_ranks), max(5, algorithm.min_ranks)):
        schedule = schedule_of(algorithm, what, ranks, ranks - 1 if what.is_rooted else -1, {})
        for in_place, staged in ways(what):
            programs = fuse(schedule, in_place, staged)
            for rank in range(ranks):
                for (how, steps), step in zip(
                    without_one(programs[rank].steps), programs[rank].steps, strict=True
                ):  # fmt: skip
                    with named(rank=rank, how=how, in_place=in_place, staged=staged):
                        fault = check_fused(schedule, changed(programs, rank, steps), in_place, staged)
                        assert (fault is not None) or is_idle(programs, rank, step)


@every_algorithm
def test_a_step_that_is_worse_is_found(algorithm: Algorithm, what: Collective) -> None:
    ranks = max(4, algorithm.min_ranks)
    schedule = schedule_of(algorithm, what, ranks, 1 if what.is_rooted else -1, {})
    for in_place, staged in ways(what):
        programs = fuse(schedule, in_place, staged)
        for rank in range(ranks):
            for how, steps in worse(programs[rank].steps):
                with named(rank=rank, how=how, in_place=in_place, staged=staged):
                    assert check_fused(schedule, changed(programs, rank, steps), in_place, staged) is not None


def simple(ranks: int = 2) -> Schedule:
    return schedule_of(algorithms()["recursive-doubling"], COLLECTIVES["all_reduce"], ranks, -1, {})


def test_ranks_that_wait_for_each_other_are_a_deadlock() -> None:
    programs = fuse(simple(), in_place=False, staged=True)
    for rank in range(2):
        steps = list(programs[rank].steps)
        wait = next(step for step in steps if isinstance(step, Wait))
        steps.remove(wait)
        programs = changed(programs, rank, [wait, *steps])
    problem = check_fused(simple(), programs, in_place=False, staged=True)
    assert problem is not None
    assert problem.startswith("deadlock: rank 0, step 0")


def test_a_stage_that_is_filled_again_without_waiting_for_a_reader_is_found() -> None:
    programs = fuse(simple(), in_place=False, staged=True)
    assert programs[0].readers == (1,)
    programs[0] = replace(programs[0], readers=())
    problem = check_fused(simple(), programs, in_place=False, staged=True)
    assert problem is not None
    assert "rank 0 returns while rank 1 uses" in problem


def test_memory_that_is_out_of_reach_is_found() -> None:
    problem = check_fused(simple(), fuse(simple(), in_place=False, staged=False), in_place=False, staged=True)
    assert problem is not None
    assert "out of reach" in problem


@settings(max_examples=60)
@given(data=st.data())
def test_what_is_fused_is_no_more_passes_than_transfers(data: st.DataObject) -> None:
    """One pass for all reductions into a chunk, and, registered, for the copies of its result too."""
    algorithm, what = data.draw(st.sampled_from([pair for pair in SERVED if pair[1].reduces]))
    ranks = data.draw(st.integers(max(2, algorithm.min_ranks), 9))
    root = data.draw(st.integers(0, ranks - 1)) if what.is_rooted else -1
    schedule = schedule_of(algorithm, what, ranks, root, data.draw(st.sampled_from(variants(algorithm, ranks))))
    moved = sum(int(phase.count.sum()) for phase in schedule.rounds())
    passes = [s for p in fuse(schedule, in_place=True, staged=False) for s in p.steps if isinstance(s, Pass)]
    assert sum(one.count for one in passes) <= moved + ranks * (schedule.chunks + schedule.scratch_chunks)


def test_a_direct_all_reduce_is_one_pass_a_rank_that_stores_everywhere() -> None:
    schedule = schedule_of(algorithms()["direct"], COLLECTIVES["all_reduce"], 4, -1, {})
    for program in fuse(schedule, in_place=False, staged=False):
        (one,) = (step for step in program.steps if isinstance(step, Pass))
        assert len(one.sources) == 4
        assert {(rank, region) for rank, region, _ in one.targets} == {(rank, OUTPUT) for rank in range(4)}
