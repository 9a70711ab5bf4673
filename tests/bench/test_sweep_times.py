"""How long a sweep is expected to take: by earlier rows of a point, by a topology, or by its budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clusterbench.bench.sweeps.file import Sweep, sweep_of
from clusterbench.bench.sweeps.job import known_times
from clusterbench.bench.sweeps.plan import plan
from clusterbench.bench.sweeps.times import BUDGET, EARLIER, START_S, TOPOLOGY, in_words
from clusterbench.bench.worlds.launchers import MPIEXEC, Launcher
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store

HERE = Launcher(MPIEXEC, "mpiexec", "mpich", ("here",))


def sweep(**keys: object) -> Sweep:
    block = {"collectives": "all_reduce", "algorithms": ["library", "ring"], "sizes": ["8", "1M"], "ranks": 4}
    block |= {"placement": "out-of-place", "budget_s": 0.5, "precision": 0.02}
    return sweep_of(Path("night.toml"), {"launches": 2, "measure": [{**block, **keys}]})


def row(algorithm: str, size: int, call_s: float, second: float, **fields: object) -> Measurement:
    """A row of 100 samples of 2 calls whose interval is ±2 %, which began so many seconds after the first."""
    figures = {"median_s": call_s, "mean_s": call_s, "ci95_low_s": 0.98 * call_s, "ci95_high_s": 1.01 * call_s}
    began = f"2026-01-01T10:00:{second:06.3f}+00:00"
    what = {"suite": "collectives", "name": "all_reduce", "algorithm": algorithm, "dtype": "float32", "host": "here"}
    much = {"size_bytes": size, "ranks": 4, "n": 100, "batch": 2, "warmup": 10, "placement": "out_of_place"}
    return Measurement(run_id="r", started_at=began, **{**what, **figures, **much, "transport": "mpi", **fields})  # type: ignore[arg-type] # by name


def store(folder: Path, rows: list[Measurement], **about: object) -> str:
    run = Run(run_id="r", started_at="2026-01-01T10:00:00.000+00:00", environment={"sweep": {"file": "x", **about}})
    with Journal.create(folder, run) as journal:
        for one in rows:
            journal.append(one)
    url = f"sqlite:///{folder}/results.db"
    with Store.open(url) as opened:
        opened.load(journal.path)
    return url


def test_without_a_store_every_point_takes_its_budget_and_a_start_is_assumed(tmp_path: Path) -> None:
    known = known_times(f"sqlite:///{tmp_path}/none.db", sweep(), HERE)
    planned = plan(sweep(), HERE, 1, known)
    assert [launch.expected_s for launch in planned.launches] == pytest.approx([START_S + 4 * 0.6] * 2)
    assert planned.launches[0].by == Counter({BUDGET: 4})
    assert in_words(known, planned.launches[0].by) == (
        "4 of 4 rows by their budget, which is the most; 8.0 s to start a launch, as is assumed"
    )
    assert not (tmp_path / "none.db").exists()


def test_a_point_that_was_measured_takes_what_its_samples_take_at_the_precision_that_is_asked(tmp_path: Path) -> None:
    rows = [
        row("library", 8, 1e-4, 0.0, transport="library"),
        row("ring", 8, 2e-4, 1.0),
        row("ring", 1 << 20, 9e-4, 2.0),
    ]
    url = store(tmp_path, rows, start_s=1.5)
    known = known_times(url, sweep(), HERE)
    between_s = np.median([1.0 - 210 * 1e-4, 1.0 - 210 * 2e-4])
    assert (known.start_s, known.between_s) == pytest.approx((1.5, between_s), abs=2e-3)
    planned = plan(sweep(), HERE, 1, known)
    assert planned.launches[0].by == Counter({EARLIER: 3, BUDGET: 1})
    earlier_s = [between_s + 210 * call_s for call_s in (1e-4, 2e-4, 9e-4)]
    assert planned.launches[0].expected_s == pytest.approx(1.5 + 0.6 + sum(earlier_s), abs=0.01)
    # Half the width takes four times as many samples, and never more than the budget.
    finer = plan(sweep(precision=0.01), HERE, 1, known).launches[0].expected_s
    earlier_s = [between_s + 10 * call_s + min(800 * call_s, 0.5) for call_s in (1e-4, 2e-4, 9e-4)]
    assert finer == pytest.approx(1.5 + 0.6 + sum(earlier_s), abs=0.01)
    fixed = plan(sweep(samples=1000, warmup=0), HERE, 1, known).launches[0].expected_s
    assert fixed == pytest.approx(1.5 + 0.6 + sum(between_s + 2000 * call_s for call_s in (1e-4, 2e-4, 9e-4)), abs=0.01)


@pytest.mark.parametrize(
    "other",
    [{"host": "there"}, {"dtype": "float64"}, {"ranks": 2}, {"placement": "in_place"}, {"evidence": "simulated"}],
)
def test_rows_of_another_point_or_machine_say_nothing(other: dict[str, object], tmp_path: Path) -> None:
    url = store(tmp_path, [row("ring", 8, 1e-4, 0.0, **other)])
    assert plan(sweep(), HERE, 1, known_times(url, sweep(), HERE)).launches[0].by == Counter({BUDGET: 4})


def test_a_size_that_was_rounded_down_is_the_same_point(tmp_path: Path) -> None:
    url = store(tmp_path, [row("ring", 992, 1e-4, 0.0)])
    asked = sweep(algorithms="ring", sizes=["1000", "900"])
    assert plan(asked, HERE, 1, known_times(url, asked, HERE)).launches[0].by == Counter({EARLIER: 1, BUDGET: 1})


def test_a_topology_prices_what_was_not_measured(tmp_path: Path) -> None:
    topology = "single-switch:nodes=4,bandwidth=1G,latency=1us"
    asked = sweep(algorithms="ring", topology=topology)
    url = store(tmp_path, [row("ring", 64, 1e-4, 0.0), row("ring", 64, 1e-4, 0.5)])
    known = known_times(url, asked, HERE)
    launch = plan(asked, HERE, 1, known).launches[0]
    assert launch.by == Counter({TOPOLOGY: 2})
    # 1 MiB in a ring of 4 takes 1.5 of it over each link: 100 samples of 1.57 ms.
    assert launch.expected_s - START_S - 2 * known.between_s == pytest.approx(0.157, rel=0.1)
    assert plan(sweep(ranks=2, algorithms="ring", topology=topology), HERE, 1, known).launches[0].by == {BUDGET: 2}
