"""Which rank this process is, and starting and stopping ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clusterbench.bench.launching import launch
from clusterbench.kernels import device
from clusterbench.kernels.device import usable_cores

LEFT_BY_LAUNCHERS = ("OMPI_", "PMI", "PMIX_", "MPI_LOCAL", "SLURM_", "MV2_", "HYDI_")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(LEFT_BY_LAUNCHERS):
            monkeypatch.delenv(name)


OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8"}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}


@pytest.mark.parametrize("variables", [OPEN_MPI, HYDRA, SRUN], ids=["openmpi", "hydra", "srun"])
def test_rank_and_size_are_read_from_the_launcher(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (launch.launcher_rank(), launch.launcher_size()) == (3, 8)
    assert not launch.speaks()


def test_local_size_is_the_first_number_of_slurms_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert launch.launcher_local_size() == 4


def test_without_a_launcher_this_process_speaks_and_has_no_rank() -> None:
    assert launch.launcher() is None
    assert launch.launcher_rank() is None
    assert launch.launcher_size() is None
    assert launch.speaks()


def test_pmix_alone_gives_a_rank_but_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMIX_RANK", "2")
    assert launch.launcher_rank() == 2
    assert launch.launcher_size() is None


def test_a_batch_script_is_no_launched_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "64")
    assert launch.launcher() is None


def test_mpiexec_inside_a_slurm_step_wins_over_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SRUN, "PMI_RANK": "0", "PMI_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert launch.launcher_size() == 2


def test_a_lone_world_under_a_launcher_of_several_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    message = launch.lone_world(1)
    assert message is not None
    assert "OMPI_COMM_WORLD_SIZE=4" in message
    assert "doctor" in message


def test_worlds_that_are_as_they_should_be_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.lone_world(1) is None
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "1")
    assert launch.lone_world(1) is None
    monkeypatch.setenv("PMI_SIZE", "4")
    assert launch.lone_world(4) is None


def test_a_later_rank_alone_is_named_even_if_the_size_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMIX_RANK", "1")
    assert "1 rank" in (launch.lone_world(1) or "")


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("HYDRA build details:\n    Version:                                 4.0.2\n", "mpich", "4.0.2"),
        ("MPICH Version:      5.0.2\nMPICH Release date: ...", "mpich", "5.0.2"),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to", "openmpi", "4.1.4"),
        ("mpirun (Open MPI) 5.0.11\n", "openmpi", "5.0.11"),
        ("Open MPI v5.0.11, package: Open MPI", "openmpi", "5.0.11"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.19 Build 20260101", "impi", "2021.19"),
        ("Intel(R) MPI Library 2021.19 for Linux* OS\n", "impi", "2021.19"),
        ("something else 1.0", "unknown", ""),
    ],
)
def test_family_and_version_are_read_from_version_texts(text: str, family: str, version: str) -> None:
    assert launch.family_of(text) == (family, version)


def test_open_mpi_gets_what_it_asks_for_as_root_and_past_the_cores() -> None:
    cores = usable_cores()
    command = launch.mpiexec_command(cores + 1, ["x"], mpiexec="/m", family="openmpi", as_root=True)
    assert command == ["/m", "--bind-to", "none", "--allow-run-as-root", "--oversubscribe", "-n", str(cores + 1), "x"]
    assert launch.mpiexec_command(1, ["x"], mpiexec="/m", family="openmpi", as_root=False) == [
        "/m", "--bind-to", "none", "-n", "1", "x",
    ]  # fmt: skip # one line shows the whole command


def test_a_containers_quota_counts_as_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "quota_cores", lambda: 1.0)
    command = launch.mpiexec_command(2, ["x"], mpiexec="/m", family="openmpi", as_root=False)
    assert "--oversubscribe" in command


def test_what_is_to_be_done_while_waiting_is_done_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WAIT_STEP_S", 0.05)
    calls: list[None] = []
    code = "import time; time.sleep(1)"
    launch.run_group([sys.executable, "-c", code], timeout_s=60, on_wait=lambda: calls.append(None))
    assert calls


def test_no_library_binds_the_ranks_that_bind_themselves() -> None:
    assert launch.mpiexec_command(2, ["x"], mpiexec="/m", family="mpich") == ["/m", "-n", "2", "x"]
    assert "I_MPI_PIN" in launch.mpiexec_command(2, ["x"], mpiexec="/m", family="impi")


@pytest.mark.mpi
def test_ranks_are_started_and_their_lines_come_as_they_are_printed() -> None:
    lines: list[str] = []
    # One write, so that the lines of two ranks cannot mix.
    code = "import os; from mpi4py import MPI; os.write(1, b'of %d\\n' % MPI.COMM_WORLD.size)"
    done = launch.run_mpiexec(3, [sys.executable, "-c", code], timeout_s=60, on_line=lines.append)
    assert (done.exit_code, done.timed_out) == (0, False)
    assert sorted(lines) == ["of 3"] * 3


def test_what_runs_ends_though_nobody_reads_its_lines() -> None:
    """More of them than a pipe holds."""

    def closed(_: str) -> None:
        raise BrokenPipeError

    code = "print('a line of some length\\n' * 20_000)"
    done = launch.run_group([sys.executable, "-c", code], timeout_s=60, on_line=closed)
    assert (done.exit_code, done.timed_out) == (0, False)
    assert done.stdout.count("a line of some length") == 20_000


@pytest.mark.mpi
def test_the_ranks_exit_code_comes_through() -> None:
    assert launch.run_mpiexec(2, [sys.executable, "-c", "raise SystemExit(2)"], timeout_s=60, quiet=True).exit_code == 2


@pytest.mark.mpi
def test_at_the_time_out_every_rank_is_gone(tmp_path: Path) -> None:
    code = f"import os, time, pathlib; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); time.sleep(300)"
    done = launch.run_mpiexec(2, [sys.executable, "-c", code], timeout_s=4, quiet=True)
    assert (done.exit_code, done.timed_out) == (124, True)
    started = [int(path.name) for path in tmp_path.iterdir()]
    assert len(started) == 2
    assert [pid for pid in started if psutil.pid_exists(pid)] == []


def test_sigterm_to_the_starter_stops_what_it_started(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    inner = f"import os, time, pathlib; pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); time.sleep(300)"
    outer = (
        "import sys; from clusterbench.bench.launching.launch import run_group\n"
        f"run_group([sys.executable, '-c', {inner!r}], timeout_s=300)"
    )
    starter = subprocess.Popen([sys.executable, "-c", outer], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        pid = int(marker.read_text())
        starter.send_signal(signal.SIGTERM)
        assert starter.wait(30) != 0
        assert not psutil.pid_exists(pid)
    finally:
        starter.kill()
        starter.wait()


def test_a_second_launcher_does_not_inherit_the_first_ones_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**HYDRA, "PMIX_RANK": "3", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    code = "import os; print(sorted(n for n in os.environ if n.startswith(('PMI', 'MPI_', 'SLURM'))))"
    assert launch.run_group([sys.executable, "-c", code], timeout_s=30).stdout.strip() == "['SLURM_JOB_ID']"


def test_a_missing_program_is_an_error_that_names_it() -> None:
    with pytest.raises(launch.LaunchError, match="/no/such/mpiexec"):
        launch.run_group(["/no/such/mpiexec"], timeout_s=1)
    with pytest.raises(launch.LaunchError, match="/no/such/mpiexec"):
        launch.mpiexec_family("/no/such/mpiexec")
