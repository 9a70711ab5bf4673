"""All pairs of ranks: rounds, what stands out, who is to blame, and the command on real ranks."""

from __future__ import annotations

import csv
import io
from itertools import combinations
from pathlib import Path

import mpi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.bench.pairs.outliers import class_figures, culprits, outliers, typical_pair
from clusterbench.bench.pairs.runs import SAMPLED_FROM, SAMPLED_ROUNDS, pair_classes, rounds
from clusterbench.bench.worlds.world import RankPlace
from clusterbench.results.journal import read_journal


@given(st.integers(2, SAMPLED_FROM), st.integers(0, 100))
def test_every_pair_meets_once_in_rounds_of_disjoint_pairs(ranks: int, seed: int) -> None:
    found = rounds(ranks, seed)
    assert len(found) == (ranks - 1 if ranks % 2 == 0 else ranks)
    for pairs in found:
        assert len({rank for pair in pairs for rank in pair}) == 2 * len(pairs) == ranks - ranks % 2
    assert sorted(pair for pairs in found for pair in pairs) == list(combinations(range(ranks), 2))


@settings(max_examples=15)
@given(st.integers(SAMPLED_FROM + 1, 700), st.integers(0, 100))
def test_many_ranks_meet_a_sample_of_the_others(ranks: int, seed: int) -> None:
    found = rounds(ranks, seed)
    assert len(found) == SAMPLED_ROUNDS
    pairs = [pair for pairs in found for pair in pairs]
    assert len(set(pairs)) == len(pairs)
    assert all(0 <= low < high < ranks for low, high in pairs)
    met = np.bincount(np.array(pairs).ravel(), minlength=ranks)
    assert set(met) <= ({63} if ranks % 2 == 0 else {62, 63})
    for turn in found:
        assert len({rank for pair in turn for rank in pair}) == 2 * len(turn)


def test_the_sample_depends_on_the_seed_alone() -> None:
    assert rounds(100, 1) == rounds(100, 1)
    assert rounds(100, 1) != rounds(100, 2)


def test_pairs_are_told_apart_by_what_they_share() -> None:
    places = [("a", (0,)), ("a", (1,)), ("a", (0,)), ("b", (0,)), ("b", (0, 1)), ("b", (0, 1))]
    classes = pair_classes(tuple(RankPlace(i, host, 1, 0, cores, "") for i, (host, cores) in enumerate(places)))
    assert [classes[0, other] for other in range(1, 6)] == [1, 0, 2, 2, 2]
    assert classes[4, 5] == 1, "ranks that may run on several cores share none for certain"
    assert (classes == classes.T).all()


def noise(ranks: int, seed: int, spread: float = 0.02) -> np.ndarray:
    times_s = 1e-6 * np.random.default_rng(seed).lognormal(0, spread, (ranks, ranks))
    np.fill_diagonal(times_s, np.nan)
    return times_s


def one_class(ranks: int) -> np.ndarray:
    return np.zeros((ranks, ranks), np.int64)


@pytest.mark.parametrize("spread", [0.01, 0.05])
@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 32])
def test_nothing_stands_out_of_noise(ranks: int, spread: float) -> None:
    named = sum(bool(outliers(noise(ranks, seed, spread), one_class(ranks))) for seed in range(200))
    assert named <= 2


@pytest.mark.parametrize("ranks", [3, 5, 8, 40])
def test_a_slow_direction_of_one_pair_is_found_alone(ranks: int) -> None:
    times_s = noise(ranks, 1)
    times_s[1, 2] *= 1.5
    (found,) = outliers(times_s, one_class(ranks))
    assert (found.src, found.dst) == (1, 2)
    assert found.excess == pytest.approx(1.5, rel=0.1)
    assert found.median_s == pytest.approx(1e-6, rel=0.05)


@pytest.mark.parametrize("ranks", [3, 4, 5, 8])
def test_a_slow_rank_is_found_though_it_may_be_in_half_of_all_pairs(ranks: int) -> None:
    times_s = noise(ranks, 2)
    times_s[1, :] *= 3
    times_s[:, 1] *= 3
    found = outliers(times_s, one_class(ranks))
    assert {(o.src, o.dst) for o in found} == {(1, r) for r in range(ranks) if r != 1} | {
        (r, 1) for r in range(ranks) if r != 1
    }


def test_a_rank_that_only_sends_slowly_is_found_by_its_own_pairs() -> None:
    times_s = noise(4, 3)
    times_s[2, :] *= 3
    assert {(o.src, o.dst) for o in outliers(times_s, one_class(4))} == {(2, 0), (2, 1), (2, 3)}


def test_slower_by_less_than_matters_is_not_named() -> None:
    times_s = noise(8, 4, 0.001)
    times_s[0, 1] *= 1.15
    assert outliers(times_s, one_class(8)) == []


def test_a_tail_that_is_usual_for_its_class_is_not_named() -> None:
    times_s = noise(16, 5, 0.3)
    worst = np.nanmax(times_s) / np.nanmedian(times_s)
    assert worst > 1.5
    assert outliers(times_s, one_class(16)) == []


def test_pairs_between_hosts_are_not_compared_with_those_inside() -> None:
    host = np.arange(8) // 4
    classes = np.where(host[:, None] == host[None, :], 1, 2)
    times_s = noise(8, 6) * np.where(classes == 2, 10, 1)
    assert outliers(times_s, classes) == []
    times_s[0, 1] *= 5  # slow for its host, and still faster than any pair between hosts
    assert [(o.src, o.dst) for o in outliers(times_s, classes)] == [(0, 1)]


def test_pairs_that_were_not_measured_do_not_count() -> None:
    times_s = noise(80, 7)
    times_s[np.random.default_rng(1).random((80, 80)) < 0.5] = np.nan
    times_s[3, 4] = 9e-6
    assert [(o.src, o.dst) for o in outliers(times_s, one_class(80))] == [(3, 4)]
    assert outliers(np.full((3, 3), np.nan), one_class(3)) == []


def test_the_worst_come_first() -> None:
    times_s = noise(10, 8)
    for factor, (src, dst) in ((2, (0, 1)), (4, (5, 2)), (3, (7, 8))):
        times_s[src, dst] *= factor
    assert [(o.src, o.dst) for o in outliers(times_s, one_class(10))] == [(5, 2), (7, 8), (0, 1)]


@given(st.integers(2, 9), st.integers(0, 10_000))
def test_the_pair_to_compare_with_is_of_the_class_and_does_not_stand_out(ranks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times_s = noise(ranks, seed, 1.0)
    times_s[rng.random((ranks, ranks)) < 0.2] = np.nan
    classes = rng.integers(0, 2, (ranks, ranks))
    out = outliers(times_s, classes)
    for outlier in out:
        which = classes[outlier.src, outlier.dst]
        pair = typical_pair(times_s, classes, which, out)
        assert classes[pair] == which
        assert not np.isnan(times_s[pair])
        assert pair not in {(o.src, o.dst) for o in out}


def everyone(ranks: int) -> list[tuple[int, int]]:
    return list(combinations(range(ranks), 2))


@pytest.mark.parametrize(
    ("bad", "ranks", "expected"),
    [
        ([], 4, {}),
        ([(1, 2)], 4, {(1, 2): "rank 1 - rank 2"}),
        ([(2, 1)], 4, {(2, 1): "rank 1 - rank 2"}),
        ([(1, 2), (2, 1)], 4, {(1, 2): "rank 1 - rank 2", (2, 1): "rank 1 - rank 2"}),
        ([(0, 3), (1, 3), (3, 2)], 4, {(0, 3): "rank 3", (1, 3): "rank 3", (3, 2): "rank 3"}),
        ([(0, 3), (3, 7)], 8, {(0, 3): "rank 3", (3, 7): "rank 3"}),
        ([(0, 1), (2, 3)], 8, {(0, 1): "rank 0 - rank 1", (2, 3): "rank 2 - rank 3"}),
        # Three pairs among three ranks: no rank is in all of them, and none is bad with most of the others.
        ([(0, 1), (1, 2), (0, 2)], 9, {pair: f"rank {pair[0]} - rank {pair[1]}" for pair in [(0, 1), (1, 2), (0, 2)]}),
    ],
)
def test_who_is_to_blame(bad: list[tuple[int, int]], ranks: int, expected: dict[tuple[int, int], str]) -> None:
    assert culprits(bad, everyone(ranks)) == expected


def test_two_bad_ranks_and_a_bad_wire_are_told_apart() -> None:
    bad = [pair for pair in everyone(12) if 3 in pair or 8 in pair] + [(0, 1)]
    named = culprits(bad, everyone(12))
    assert {named[pair] for pair in bad if 3 in pair and 8 not in pair} == {"rank 3"}
    assert {named[pair] for pair in bad if 8 in pair and 3 not in pair} == {"rank 8"}
    assert named[0, 1] == "rank 0 - rank 1"


def test_the_figures_of_a_class() -> None:
    times_s = np.array([[np.nan, 1.0, 2.0], [4.0, np.nan, 9.0], [9.0, 9.0, np.nan]])
    classes = np.array([[0, 1, 1], [1, 0, 2], [2, 2, 0]])
    figures = class_figures(times_s, classes, 1)
    assert figures is not None
    assert (figures.pairs, figures.median_s, figures.mad_s, figures.best_s, figures.worst_s) == (3, 2.0, 1.0, 1.0, 4.0)
    assert class_figures(times_s, classes, 0) is None


FEW = ("-n", "6", "-w", "1", "-b", "4099", "--window", "3")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, store: str) -> dict[str, tuple[mpi.Finished, Path]]:
    """How the commands ended, and the folder of the journal of each."""
    found = {}
    for ranks, commands in {
        1: {"alone": ()},
        2: {"json of 2": ("--json",), "csv": ("--csv", "--store", store, "--run-id", "mine", "-c", "0")},
        3: {"json of 3": ("--json",), "table": ("--seed", "5")},
        4: {"json of 4": ("--json",)},
    }.items():
        folders = [tmp_path_factory.mktemp("journals") for _ in commands]
        ended = mpi.each(ranks, [
            ("collectives", "pairs", "--journal", str(folder), *FEW, *arguments)
            for folder, arguments in zip(folders, commands.values(), strict=True)
        ])  # fmt: skip
        found.update(zip(commands, zip(ended, folders, strict=True), strict=True))
    return found


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_all_pairs_are_measured_both_ways(ranks: int, pairs: dict[str, tuple[mpi.Finished, Path]]) -> None:
    finished, folder = pairs[f"json of {ranks}"]
    document = mpi.document(finished)
    rows = [row for row in document["rows"] if row["algorithm"] == "at-once"]
    expected = set()
    for low, high in everyone(ranks):
        expected.add(("latency", f"bytes=8,src={low},dst={high}"))
        for src, dst in ((low, high), (high, low)):
            expected.add(("bandwidth", f"bytes=4099,src={src},dst={dst},window=3"))
    assert {(row["name"], row["shape"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in document["rows"]:
        assert row["suite"] == "pairs"
        assert row["wrong"] == 0
        assert row["n"] == 6
        assert row["verdict"] in ("PASS", "INCONCLUSIVE")
        assert row["algbw"] == pytest.approx(row["size_bytes"] / row["median_s"])
        assert row["culprit"] == "" or (row["algorithm"] == "alone" and row["reason"])
    assert document["run"]["status"] == "finished"
    (journal,) = folder.glob("*.pairs.jsonl")
    assert len(read_journal(journal).measurements) == len(document["rows"])


@pytest.mark.mpi
def test_the_matrix_is_printed(pairs: dict[str, tuple[mpi.Finished, Path]]) -> None:
    finished, _ = pairs["table"]
    assert finished.exit_code == 0, finished.stderr
    assert "3 of 3 pairs of 3 ranks" in finished.stdout
    lines = [line.split() for line in finished.stdout.splitlines()]
    assert lines.count(["from", "\\", "to", "0", "1", "2"]) == 2
    latency = [line for line in lines if len(line) == 3 and line[0] in "012"][:3]
    assert latency[0][1] == latency[1][1], "latency is that of a round trip, the same both ways"
    assert "same host" in finished.stdout


@pytest.mark.mpi
def test_csv_and_the_store_hold_the_same_rows(pairs: dict[str, tuple[mpi.Finished, Path]], store: str) -> None:
    finished, _ = pairs["csv"]
    assert finished.exit_code == 0, finished.stderr
    rows = list(csv.DictReader(io.StringIO(finished.stdout)))
    assert {row["wrong"] for row in rows} == {""}
    from clusterbench.results.store import Store

    with Store.open(store, create=False) as opened:
        kept = opened.frame(run_id=["mine"])
    assert sorted(kept["shape"]) == sorted(row["shape"] for row in rows)


@pytest.mark.mpi
def test_one_rank_has_no_pairs(pairs: dict[str, tuple[mpi.Finished, Path]]) -> None:
    finished, _ = pairs["alone"]
    assert finished.exit_code == 2
    assert "at least 2 ranks" in finished.stderr
    assert "Traceback" not in finished.stderr


SLOW = """
import sys, time
from clusterbench.bench.worlds.world import join_world
world = join_world()
import numpy as np
from dataclasses import replace
from clusterbench.bench.pairs import runs as pair_runs
from clusterbench.bench.measuring.sampling import Rules
# A machine of which only the figures are made up: the exchange is real, its time is what the test wants.
slow, always = {int(rank) for rank in sys.argv[1].split(",")}, sys.argv[2] == "always"
measured = pair_runs.measure
state = {"alone": False}
def measure(world, mpi, exchange, *more):
    found = measured(world, mpi, exchange, *more)
    ends = {world.rank, exchange.to}
    bad = slow <= ends and (always or not state["alone"])
    rng = np.random.default_rng([*sorted(ends), 1])
    seconds = (3e-6 if bad else 1e-6) * (1 + 0.01 * rng.random(len(found.samples.seconds)))
    return replace(found, samples=replace(found.samples, seconds=seconds))
pair_runs.measure = measure
pair_runs.pair_classes = lambda places: np.zeros((len(places), len(places)), np.int64)
def step(text, done):
    if text:  # else only a sign of life
        state["alone"] = "alone" in text
request = pair_runs.PairsRequest(8, 64, 2, True, Rules(iterations=8, warmup=1), 1)
runs = pair_runs.PairRuns(world, request)
kept = []
rows = list(runs.run("r", "d", lambda row, seconds: kept.append(row), step))
assert kept == rows
for row in rows:
    if row.algorithm == "alone":
        print(row.name, row.shape, row.culprit, row.verdict, row.reason or row.note, sep="|")
assert not (world.rank and rows)
"""


def slow(ranks: int, who: str, when: str) -> list[list[str]]:
    finished = mpi.ranks(ranks, "-c", SLOW, who, when)
    assert finished.exit_code == 0, finished.stderr
    return [line.split("|") for line in finished.stdout.splitlines()]


@pytest.mark.mpi
def test_a_slow_pair_is_measured_again_alone_and_named_with_both_figures() -> None:
    rows = slow(3, "0,2", "always")
    named = [row for row in rows if row[2]]
    assert sorted((row[0], row[1]) for row in named) == [
        ("bandwidth", "bytes=64,src=0,dst=2,window=2"),
        ("bandwidth", "bytes=64,src=2,dst=0,window=2"),
        ("latency", "bytes=8,src=0,dst=2"),
    ]
    for row in named:
        assert row[2] == "rank 0 - rank 2"
        assert row[3] == "PASS"
        assert row[4].startswith("with all pairs at once 3.0")
        assert "alone 3.0" in row[4]
    compared = [row for row in rows if not row[2]]
    assert len(compared) == 2 * len(named)
    assert all("measured to compare with" in row[4] for row in compared)


@pytest.mark.mpi
def test_a_slow_rank_is_named_where_all_its_pairs_are_slow() -> None:
    named = {row[2] for row in slow(4, "3", "always") if row[2]}
    assert named == {"rank 3"}


@pytest.mark.mpi
def test_what_is_slow_only_beside_the_others_is_not_named() -> None:
    rows = slow(3, "0,2", "at-once")
    assert rows
    assert not any(row[2] for row in rows)
    assert sum("not slow alone: with all pairs at once 3.0" in row[4] for row in rows) == 3
