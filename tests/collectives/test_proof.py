"""The proof accepts what is right (the contract shows that) and rejects every kind of mutant, naming the place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from collective_cases import Options, variants
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.proof import ProofError, prove
from clusterbench.collectives.schedule import Phase, Schedule, phase

NO_OPTIONS: Options = {}
COLUMNS = ("src", "src_chunk", "dst", "dst_chunk", "count", "reduce", "step", "route")


def schedule_of(
    name: str = "ring", collective: str = "all_reduce", ranks: int = 4, root: int = 1, options: Options = NO_OPTIONS
) -> Schedule:
    what = COLLECTIVES[collective]
    return algorithms()[name].schedule(Call(what, ranks, root if what.is_rooted else -1, options=options))


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
    "chunks are crossed at the sender": (
        1,
        column_changed("src_chunk", 0, 2),
        "round 1.*holds chunk \\d, expected the same as the sender's",
    ),
    "chunks are crossed at the receiver": (
        1,
        column_changed("dst_chunk", 0, 2),
        "round 1.*holds chunk \\d, expected the same as the sender's",
    ),
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


RANKS = 4
ROOT = 2
EACH = np.arange(RANKS)
OTHERS = np.delete(EACH, ROOT)


def straight(collective: str) -> Schedule:
    """The plainest schedule of a collective over four ranks: every chunk goes straight to where it must be."""
    what = COLLECTIVES[collective]
    src, dst = (
        np.delete(pairs, np.arange(RANKS) * (RANKS + 1)) for pairs in (EACH.repeat(RANKS), np.tile(EACH, RANKS))
    )
    rounds = {
        "broadcast": lambda: phase(src=ROOT, dst=OTHERS, chunk=0, modulus=1),
        "reduce": lambda: phase(src=OTHERS, dst=ROOT, chunk=0, reduce=True, modulus=1),
        "scatter": lambda: phase(src=ROOT, dst=OTHERS, chunk=OTHERS, modulus=RANKS),
        "gather": lambda: phase(src=OTHERS, dst=ROOT, chunk=OTHERS, modulus=RANKS),
        "all_gather": lambda: phase(src=src, dst=dst, chunk=src, modulus=RANKS),
        "reduce_scatter": lambda: phase(src=src, dst=dst, chunk=dst, reduce=True, modulus=RANKS),
        "all_to_all": lambda: phase(src=src, dst=dst, chunk=dst, dst_chunk=src, modulus=RANKS),
    }
    one = rounds[collective.removesuffix("_v")]()
    return Schedule(what, RANKS, what.parts(RANKS), lambda: [one], root=ROOT if what.is_rooted else -1)


@pytest.mark.parametrize("collective", sorted(set(COLLECTIVES) - {"all_reduce"}))
def test_the_plainest_schedule_of_a_collective_is_proven(collective: str) -> None:
    proof = prove(straight(collective))
    assert (proof.rounds, proof.additions) == (1, RANKS - 1 if COLLECTIVES[collective].reduces else 0)


# Transfer 0 is that of the first rank which is not the root, or from rank 0 to rank 1 where all exchange.
COLLECTIVE_MUTANTS: dict[str, tuple[str, Callable[[Phase], Phase], str]] = {
    "a rank is forgotten": ("broadcast", without(1), "at the end: chunk 0 of rank 1 holds no value, expected chunk 0"),
    "a rank is told twice": ("broadcast", twice(0), "round 0: rank 2 copies .* chunk 0 of rank 0: a copy and another"),
    "another rank than the root tells": (
        "broadcast", column_changed("src", 0, 3), "round 0: rank 3 copies chunk 0 .* chunk 0 of rank 3 has no value",
    ),
    "a broadcast reduces": (
        "broadcast", column_changed("reduce", 2, 1), "round 0: rank 2 reduces chunk 0 into chunk 0 of rank 3",
    ),
    "a contribution to the root is forgotten": (
        "reduce", without(2), "at the end: chunk 0 of rank 2 lacks the contribution of rank 3",
    ),
    "a contribution to the root is doubled": (
        "reduce", twice(1), "round 0: rank 1 reduces chunk 0 into chunk 0 of rank 2: a rank's contribution",
    ),
    "a contribution goes past the root": (
        "reduce", column_changed("dst", 0, 1), "at the end: chunk 0 of rank 2 lacks the contribution of rank 0",
    ),
    "a contribution replaces the root's": (
        "reduce", lambda part: column_changed("reduce", 0, 0)(kept(part, np.array([0]))),
        "at the end: chunk 0 of rank 2 lacks the contribution of rank 1, 2, 3",
    ),
    "a block for the wrong rank": (
        "scatter", column_changed("src_chunk", 0, 1), "at the end: chunk 0 of rank 0 holds chunk 1, expected chunk 0",
    ),
    "two crossed blocks": (
        "scatter", lambda part: replace(part, dst=part.dst[[1, 0, 2]]),
        "at the end: chunk 0 of rank 0 holds no value, expected chunk 0",
    ),
    "a block scattered by another rank": (
        "scatter", column_changed("src", 0, 1), "round 0: rank 1 copies chunk 0 .* chunk 0 of rank 1 has no value yet",
    ),
    "a block gathered into the slot of another": (
        "gather", column_changed("dst_chunk", 0, 2), "at the end: chunk 0 of rank 2 holds no value, expected chunk 0",
    ),
    "a block that its sender has not": (
        "gather", column_changed("src_chunk", 1, 0), "round 0: rank 1 copies chunk 0 .* chunk 0 of rank 1 has no value",
    ),
    "blocks that are added up at the root": (
        "gather", column_changed("reduce", 0, 1),
        "round 0: rank 0 reduces chunk 0 into chunk 0 of rank 2: gather reduces nothing",
    ),
    "a part in the place of another": (
        "all_gather", lambda part: column_changed("dst_chunk", 0, 2)(kept(part, np.delete(np.arange(12), 7))),
        "at the end: chunk 0 of rank 1 holds no value, expected chunk 0",
    ),
    "a part from a rank that has it not": (
        "all_gather", column_changed("src_chunk", 0, 3),
        "round 0: rank 0 copies chunk 3 .* chunk 3 of rank 0 has no value",
    ),
    "a sum for the wrong rank": (
        "reduce_scatter", column_changed("dst", 0, 3), "at the end: chunk 1 of rank 1 lacks the contribution of rank 0",
    ),
    "another part is added": (
        "reduce_scatter", column_changed("src_chunk", 0, 2),
        "round 0: rank 0 reduces chunk 2 into chunk 1 of rank 1: chunk 1 of rank 1 holds chunk 1, expected the same",
    ),
    "a block is kept": (
        "all_to_all", without(0), "at the end: chunk 0 of rank 1 holds chunk 0 of rank 1, expected chunk 1 of rank 0",
    ),
    "another block is sent": (
        "all_to_all", column_changed("src_chunk", 0, 3),
        "at the end: chunk 0 of rank 1 holds chunk 3 of rank 0, expected chunk 1 of rank 0",
    ),
    "a block from another sender": (
        "all_to_all", column_changed("src", 0, 3),
        "at the end: chunk 0 of rank 1 holds chunk 1 of rank 3, expected chunk 1 of rank 0",
    ),
    "a block in the slot of another sender": (
        "all_to_all_v", lambda part: column_changed("dst_chunk", 0, 1)(part),
        "at the end: chunk 0 of rank 1 holds chunk 0 of rank 1, expected chunk 1 of rank 0",
    ),
    "blocks that are added up": (
        "all_to_all", column_changed("reduce", 0, 1),
        "round 0: rank 0 reduces chunk 1 into chunk 0 of rank 1: all_to_all reduces nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLLECTIVE_MUTANTS)
def test_a_mutant_of_any_collective_is_rejected(kind: str) -> None:
    collective, change, complaint = COLLECTIVE_MUTANTS[kind]
    with pytest.raises(ProofError, match=complaint):
        prove(mutated(straight(collective), 0, change))


@pytest.mark.parametrize("collective", ["broadcast", "reduce", "scatter", "gather"])
def test_a_schedule_for_another_root_is_rejected(collective: str) -> None:
    with pytest.raises(ProofError, match=r"(has no value yet|lacks the contribution|holds no value)"):
        prove(replace(straight(collective), root=ROOT + 1))


def test_a_slot_that_is_overwritten_before_it_is_read_is_rejected() -> None:
    """The usual shift of a pairwise exchange: in round k to r + k and from r − k, which needs two vectors."""
    rounds = [
        phase(src=EACH, dst=(EACH + k) % RANKS, chunk=(EACH + k) % RANKS, dst_chunk=EACH, modulus=RANKS)
        for k in range(1, RANKS)
    ]
    with pytest.raises(ProofError, match="at the end: chunk 1 of rank 0 holds chunk 1 of rank 0, expected chunk 0 of"):
        prove(Schedule(COLLECTIVES["all_to_all"], RANKS, RANKS, lambda: rounds))


@pytest.mark.parametrize(
    ("name", "collective"), [("bruck", "all_gather"), ("bruck", "all_to_all"), ("swing", "all_reduce")]
)
def test_rounds_in_another_order_are_rejected(name: str, collective: str) -> None:
    schedule = schedule_of(name, collective, 8)
    rounds = list(schedule.rounds())
    prove(schedule, programs=False)
    with pytest.raises(ProofError):
        prove(replace(schedule, phases=lambda: [*rounds[1:], rounds[0]]), programs=False)


def test_a_value_that_was_put_aside_only_later_is_rejected() -> None:
    what = COLLECTIVES["broadcast"]
    aside = phase(src=0, dst=1, chunk=0, dst_chunk=1, modulus=2)
    home = phase(src=1, dst=1, chunk=1, dst_chunk=0, modulus=2)
    prove(Schedule(what, 2, 1, lambda: [aside, home], 1, 0))
    with pytest.raises(ProofError, match=r"round 0: rank 1 copies chunk 1 .* chunk 1 of rank 1 has no value yet"):
        prove(Schedule(what, 2, 1, lambda: [home, aside], 1, 0))


def test_a_round_reads_the_values_before_it() -> None:
    """A swap of two ranks' chunks in one round is an exchange, not a chain."""
    what = COLLECTIVES["all_reduce"]
    swap = phase(src=[0, 1], dst=[1, 0], chunk=0, reduce=True, modulus=1)
    assert prove(Schedule(what, 2, 1, lambda: [swap])).additions == 1
    one_by_one = [phase(src=rank, dst=1 - rank, chunk=0, reduce=True, modulus=1) for rank in range(2)]
    with pytest.raises(ProofError, match="added twice"):
        prove(Schedule(what, 2, 1, lambda: one_by_one))


# In a broadcast by scatter and all_gather the ring carries also what the scatter left on the way: it can be missed.
SERVED = [
    (name, collective)
    for name, a in algorithms().items()
    for collective in a.collectives
    if (name, collective) != ("scatter-allgather", "broadcast")
]


def flipped(transfer: int) -> Callable[[Phase], Phase]:
    return lambda part: column_changed("reduce", transfer, not part.reduce[transfer])(part)


def shifted(column: str, transfer: int, by: int, among: int) -> Callable[[Phase], Phase]:
    """The transfer with another rank, or chunk of the vector, in the place of the one that it names."""
    return lambda part: column_changed(column, transfer, (getattr(part, column)[transfer] + by) % among)(part)


@settings(max_examples=500)
@given(data=st.data())
def test_no_transfer_of_any_algorithm_can_be_missed_or_changed(data: st.DataObject) -> None:
    name, collective = data.draw(st.sampled_from(SERVED))
    ranks = data.draw(st.integers(max(2, algorithms()[name].min_ranks), 9))
    options = data.draw(st.sampled_from(variants(algorithms()[name], ranks)))
    schedule = schedule_of(name, collective, ranks, data.draw(st.integers(0, ranks - 1)), options)
    rounds = list(schedule.rounds())
    number = data.draw(st.integers(0, len(rounds) - 1))
    transfer = data.draw(st.integers(0, len(rounds[number]) - 1))
    is_of_vector = rounds[number].src_chunk[transfer] < schedule.chunks
    changes = {
        "dropped": without(transfer),
        "doubled": twice(transfer),
        "flipped": flipped(transfer),
    }
    if not rounds[number].reduce[transfer]:  # a contribution may do as well where another rank adds it
        changes["to another rank"] = shifted("dst", transfer, data.draw(st.integers(1, ranks - 1)), ranks)
    if is_of_vector and schedule.chunks > 1:
        by = data.draw(st.integers(1, schedule.chunks - 1))
        changes["of another chunk"] = shifted("src_chunk", transfer, by, schedule.chunks)
    kind = data.draw(st.sampled_from(sorted(changes)))
    with pytest.raises(ProofError, match=r"(round \d+: rank|at the end: chunk) \d"):
        prove(mutated(schedule, number, changes[kind]), programs=False)


@settings(max_examples=40)
@given(order=st.permutations(range(6)))
def test_a_ring_in_any_order_of_ranks_is_proven(order: list[int]) -> None:
    ring = schedule_of("ring", "all_reduce", 6)
    places = np.array(order)

    def reordered() -> list[Phase]:
        return [replace(part, src=places[part.src], dst=places[part.dst]) for part in ring.phases()]

    assert prove(replace(ring, phases=reordered)).additions == 5


def test_a_chunk_in_the_place_of_one_of_another_length_is_rejected() -> None:
    what = COLLECTIVES["all_gather"]

    def phases() -> list[Phase]:
        aside = phase(src=0, dst=1, chunk=0, dst_chunk=1, modulus=4)
        return [aside, phase(src=1, dst=1, chunk=1, dst_chunk=0, modulus=4)]

    with pytest.raises(ProofError, match="differ in length; use scratch chunks"):
        prove(Schedule(what, 2, 4, phases))
