"""Collectives of a test: on ranks that are started for them and supervised, or simulated on a topology.

Ranks are processes of their own, as MPI must be joined before Numba is imported, and one that dies must not take the
test session with it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterbench.bench import exit_codes
from clusterbench.bench.jobs.job_record import judged
from clusterbench.bench.jobs.world_runs import python
from clusterbench.bench.launching.launch import LaunchError, run_group
from clusterbench.bench.pytest_plugin.results import BenchmarkError, Result
from clusterbench.bench.worlds.launchers import RANK_PLACEMENTS
from clusterbench.bench.worlds.supervisor import supervise
from clusterbench.results.journal import now_iso, read_journal
from clusterbench.results.record import Measurement

if TYPE_CHECKING:
    from clusterbench.bench.launching.launch import Finished
    from clusterbench.bench.pytest_plugin.session import BenchmarkSession
    from clusterbench.collectives.schedule import Schedule

RANKS = 2
"""Unless a test says otherwise."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One point, in the words of the command line."""

    collective: str
    size: str
    algorithm: str
    schedule: Schedule | Path | str | None
    ranks: int | None
    dtype: str
    op: str
    root: int
    placement: str
    transport: str
    buffers: str
    topology: str
    timeout_s: float


def measure_collective(session: BenchmarkSession, asked: Asked, only_check: bool) -> list[Result]:
    """The row of a world that is started for it, whose ranks write it to a journal of the session's run.

    Raises `BenchmarkError` where ranks die or hang, with who is to blame, and for what cannot be asked.
    """
    _refuse_several(asked)
    rules = ["-n", "1", "-w", "0"] if only_check else _rules(session)
    with tempfile.TemporaryDirectory() as scratch, _schedule_file(asked, Path(scratch)) as schedule:
        part = session.new_part()
        journal = ["--journal", scratch if only_check else str(session.folder), "--part", part]
        if not only_check:
            journal += ["--run-id", session.journal.run.run_id]
        args = ["collectives", "run", asked.collective, "--sizes", asked.size, *_common(asked, schedule), *rules]
        args += ["--placement", asked.placement, "--transport", asked.transport, "--buffers", asked.buffers]
        args += ["--topology", asked.topology] if asked.topology else []
        _supervised(session, asked, python([*args, "--seed", "0", *journal]), only_check)
        if only_check:
            (path,) = Path(scratch).glob("*.jsonl")
        else:
            path = session.folder / f"{session.journal.run.run_id}.{part}.jsonl"
        contents = read_journal(path)
    return _one(
        asked,
        [Result(row, samples, True) for row, samples in zip(contents.measurements, contents.samples, strict=True)],
    )


def simulate_collective(session: BenchmarkSession, asked: Asked, only_check: bool) -> list[Result]:
    """The row of a simulation, whose evidence is `simulated`; ranks are those of the topology.

    Raises `BenchmarkError` for what cannot be asked.
    """
    _refuse_several(asked)
    if asked.ranks is not None or asked.schedule is not None:
        given = "ranks" if asked.ranks is not None else "schedule"
        raise BenchmarkError(f"{given} is given beside simulated_on; expected an algorithm, on all of the topology")
    args = ["simulate", "--collective", asked.collective, "--topology", asked.topology, "-b", asked.size]
    args += ["-e", asked.size, *_common(asked, None), "--json"]
    finished = run_group(python(args), timeout_s=asked.timeout_s)
    if finished.exit_code != exit_codes.GOOD:
        raise _refused(asked, finished)
    rows = [Measurement.from_row(row) for row in json.loads(finished.stdout)["rows"]]
    run_id = "" if only_check else session.journal.run.run_id
    return _one(asked, [Result(replace(row, run_id=run_id, started_at=now_iso()), None) for row in rows])


def _common(asked: Asked, schedule: Path | None) -> list[str]:
    """Options of measuring and simulating alike; those that a collective has no use for are left out."""
    from clusterbench.collectives.collective import UnknownCollectiveError, collective

    try:
        what = collective(asked.collective)
    except UnknownCollectiveError as error:
        raise BenchmarkError(str(error)) from None
    chosen = ["--schedule", str(schedule)] if schedule else ["--algorithm", asked.algorithm or "library"]
    options = [*chosen, "-d", asked.dtype]
    options += ["-o", asked.op] if what.reduces else []
    return [*options, "-r", str(asked.root)] if what.is_rooted else options


def _rules(session: BenchmarkSession) -> list[str]:
    return ["--precision", str(session.settings.precision), "--budget", str(session.settings.budget_s)]


def _refuse_several(asked: Asked) -> None:
    for name, text in (("algorithm", asked.algorithm), ("size", asked.size)):
        if "," in text or text in ("all", "best"):
            raise BenchmarkError(f"{name} is {text!r}; expected one: @pytest.mark.parametrize makes a test of each")
    if asked.algorithm and asked.schedule is not None:
        raise BenchmarkError("algorithm and schedule are both given; expected one of them")
    if asked.placement not in ("out-of-place", "in-place"):
        raise BenchmarkError(f"placement is {asked.placement!r}; expected out-of-place or in-place")


@contextmanager
def _schedule_file(asked: Asked, folder: Path) -> Iterator[Path | None]:
    """The file of a schedule that is given as one, or written for one that is given as an object."""
    from clusterbench.collectives.schedule import Schedule
    from clusterbench.collectives.schedule_file import write_schedule

    if isinstance(asked.schedule, Schedule):
        path = folder / "schedule.json"
        write_schedule(asked.schedule, path, "schedule")
        yield path
    else:
        yield Path(asked.schedule) if asked.schedule is not None else None


def _supervised(session: BenchmarkSession, asked: Asked, command: Sequence[str], only_check: bool) -> None:
    """Start the ranks, and wait for their end. Raises `BenchmarkError` where they did not do what they were to do."""
    try:
        line = session.launcher.line(asked.ranks or RANKS, RANK_PLACEMENTS[0], command)
        done = supervise(line, timeout_s=asked.timeout_s, silence_s=asked.timeout_s)
    except LaunchError as error:
        raise BenchmarkError(str(error)) from None
    if done.fault is not None:
        row = done.fault.row
        if row is not None and not only_check:
            run_id = session.journal.run.run_id
            fault: dict[str, Any] = {"verdict": "FAIL", "reason": done.fault.text, "culprit": done.fault.culprit}
            session.keep([Result(replace(row, run_id=run_id, **fault), None)])
        raise BenchmarkError(f"{asked.collective}: {done.fault.text}")
    if done.finished.exit_code not in (exit_codes.GOOD, exit_codes.WRONG_DATA):
        raise _refused(asked, done.finished)


def _refused(asked: Asked, finished: Finished) -> BenchmarkError:
    return BenchmarkError(judged(asked.collective, finished, asked.timeout_s).failure)


def _one(asked: Asked, results: list[Result]) -> list[Result]:
    if len(results) != 1:
        raise BenchmarkError(f"{asked.collective}: {len(results)} rows; expected arguments that ask for one")
    return results
