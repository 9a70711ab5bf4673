"""`clusterbench run`: a part that fails stops no other, and is in the run, the store, the report and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from called import clusterbench

from clusterbench.bench import exit_codes
from clusterbench.bench.hosts.environment import new_run_id
from clusterbench.bench.jobs import job_record, main_job
from clusterbench.bench.jobs.job_record import Outcome, judged, worst
from clusterbench.bench.jobs.main_job import MainJob
from clusterbench.bench.jobs.presets import PRESETS
from clusterbench.bench.launching.launch import Finished
from clusterbench.bench.launching.mpi_status import MpiStatus
from clusterbench.results.journal import Journal, JournalWriteError
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store, StoreError


@dataclass
class Fake:
    """Stands for the measuring parts: `kernels` writes one row, a collective fails as it is told."""

    job: MainJob
    kernels: Exception | None = None
    collective: Exception | Outcome | None = None

    def run_kernels(self, step: object) -> Outcome:
        if self.kernels is not None:
            raise self.kernels
        run = Run(run_id=self.job.record.run_id, started_at=self.job_started())
        with Journal.create(self.job.record.journals, run, "kernels") as journal:
            row = Measurement(
                run_id=self.job.record.run_id, suite="kernels", name="triad", backend="numba", dtype="float32",
                shape="n=1000", median_s=1e-6, bytes_per_s=12e9, bound_share=0.9, n=10, verdict="PASS",
            )  # fmt: skip # a row is read as one block
            journal.append(row, [1e-6] * 10)
            journal.finish(0)
        return Outcome(0)

    @staticmethod
    def job_started() -> str:
        return job_record.now_iso()

    def run_collective(self, plan: object, step: object) -> Outcome:
        if isinstance(self.collective, Exception):
            raise self.collective
        return self.collective or Outcome(0)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    job = MainJob.plan(PRESETS["smoke"], tmp_path / "out", url=None, seed=1, ranks=2, tables=True)
    made = Fake(job)
    monkeypatch.setattr(main_job, "examine", lambda: ({"host": {"name": "here"}}, MpiStatus(library="MPICH", world=2)))
    monkeypatch.setattr(main_job, "print_findings", lambda findings: None)
    monkeypatch.setattr(main_job, "diagnose", lambda environment, status: [])
    monkeypatch.setattr(MainJob, "_kernels", lambda self, step: made.run_kernels(step))
    monkeypatch.setattr(MainJob, "_pairs", lambda self, step: Outcome(0))
    monkeypatch.setattr(MainJob, "_collective", lambda self, plan, step: made.run_collective(plan, step))
    return made


def test_a_good_run_leaves_journals_store_and_report(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    done = fake.job.run()
    assert (done.exit_code, done.run.status, done.run.exit_code, done.run.failures) == (0, "finished", 0, ())
    assert [row.name for row in done.rows] == ["triad"]
    with Store.open(fake.job.record.url) as store:
        (run,) = store.runs()
        assert run.environment["host"]["name"] == "here"
        assert len(store.frame(run_id=run.run_id)) == 1
    assert "triad" in fake.job.record.report.read_text()
    said = capsys.readouterr().out
    assert str(fake.job.record.report) in said
    assert "results.db" in said


def test_a_failing_part_is_in_the_exit_code_the_store_and_the_report(fake: Fake) -> None:
    fake.collective = Outcome(exit_codes.WRONG_DATA, "all_reduce: found wrong data: 3 elements <script>")
    done = fake.job.run()
    assert done.exit_code == exit_codes.WRONG_DATA
    assert len(done.rows) == 1
    with Store.open(fake.job.record.url) as store:
        (run,) = store.runs()
    assert (run.status, run.exit_code) == ("finished", exit_codes.WRONG_DATA)
    assert any("found wrong data" in failure for failure in run.failures)
    page = fake.job.record.report.read_text()
    assert "found wrong data" in page
    assert "3 elements <script>" not in page


def test_wrong_data_in_one_part_does_not_hide_that_another_could_not_run(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([Outcome(exit_codes.WRONG_DATA, "wrong"), Outcome(exit_codes.TIMED_OUT, "late")])
    monkeypatch.setattr(MainJob, "_collective", lambda self, plan, step: next(outcomes, Outcome(0)))
    done = fake.job.run()
    assert (done.run.status, done.exit_code) == ("failed", exit_codes.WRONG_DATA)
    assert done.run.failures == ("wrong", "late")


def test_rows_on_the_disk_are_counted_over_all_journals_of_the_run(fake: Fake) -> None:
    assert fake.job.record.count_rows() == 0
    for expected in (1, 2):
        fake.run_kernels(None)
        assert fake.job.record.count_rows() == expected
    read = {path: offset for path, (_, offset) in fake.job.record.counted.items()}
    assert read == {path: path.stat().st_size for path in fake.job.record.journals.iterdir()}


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_the_names_of_runs_sort_by_time_in_any_time_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        named = datetime.strptime(new_run_id()[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs((datetime.now(UTC) - named).total_seconds()) < 600


def test_a_defect_in_one_part_leaves_the_others(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.collective = RuntimeError("no such thing")
    done = fake.job.run()
    assert done.exit_code == exit_codes.FAILED
    assert [row.name for row in done.rows] == ["triad"]
    assert len([text for text in done.run.failures if "RuntimeError: no such thing" in text]) == len(
        PRESETS["smoke"].collectives
    )
    assert fake.job.record.report.exists()
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_measured(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: MainJob, plan: object, step: object) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(MainJob, "_collective", interrupt)
    done = fake.job.run()
    assert done.exit_code == exit_codes.FAILED
    assert [row.name for row in done.rows] == ["triad"]
    assert any("all_reduce float32: interrupted" in failure for failure in done.run.failures)
    with Store.open(fake.job.record.url) as store:
        assert len(store.frame()) == 1
    assert fake.job.record.report.exists()


def test_a_report_that_fails_is_in_the_store_too(fake: Fake) -> None:
    fake.job.record.report.mkdir(parents=True)
    done = fake.job.run()
    assert done.exit_code != 0
    with Store.open(fake.job.record.url) as store:
        (run,) = store.runs()
    assert any(failure.startswith("report:") for failure in run.failures)


def test_a_full_disk_costs_neither_the_store_nor_the_report(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, run: Run) -> None:
        if self.path.name == f"{fake.job.record.run_id}.jsonl":
            raise JournalWriteError(f"{self.path}: cannot write: No space left on device")
        update(self, run)

    update = Journal.update
    monkeypatch.setattr(Journal, "update", full)
    fake.collective = Outcome(exit_codes.WRONG_DATA, "all_reduce: found wrong data")
    done = fake.job.run()
    assert (done.exit_code, done.run.status) == (exit_codes.WRONG_DATA, "failed")
    with Store.open(fake.job.record.url) as store:
        (run,) = store.runs()
        assert len(store.frame()) == 1
    assert run == done.run
    page = fake.job.record.report.read_text()
    for failure in ("all_reduce: found wrong data", "No space left on device"):
        assert any(failure in text for text in run.failures)
        assert failure in page


def test_a_store_that_can_only_be_read_is_refused_before_anything_is_measured(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store) -> None:
        raise OSError("attempt to write a readonly database")

    monkeypatch.setattr(Store, "_try_to_write", refuse)
    with pytest.raises(StoreError, match="cannot be written: attempt to write a readonly database"):
        fake.job.run()
    assert not fake.job.record.journals.exists()


def test_a_broken_mpi_is_a_failure_and_the_kernels_still_run(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_job, "examine", lambda: ({}, MpiStatus(problems=("no mpiexec: install one",))))
    done = fake.job.run()
    assert done.exit_code == exit_codes.FAILED
    assert "doctor: no mpiexec: install one" in done.run.failures
    assert len(done.rows) == 1


def test_a_wrong_mpiexec_on_the_path_alone_is_no_failure(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_job, "examine", lambda: ({}, MpiStatus(path_problems=("/usr/bin/mpiexec is another",))))
    assert fake.job.run().exit_code == 0


def test_the_worst_code_wins() -> None:
    assert worst([]) == worst([0, 0]) == exit_codes.GOOD
    assert worst([0, 4, 2]) == exit_codes.USAGE
    assert worst([4, 0]) == exit_codes.BELOW
    assert worst([1, 3, 124]) == exit_codes.WRONG_DATA
    assert worst([2, 124]) == exit_codes.TIMED_OUT
    assert worst([0, 77]) == exit_codes.FAILED


@pytest.mark.parametrize(
    ("code", "stderr", "timed_out", "outcome"),
    [
        (0, "noise", False, Outcome(0)),
        (
            3,
            "x\nclusterbench: gemm is wrong\nbye",
            False,
            Outcome(3, "p: found wrong data or an impossible result: clusterbench: gemm is wrong"),
        ),
        (124, "", True, Outcome(124, "p: did not end in its time (9 s)")),
        (139, "segmentation fault", False, Outcome(1, "p: failed at run time (exit code 139): segmentation fault")),
        (1, "no such host\n-----\n====", False, Outcome(1, "p: failed at run time: no such host")),
    ],
)
def test_a_process_is_judged_by_its_code_and_its_last_word(
    code: int, stderr: str, timed_out: bool, outcome: Outcome
) -> None:
    assert judged("p", Finished(("x",), code, "", stderr, timed_out), 9.0) == outcome


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--preset", "huge"], "huge"),
        (["--ranks", "1"], "--ranks"),
        (["--seed", "-1"], "--seed"),
        (["--store", "oracle://x"], "oracle"),
        (["--store", "sqlite://"], "in memory"),
        (["--store", "postgresql://h:notaport/db"], "not a URL"),
        (["--json", "--csv"], "--json"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_measured(args: list[str], named: str, tmp_path: Path) -> None:
    done = clusterbench("run", "--out", str(tmp_path / "out"), *args)
    assert done.returncode == exit_codes.USAGE
    assert named in done.stderr
    assert not (tmp_path / "out" / "journals").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = clusterbench("run", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == exit_codes.USAGE
    assert "file" in done.stderr


def test_run_under_a_launcher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "4")
    done = clusterbench("run", "--out", str(tmp_path))
    assert done.returncode == exit_codes.USAGE
    assert "starts mpiexec itself" in done.stderr


@pytest.mark.slow
@pytest.mark.mpi
def test_the_smoke_preset_measures_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clusterbench.bench", "run", "--preset", "smoke", "--out", str(tmp_path)]
    done = subprocess.run([*command, "--seed", "7", "--json"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    rows = document["rows"]
    assert document["run"]["seed"] == 7
    assert {row["suite"] for row in rows} == {"roof", "kernels", "pairs", "collectives"}
    timed = [row for row in rows if row["suite"] == "collectives"]
    assert {row["name"] for row in timed} == {"all_reduce", "reduce_scatter", "all_gather"}
    assert {"library", "ring"} <= {row["algorithm"] for row in timed}
    assert {row["placement"] for row in timed} == {"out_of_place", "in_place"}
    assert [row for row in rows if row["wrong"] or row["verdict"] in ("FAIL", "INVALID")] == []
    assert [row for row in rows if row["evidence"] == "simulated" and row["median_s"] is not None] == []
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert document["run"]["environment"]["mpi"]["thread_level"]
