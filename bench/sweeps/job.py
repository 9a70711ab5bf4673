"""What `clusterbench sweep` does: one launch after the other; one that fails stops no other, and a stop loses nothing.

The journals say how far a sweep has come. One that goes on measures what has no row yet, in fresh worlds.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.jobs.job_record import Done, JobRecord, Outcome, Step
from clusterbench.bench.jobs.world_runs import measure_world
from clusterbench.bench.output import note, progress
from clusterbench.bench.sweeps.file import Sweep, SweepFileError
from clusterbench.bench.sweeps.plan import Launch, Plan
from clusterbench.bench.sweeps.times import COLUMNS, Times, duration_text, times
from clusterbench.bench.worlds.launchers import Launcher
from clusterbench.collectives.collective import collective
from clusterbench.results.databases import StoreError
from clusterbench.results.journal import Journal, JournalContents, JournalError, read_journal, start_order
from clusterbench.results.record import COMPLETE_CODES, Run, instant
from clusterbench.results.store import Store

NEVER_S = 1e9
"""A world may take as long as something goes on in it."""
_MOST_DIFFERENCES = 5


@dataclass(slots=True)
class SweepJob:
    """One call of `clusterbench sweep`; `run` does it."""

    sweep: Sweep
    plan: Plan
    known: Times
    """By which the plan expects its times."""
    launcher: Launcher
    record: JobRecord
    starts_s: list[float] = field(default_factory=list)
    """What each launch of this call took beside its points."""

    def run(self) -> Done:
        """Launch all that is not complete; raises what `JobRecord.keep` does."""
        expected_s, began_s = sum(launch.expected_s for launch in self.left()), monotonic()
        done = self.record.keep(self._measure)
        if self.record.tables:
            took_s = monotonic() - began_s
            click.echo(f"Time:   {duration_text(expected_s)} expected, {duration_text(took_s)} taken")
        return done

    def left(self) -> list[Launch]:
        """The launches that are not complete, in their order."""
        return [launch for launch in self.plan.launches if not is_complete(self._journals(launch))]

    def _measure(self) -> None:
        self._describe()
        left = self.left()
        self._take_over(left)
        with progress("clusterbench sweep", total=len(left)) as step:
            for number, launch in enumerate(left):
                step(launch.part.title, 0)
                self.record.attempt(launch.part.title, lambda launch=launch: self._launch(launch, step))  # type: ignore[misc] # bound now
                step("", 1)
                if not self.record.write(running=True):
                    rest = len(left) - number - 1
                    self.record.add(Outcome(exit_codes.FAILED, f"{rest} launches are not made: see `--resume`"))
                    return

    def _describe(self) -> None:
        """Write what is run into the job's own journal."""
        journal = self.record.journal
        if journal is None or "sweep" in journal.run.environment:
            return
        about = {"file": str(self.sweep.path.resolve()), "content": dict(self.sweep.content)}
        about |= {"launcher": self.launcher.family or self.launcher.kind, "hosts": list(self.launcher.hosts)}
        skipped = tuple(f"left out: {text}" for text in self.plan.left_out)
        journal.update(replace(journal.run, environment={"sweep": about}, failures=skipped))

    def _launch(self, launch: Launch, step: Step) -> Outcome:
        def line(args: Sequence[str]) -> list[str]:
            return self.launcher.line(launch.ranks, launch.rank_placement, args)

        silence_s = self.sweep.timeout_s
        began_s, before = monotonic(), self.record.journals_of(launch.part.name)
        outcome = measure_world(self.record, launch.part, line, timeout_s=NEVER_S, silence_s=silence_s, step=step)
        made = [path for path in self.record.journals_of(launch.part.name) if path not in before]
        if outcome.exit_code in COMPLETE_CODES and len(made) == 1:
            self._count_start(monotonic() - began_s, read_journal(made[0]))
        return outcome

    def _count_start(self, took_s: float, contents: JournalContents) -> None:
        """Take down what a launch took beside its points, for whoever asks how long the next sweep will take."""
        first = instant(contents.measurements[0].started_at) if contents.measurements else None
        end, journal = instant(contents.run.finished_at), self.record.journal
        if first is None or end is None or journal is None:
            return
        self.starts_s.append(max(0.0, took_s - (end - first)))
        about = {**journal.run.environment.get("sweep", {}), "start_s": round(median(self.starts_s), 3)}
        journal.run = replace(journal.run, environment={**journal.run.environment, "sweep": about})

    def _journals(self, launch: Launch) -> list[JournalContents]:
        return [read_journal(path) for path in self.record.journals_of(launch.part.name)]

    def _take_over(self, left: Sequence[Launch]) -> None:
        """Count what earlier calls found, and take over the journals of launches that they did not complete."""
        for launch in self.plan.launches:
            for contents in self._journals(launch):
                code, failures = contents.run.exit_code, contents.run.failures
                if launch in left and not _lost_rows(contents):
                    with Journal.reopen(contents.path) as journal:
                        journal.update(replace(journal.run, status="stopped", exit_code=None, failures=()))
                elif code:
                    self.record.outcomes.append(Outcome(code, "; ".join(failures)))


def known_times(url: str, sweep: Sweep, launcher: Launcher) -> Times:
    """What the store, where there is one, tells of how long this machine takes for what a sweep asks."""
    asked: dict[str, Any] = {
        "name": sorted({collective(name).name for block in sweep.blocks for name in block.collectives}),
        "dtype": sorted({dtype for block in sweep.blocks for dtype in block.types}),
        "ranks": sorted({ranks for block in sweep.blocks for ranks in block.ranks}),
        "host": list(launcher.hosts) or [socket.gethostname()],
    }
    try:
        with Store.open(url, create=False) as store:
            rows = store.frame(suite="collectives", evidence="measured", origin="own", columns=COLUMNS, **asked)
            return times(rows, [run for run in store.runs() if run.environment.get("sweep")])
    except StoreError:  # there is none yet; whether one can be had is said before anything is measured
        return Times()


def is_complete(journals: Sequence[JournalContents]) -> bool:
    """Whether a launch has measured all that it was to: its last world ended well, or with findings."""
    return bool(journals) and journals[-1].run.exit_code in COMPLETE_CODES


def _lost_rows(contents: JournalContents) -> bool:
    return any(row.verdict == "FAIL" and row.median_s is None for row in contents.measurements)


def earlier_run(sweep: Sweep, journals: Path) -> Run | None:
    """The last sweep of that file whose journals are in the folder; None where there is none.

    Raises `SweepFileError` where the file is another by now.
    """
    found = []
    for path in journals.glob("*.jsonl"):
        if path.stem.count("."):  # of a part
            continue
        try:
            run = read_journal(path).run
        except JournalError as error:
            note(str(error))
            continue
        about = run.environment.get("sweep")
        if isinstance(about, dict) and about.get("file") == str(sweep.path.resolve()):
            found.append(run)
    if not found:
        return None
    last = max(found, key=start_order)
    differences = list(_differences(last.environment["sweep"].get("content", {}), sweep.content))
    if differences:
        shown = "; ".join(differences[:_MOST_DIFFERENCES])
        more = f"; and {len(differences) - _MOST_DIFFERENCES} more" if len(differences) > _MOST_DIFFERENCES else ""
        raise SweepFileError(
            f"{sweep.path}: it is not the file that run {last.run_id} began with: {shown}{more}. Put it back to go on, "
            "or leave --resume out to begin anew"
        )
    return last


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two parsed files, in words."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys((*before, *now))
        return [
            text
            for key in keys
            for text in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True), start=1)
        return [text for n, (old, new) in pairs for text in _differences(old, new, f"{where} {n}")]
    return [] if before == now else [f"{where} was {_shown(before)} and is {_shown(now)}"]


def _shown(value: Any) -> str:
    text = "not there" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
