"""What the benchmarks share: a journal that ends in the store, our samples in pytest-benchmark's record, and ratios.

pytest-benchmark shows and archives; the samples are those of the suite's own sampling (bench/measuring/sampling.py).
The rows go to clusterbench-out/ like those of any run, so that two revisions can be compared with `clusterbench results
compare`. Comparisons of A with B are paired, and their ratios are printed at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
from clusterbench.bench.measuring.paired import Paired
from clusterbench.results.journal import Journal, now_iso
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store

OUT = Path("clusterbench-out")
_RATIOS = pytest.StashKey[list[str]]()
_SHOWN = (
    "count", "shape", "size_bytes", "algbw", "busbw", "bytes_per_s", "flop_per_s", "bound_s", "bound_share", "bound_by",
    "verdict", "batch", "stop", "ci95_low_s", "ci95_high_s", "run_id",
)  # fmt: skip


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """The store of the main job's default."""
    OUT.mkdir(exist_ok=True)
    with Store.open(f"sqlite:///{OUT / 'results.db'}") as opened:
        yield opened


@pytest.fixture(scope="session")
def journal(store: Store) -> Iterator[Journal]:
    """The journal of this session, loaded into the store at its end."""
    run = Run(
        run_id=new_run_id(),
        started_at=now_iso(),
        command=command_line(),
        status="running",
        seed=0,
        environment=capture_environment(),
    )
    with Journal.create(OUT / "journals", run, "bench") as opened:
        yield opened
        opened.finish(0)
    store.load(opened.path)


@pytest.fixture
def show_samples(benchmark: Any) -> Callable[[Measurement, Sequence[float]], None]:
    """Puts our samples in the place of the one round that pytest-benchmark saw, which held checks and start-up too."""

    def show(row: Measurement, samples: Sequence[float]) -> None:
        stats = benchmark.stats.stats
        stats.data.clear()
        for sample in samples:
            stats.update(float(sample))
        values = {name: getattr(row, name) for name in _SHOWN}
        benchmark.extra_info.update({name: value for name, value in values.items() if value not in (None, "")})
        benchmark.extra_info["samples_s"] = [float(sample) for sample in samples]

    return show


@pytest.fixture
def show_ratio(request: pytest.FixtureRequest) -> Callable[[Paired, str, str], None]:
    """Notes a paired comparison for the list of ratios at the end of the session."""

    return lambda paired, a, b: _note(request.config, paired.line(a, b))


@pytest.fixture
def show_line(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a line for the list at the end of the session."""
    return lambda text: _note(request.config, text)


def _note(config: pytest.Config, text: str) -> None:
    config.stash.setdefault(_RATIOS, []).append(text)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List the ratios."""
    ratios = config.stash.get(_RATIOS, [])
    if ratios:
        terminalreporter.section("paired comparisons: ratio of medians [95 % interval]")
        for line in ratios:
            terminalreporter.line(line)
