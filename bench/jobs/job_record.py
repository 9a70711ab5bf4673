"""What `clusterbench run` and `sweep` have in common: how their parts ended, and what is kept of them.

Every part that measures is a process or a process group of its own and writes journals of its own, so a crash takes one
part with it, and everything measured before it is on the disk. The job's own journal has the run as a whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.hosts.environment import command_line
from clusterbench.bench.launching.launch import SAID_BY, Finished, pass_on
from clusterbench.bench.output import note, shows_progress
from clusterbench.bench.tables.summary import print_summary
from clusterbench.bench.worlds.time_account import JOB, Spent, process_age_s, together, with_time
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

LOCK = ".lock"
"""File in the folder of a job that is locked while it goes on."""

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
    wall_s: float = 0.0
    """Of its processes, where it was some that ended by themselves."""


@dataclass(frozen=True, slots=True)
class Done:
    """The finished run, its rows, and the exit code."""

    run: Run
    rows: tuple[Measurement, ...]
    exit_code: int


@dataclass(slots=True)
class JobRecord:
    """One job of several parts; `keep` does it."""

    out: Path
    url: str
    seed: int
    run_id: str
    tables: bool
    """Whether to print tables; False where standard output belongs to a document."""
    outcomes: list[Outcome] = field(default_factory=list)
    counted: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Of each journal the rows counted so far, and the offset up to which."""
    noted: set[str] = field(default_factory=set)
    """What its parts have noted so far."""
    journal: Journal | None = None
    """The job's own, from `keep` on; its `run` is what holds, whether or not it could be written."""

    @property
    def journals(self) -> Path:
        """The folder of the journals."""
        return self.out / "journals"

    @property
    def report(self) -> Path:
        """The file of the report."""
        return self.out / "report.html"

    @property
    def own_journal(self) -> Path:
        """The file of the job's own journal."""
        return self.journals / f"{self.run_id}.jsonl"

    def keep(self, measure: Callable[[], None]) -> Done:
        """Call `measure`, which measures by `attempt`, and keep what there is: journal, store, report.

        Goes on with the job's own journal where that is there already. Raises `StoreError` or `JournalError`, before
        anything is measured, where the results could not be kept.
        """
        Store.open(self.url, writable=True).close()
        startup_s, earlier = process_age_s(), set(self._paths())
        with self._alone(), self._opened() as journal:
            self.journal = journal
            with self._interruptible():
                measure()
            self.write()
            with self._interruptible():
                self.attempt("store", self._load)
                self.attempt("report", self._write_report)
            parts = [part.run for part in self.contents() if part.path not in earlier]
            processes_s = sum(outcome.wall_s for outcome in self.outcomes)
            spent = together(parts, process_age_s(), startup_s, processes_s)
            journal.run = with_time(journal.run, JOB, spent)
            self.write()
        contents = self.contents()
        failed = any(outcome.failure for outcome in self.outcomes)
        self._load_again(contents if failed else [part for part in contents if part.path == journal.path])
        merged = merge_runs([part.run for part in contents])
        rows = tuple(row for part in contents for row in part.measurements)
        if self.tables:
            self._print_end(merged, rows, spent)
        return Done(merged, rows, self.exit_code)

    def attempt(self, part: str, action: Callable[[], Outcome]) -> None:
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
        self.add(outcome)

    def add(self, outcome: Outcome) -> None:
        """One more outcome; a failure is said at once, as it may be long until the summary."""
        self.outcomes.append(outcome)
        if outcome.failure:
            note(outcome.failure)

    def pass_on(self, line: str) -> None:
        """Show what a part says on standard error; a note that was shown before, as parts make the same ones, not."""
        if line.startswith(SAID_BY) and not line.startswith(f"{SAID_BY} rank "):  # which is the head of an error
            if line in self.noted:
                return
            self.noted.add(line)
        pass_on(line)

    def write(self, running: bool = False) -> bool:
        """Write how the run stands into its journal, so that whatever reads it next knows; whether it could be written.

        `running`: it goes on.

        A full disk is one more failure: the store and the report still get the rows, and the run as it stands here.
        """
        if self.journal is None:
            return False
        try:
            self.journal.update(self._standing(self.journal.run, running))
        except JournalWriteError as error:
            outcome = Outcome(error.exit_code, f"journal: {error}")
            if outcome not in self.outcomes:
                self.outcomes.append(outcome)
                note(outcome.failure)
            self.journal.run = self._standing(self.journal.run, running)
            return False
        return True

    @property
    def exit_code(self) -> int:
        """The worst code of the parts so far."""
        return worst([outcome.exit_code for outcome in self.outcomes])

    def counter(self, what: str, step: Step) -> Callable[[], None] | None:
        """Shows how many rows of this run are on the disk while a part measures; None where nobody looks."""
        if not shows_progress():
            return None

        def count() -> None:
            step(f"{what}: {self.count_rows()} rows", 0)

        return count

    def count_rows(self) -> int:
        """The rows that are on the disk; reads only what was appended since the last call, as ranks are being timed."""
        for path in self._paths():
            rows, offset = self.counted.get(path, (0, 0))
            new, offset = rows_since(path, offset)
            self.counted[path] = rows + new, offset
        return sum(rows for rows, _ in self.counted.values())

    def journals_of(self, part: str) -> list[Path]:
        """The journals of a part, in the order in which they were begun."""
        named = re.compile(rf"{re.escape(f'{self.run_id}.{part}')}(?:\.(\d+))?\.jsonl")
        found = [(int(match[1] or 1), path) for path in self._paths() if (match := named.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def contents(self) -> list[JournalContents]:
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

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Say so where another job is going on in the same folder; neither loses anything to the other."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.out / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            yield  # the journal tells what is wrong with the folder
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another job is going on in {self.out}: each slows the other, and the later one writes the report")
        except OSError:
            pass  # some network file systems have no locks
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened(self) -> Iterator[Journal]:
        """The job's own journal."""
        if self.own_journal.exists():
            with Journal.reopen(self.own_journal) as journal:
                started = replace(journal.run, finished_at="", status="running", exit_code=None, failures=())
                journal.update(started)
                yield journal
            return
        run = Run(run_id=self.run_id, started_at=now_iso(), command=command_line(), status="running", seed=self.seed)
        with Journal.create(self.journals, run) as journal:
            yield journal

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C end what is measured, and still keep and report what is there."""
        try:
            yield
        except KeyboardInterrupt:
            note("interrupted: keeping what was measured")

    def _standing(self, run: Run, running: bool) -> Run:
        failures = [outcome.failure for outcome in self.outcomes if outcome.failure]
        if running:
            return replace(run, failures=tuple(dict.fromkeys((*run.failures, *failures))))
        # The worst code may be that of wrong data, which hides that another part could not be run.
        status = status_of(outcome.exit_code for outcome in self.outcomes)
        return replace(ended(run, self.exit_code, failures), status=status)

    def _paths(self) -> list[Path]:
        return sorted({*self.journals.glob(f"{self.run_id}.jsonl"), *self.journals.glob(f"{self.run_id}.*.jsonl")})

    def _load(self) -> Outcome:
        damaged = []
        with Store.open(self.url) as store:
            for contents in self.contents():
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
        from clusterbench.bench.tables.pictures import pictures
        from clusterbench.results.columns import to_frame
        from clusterbench.results.report.page import write_report

        contents = self.contents()
        rows = [row for part in contents for row in part.measurements]
        frame = to_frame(rows)
        shown = pictures(frame)
        run = merge_runs([part.run for part in contents])
        write_report(self.report, [run], frame, shown.drawn, shown.not_drawn)
        return Outcome(exit_codes.GOOD)

    def _print_end(self, run: Run, rows: Sequence[Measurement], spent: Spent) -> None:
        print_summary(rows, run.failures)
        click.echo(f"\nTime:   {spent.line()}")
        click.echo(f"Store:  {self.url if '://' in self.url and not self.url.startswith('sqlite') else self._file()}")
        click.echo(f"Report: {self.report if self.report.exists() else 'not written'}")

    def _file(self) -> str:
        return self.url.removeprefix("sqlite:///")


def passed_on(done: Finished) -> None:
    """Show what a part that failed printed: where the disk is full, what it measured last is nowhere else."""
    if done.exit_code == exit_codes.FAILED and done.stdout.strip():
        sys.stderr.write(done.stdout)
        sys.stderr.flush()


def judged(part: str, done: Finished, timeout_s: float) -> Outcome:
    """The outcome of a part that was a process: its code, and the last thing that it said where the code is not 0."""
    if done.exit_code == exit_codes.GOOD:
        return Outcome(exit_codes.GOOD, wall_s=done.wall_s)
    code = done.exit_code if done.exit_code in _MEANING else exit_codes.FAILED
    why = _MEANING[code]
    if done.timed_out:
        why += f" ({timeout_s:g} s)"
    if code != done.exit_code:
        why += f" (exit code {done.exit_code})"
    # Launchers rule off what they say by lines of dashes.
    said = [line.strip() for line in done.stderr.splitlines() if any(letter.isalpha() for letter in line)]
    own = [line for line in said if line.startswith((SAID_BY, "Error:"))]
    last = (own or said or [""])[-1]
    return Outcome(code, f"{part}: {why}" + (f": {last}" if last else ""), done.wall_s)
