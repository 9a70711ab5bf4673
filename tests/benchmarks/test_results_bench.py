"""`make bench`: what intervals and comparisons keep of what they promise, and how fast the store answers.

The statistics are those of synthetic series with fixed seeds; tests/ holds the same with fewer trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pytest
from interval_trials import coverage
from launch_trials import changes, noisy, side
from postgres import Server, binaries

from clusterbench.results.compare import COLUMNS, Side, compare
from clusterbench.results.journal import JournalContents
from clusterbench.results.record import Measurement, Run
from clusterbench.results.significance import DESIGNS, Design
from clusterbench.results.store import Store

Show = Callable[[str], None]
TRIALS = 1000
RUNS, ROWS = 100, 10_000
"""A million rows."""


def test_how_often_the_interval_holds_the_median(show_line: Show) -> None:
    ours, _ = coverage(0.0, 1, TRIALS)
    show_line(f"interval at the stop: holds the true median in {ours:.1%} of {TRIALS} trials (to be 93 to 98.5 %)")
    assert 0.93 <= ours <= 0.985


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_false_alarms_on_equal_launches(show_line: Show, design: Design, noise: float) -> None:
    found = changes(TRIALS, 10, noise, design=design)
    alarms = sum(change in ("better", "worse") for change in found) / TRIALS
    show_line(f"compare, {design}, 10 equal launches, {noise:.0%} noise: {alarms:.1%} false alarms (at most 6.5 %)")
    assert alarms <= 0.065


@pytest.mark.parametrize("design", DESIGNS)
def test_a_slowdown_is_found(show_line: Show, design: Design) -> None:
    found = changes(TRIALS, 10, 0.02, 1.05, design).count("worse") / TRIALS
    show_line(f"compare, {design}, 10 launches, 2 % noise: 5 % slower found in {found:.1%} (at least 95 %)")
    assert found >= 0.95


@pytest.mark.parametrize(("rows", "launches"), [(10_000, 1), (1_000, 10), (10_000, 10)])
@pytest.mark.parametrize("design", DESIGNS)
def test_comparing_many_rows(show_line: Show, rows: int, launches: int, design: Design) -> None:
    a, b = side(noisy(1, rows, launches, 0.02), "a"), side(noisy(2, rows, launches, 0.02), "b")
    compare(a, b, design=design)
    with timed(show_line, f"compare {rows} rows of {launches} launches a side, {design}"):
        compare(a, b, design=design)


def run_of(number: int, samples: bool) -> JournalContents:
    """A run of `ROWS` rows as its journal would be read; the names and sizes of a real sweep."""
    rng = np.random.default_rng(number)
    run_id = f"run-{number:03d}"
    times = np.exp(0.02 * rng.standard_normal((ROWS, 40)))
    rows = tuple(
        Measurement(
            run_id=run_id,
            suite=("kernels", "collectives")[i % 2],
            name=("triad", "all_reduce", "copy", "all_gather")[i % 4],
            algorithm=("", "ring", "", "library")[i % 4],
            transport="mpi",
            dtype="float32",
            size_bytes=8 << (i % 25),
            shape=f"n={i}",
            ranks=8,
            median_s=1e-6 * float(np.median(times[i])),
            ci95_low_s=0.99e-6,
            ci95_high_s=1.01e-6,
            n=40,
            verdict="FAIL" if i % 1000 == 7 else "PASS",
            host=f"node{number}",
            device="Synthetic CPU",
            started_at="2026-01-01T10:00:00.000+00:00",
        )
        for i in range(ROWS)
    )
    taken = tuple(1e-6 * times) if samples else (None,) * ROWS
    run = Run(run_id=run_id, started_at=f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00+00:00", status="finished")
    return JournalContents(Path(run_id), run_id, run, rows, taken, tuple(range(2, ROWS + 2)), ())


@pytest.fixture(scope="module")
def postgres() -> Iterator[str | None]:
    """The URL of a server that runs as long as these benchmarks, or None where PostgreSQL is not installed."""
    if binaries() is None:
        yield None
        return
    server = Server()
    try:
        server.start()
        yield server.url()
    finally:
        server.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_million_rows(show_line: Show, kind: str, tmp_path: Path, postgres: str | None) -> None:
    url = f"sqlite:///{tmp_path}/results.db" if kind == "sqlite" else postgres
    if url is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with Store.open(url) as store:
        started = perf_counter()
        for number in range(RUNS):
            store.load(run_of(number, samples=number >= RUNS - 2))
        show_line(f"{kind}: {RUNS * ROWS} rows loaded in {perf_counter() - started:.0f} s")
    with Store.open(url) as store:
        with timed(show_line, f"{kind}, of {RUNS * ROWS} rows: list the runs with their counts"):
            assert len(store.runs()) == len(store.counts()) == RUNS
        for words, where in (
            ("a run", {"run_id": "run-050"}),
            ("the first 1000 of a suite", {"suite": "kernels", "limit": 1000}),
            ("an algorithm at a size, all runs", {"name": "all_reduce", "size_bytes": 8 << 5}),
            ("what failed", {"verdict": "FAIL"}),
            ("a host", {"host": "node42"}),
        ):
            with timed(show_line, f"{kind}, of {RUNS * ROWS} rows: {words}"):
                found = len(store.frame(**where))  # type: ignore[arg-type] # a limit, or values of fields
            assert found >= 1000
        with timed(show_line, f"{kind}, of {RUNS * ROWS} rows: compare {ROWS} of a run with {ROWS} of another"):
            sides = [
                Side((store.find_run(run_id),), store.frame(run_id, columns=COLUMNS), store.samples_of([run_id]))
                for run_id in (f"run-{RUNS - 2:03d}", f"run-{RUNS - 1:03d}")
            ]
            found = compare(sides[0], sides[1], unit="sample")
        assert len(found.rows) == ROWS


@contextmanager
def timed(show_line: Show, what: str) -> Iterator[None]:
    """Show how long the block took, and how much processor time this process had in it, a server's not counted."""
    started, worked = perf_counter(), process_time()
    yield
    show_line(f"{what}: {perf_counter() - started:.2f} s ({process_time() - worked:.2f} s of processor time)")
