"""`make bench`: what the harness costs a quick run and a quick sweep of one collective, beyond start-up and loops.

Runs with everything on, as a user starts them. The harness is what neither starts up, nor measures, nor looks at data;
it should stay under 5 % of the whole on a quiet machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from clusterbench.bench.launching.launch import run_group
from clusterbench.bench.worlds.launchers import MPIEXEC, RANK_PLACEMENTS, find_launcher
from clusterbench.bench.worlds.time_account import JOB, KEY, Spent
from clusterbench.results.journal import read_journal

ALL_REDUCE = (
    "collectives", "run", "all_reduce", "--algorithm", "all", "-b", "8", "-e", "16M", "-f", "8", "--budget", "0.15",
)  # fmt: skip
"""What the quick preset runs of it."""


def spent(journal: Path, part: str) -> Spent:
    row = read_journal(journal).run.environment[KEY][part]
    return Spent(**{field.name: row[field.name] for field in fields(Spent)})


def test_the_harness_of_a_quick_run(show_line: Callable[[str], None], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clusterbench.bench", "run", "--preset", "quick", "--out", str(tmp_path)]
    done = run_group(command, timeout_s=1800, quiet=True)
    assert done.exit_code == 0, done.stdout
    journals = sorted((tmp_path / "journals").glob("*.jsonl"))
    (own,) = [path for path in journals if path.stem.count(".") == 0]
    found = spent(own, JOB)
    show_line(f"quick run: {found.line()}")
    for path in journals:
        if path != own:
            part = path.stem.partition(".")[2]
            show_line(f"  {part}: {spent(path, part).line()}")


def test_the_harness_of_a_sweep_of_one_collective(show_line: Callable[[str], None], tmp_path: Path) -> None:
    launcher = find_launcher(MPIEXEC, "", (), 0, ())
    command = [sys.executable, "-m", "clusterbench.bench", *ALL_REDUCE, "--journal", str(tmp_path), "--run-id", "r"]
    done = run_group(launcher.line(2, RANK_PLACEMENTS[0], command), timeout_s=600, quiet=True)
    assert done.exit_code == 0, done.stdout
    found = spent(tmp_path / "r.all_reduce.jsonl", "all_reduce")
    show_line(f"collectives run all_reduce, 2 ranks: {found.line()}")
