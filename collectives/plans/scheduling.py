"""Makes a schedule of a plan: its steps ordered, its memory followed, its moves cut into rounds.

A plan says nothing of a root, which for MSCCL the call has; it is the one rank for which the plan computes its
collective.
"""

from __future__ import annotations

from clusterbench.collectives.plans.memory import memory_of
from clusterbench.collectives.plans.order import Order, order_of
from clusterbench.collectives.plans.plan import Plan, PlanError
from clusterbench.collectives.plans.rounds import phases_of
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.schedule_file import check_size

MOST_ROOTS = 32
"""Roots that are tried: each costs a proof."""


def schedule_of(plan: Plan) -> Schedule:
    """The schedule of a plan, well formed but not proven; of one for both placements the one out of place.

    Raises `PlanError` for a plan that cannot end or races, and where one that claims both placements computes its
    collective in one of them only.
    """
    order = order_of(plan)
    fault: ValueError | None = None
    ways = [False] * plan.out_of_place + [True] * plan.in_place
    roots = _roots(plan)
    for root in roots:
        try:
            schedule = _schedule(plan, order, ways[0], root)
            for aliased in ways[1:]:
                _refuse_different(plan, _schedule(plan, order, aliased, root))
            if len(roots) > 1:
                prove(schedule, programs=False)
        except ValueError as error:
            if getattr(error, "exit_code", None) is None:
                raise
            fault = fault or error
        else:
            return schedule
    assert fault is not None  # there is at least one root, or the plan has none
    if isinstance(fault, ProofError):
        tried = "whichever rank" if len(roots) == len(plan.gpus) else f"whichever of the {len(roots)} likeliest ranks"
        raise PlanError(f"{plan.file}: {tried} is the root, {plan.collective.name} fails its proof: {fault}")
    raise fault


def _schedule(plan: Plan, order: Order, aliased: bool, root: int) -> Schedule:
    ranks = len(plan.gpus)
    of = Schedule(plan.collective, ranks, plan.chunks, tuple, root=root)
    memory = memory_of(plan, order, aliased, [range(*of.gives(rank)) for rank in range(ranks)])
    phases = phases_of(memory, plan.chunks)
    scratch = max(memory.ends) - plan.chunks
    check_size(ranks, plan.chunks, scratch)
    # A method of the list, unlike a lambda, can be sent to other ranks.
    return Schedule(plan.collective, ranks, plan.chunks, phases.copy, scratch, root)


def _refuse_different(plan: Plan, in_place: Schedule) -> None:
    try:
        prove(in_place, programs=False)
    except ProofError as error:
        raise PlanError(f"{plan.file}: inplace is 1, but in place it fails its proof: {error}") from None


def _roots(plan: Plan) -> list[int]:
    """The ranks that may be the root, the likeliest first: who sends without having received, or keeps what it gets."""
    if not plan.collective.is_rooted:
        return [-1]
    sends, receives = (
        [sum(getattr(step.kind, which) for block in gpu.blocks for step in block.steps) for gpu in plan.gpus]
        for which in ("sends", "receives")
    )
    extra = [a - b for a, b in zip(sends, receives, strict=True)]
    from_root = plan.collective.takes == "root"
    return sorted(range(len(extra)), key=lambda rank: -extra[rank] if from_root else extra[rank])[:MOST_ROOTS]
