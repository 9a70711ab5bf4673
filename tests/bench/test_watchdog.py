"""Ranks that are killed, or stopped, in the middle of a run: the others end in time, and what was measured stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mpi
import pytest

from clusterbench.bench.launch import find_mpiexec, mpiexec_family
from clusterbench.results.journal import read_journal

pytestmark = pytest.mark.mpi

TIMEOUT_S = 8


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile beforehand what ranks compile at their first start, for which the watchdog here may not wait."""
    folder = tmp_path_factory.mktemp("journals")
    few = ("-b", "8", "-n", "2", "-w", "1", "--algorithm", "ring", "--journal", str(folder))
    mpi.document(mpi.clusterbench(2, "collectives", "run", "all_reduce", *few, "--json"))


@contextmanager
def running(folder: Path, ranks: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A long `collectives run`, once it has measured something; whatever is left of it is ended."""
    command = [find_mpiexec() or "mpiexec", "-n", str(ranks)]
    if mpiexec_family(command[0])[0] == "openmpi":
        command[1:1] = ["--oversubscribe", "--bind-to", "none"]
        if os.geteuid() == 0:
            command.insert(1, "--allow-run-as-root")
    command += [sys.executable, "-m", "clusterbench.bench", "collectives", "run", "all_reduce", "-b", "8", "-e", "64K"]
    command += ["--algorithm", "ring", "--budget", "0.3", "--journal", str(folder), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        until = time.monotonic() + 120
        while not any('"measurement"' in path.read_text() for path in folder.glob("*.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "nothing was measured"
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def pids(folder: Path) -> list[int]:
    """Process numbers of the ranks, as the run's own record has them."""
    (path,) = folder.glob("*.jsonl")
    return [place["pid"] for place in read_journal(path).run.environment["pinning"]["places"]]


def test_a_killed_rank_ends_all_and_what_was_measured_stays(tmp_path: Path) -> None:
    with running(tmp_path, 3, "--timeout", str(TIMEOUT_S)) as process:
        os.kill(pids(tmp_path)[1], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    contents = read_journal(next(tmp_path.iterdir()))
    assert contents.measurements
    assert all(row.wrong == 0 for row in contents.measurements)


def test_a_stopped_rank_is_named_and_the_others_end_in_time(tmp_path: Path) -> None:
    with running(tmp_path, 3, "--timeout", str(TIMEOUT_S)) as process:
        stopped = pids(tmp_path)[2]
        os.kill(stopped, signal.SIGSTOP)
        try:
            said = process.communicate(timeout=90)
        finally:
            if Path(f"/proc/{stopped}").exists():
                os.kill(stopped, signal.SIGKILL)
    assert process.returncode != 0, said  # the launcher may hand on the code of the rank that it has to kill
    assert f"clusterbench: rank 0: nothing went on for {TIMEOUT_S} s in ring, " in said[1]
    assert f"rank 2 (pid {stopped} on " in said[1]
    assert "is stopped" in said[1]
    assert "# Not measured: " in said[0]
    contents = read_journal(next(tmp_path.iterdir()))
    assert contents.measurements
    assert contents.run.status == "failed"
    assert contents.run.exit_code == 124
