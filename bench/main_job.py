"""What `clusterbench run` does: its parts one after the other, and what is left when one of them fails.

Every part that measures is a process of its own (the kernels) or a process group of ranks (each collective) and writes
a journal of its own. So a crash takes one part with it, and everything measured before it is on the disk.
"""

from __future__ import annotations

import secrets
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.commands.doctor import diagnose, examine, print_findings
from clusterbench.bench.environment import command_line, new_run_id
from clusterbench.bench.launch import Finished, run_group, run_mpiexec
from clusterbench.bench.output import note, progress, shows_progress
from clusterbench.bench.presets import CollectivePlan, Preset
from clusterbench.bench.summary import print_summary
from clusterbench.kernels.device import usable_cores
from clusterbench.results.journal import (
    Journal,
    JournalContents,
    JournalError,
    JournalWriteError,
    ended,
    merge_runs,
    now_iso,
    read_journal,
    rows_since,
    start_order,
)
from clusterbench.results.record import Measurement, Run, status_of
from clusterbench.results.store import Store

Step = Callable[[str, int], None]

_MEANING = {
    exit_codes.FAILED: "failed at run time",
    exit_codes.USAGE: "refused its input",
    exit_codes.WRONG_DATA: "found wrong data or an impossible result",
    exit_codes.BELOW: "found a value below its threshold",
    exit_codes.TIMED_OUT: "did not end in its time",
}
_SEVERITY = (exit_codes.WRONG_DATA, exit_codes.FAILED, exit_codes.TIMED_OUT, exit_codes.USAGE, exit_codes.BELOW)


def worst(codes: Sequence[int]) -> int:
    """The exit code of a run from those of its parts: wrong data first, then failures, usage, thresholds; else 0."""
    for code in _SEVERITY:
        if code in codes:
            return code
    return exit_codes.FAILED if any(codes) else exit_codes.GOOD


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part ended; `failure` is empty where it is good."""

    exit_code: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The finished run, its rows, and the exit code."""

    run: Run
    rows: tuple[Measurement, ...]
    exit_code: int


@dataclass(slots=True)
class MainJob:
    """One call of `clusterbench run`; `run` does it."""

    preset: Preset
    out: Path
    url: str
    seed: int
    ranks: int
    tables: bool
    """Whether to print tables; False where standard output belongs to a document."""
    run_id: str
    outcomes: list[Outcome] = field(default_factory=list)
    counted: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Of each journal the rows counted so far, and the offset up to which."""
    journal: Journal | None = None
    """The job's own, from `run` on; its `run` is what holds, whether or not it could be written."""

    @classmethod
    def plan(
        cls, preset: Preset, out: Path, *, url: str | None, seed: int | None, ranks: int | None, tables: bool
    ) -> Self:
        """Fill in what was not given."""
        return cls(
            preset=preset,
            out=out,
            url=url or f"sqlite:///{out / 'results.db'}",
            seed=secrets.randbits(32) if seed is None else seed,
            ranks=ranks or max(2, usable_cores()),
            tables=tables,
            run_id=new_run_id(),
        )

    @property
    def journals(self) -> Path:
        """The folder of the journals."""
        return self.out / "journals"

    @property
    def report(self) -> Path:
        """The file of the report."""
        return self.out / "report.html"

    def run(self) -> Done:
        """Do all parts.

        Raises `StoreError` or `JournalError`, before anything is measured, where the results could not be kept.
        """
        Store.open(self.url, writable=True).close()
        run = Run(run_id=self.run_id, started_at=now_iso(), command=command_line(), status="running", seed=self.seed)
        with Journal.create(self.journals, run) as journal:
            self.journal = journal
            with self._interruptible():
                self._attempt("doctor", lambda: self._doctor(journal))
                self._measure()
            self._record(journal)
            with self._interruptible():
                self._attempt("store", self._load)
                self._attempt("report", self._write_report)
            self._record(journal)
        contents = self._contents()
        if any(outcome.failure for outcome in self.outcomes):
            self._load_again(contents)
        merged = merge_runs([part.run for part in contents])
        rows = tuple(row for part in contents for row in part.measurements)
        if self.tables:
            self._print_end(merged, rows)
        return Done(merged, rows, self.exit_code)

    @property
    def exit_code(self) -> int:
        """The worst code of the parts so far."""
        return worst([outcome.exit_code for outcome in self.outcomes])

    # the parts

    def _doctor(self, journal: Journal) -> Outcome:
        environment, status = examine()
        environment["plan"] = {"preset": self.preset.name, "ranks": self.ranks}
        journal.update(replace(journal.run, environment=environment))
        if self.tables:
            print_findings(diagnose(environment, status))
        # The launcher on the path is another matter: this job starts the one that belongs to the library.
        if status.usable:
            return Outcome(exit_codes.GOOD)
        return Outcome(exit_codes.FAILED, f"doctor: {'; '.join(status.problems)}")

    def _measure(self) -> None:
        plans = self.preset.collectives
        with progress("clusterbench run", total=2 + len(plans)) as step:
            step("kernels", 0)
            self._attempt("kernels", lambda: self._kernels(step))
            step("pairs", 1)
            self._attempt("pairs", lambda: self._pairs(step))
            for plan in plans:
                step(plan.title, 1)
                self._attempt(plan.title, lambda plan=plan: self._collective(plan, step))  # type: ignore[misc] # bound now
            step("", 1)

    def _kernels(self, step: Step) -> Outcome:
        plan = self.preset.kernels
        args = ["kernels", "run", *self._common_args(plan.precision, plan.row_budget_s)]
        for dtype in plan.dtypes:
            args += ["--dtype", dtype]
        done = run_group(self._python(args), timeout_s=plan.timeout_s, on_wait=self._counter("kernels", step))
        return judged("kernels", done, plan.timeout_s)

    def _pairs(self, step: Step) -> Outcome:
        plan = self.preset.pairs
        args = ["collectives", "pairs", *self._common_args(plan.precision, plan.row_budget_s)]
        counter = self._counter("pairs", step)
        done = run_mpiexec(self.ranks, self._python(args), timeout_s=plan.timeout_s, on_wait=counter)
        return judged("pairs", done, plan.timeout_s)

    def _collective(self, plan: CollectivePlan, step: Step) -> Outcome:
        args = ["collectives", "run", plan.collective, "-d", plan.dtype, "--algorithm", plan.algorithms]
        args += ["--transport", plan.transport, "--buffers", plan.buffers]
        args += ["-b", plan.min_bytes, "-e", plan.max_bytes, "-f", str(plan.factor)]
        args += self._common_args(plan.precision, plan.row_budget_s)
        counter = self._counter(plan.title, step)
        done = run_mpiexec(self.ranks, self._python(args), timeout_s=plan.timeout_s, on_wait=counter)
        return judged(plan.title, done, plan.timeout_s)

    def _python(self, args: Sequence[str]) -> list[str]:
        # -P: what lies in the current folder must not shadow a package.
        return [sys.executable, "-P", "-m", "clusterbench.bench", *args]

    def _common_args(self, precision: float, budget_s: float) -> list[str]:
        where = ["--journal", str(self.journals), "--run-id", self.run_id, "--seed", str(self.seed)]
        return [*where, "--precision", str(precision), "--budget", str(budget_s)]

    def _counter(self, what: str, step: Step) -> Callable[[], None] | None:
        """Shows how many rows of this run are on the disk while a part measures; None where nobody looks."""
        if not shows_progress():
            return None

        def count() -> None:
            step(f"{what}: {self._count_rows()} rows", 0)

        return count

    def _count_rows(self) -> int:
        """The rows that are on the disk; reads only what was appended since the last call, as ranks are being timed."""
        for path in self._paths():
            rows, offset = self.counted.get(path, (0, 0))
            new, offset = rows_since(path, offset)
            self.counted[path] = rows + new, offset
        return sum(rows for rows, _ in self.counted.values())

    def _load(self) -> Outcome:
        damaged = []
        with Store.open(self.url) as store:
            for contents in self._contents():
                store.load(contents)
                damaged += [f"{contents.path}, line {line.line}: {line.reason}" for line in contents.damaged_lines]
        if damaged:
            return Outcome(exit_codes.FAILED, f"store: {len(damaged)} damaged lines skipped, the first: {damaged[0]}")
        return Outcome(exit_codes.GOOD)

    def _load_again(self, contents: Sequence[JournalContents]) -> None:
        """Bring what failed after the store was loaded into the store too, where it can be reached."""
        try:
            with Store.open(self.url) as store:
                for part in contents:
                    store.load(part)
        except Exception as error:  # the run has ended; its journals hold all of this
            note(f"the store does not hold the end of this run: {error}")

    def _write_report(self) -> Outcome:
        from clusterbench.bench.pictures import pictures
        from clusterbench.results.columns import to_frame
        from clusterbench.results.report.page import write_report

        contents = self._contents()
        rows = [row for part in contents for row in part.measurements]
        frame = to_frame(rows)
        shown = pictures(frame)
        run = merge_runs([part.run for part in contents])
        write_report(self.report, [run], frame, shown.drawn, shown.not_drawn)
        return Outcome(exit_codes.GOOD)

    # what surrounds the parts

    def _attempt(self, part: str, action: Callable[[], Outcome]) -> None:
        """Do one part; whatever it raises, other than an interrupt, is its outcome."""
        try:
            outcome = action()
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if isinstance(code, int):
                outcome = Outcome(code, f"{part}: {error}")
            else:
                # A defect of this suite: the traceback belongs to whoever mends it, the run goes on.
                traceback.print_exc()
                outcome = Outcome(exit_codes.FAILED, f"{part}: {type(error).__name__}: {error}")
        except KeyboardInterrupt:
            self.outcomes.append(Outcome(exit_codes.FAILED, f"{part}: interrupted; what follows was not measured"))
            raise
        self.outcomes.append(outcome)
        if outcome.failure and not self.tables:
            note(outcome.failure)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C end what is measured, and still keep and report what is there."""
        try:
            yield
        except KeyboardInterrupt:
            note("interrupted: keeping what was measured")

    def _record(self, journal: Journal) -> None:
        """Write how the run stands into its journal, so that whatever reads it next knows.

        A full disk is one more failure: the store and the report still get the rows, and the run as it stands here.
        """
        try:
            journal.update(self._standing(journal.run))
        except JournalWriteError as error:
            outcome = Outcome(error.exit_code, f"journal: {error}")
            if outcome not in self.outcomes:
                self.outcomes.append(outcome)
                note(outcome.failure)
            journal.run = self._standing(journal.run)

    def _standing(self, run: Run) -> Run:
        failures = [outcome.failure for outcome in self.outcomes if outcome.failure]
        # The worst code may be that of wrong data, which hides that another part could not be run.
        status = status_of(outcome.exit_code for outcome in self.outcomes)
        return replace(ended(run, self.exit_code, failures), status=status)

    def _paths(self) -> list[Path]:
        return sorted({*self.journals.glob(f"{self.run_id}.jsonl"), *self.journals.glob(f"{self.run_id}.*.jsonl")})

    def _contents(self) -> list[JournalContents]:
        """All journals of this run that can be read, in the order in which they were begun."""
        found = []
        for path in self._paths():
            try:
                contents = read_journal(path)
                if self.journal is not None and path == self.journal.path:
                    contents = replace(contents, run=self.journal.run)
                found.append(contents)
            except JournalError as error:
                note(str(error))
        return sorted(found, key=lambda contents: start_order(contents.run))

    def _print_end(self, run: Run, rows: Sequence[Measurement]) -> None:
        print_summary(rows, run.failures)
        click.echo(f"\nStore:  {self.url if '://' in self.url and not self.url.startswith('sqlite') else self._file()}")
        click.echo(f"Report: {self.report if self.report.exists() else 'not written'}")

    def _file(self) -> str:
        return self.url.removeprefix("sqlite:///")


def judged(part: str, done: Finished, timeout_s: float) -> Outcome:
    """The outcome of a part that was a process: its code, and the last thing that it said where the code is not 0."""
    if done.exit_code == exit_codes.GOOD:
        return Outcome(exit_codes.GOOD)
    code = done.exit_code if done.exit_code in _MEANING else exit_codes.FAILED
    why = _MEANING[code]
    if done.timed_out:
        why += f" ({timeout_s:g} s)"
    if code != done.exit_code:
        why += f" (exit code {done.exit_code})"
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    own = [line for line in said if line.startswith(("clusterbench:", "Error:"))]
    last = (own or said or [""])[-1]
    return Outcome(code, f"{part}: {why}" + (f": {last}" if last else ""))
