"""Rules for the library: how they are chosen, what of them is kept, and that the real library goes by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.launching.launch import find_mpiexec, mpiexec_family, run_mpiexec
from clusterbench.bench.measuring.forced_library import ForcedLibraryError, forced_environment, rules_environment
from clusterbench.bench.tuning.choosing import Choice, by_point, fastest, gains, kept, mean_ratio
from clusterbench.bench.tuning.rules import tuned_rules
from clusterbench.collectives.plans.tuned_rules import (
    RulesError,
    TunedRule,
    TunedRules,
    parse_tuned_rules,
    tuned_rules_text,
    write_tuned_rules,
)
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Ratio

OPEN_MPI = mpiexec_family(find_mpiexec() or "mpiexec")[0] == "openmpi"


def row(algorithm: str, size_bytes: int, median_s: float, ranks: int = 4, verdict: str = "PASS") -> Measurement:
    return Measurement(
        run_id="r",
        suite="collectives",
        name="all_reduce",
        algorithm=algorithm,
        transport="library",
        dtype="float32",
        op="sum",
        size_bytes=size_bytes,
        ranks=ranks,
        nodes=1,
        placement="out_of_place",
        median_s=median_s,
        verdict=verdict,
        evidence="measured",
        started_at="2026-01-01T00:00:00+00:00",
    )


def test_the_fastest_by_the_median_over_launches_is_chosen_where_it_gains() -> None:
    rows = [
        *(row("library:fixed", 1024, time_s) for time_s in (1.0, 1.0, 1.0)),
        *(row("library:3", 1024, time_s) for time_s in (0.8, 0.9, 5.0)),
        *(row("library:4", 1024, time_s) for time_s in (0.1, 1.2, 1.2)),
        row("library:fixed", 4096, 1.0),
        row("library:3", 4096, 0.985),  # no gain that is worth a rule
        row("library:fixed", 8192, 1.0),
        row("library:4", 8192, 0.5, verdict="INVALID"),
        row("library:3", 8192, 2.0),
        row("library", 8192, 0.1),  # told nothing: what another component does is no rule of this one
        row("ring", 8192, 0.1),
        row("library:3", 16384, 0.5),  # nothing to hold it against
    ]
    assert fastest(rows) == [
        Choice("all_reduce", 4, 1024, 3),
        Choice("all_reduce", 4, 4096, 0),
        Choice("all_reduce", 4, 8192, 0),
    ]


def test_segments_are_part_of_a_choice_and_of_its_rule() -> None:
    rows = [
        row("library:fixed", 1024, 1.0), row("library:5", 1024, 0.7), row("library:5:segment=512", 1024, 0.6),
        row("library:fixed", 4096, 1.0), row("library:5", 4096, 0.6), row("library:5:segment=512", 4096, 0.7),
    ]  # fmt: skip
    choices = fastest(rows)
    assert choices == [Choice("all_reduce", 4, 1024, 5, 512), Choice("all_reduce", 4, 4096, 5)]
    assert tuned_rules(choices).collectives[2][4] == (
        TunedRule(0, 0), TunedRule(1024, 5, 4, 512), TunedRule(4096, 5, 4),
    )  # fmt: skip
    assert kept(choices, {})[0] == Choice("all_reduce", 4, 1024)


def test_the_library_is_told_segments_and_what_is_none_is_refused() -> None:
    told = forced_environment("broadcast", "3:segment=65536")
    assert told["OMPI_MCA_coll_tuned_bcast_algorithm"] == "3"
    assert told["OMPI_MCA_coll_tuned_bcast_algorithm_segmentsize"] == "65536"
    assert not [name for name in forced_environment("broadcast", "3") if "segment" in name]
    for wrong in ("3:segment=0", "3:segment=64K", "3:segment=2147483648", "3:", "3;4"):
        with pytest.raises(ForcedLibraryError, match="expected a number or a name"):
            forced_environment("broadcast", wrong)


def test_only_what_is_faster_when_measured_again_is_kept() -> None:
    choices = [Choice("all_reduce", 4, size, 3) for size in (1024, 4096, 8192)]
    before, after = [], []
    for launch in range(8):
        for size, factor in ((1024, 0.5), (4096, 1.0), (8192, 1.5)):
            noise = 1 + 0.001 * ((launch * 7 + size) % 5)
            before.append(row("library:fixed", size, noise))
            after.append(row("library:rules", size, factor * (2 - noise)))
    found = by_point(gains(before, after, seed=1))
    assert [choice.algorithm for choice in kept(choices, found)] == [3, 0, 0]
    assert [choice.algorithm for choice in kept(choices, {})] == [0, 0, 0]
    assert found["all_reduce", 4, 8192].change == "worse"


def test_the_gain_is_the_geometric_mean_over_sizes_and_a_size_without_a_rule_counts_as_one() -> None:
    def turn(noise: float, *sizes: int) -> tuple[list[Measurement], list[Measurement]]:
        before = [row("library:fixed", size, noise * size) for size in sizes]
        return before, [replace(one, algorithm="library:rules", median_s=one.size_bytes / 4) for one in before]

    kept_at = {1024: 3, 4096: 0, 16384: 3, 65536: 0}
    choices = [Choice("all_reduce", 4, size, number) for size, number in kept_at.items()]
    turns = [turn(1 + 0.01 * k, *kept_at) for k in range(-3, 4)]
    found = mean_ratio(turns, choices, seed=1)
    # Two of four sizes take a quarter of the time: (1/4 · 1/4 · 1 · 1)^(1/4).
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert found.high is not None
    assert 0.5 * 1.03**-0.5 <= found.low < 0.5 < found.high <= 0.5 * 0.97**-0.5
    # What slows both of a pair, or leaves a size out, changes nothing.
    slowed = [replace(one, median_s=5 * (one.median_s or 0)) for one in turns[0][0]]
    slowed_after = [replace(one, median_s=5 * (one.median_s or 0)) for one in turns[0][1]]
    short = turn(9.0, 1024)
    disturbed = mean_ratio([(slowed, slowed_after), *turns[1:], short], choices, seed=1)
    assert disturbed is not None
    assert disturbed.value == pytest.approx(0.5, rel=0.01)
    assert mean_ratio([short], choices, seed=1) is None
    assert mean_ratio(turns[:2], choices, seed=1) == Ratio(pytest.approx(0.5, rel=0.02), None, None)
    nothing = mean_ratio(turns, [replace(choice, algorithm=0) for choice in choices], seed=1)
    assert nothing == Ratio(1.0, None, None)


def test_rules_begin_where_the_choice_changes_and_leave_other_communicators_alone() -> None:
    chosen = [(1024, 0), (4096, 3), (16384, 3), (65536, 4), (262144, 0)]
    choices = [Choice("all_reduce", ranks, size, number) for ranks in (4, 8) for size, number in chosen]
    of_size = (TunedRule(0, 0), TunedRule(4096, 3, 4), TunedRule(65536, 4, 4), TunedRule(262144, 0))
    own = (TunedRule(0, 0),)
    assert tuned_rules(choices) == TunedRules({2: {4: of_size, 5: own, 8: of_size, 9: own}})
    assert tuned_rules([replace(choice, collective="reduce_scatter") for choice in choices]).collectives.keys() == {13}


@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 20), st.integers(0, 7)), max_size=40))
def test_every_choice_is_what_the_file_says_for_its_ranks_and_size(drawn: list[tuple[int, int, int]]) -> None:
    choices = {(ranks, 1 << k): number for ranks, k, number in drawn}
    made = [Choice("broadcast", *place, number) for place, number in choices.items()]
    read = parse_tuned_rules(tuned_rules_text(tuned_rules(made)), "rules")
    for (ranks, size), number in choices.items():
        sizes = read.collectives[7]
        rules = sizes[max(of for of in sizes if of <= ranks)]
        assert [rule for rule in rules if rule.from_bytes <= size][-1].algorithm == number


def test_a_file_that_the_library_would_pass_over_in_silence_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.conf"
    path.write_text("1\n2\n1\n4\n1\n0 three 0 0\n")
    with pytest.raises(RulesError, match=r"rules\.conf.*6"):
        rules_environment(path)
    with pytest.raises(RulesError, match="No such file"):
        rules_environment(tmp_path / "none.conf")


def test_rules_are_for_the_library_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clusterbench.bench", "collectives", "run", "all_reduce", "--algorithm", "ring",
         "--library-rules", "x"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--library-rules is for --algorithm library" in done.stderr


SUMS = """
import numpy as np
from mpi4py import MPI
mine = np.array([(1, 1e8, -1e8, 1)[MPI.COMM_WORLD.rank]], np.float32)
total = np.empty_like(mine)
MPI.COMM_WORLD.Allreduce(mine, total)
if MPI.COMM_WORLD.rank == 0:
    print("sum", total[0], flush=True)
"""


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
def test_the_library_goes_by_the_rules_as_the_order_of_its_sums_shows(tmp_path: Path) -> None:
    if not OPEN_MPI:
        pytest.skip("only Open MPI reads such rules; this test runs under each of the three")
    sums = []
    for algorithm in (1, 3):  # linear, one after the other; recursive doubling, in pairs
        path = tmp_path / f"{algorithm}.conf"
        write_tuned_rules(path, TunedRules({2: {4: (TunedRule(0, algorithm),)}}))
        before = dict(os.environ)
        os.environ.update(rules_environment(path))
        try:
            done = run_mpiexec(4, [sys.executable, "-c", SUMS], timeout_s=120)
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert done.exit_code == 0, done.stderr
        sums += [line for line in done.stdout.splitlines() if line.startswith("sum")]
    assert sums == ["sum 1.0", "sum 0.0"]


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
def test_tune_writes_rules_that_the_library_has_been_measured_with(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clusterbench.bench", "tune", "scatter", "-b", "1K", "-e", "1K", "-n", "2",
         "--launches", "2", "--screening", "1", "--budget", "0.01", "--out", str(tmp_path / "out"), "--json"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if not OPEN_MPI:
        assert done.returncode == 2
        assert "expected Open MPI" in done.stderr
        assert not (tmp_path / "out").exists()
        return
    assert done.returncode == 0, done.stderr
    (choice,) = json.loads(done.stdout)["choices"]
    assert (choice["collective"], choice["ranks"], choice["size_bytes"]) == ("scatter", 2, 1024)
    assert choice["before_s"] > 0
    assert choice["after_s"] > 0
    assert choice["unasked_s"] > 0
    assert choice["algorithm"] is None  # two launches cannot tell
    (mean,) = json.loads(done.stdout)["means"]
    assert (mean["collective"], mean["ranks"], mean["speedup"]) == ("scatter", 2, 1.0)
    read = parse_tuned_rules((tmp_path / "out" / "rules.conf").read_text(), "rules.conf")
    assert read == TunedRules({15: {2: (TunedRule(0, 0),), 3: (TunedRule(0, 0),)}})
    journals = [read_journal(path) for path in (tmp_path / "out").rglob("*.jsonl")]
    algorithms = {measured.algorithm for journal in journals for measured in journal.measurements}
    assert {"library", "library:fixed", "library:rules", "library:1"} <= algorithms
