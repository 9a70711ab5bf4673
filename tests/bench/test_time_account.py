"""What the time of a run went into: the parts add up, each process keeps its account, and a job adds them up."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpi import clusterbench

from clusterbench.bench.measuring.sampling import Block, Rules, sample
from clusterbench.bench.worlds.time_account import JOB, KEY, Spent, TimeAccount, process_age_s, together, with_time
from clusterbench.results.compare import environment_differences
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Run

SECONDS = st.floats(0, 1e4)
PARTS = ("startup_s", "loops_s", "checks_s", "harness_s")


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_the_parts_add_up_to_all_of_it(harness: float, startup: float, loops: float, checks: float) -> None:
    spent = Spent.of(harness + startup + loops + checks, startup, loops, checks)
    assert spent.harness_s == pytest.approx(harness, abs=1e-6)
    assert sum(spent.as_row()[name] for name in PARTS) == pytest.approx(spent.wall_s, abs=0.01)


def test_a_process_is_as_old_as_it_is() -> None:
    before, began_s = process_age_s(), time.monotonic()
    while time.monotonic() - began_s < 0.05:
        pass
    assert process_age_s() - before >= 0.05
    assert process_age_s() > time.process_time() / psutil.cpu_count()


@pytest.mark.parametrize("rules", [Rules(iterations=7), Rules(budget_s=40.0, precision=1e-4), Rules(warmup=3)])
def test_sampling_says_what_all_its_blocks_took(rules: Rules) -> None:
    taken: list[float] = []
    random = np.random.default_rng(1)

    def block(samples: int, batch: int) -> Block:
        taken.append(samples * batch / 8)
        return Block(random.uniform(0.05, 0.2, samples), taken[-1])

    assert sample(block, rules, 1e-9).spent_s == pytest.approx(sum(taken))


def test_a_job_adds_up_its_parts_and_not_itself() -> None:
    run = Run(run_id="r", started_at="")
    first = with_time(run, "kernels", Spent.of(10, 1, 5, 3))
    second = with_time(with_time(run, "pairs", Spent.of(4, 2, 1, 0.5)), JOB, Spent.of(99, 9, 9, 9))
    assert set(second.environment[KEY]) == {"pairs", JOB}
    spent = together([first, second, run], 20.0, 0.5, 16.0)
    assert (spent.startup_s, spent.loops_s, spent.checks_s, spent.harness_s) == (5.5, 6, 3.5, 5)  # launchers took 2
    assert spent.line().endswith("harness 5.0 s (25.0%)")
    assert environment_differences([first], [second]) == ()


def test_a_check_that_raises_has_taken_its_time_all_the_same() -> None:
    account = TimeAccount()
    with pytest.raises(ValueError, match="wrong"), account.checking():
        raise ValueError("wrong")
    assert account.checks_s > 0


@pytest.mark.mpi
def test_ranks_record_what_their_time_went_into(tmp_path: Path) -> None:
    command = ("collectives", "run", "all_reduce", "-b", "8", "-e", "8K", "-f", "32", "--budget", "0.02")
    done = clusterbench(2, *command, "--journal", str(tmp_path), "--run-id", "r")
    assert done.exit_code == 0, done.stderr
    (path,) = tmp_path.glob("*.jsonl")
    contents = read_journal(path)
    (row,) = contents.run.environment[KEY].values()
    assert sum(row[name] for name in PARTS) == pytest.approx(row["wall_s"], abs=0.01)
    assert min(row[name] for name in PARTS) >= 0
    sampled = sum(
        seconds.sum() * m.batch
        for seconds, m in zip(contents.samples, contents.measurements, strict=True)
        if seconds is not None
    )
    assert sampled <= row["loops_s"] + 0.001
