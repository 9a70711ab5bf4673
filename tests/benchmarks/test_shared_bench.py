"""`make bench`: shared memory inside a host beside each MPI library, and beside what the memory itself allows.

Registered buffers lie in the window that ranks share, where the library works on the same memory; staged ones lie
anywhere, and the copies through the stage are timed. Ours and the library's run in one launch at shuffled points; both
kinds of launch take turns. What is quoted is how many times as fast as the library ours is, by medians over launches.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from libraries import LIBRARIES, Library
from numpy.typing import NDArray

CORES = max(2, len(os.sched_getaffinity(0)))
LAUNCHES = 8
FEWER = 5
"""For the collectives that are many."""
RESAMPLES = 2000
BUDGET_S = "0.1"
SWEEP = ("-b", "8", "-e", "64M", "-f", "4")
LARGEST = ("-b", "64M")
KINDS = ("registered", "host")
SUPPORT = Path(__file__).with_name("shared_limit.py")


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name, scope="module")
def library(request: pytest.FixtureRequest) -> Library:
    chosen: Library = request.param
    if not (chosen.bin / "mpiexec").exists():
        pytest.skip(f"no {chosen.folder}: `make bench` makes it")
    return chosen


def calibrated(library: Library, ranks: int, collective: str, sweep: Sequence[str], folder: Path) -> Path:
    """What `best` takes from: measured before anything is compared."""
    where = ("--table", str(folder / "table.json"), "--journal", str(folder / "calibration"))
    what = ("--collective", collective, *sweep)
    library.run(ranks, "-m", "clusterbench.bench", "collectives", "calibrate", *what, *where)
    return folder / "table.json"


Key = tuple[int, str]
Times = dict[Key, list[tuple[float, float]]]
"""Medians of launches of the library and of ours, in seconds, by size and placement."""


def compared(
    library: Library, ranks: int, collective: str, sweep: Sequence[str], table: Path, launches: int = LAUNCHES
) -> dict[str, Times]:
    """Launches of both kinds in turns, after one of each that is not counted."""
    found: dict[str, Times] = {kind: {} for kind in KINDS}
    for seed in range(launches + 1):
        for kind in KINDS if seed % 2 else KINDS[::-1]:
            arguments = ["-m", "clusterbench.bench", "collectives", "run", collective, *sweep, "--budget", BUDGET_S]
            arguments += ["--transport", "shared", "--buffers", kind, "--algorithm", "library,best"]
            arguments += ["--table", str(table), "--seed", str(seed), "--json", "--journal", str(table.parent / "j")]
            rows = json.loads(library.run(ranks, *arguments))["rows"]
            assert [row for row in rows if row["wrong"]] == []
            medians = {(row["size_bytes"], row["placement"], row["algorithm"]): row["median_s"] for row in rows}
            for size, placement, algorithm in medians:
                if seed and algorithm == "library":
                    pair = medians[size, placement, "library"], medians[size, placement, "best"]
                    found[kind].setdefault((size, placement), []).append(pair)
    return found


@dataclass(frozen=True)
class Faster:
    """How many times as fast, with its 95 % interval over launches."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def faster(times: Times) -> tuple[Faster, dict[Key, Faster]]:
    """The geometric mean over all points of the ratio of medians, and each point's."""
    keys = sorted(times)
    pairs: NDArray[np.float64] = np.array([times[key] for key in keys])  # points, launches, (library, ours)
    chosen = np.random.default_rng(0).integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))
    again = np.median(pairs[:, chosen], axis=2)
    ratios = again[..., 0] / again[..., 1]
    medians = np.median(pairs, axis=1)
    values = medians[:, 0] / medians[:, 1]
    low, high = np.quantile(ratios, (0.025, 0.975), axis=1)
    means = np.exp(np.log(ratios).mean(axis=0))
    mean = Faster(math.exp(np.log(values).mean()), *map(float, np.quantile(means, (0.025, 0.975))))
    return mean, {
        key: Faster(*map(float, triple)) for key, triple in zip(keys, zip(values, low, high, strict=True), strict=True)
    }


def show(show_line: Callable[[str], None], what: str, found: dict[str, Times]) -> dict[str, tuple[Faster, Faster]]:
    """Print both kinds side by side; their geometric mean and their worst point."""
    results = {kind: faster(times) for kind, times in found.items()}
    for key in sorted(found["registered"]):
        size, placement = key
        on_window, on_host = (np.median([pair[0] for pair in found[kind][key]]) * 1e6 for kind in KINDS)
        show_line(
            f"{what}, {size} B, {placement.replace('_', ' ')}: registered {results['registered'][1][key]}, "
            f"staged {results['host'][1][key]} times as fast; library {on_window:.2f} us on the window's memory, "
            f"{on_host:.2f} us on its own"
        )
    for kind, name in zip(KINDS, ("registered", "staged"), strict=True):
        show_line(f"{what}: {name} {results[kind][0]} times as fast in the geometric mean")
    return {kind: (mean, min(points.values(), key=lambda one: one.value)) for kind, (mean, points) in results.items()}


def test_all_reduce_beside_the_library(
    benchmark: Any, show_line: Callable[[str], None], library: Library, tmp_path: Path
) -> None:
    table = calibrated(library, CORES, "all_reduce", SWEEP, tmp_path)

    def run() -> dict[str, Times]:
        found = compared(library, CORES, "all_reduce", SWEEP, table)
        for kind, times in compared(library, CORES, "all_reduce", LARGEST, table).items():
            found[kind] |= times
        return found

    found = benchmark.pedantic(run, rounds=1)
    results = show(show_line, f"all_reduce beside {library.name}, {CORES} ranks", found)
    for kind, wanted, least in (("registered", library.registered, 0.95), ("host", library.staged, 0.0)):
        mean, worst = results[kind]
        assert mean.high >= wanted, f"{kind}: {mean} times as fast; expected {wanted}"
        assert worst.high >= least, f"{kind}: {worst} times as fast at its worst size"


def test_all_reduce_with_twice_as_many_ranks_as_cores(
    benchmark: Any, show_line: Callable[[str], None], library: Library, tmp_path: Path
) -> None:
    sweep = ("-b", "8", "-e", "8M", "-f", "32")
    table = calibrated(library, 2 * CORES, "all_reduce", sweep, tmp_path)
    found = benchmark.pedantic(lambda: compared(library, 2 * CORES, "all_reduce", sweep, table, FEWER), rounds=1)
    results = show(show_line, f"all_reduce beside {library.name}, {2 * CORES} ranks on {CORES} cores", found)
    assert results["registered"][0].high >= 1.0


@pytest.mark.parametrize("collective", ["all_gather", "reduce_scatter", "broadcast", "all_to_all"])
def test_other_collectives_beside_the_library(
    benchmark: Any, show_line: Callable[[str], None], library: Library, tmp_path: Path, collective: str
) -> None:
    sweep = ("-b", "16", "-e", "16M", "-f", "16")
    table = calibrated(library, CORES, collective, sweep, tmp_path)
    found = benchmark.pedantic(lambda: compared(library, CORES, collective, sweep, table, FEWER), rounds=1)
    results = show(show_line, f"{collective} beside {library.name}, {CORES} ranks", found)
    assert results["registered"][0].high >= 1.0


@pytest.mark.parametrize("placement", ["in_place", "out_of_place"])
def test_all_reduce_against_what_the_memory_allows(
    benchmark: Any, show_line: Callable[[str], None], placement: str
) -> None:
    """The limit: all ranks at once update the same bytes in the same window, or copy them with the same stores."""
    shares = []
    printed = benchmark.pedantic(
        lambda: [LIBRARIES[0].run(CORES, str(SUPPORT), placement) for _ in range(LAUNCHES)], rounds=1
    )
    for text in printed:
        limit_s, call_s = map(float, text.split())
        shares.append((limit_s, call_s))
    found, _ = faster({(1 << 26, placement): shares})
    show_line(f"all_reduce, 64 MiB, registered, {placement.replace('_', ' ')}, {CORES} ranks: {found} of the limit")
    assert found.high >= 0.8
