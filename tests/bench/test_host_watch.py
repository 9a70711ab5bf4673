"""Ranks on other hosts than their supervisor's: what is said of them, by a process there that is no part of MPI."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mpi
import psutil
import pytest
from made_up_ranks import LAUNCHER, made_up_world
from small_disk import mount_way
from sweeps import journals, places, started, sweep_file, wait_for

from clusterbench.bench import exit_codes
from clusterbench.bench.worlds.host_watch import line_of, start_watcher, status_of
from clusterbench.bench.worlds.status_page import StatusPage, read_pages
from clusterbench.bench.worlds.supervisor import Supervised
from clusterbench.results.record import Measurement

pytestmark = pytest.mark.serial

RANK = """
import os, signal, socket, sys, time
from pathlib import Path
rank, doing = int(sys.argv[1]), sys.argv[2]
told = dict(zip(sys.argv[3::2], sys.argv[4::2]))
folder = Path(told["--status-pages"])
if rank:
    socket.gethostname = lambda: "elsewhere"
    folder = folder.with_name(folder.name + "-elsewhere") # as a host would have it that has another /dev/shm
from clusterbench.bench.worlds import recording
page = recording._page(folder, float(told["--silence"]))
page.join(rank, 2, f"GPU {rank}")
page.alive("ring, 4 elements", 0.0)
if doing == "waits":
    page._numbers[7], page._numbers[8], page._numbers[9] = 12, 3, 6
    time.sleep(60)
if doing == "raises":
    page.fail("no such thing")
    sys.exit(1)
if doing == "ends":
    time.sleep(1)
    page.end()
    sys.exit(2)
os.kill(os.getpid(), getattr(signal, doing))
time.sleep(60)
"""
"""A rank without MPI; only rank 0 is on the supervisor's host."""


def world(first: str, second: str, silence_s: float = 2.0) -> Supervised:
    return made_up_world(RANK, first, second, silence_s)


def watchers() -> list[str]:
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "clusterbench.bench.worlds.host_watch" in line and "-elsewhere" in line:
            lines.append(line)
    return lines


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    until = time.monotonic() + 20
    while watchers():
        assert time.monotonic() < until, watchers()
        time.sleep(0.1)
    # On one machine whoever ends a world may end the watcher, too, before that has removed its folder.
    for folder in Path("/dev/shm").glob("clusterbench-*-elsewhere"):
        shutil.rmtree(folder)


def test_a_rank_that_is_stopped_on_another_host_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    done = world("waits", "SIGSTOP")
    assert done.fault is not None
    assert done.fault.text.startswith("nothing went on for 2 s in ring, 4 elements; rank 1 (pid ")
    assert " on elsewhere, GPU 1) is stopped, in Python before the first call; rank 0 in step 3 of" in done.fault.text
    assert (done.fault.exit_code, done.fault.culprit) == (exit_codes.TIMED_OUT, "rank 1")
    assert "clusterbench-rank:" not in capfd.readouterr().err
    assert "clusterbench-rank:" not in done.finished.stderr


def test_a_rank_that_waits_on_another_host_is_told_with_its_step() -> None:
    done = world("SIGSTOP", "waits")
    assert done.fault is not None
    assert done.fault.culprit == "rank 0"
    assert done.fault.text.endswith("; rank 1 in step 3 of 6 of call 12")


def test_a_rank_that_is_gone_on_another_host_is_noticed_long_before_the_time_out() -> None:
    done = world("waits", "SIGKILL", silence_s=50)
    assert done.fault is not None
    assert done.fault.text.startswith("a rank ended while the others went on; rank 1 (pid ")
    assert "on elsewhere, GPU 1) is gone" in done.fault.text


def test_a_rank_that_raised_on_another_host_is_named_with_its_error() -> None:
    done = world("waits", "raises", silence_s=50)
    assert done.fault is not None
    assert "on elsewhere, GPU 1) ended by itself: no such thing" in done.fault.text


def test_ranks_that_end_by_themselves_are_told_of_by_nobody() -> None:
    done = world("ends", "ends")
    assert done.fault is None
    assert done.finished.exit_code == 2


def test_ranks_whose_launcher_has_gone_are_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, RANK, "ends", "SIGSTOP"]
    pages = tmp_path / "clusterbench-left"
    command += ["--status-pages", str(pages), "--silence", "1"]
    launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert launcher.stderr is not None
    told = status_of(launcher.stderr.readline())  # the watcher is there, and has seen who started the ranks
    assert told is not None
    assert (told.rank, told.process) == (1, "stopped")
    launcher.kill()
    launcher.wait()
    launcher.stderr.close()
    until = time.monotonic() + 60
    while psutil.pid_exists(told.pid) and psutil.Process(told.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_one_watcher_is_started_on_a_host(tmp_path: Path) -> None:
    page = StatusPage.create(tmp_path)
    for _ in range(3):
        start_watcher(tmp_path, 50.0)
    processes = [child for child in psutil.Process().children() if "host_watch" in " ".join(child.cmdline())]
    assert len(processes) == 1
    page.end()
    processes[0].kill()
    processes[0].wait()


@pytest.mark.parametrize("row", [Measurement(run_id="r", suite="s", name="n", count=4), None])
def test_a_line_tells_what_the_page_says(row: Measurement | None, tmp_path: Path) -> None:
    page = StatusPage.create(tmp_path)
    page.join(3, 8, "GPU 0")
    page.fail("é" * 700)
    if row is not None:
        page.begin_row(row)
    (status,) = read_pages(tmp_path)
    line = line_of(status)
    assert len(line) < 4096
    told = status_of(line)
    assert told is not None
    assert (told.rank, told.error, told.row, told.process) == (3, status.error, row, "")
    for damaged in (
        line[:100],
        line.replace(" ", ""),
        line[:-20] + "\n",
        f"{line[:-2]}*\n",
        "clusterbench-rank: a b c d",
    ):
        assert status_of(damaged) is None


ELSEWHERE = """#!/bin/bash
# An mpiexec whose odd ranks have another host name, and other memory files, than the rest.
if [ "$1" = --version ]; then exec {mpiexec} --version; fi
n=$2; shift 2
exec {mpiexec} -n $n bash -c '
  if [ $((PMI_RANK % 2)) = 1 ]; then
    exec {unshare} --uts bash -c "hostname elsewhere; mount -t tmpfs none /dev/shm; exec \\"\\$@\\"" rank "$@"
  fi
  exec "$@"' rank "$@"
"""


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGSTOP", "SIGKILL"])
def test_a_sweep_over_hosts_names_a_rank_on_another_and_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mpi.TWO_HOSTS:
        pytest.skip("this MPI cannot take ranks of one host for those of two")
    unshare = " ".join(mount_way())
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(ELSEWHERE.format(mpiexec=mpi.find_mpiexec(), unshare=unshare))
    mpiexec.chmod(0o755)
    monkeypatch.setenv(*next(iter(mpi.TWO_HOSTS.items())))
    path = sweep_file(tmp_path, 3, timeout_s=10, rules="precision = 0.0001\nbudget_s = 0.6")
    path.write_text(f"{path.read_text()}\n[launcher]\ncommand = '{mpiexec}'\n")
    with started(path) as process:
        contents = wait_for(path, process)
        pid = places(contents)[1]
        assert {place["host"] for place in contents.run.environment["pinning"]["places"]} > {"elsewhere"}
        os.kill(pid, getattr(signal, name))
        _, err = process.communicate(timeout=240)
    assert process.returncode == (exit_codes.FAILED if name == "SIGKILL" else exit_codes.TIMED_OUT), err
    assert f"rank 1 (pid {pid} on elsewhere, core " in err
    assert ("is gone" if name == "SIGKILL" else "is stopped") in err
    assert "clusterbench-rank:" not in err
    rows = [row for contents in journals(path) for row in contents.measurements]
    assert len(rows) == 7
    (lost,) = [row for row in rows if row.median_s is None]
    assert lost.culprit == "rank 1"
    assert not psutil.pid_exists(pid)
