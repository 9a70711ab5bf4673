"""How a job of several parts stands while it goes on, and on a disk that is full."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clusterbench.bench.jobs import job_record
from clusterbench.bench.jobs.job_record import JobRecord, Outcome
from clusterbench.bench.jobs.world_runs import Part, measure_world
from clusterbench.results.journal import Journal, JournalWriteError, read_journal
from clusterbench.results.record import Run


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobRecord:
    monkeypatch.setattr(JobRecord, "_write_report", lambda self: Outcome(0))
    return JobRecord(tmp_path / "out", f"sqlite:///{tmp_path / 'results.db'}", 1, "r", tables=False)


def test_a_job_that_goes_on_is_running_with_the_failures_so_far(record: JobRecord) -> None:
    def measure() -> None:
        record.add(Outcome(1, "first"))
        assert record.write(running=True)
        run = read_journal(record.own_journal).run
        assert (run.status, run.exit_code, run.failures) == ("running", None, ("first",))

    done = record.keep(measure)
    assert (done.run.status, done.exit_code) == ("failed", 1)


def test_a_full_disk_is_known_to_who_asks_whether_to_go_on(record: JobRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, run: Run) -> None:
        raise JournalWriteError("no space left on device")

    def measure() -> None:
        with monkeypatch.context() as disk:
            disk.setattr(Journal, "update", full)
            assert not record.write(running=True)

    done = record.keep(measure)
    assert done.exit_code == 1
    assert "journal: no space left on device" in done.run.failures


def test_two_jobs_in_one_folder_are_told_of_each_other(record: JobRecord, capsys: pytest.CaptureFixture[str]) -> None:
    other = JobRecord(record.out, record.url, 2, "s", tables=False)
    record.keep(lambda: None)
    assert "another job" not in capsys.readouterr().err
    record.keep(lambda: other.keep(lambda: None) and None)
    assert f"another job is going on in {record.out}" in capsys.readouterr().err
    assert {path.name for path in record.journals.iterdir()} == {"r.jsonl", "s.jsonl"}


def test_journals_of_a_part_are_not_those_of_another_whose_name_begins_alike(record: JobRecord) -> None:
    for part in ("a", "a", "a-b", "a.2x"):
        Journal.create(record.journals, Run(run_id="r", started_at=job_record.now_iso()), part).close()
    assert [path.name for path in record.journals_of("a")] == ["r.a.jsonl", "r.a.2.jsonl"]


def test_what_every_part_notes_is_shown_once_and_what_libraries_say_each_time(
    record: JobRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; sys.stderr.write('clusterbench: cores are shared\\nlibrary: warning\\n'); sys.exit(2)"

    def measure(title: str) -> Outcome:
        part = Part(title, title, (), resumes=False)
        command = [sys.executable, "-c", code]
        return measure_world(record, part, lambda _: command, timeout_s=60, silence_s=0, step=lambda *_: None)

    outcomes = [measure("first"), measure("second")]
    shown = capfd.readouterr().err.splitlines()
    assert (shown.count("clusterbench: cores are shared"), shown.count("library: warning")) == (1, 2)
    assert [outcome.failure for outcome in outcomes] == [
        f"{title}: refused its input: clusterbench: cores are shared" for title in ("first", "second")
    ]
