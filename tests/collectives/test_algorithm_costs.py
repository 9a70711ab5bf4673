"""Algorithms take the rounds and send the volume that was published, and what is regular is not held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from collective_cases import named

from clusterbench.collectives.algorithm import Call, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.algorithms import double_binary_tree, multi_ring, swing, two_level
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule import Schedule

Row = tuple[str, str, int, Fraction | int]
"""Algorithm, collective, rounds, and vectors that all ranks together send."""


def built(spec: str, collective: str, ranks: int, host_ranks: int = 0) -> Schedule:
    what = COLLECTIVES[collective]
    return schedule(parse_specs(spec)[0], Call(what, ranks, ranks // 2 if what.is_rooted else -1, host_ranks))


def rings(p: int) -> Iterator[Row]:
    for name in ("ring", "bidirectional-ring", "multi-ring", "multi-ring:rings=3", f"two-level:dims={p}"):
        yield name, "all_reduce", 2 * (p - 1), 2 * (p - 1)
        yield name, "reduce_scatter", p - 1, p - 1
        yield name, "all_gather", p - 1, p - 1


def halving(p: int) -> Iterator[Row]:
    """Of a power of two the least volume; an extra rank sends a vector (or a part) before, and gets one after."""
    k = p.bit_length() - 1
    extras = p - (1 << k)
    part = Fraction(1, p)
    fold = 2 if extras else 0
    for name in ("halving-doubling", "swing"):
        yield name, "all_reduce", 2 * k + fold, 2 * ((1 << k) - 1) + 2 * extras
    for name in ("halving-doubling", "swing", "recursive-doubling"):
        yield name, "reduce_scatter", k + fold, (1 << k) - 1 + extras * (1 + part)
        yield name, "all_gather", k + fold, (1 << k) - 1 + extras * (part + 1 - part)
    yield "recursive-doubling", "all_reduce", k + fold, (1 << k) * k + 2 * extras


def trees(p: int) -> Iterator[Row]:
    up = (p - 1).bit_length()
    # A part goes as many times as its relabelled rank has ones.
    scattered = Fraction(sum(v.bit_count() for v in range(p)), p)
    yield "binomial", "all_reduce", 2 * up, 2 * (p - 1)
    for collective in ("broadcast", "reduce"):
        yield "binomial", collective, up, p - 1
        yield "chain", collective, p - 1, p - 1
        yield "chain:segments=5", collective, p - 2 + 5, p - 1
        yield "double-binary-tree", collective, (p - 1).bit_length(), p - 1
        yield "double-binary-tree:segments=5", collective, (p - 1).bit_length() - 1 + 5, p - 1
    yield "binomial", "scatter", up, scattered
    yield "binomial", "gather", up, scattered
    yield "scatter-allgather", "broadcast", up + p - 1, scattered + Fraction((p - 1) ** 2, p)
    yield "scatter-allgather", "reduce", p - 1 + up, scattered + p - 1
    height = p.bit_length() - 1
    yield "double-binary-tree", "all_reduce", 2 * height, 2 * (p - 1)
    yield "double-binary-tree:segments=5", "all_reduce", 2 * height - 1 + 5, 2 * (p - 1)


def exchanges(p: int) -> Iterator[Row]:
    part = Fraction(1, p)
    yield "direct", "all_reduce", 2, 2 * (p - 1)
    for collective in ("reduce_scatter", "all_gather", "all_to_all", "all_to_all_v", "broadcast", "reduce"):
        yield "direct", collective, 1, p - 1
    for collective in ("scatter", "gather"):
        yield "direct", collective, 1, (p - 1) * part
    yield "bruck", "all_gather", (p - 1).bit_length(), p - 1
    yield "bruck", "reduce_scatter", (p - 1).bit_length(), p - 1


def levels(p: int) -> Iterator[Row]:
    if p % 4 == 0:
        yield f"two-level:dims=4x{p // 4}", "all_reduce", 2 * (3 + p // 4 - 1), 2 * (p - 1)
        yield f"two-level:dims={p // 4}x4", "reduce_scatter", 3 + p // 4 - 1, p - 1
        yield f"two-level:dims=2x{p // 4}x2", "all_gather", 1 + p // 4 - 1 + 1, p - 1
    leaders = -(-p // 3)
    k = leaders.bit_length() - 1
    among = 2 * k + (2 if leaders > 1 << k else 0)
    inside = 2 * (min(3, p) - 1).bit_length()
    core = 1 << k
    if p >= 3:
        sent = 2 * (p - leaders) + 2 * (core - 1) + 2 * (leaders - core)
        yield "leader:group=3", "all_reduce", inside + among, sent
        yield "leader:group=3", "broadcast", inside // 2 + (leaders - 1).bit_length(), p - 1


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 12, 16, 17])
def test_rounds_and_volume_are_as_published(ranks: int) -> None:
    for family in (rings, halving, trees, exchanges, levels):
        for spec, collective, rounds, vectors in family(ranks):
            with named(spec=spec, collective=collective, ranks=ranks):
                made = built(spec, collective, ranks)
                proof = prove(made, programs=False)
                assert (proof.rounds, Fraction(proof.chunks_moved, made.chunks)) == (rounds, vectors)


@pytest.mark.parametrize("ranks", [4, 8, 16, 32])
def test_bruck_sends_half_of_the_vector_in_each_round_of_an_exchange(ranks: int) -> None:
    made = built("bruck", "all_to_all", ranks)
    proof = prove(made, programs=False)
    assert Fraction(proof.chunks_moved, made.chunks) == Fraction(ranks, 2) * (ranks.bit_length() - 1)


def test_segments_of_two_levels_share_their_rounds() -> None:
    """Three segments of two dimensions of four: 3 + 2·2 − 1 stages of three rounds, instead of 3·4 of them."""
    made = built("two-level:dims=4x4,segments=3", "all_reduce", 16)
    assert prove(made, programs=False).rounds == 3 * (3 + 4 - 1)


def test_two_levels_send_between_hosts_what_one_host_must() -> None:
    hosts, host_ranks = 4, 8
    made = built("two-level", "all_reduce", hosts * host_ranks, host_ranks)
    between = sum(
        int(part.count[part.src // host_ranks != part.dst // host_ranks].sum()) for part in made.rounds()
    )  # fmt: skip
    assert Fraction(between, made.chunks) == 2 * (hosts - 1)


@pytest.mark.parametrize("ranks", [*range(1, 40), 64, 100])
def test_every_rank_is_inner_in_one_of_both_trees_at_most(ranks: int) -> None:
    both = double_binary_tree.edges(np.arange(ranks))
    inner = [set(both.parent[both.half == half].tolist()) for half in (0, 1)]
    assert not inner[0] & inner[1]
    for half in (0, 1):
        assert len(set(both.child[both.half == half].tolist())) == ranks - 1
    assert max(both.depth, default=0) == ranks.bit_length() - 1


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [(1, [1, 1, 1]), (2, [1, 1, 1]), (5, [1, 2, 4]), (6, [1, 5, 1]), (7, [1, 2, 3]), (8, [1, 3, 7]), (12, [1, 5, 11])],
)
def test_rings_have_strides_of_their_own_as_far_as_there_are_any(ranks: int, expected: list[int]) -> None:
    assert multi_ring.strides(ranks, 3) == expected


def test_swing_talks_to_nearer_ranks_than_powers_of_two() -> None:
    member = np.arange(64)
    distances = []
    for step in range(6):
        away = (swing.partner(member, 64, step) - member) % 64
        distances.append(int(min(away[0], 64 - away[0])))
    assert distances == [1, 1, 3, 5, 11, 21]


@pytest.mark.parametrize(
    ("spec", "collective"),
    [
        ("ring", "all_reduce"),
        ("bidirectional-ring", "all_reduce"),
        ("multi-ring:rings=4", "reduce_scatter"),
        ("binomial", "scatter"),
        ("double-binary-tree:segments=16", "all_reduce"),
        ("chain:segments=64", "broadcast"),
        ("scatter-allgather", "broadcast"),
        ("two-level", "all_reduce"),
        ("two-level:dims=8x12500,segments=4", "all_reduce"),
        ("leader", "all_reduce"),
        ("swing", "all_reduce"),
        ("halving-doubling", "all_reduce"),
        ("direct", "gather"),
    ],
)
def test_a_hundred_thousand_ranks_need_few_transfers_in_memory(spec: str, collective: str) -> None:
    ranks = 100_000
    for part in islice(built(spec, collective, ranks).phases(), 50):
        assert 0 < len(part) <= 4 * ranks


@pytest.mark.parametrize(
    ("spec", "collective", "complaint"),
    [
        ("direct", "all_to_all", "direct: all_to_all over 100000 ranks has 9999900000 transfers in a round"),
        ("swing", "all_gather", "swing: all_gather over 100000 ranks has 1073741824 transfers in a round"),
        ("two-level:dims=8x12500", "reduce_scatter", "two-level: .*has 1250000000 transfers in a round"),
        ("two-level:dims=8x12501", "all_reduce", "two-level: dims=8x12501; expected factors of 100000 with x between"),
        ("two-level:dims=8x", "all_reduce", "dims=8x; expected factors"),
        ("two-level:dims=-8x-12500", "all_reduce", "dims=-8x-12500; expected factors"),
        ("two-level:segments=0", "all_reduce", "segments=0; expected a whole number from 1"),
        ("multi-ring:rings=65", "all_reduce", "multi-ring: rings=65; expected a whole number from 1 to 64"),
        ("leader:group=0", "all_reduce", "leader: group=0; expected a whole number from 1 to 100000"),
        ("chain:segments=x", "broadcast", "chain: segments=x; expected a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(spec: str, collective: str, complaint: str) -> None:
    with pytest.raises(UnsuitableAlgorithmError, match=complaint):
        built(spec, collective, 100_000)


def test_dimensions_are_those_of_the_hosts_or_nearest_to_each_other() -> None:
    def dims(ranks: int, host_ranks: int) -> tuple[int, ...]:
        call = Call(COLLECTIVES["all_reduce"], ranks, host_ranks=host_ranks, options={"dims": "auto"})
        return two_level.dimensions(call)

    assert dims(32, 8) == (8, 4)
    assert dims(32, 0) == (4, 8)
    assert dims(32, 32) == (4, 8)
    assert dims(12, 5) == (3, 4)
    assert dims(17, 0) == (17,)
    assert dims(1, 1) == (1,)
