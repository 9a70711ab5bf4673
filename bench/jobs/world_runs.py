"""A part of a job that is a world of ranks: started, supervised, and started again for what a dead one left.

Where a world ends before it is done, the row that it was measuring is marked as failed, with who is to blame, and a new
world measures the rows that are left: one failing row costs that row only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clusterbench.bench import exit_codes
from clusterbench.bench.jobs.job_record import JobRecord, Outcome, Step, judged, passed_on
from clusterbench.bench.worlds.supervisor import Fault, supervise
from clusterbench.results.journal import Journal, ended, now_iso
from clusterbench.results.record import Run

MOST_ROWS_LOST = 5
"""Rows of one part that may end their world before the rest of the part is given up."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one world is to measure."""

    name: str
    """Of its journals, beside others of the run."""
    title: str
    """In words."""
    args: tuple[str, ...]
    """Of the command line `clusterbench`."""
    resumes: bool = True
    """Whether the command takes `--leave-out`, and so can go on where a world has ended."""


def python(args: Sequence[str]) -> list[str]:
    """The command line `clusterbench ARGS` for a process of its own."""
    # -P: what lies in the current folder must not shadow a package.
    return [sys.executable, "-P", "-m", "clusterbench.bench", *args]


def world_args(record: JobRecord, part: Part) -> list[str]:
    """The arguments of the next world of a part: what it is to measure, less what there is, and where it is kept."""
    args = [*part.args, "--journal", str(record.journals), "--run-id", record.run_id, "--part", part.name]
    for path in record.journals_of(part.name) if part.resumes else ():
        args += ["--leave-out", str(path)]
    return args


def measure_world(
    record: JobRecord,
    part: Part,
    line: Callable[[Sequence[str]], list[str]],
    *,
    timeout_s: float,
    silence_s: float,
    step: Step,
) -> Outcome:
    """Measure a part, in as many worlds as it takes: the outcome of the last one; those before it are recorded.

    `line` makes a command line that starts ranks of one process's; `timeout_s` is for each world, `silence_s` as in
    `supervise`.
    """
    lost_rows = lost_starts = 0
    while True:
        before = record.journals_of(part.name)
        command = line(python(world_args(record, part)))
        counter = record.counter(part.title, step)
        done = supervise(
            command, timeout_s=timeout_s, silence_s=silence_s, on_wait=counter, on_error_line=record.pass_on
        )
        if done.fault is None:
            return judged(part.title, done.finished, timeout_s)
        fault = done.fault
        if fault.final:
            passed_on(done.finished)
        outcome = Outcome(fault.exit_code if fault.exit_code else exit_codes.FAILED, f"{part.title}: {fault.text}")
        _mark(record, part, fault, outcome, [path for path in record.journals_of(part.name) if path not in before])
        lost_rows += fault.row is not None
        lost_starts += fault.row is None
        if fault.final or not part.resumes or lost_starts > 1 or lost_rows >= MOST_ROWS_LOST:
            return outcome
        record.add(outcome)
        if not record.write(running=True):
            return Outcome(exit_codes.FAILED, f"{part.title}: the rest is not measured, as nothing can be written")


def _mark(record: JobRecord, part: Part, fault: Fault, outcome: Outcome, journals: Sequence[Path]) -> None:
    """Say in the journal of a world that ended why, and which row it was at; that journal is made where it is missing.

    What the ranks said of their end is only that they were ended. Raises `JournalError` or `JournalWriteError`.
    """
    if journals:
        opened = Journal.reopen(journals[-1])
    else:
        run = Run(run_id=record.run_id, started_at=now_iso(), status="running", seed=record.seed)
        opened = Journal.create(record.journals, run, part.name)
    with opened as journal:
        if fault.row is not None:
            row = replace(
                fault.row,
                run_id=record.run_id,
                verdict="FAIL",
                reason=fault.text,
                culprit=fault.culprit,
                started_at=fault.row.started_at or now_iso(),
            )
            journal.append(row)
        journal.update(ended(replace(journal.run, failures=()), outcome.exit_code, [outcome.failure]))
