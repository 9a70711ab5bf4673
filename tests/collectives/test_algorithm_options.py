"""Algorithms with options, as they are written on the command line; Bruck's radix."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from program_runner import run_schedule

from clusterbench.collectives.algorithm import Call, Spec, UnsuitableAlgorithmError, parse_specs
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms, schedule
from clusterbench.collectives.programs.program import compile_programs
from clusterbench.collectives.programs.steps import OP, PEER, RECV, SEND
from clusterbench.collectives.proof import prove
from clusterbench.collectives.schedule import Schedule

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
VALUES = st.from_regex(r"[a-z0-9x]{1,5}", fullmatch=True)
SPECS = st.builds(Spec, NAMES, st.dictionaries(NAMES, VALUES, max_size=3).map(lambda d: tuple(d.items())))


def test_options_go_to_the_algorithm_before_them() -> None:
    assert parse_specs("chain:segments=4, Two_Level:dims=2x4,segments=2,ring") == [
        Spec("chain", (("segments", "4"),)),
        Spec("two-level", (("dims", "2x4"), ("segments", "2"))),
        Spec("ring"),
    ]
    assert parse_specs("") == []


@given(st.lists(SPECS, max_size=5))
def test_what_is_written_is_read_again(specs: list[Spec]) -> None:
    assert parse_specs(",".join(map(str, specs))) == specs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("segments=4,chain", "'segments=4' stands before any algorithm"),
        ("chain:segments", "'chain:segments': expected NAME:OPTION=VALUE"),
        ("chain:segments=", "'chain:segments=': expected NAME:OPTION=VALUE"),
        ("chain:=4", "'chain:=4': expected NAME:OPTION=VALUE"),
        ("chain:", "'chain:': expected NAME:OPTION=VALUE"),
        ("chain:segments=4,dims=", "'dims=': expected NAME:OPTION=VALUE"),
    ],
)
def test_a_malformed_option_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UnsuitableAlgorithmError, match=complaint):
        parse_specs(text)


@pytest.mark.parametrize(
    ("spec", "collective", "complaint"),
    [
        ("ring:segments=4", "all_reduce", "ring has no option 'segments'; it has order"),
        ("bruck:base=3", "all_to_all", "bruck has no option 'base'; it has radix"),
        ("bruck:radix=1", "all_to_all", "bruck: radix=1; expected a whole number from 2 to 4096"),
        ("bruck:radix=two", "all_to_all", "bruck: radix=two; expected a whole number"),
        ("bruck:radix=-2", "all_to_all", "bruck: radix=-2; expected a whole number"),
        ("bruck", "all_reduce", "bruck does not serve all_reduce; .* is served by library, "),
        ("brück", "all_to_all", "unknown algorithm 'brück'; did you mean 'bruck'"),
    ],
)
def test_an_option_that_an_algorithm_cannot_take_is_refused(spec: str, collective: str, complaint: str) -> None:
    with pytest.raises(UnsuitableAlgorithmError, match=complaint):
        schedule(parse_specs(spec)[0], Call(COLLECTIVES[collective], 4))


def bruck(collective: str, ranks: int, radix: int) -> Schedule:
    return algorithms()["bruck"].schedule(Call(COLLECTIVES[collective], ranks, options={"radix": str(radix)}))


@pytest.mark.parametrize("radix", [3, 4, 5, 4096])
@pytest.mark.parametrize("ranks", [2, 3, 5, 6, 9, 13, 16, 27])
def test_bruck_works_at_every_radix_in_one_round_a_digit(ranks: int, radix: int) -> None:
    digits = next(d for d in range(1, ranks + 1) if radix**d >= ranks)
    for collective in algorithms()["bruck"].collectives:
        made = bruck(collective, ranks, radix)
        prove(made)
        moving = [part for part in made.rounds() if (part.src != part.dst).any()]
        assert len(moving) == digits


@pytest.mark.parametrize("radix", [2, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_bruck_exchanges_any_blocks_at_any_timing(radix: int, in_place: bool) -> None:
    for ranks in (1, 3, 6, 7, 12):
        inputs = [np.random.default_rng(rank).integers(0, 10**6, 5 * ranks) for rank in range(ranks)]
        outputs = run_schedule(bruck("all_to_all", ranks, radix), inputs, 5, in_place=in_place, seed=ranks)
        blocks = np.stack(inputs).reshape(ranks, ranks, 5)
        np.testing.assert_array_equal(np.stack(outputs).reshape(ranks, ranks, 5), blocks.transpose(1, 0, 2))


def test_bruck_packs_the_blocks_for_a_rank_into_one_message() -> None:
    """p − 1 blocks of each rank travel in ⌈lg p⌉ messages out and as many in."""
    for ranks in (5, 8, 13):
        for program in compile_programs(bruck("all_to_all", ranks, 2), in_place=False):
            for op in (SEND, RECV):
                peers = program.steps[program.steps[:, OP] == op][:, PEER]
                assert len(peers) == len(set(peers)) == math.ceil(math.log2(ranks))


@pytest.mark.parametrize("ranks", [2, 4, 6, 8, 10, 16])
def test_pairwise_has_one_partner_at_a_time_over_an_even_number_of_ranks(ranks: int) -> None:
    rounds = list(algorithms()["pairwise"].schedule(Call(COLLECTIVES["all_to_all"], ranks)).rounds())
    assert len(rounds) == ranks - 1
    for part in rounds:
        assert sorted(part.src) == sorted(part.dst) == list(range(ranks))
        partner = dict(zip(part.src.tolist(), part.dst.tolist(), strict=True))
        assert all(partner[partner[rank]] == rank != partner[rank] for rank in partner)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 6, 7])
def test_pairwise_moves_blocks_of_any_length(ranks: int) -> None:
    generator = np.random.default_rng(ranks)
    counts = generator.integers(0, 5, (ranks, ranks)) * generator.integers(0, 2, (ranks, ranks))
    made = algorithms()["pairwise"].schedule(Call(COLLECTIVES["all_to_all_v"], ranks))
    blocks = [[generator.integers(0, 10**6, counts[src, dst]) for dst in range(ranks)] for src in range(ranks)]
    outputs = run_schedule(made, [np.concatenate(row) for row in blocks], counts, in_place=False, seed=ranks)
    for rank, output in enumerate(outputs):
        np.testing.assert_array_equal(output, np.concatenate([row[rank] for row in blocks]))


def test_every_option_says_what_it_means_and_its_default_is_accepted() -> None:
    for algorithm in algorithms().values():
        for name, option in algorithm.options.items():
            assert option.meaning
            for collective in algorithm.collectives:
                what = COLLECTIVES[collective]
                ranks = max(algorithm.min_ranks, 8)
                root = 0 if what.is_rooted else -1
                algorithm.schedule(Call(what, ranks, root, options={name: option.default}))
            assert re.fullmatch("[a-z][a-z-]*", name)
