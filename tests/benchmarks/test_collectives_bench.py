"""`make bench`: every schedule and the library on real ranks, and the compiled loop against a program in C."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpi
import numpy as np
import pytest

from clusterbench.bench.launching.launch import find_mpiexec, run_mpiexec
from clusterbench.bench.measuring.paired import Paired, run_paired
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.results.journal import JournalContents, read_journal
from clusterbench.results.store import Store

RANKS = max(2, len(os.sched_getaffinity(0)))
FACTOR = 512
SIZES = (8, 8 * FACTOR, 8 * FACTOR**2)
CASES = [
    (name, algorithm, size)
    for name, what in COLLECTIVES.items()
    for algorithm in ("library", *suitable(what, RANKS))
    for size in SIZES
]
MOST_BESIDE_C = 1.05
"""The library's shortest call in our loop takes at most this many times what it takes in C."""
PAIRS = 12
PAIRS_SHORT = 30
"""For the shortest calls, whose time depends on where a launch happens to place its memory."""


def run(folder: Path, *arguments: str) -> JournalContents:
    """Run collectives on as many ranks as cores; what was measured."""
    before = set(folder.glob("*.jsonl"))
    finished = mpi.clusterbench(RANKS, "collectives", "run", *arguments, "--journal", str(folder))
    assert finished.exit_code == 0, finished.stderr
    (written,) = set(folder.glob("*.jsonl")) - before
    return read_journal(written)


@pytest.fixture(scope="module")
def measured(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Any]:
    """All cases, out of place: algorithms and sizes of a collective are shuffled within one launch."""
    folder = tmp_path_factory.mktemp("journals")
    found = {}
    for name in COLLECTIVES:
        sweep = ("-b", str(SIZES[0]), "-e", str(SIZES[-1]), "-f", str(FACTOR))
        contents = run(folder, name, *sweep, "--algorithm", "all", "--placement", "out-of-place", "--budget", "0.3")
        store.load(contents)
        # A size is what the count next to it makes of it, where there are parts.
        sizes = dict(zip(sorted({row.size_bytes for row in contents.measurements}), SIZES, strict=True))
        for row, samples in zip(contents.measurements, contents.samples, strict=True):
            found[name, row.algorithm, sizes[row.size_bytes]] = row, samples
    return found


@pytest.mark.parametrize(("name", "algorithm", "size"), CASES, ids=[f"{n}-{a}-{s}" for n, a, s in CASES])
def test_collective(
    benchmark: Any,
    measured: dict[tuple[str, str, int], Any],
    show_samples: Callable[..., None],
    name: str,
    algorithm: str,
    size: int,
) -> None:
    row, samples = measured[name, algorithm, size]
    benchmark.group = f"{name} {size} B on {RANKS} ranks"
    benchmark.pedantic(lambda: None, rounds=1, iterations=1)
    assert row.verdict != "FAIL", row.reason
    show_samples(row, samples)


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in C, built by the compiler wrapper of the MPI in this environment."""
    mpicc = shutil.which("mpicc", path=str(Path(find_mpiexec() or "mpiexec").parent))
    if mpicc is None or shutil.which("gcc") is None:
        pytest.skip("no mpicc beside mpiexec, or no gcc for it: nothing to compare with")
    program = tmp_path_factory.mktemp("c") / "all_reduce"
    source = Path(__file__).with_name("all_reduce.c")
    subprocess.run([mpicc, "-O2", "-o", str(program), str(source)], check=True, capture_output=True)
    return program


@pytest.mark.parametrize("size", [8, 1024, 65536])
def test_library_in_the_compiled_loop_against_c(
    c_program: Path, show_ratio: Callable[[Paired, str, str], None], tmp_path: Path, size: int
) -> None:
    """Whole launches in turns; both with as many calls a sample, samples and warm-up calls."""
    samples, warmup = 5000, 2000
    rules = ("-n", str(samples), "-w", str(warmup), "--placement", "out-of-place", "-c", "0")
    batch = run(tmp_path, "all_reduce", "-b", str(size), *rules).measurements[0].batch

    def ours() -> np.ndarray:
        nonlocal batch
        contents = run(tmp_path, "all_reduce", "-b", str(size), *rules)
        batch = contents.measurements[0].batch
        return np.asarray(contents.samples[0])

    def in_c() -> np.ndarray:
        arguments = [str(c_program), str(size), str(samples), str(batch), str(warmup)]
        finished = run_mpiexec(RANKS, arguments, timeout_s=120)
        assert finished.exit_code == 0, finished.stderr
        return np.array(finished.stdout.split(), dtype=float)

    paired = run_paired(in_c, ours, pairs=PAIRS_SHORT if size == SIZES[0] else PAIRS)
    show_ratio(paired, f"C program, {size} B", f"library all_reduce, {size} B")
    if size == SIZES[0] and paired.ratio.low is not None:
        assert paired.ratio.low <= MOST_BESIDE_C, "the compiled loop is slower than a program in C"
