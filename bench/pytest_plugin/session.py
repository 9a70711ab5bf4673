"""What the benchmarks of a test session share: the run they belong to, its journals, its ceilings, and what to say."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clusterbench.bench.pytest_plugin.options import DEFAULT_STORE, Settings

if TYPE_CHECKING:
    from clusterbench.bench.measuring.roof_runs import RoofRuns
    from clusterbench.bench.measuring.sampling import Rules
    from clusterbench.bench.pytest_plugin.comparing import Baseline
    from clusterbench.bench.pytest_plugin.results import Result
    from clusterbench.bench.worlds.launchers import Launcher
    from clusterbench.results.journal import Journal
    from clusterbench.results.record import Run

JOURNALS = Path("clusterbench-out/journals")
"""Where the journals of a run go that is to be stored, from where pytest was started."""
MOST_LINES = 20
"""Of tests of which nothing could be told; the rest is counted."""


class BenchmarkSession:
    """The state of a test session. Nothing is imported or written before the first result but for what options name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tests = 0
        """How many tests measure."""
        self.roofs: RoofRuns | None = None
        """The ceilings measured so far."""
        self.baseline: Baseline | None = None
        """What results are held against, where that is asked for."""
        self.results: list[Result] = []
        self.open_questions: list[str] = []
        """Tests of which nothing could be told, with the reason."""
        self._journal: Journal | None = None
        self._folder: Path | None = None
        self._store_folder = JOURNALS.absolute()
        self._parts = 0
        self._launcher: Launcher | None = None
        self._failures: list[str] = []
        self._said: list[str] = []

    def prepare(self) -> None:
        """Open what the options name. Raises `pytest.UsageError`, with the option and what is wrong."""
        settings = self.settings
        if settings.store:
            from clusterbench.results.store import Store

            with _as_usage_error("--clusterbench-store"):
                Store.open(settings.store, writable=True).close()
        if settings.against or settings.thresholds:
            from clusterbench.bench.pytest_plugin.comparing import Baseline

            self.baseline = Baseline()
        if self.baseline is not None and settings.against:
            with _as_usage_error("--clusterbench-against"):
                self.baseline.read_runs(settings.against, settings.store or DEFAULT_STORE)
        if self.baseline is not None and settings.thresholds:
            with _as_usage_error("--clusterbench-thresholds"):
                self.baseline.read_thresholds(Path(settings.thresholds))

    @property
    def rules(self) -> Rules:
        """How long to measure a row."""
        from clusterbench.bench.measuring.sampling import Rules

        return Rules(precision=self.settings.precision, budget_s=self.settings.budget_s)

    @property
    def run(self) -> Run | None:
        """The run that the results belong to; None before there is one."""
        return self._journal.run if self._journal is not None else None

    @property
    def journal(self) -> Journal:
        """The journal of the run, begun where it is first asked for."""
        if self._journal is None:
            from clusterbench.bench.hosts.environment import capture_environment, command_line, new_run_id
            from clusterbench.results.journal import Journal, now_iso
            from clusterbench.results.record import Run

            run = Run(
                run_id=new_run_id(),
                started_at=now_iso(),
                command=command_line(),
                status="running",
                seed=0,
                environment=capture_environment(),
            )
            if self.settings.store:
                self._folder = self._store_folder
            else:
                self._folder = Path(tempfile.mkdtemp(prefix="clusterbench-"))
            self._journal = Journal.create(self._folder, run, "pytest")
        return self._journal

    @property
    def folder(self) -> Path:
        """The folder of the run's journals."""
        return self.journal.path.parent

    @property
    def launcher(self) -> Launcher:
        """What starts ranks. Raises `LaunchError` where nothing does."""
        if self._launcher is None:
            from clusterbench.bench.worlds.launchers import MPIEXEC, find_launcher

            self._launcher = find_launcher(MPIEXEC, "", (), 0, ())
        return self._launcher

    def new_part(self) -> str:
        """A name for the journal of one world of ranks."""
        self._parts += 1
        return f"ranks-{self._parts}"

    def keep(self, results: Sequence[Result]) -> None:
        """Keep results in the journal."""
        self.results += results
        for result in results:
            if not result.is_kept:
                self.journal.append(result.row, result.samples)

    def fail(self, text: str) -> None:
        """Record with the run what could not be measured."""
        self._failures.append(text)

    def finish(self) -> bool:
        """Close the journal, and load the store; whether it could be loaded."""
        if self._journal is None:
            return True
        from clusterbench.bench.judge import exit_code

        self._journal.finish(exit_code(result.row for result in self.results), self._failures)
        shown = sum(result.row.suite != "roof" for result in self.results)
        self._said.append(f"{shown} results, run {self._journal.run.run_id}")
        if not self.settings.store:
            return True
        return self._load(sorted(self.folder.glob(f"{self._journal.run.run_id}.*.jsonl")))

    def _load(self, journals: Sequence[Path]) -> bool:
        from clusterbench.bench.hosts.recorded_variables import redact
        from clusterbench.results.databases import StoreError
        from clusterbench.results.store import Store

        url = redact(self.settings.store)
        try:
            with Store.open(self.settings.store, writable=True) as store:
                for journal in journals:
                    store.load(journal)
        except StoreError as error:
            names = " ".join(str(path) for path in journals)
            self._said.append(f"not stored: {error}")
            self._said.append(f"clusterbench results load {names} --store {url}")
            return False
        self._said[-1] += f", stored in {url}"
        return True

    def lines(self) -> list[str]:
        """What to say at the end, in lines; nothing where nothing was measured."""
        if not self._said:
            return []
        questions = self.open_questions[:MOST_LINES]
        if len(self.open_questions) > len(questions):
            questions.append(f"cannot tell: {len(self.open_questions) - len(questions)} more")
        counted = [] if self.baseline is None else self.baseline.lines(self.settings)
        return [*self._said, *counted, *questions]

    def close(self) -> None:
        """Remove journals that were for the session only."""
        if self._journal is not None:
            self._journal.close()
        if self._folder is not None and self._folder != self._store_folder:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def _as_usage_error(flag: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "exit_code", None) is None:
            raise
        raise pytest.UsageError(f"{flag}: {error}") from None
