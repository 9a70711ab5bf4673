"""Ranks that are killed, stopped or interrupted, at any moment: all end in time, and what was measured stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mpi
import psutil
import pytest

from clusterbench.bench.launching.launch import find_mpiexec, mpiexec_command, mpiexec_family
from clusterbench.results.journal import read_journal

pytestmark = pytest.mark.mpi

TIMEOUT_S = 8

OVER = (
    (),
    ("--transport", "shared"),
    pytest.param(("--transport", "shared", "--buffers", "registered"), marks=pytest.mark.slow),  # on the same flags
)
"""Ranks wait for one another inside MPI, or on each other's flags."""


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile beforehand what ranks compile at their first start, for which the watchdog here may not wait."""
    folder = tmp_path_factory.mktemp("journals")
    few = ("-b", "8", "-n", "2", "-w", "1", "--algorithm", "ring,double-binary-tree", "--journal", str(folder))
    for transport in ("mpi", "shared"):
        few_over = (*few, "--transport", transport)
        mpi.document(mpi.clusterbench(2, "collectives", "run", "all_reduce", *few_over, "--json"))


@contextmanager
def started(ranks: int, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Ranks of this Python in a session of their own, as a terminal starts them; whatever is left of it is ended."""
    mpiexec = find_mpiexec() or "mpiexec"
    command = mpiexec_command(ranks, [sys.executable, *arguments], mpiexec=mpiexec, family=mpiexec_family(mpiexec)[0])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.1)


@contextmanager
def running(folder: Path, ranks: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A long `collectives run`, once it has measured something."""
    command = ["-m", "clusterbench.bench", "collectives", "run", "all_reduce", "-b", "8", "-e", "64K"]
    command += ["--algorithm", "ring", "--budget", "0.3", "--journal", str(folder), *arguments]
    with started(ranks, command) as process:
        wait_for(lambda: any('"measurement"' in path.read_text() for path in folder.glob("*.jsonl")), process)
        yield process


def pids(folder: Path) -> list[int]:
    """Process numbers of the ranks, as the run's own record has them."""
    (path,) = folder.glob("*.jsonl")
    return [place["pid"] for place in read_journal(path).run.environment["pinning"]["places"]]


@pytest.mark.parametrize("over", OVER)
def test_a_killed_rank_ends_all_and_what_was_measured_stays(over: tuple[str, ...], tmp_path: Path) -> None:
    with running(tmp_path, 3, "--timeout", str(TIMEOUT_S), *over) as process:
        os.kill(pids(tmp_path)[1], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    contents = read_journal(next(tmp_path.iterdir()))
    assert contents.measurements
    assert all(row.wrong == 0 for row in contents.measurements)


@pytest.mark.parametrize("over", OVER)
def test_a_stopped_rank_is_named_and_the_others_end_in_time(over: tuple[str, ...], tmp_path: Path) -> None:
    with running(tmp_path, 3, "--timeout", str(TIMEOUT_S), *over) as process:
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


WHILE_OTHERS_WAIT = """
import os, signal, sys
from clusterbench.bench import cli
from clusterbench.collectives.transports import shared

run, calls = shared.SharedCall.run, 0

def ends(self):
    global calls
    calls += 1
    if self.mpi.comm.rank == 1 and calls == 20:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    run(self)

shared.SharedCall.run = ends
cli.main(sys.argv[2:])
"""
"""The command line, in which rank 1 ends or stops when it is to enter a call that the others are in."""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_ranks_that_wait_on_the_flag_of_one_that_is_no_more_end_and_name_it(name: str, tmp_path: Path) -> None:
    few = ("-b", "8", "-e", "64K", "-n", "4", "-w", "1", "--algorithm", "ring,direct", "--transport", "shared")
    arguments = ["-c", WHILE_OTHERS_WAIT, name, "collectives", "run", "all_reduce", *few, "--timeout", "5"]
    with started(2, [*arguments, "--journal", str(tmp_path)]) as process:
        said = process.communicate(timeout=90)
    assert process.returncode != 0, said
    contents = read_journal(next(tmp_path.iterdir()))
    assert contents.measurements
    if name == "SIGKILL" and "nothing went on" not in said[1]:
        return  # the launcher noticed before the watchdog, and ended the others itself
    assert "clusterbench: rank 0: nothing went on for 5 s in " in said[1]
    assert "rank 1 (pid " in said[1]
    assert ("is stopped" if name == "SIGSTOP" else "is gone") in said[1]
    assert contents.run.exit_code == 124


IN_THE_MIDDLE = """
import os, signal, sys, time
from importlib import import_module
from pathlib import Path
from clusterbench.bench import cli
from clusterbench.bench.launching import launch

rank, module, name, marker = int(sys.argv[1]), *sys.argv[2:5]

def instead(*arguments, **options):
    if not marker:
        os.kill(os.getpid(), signal.SIGSTOP)
    Path(marker).touch()
    time.sleep(600)

if launch.launcher_rank() == rank:
    setattr(import_module(f"clusterbench.bench.{module}"), name, instead)
cli.main(sys.argv[5:])
"""
"""The command line, in which one rank stops, or sleeps, where it calls a function: a moment that is certain."""

TREE = ("run", "all_reduce", "-b", "1K", "-n", "2", "-w", "1", "--algorithm", "double-binary-tree")
PAIRS = ("pairs", "-n", "2", "-w", "1")


@pytest.mark.parametrize(
    ("rank", "module", "name", "command", "doing"),
    [
        (1, "worlds.world", "_choose_core", TREE, "joining the other ranks"),
        (1, "measuring.collective_schedules", "measure_links", TREE, "measuring links"),
        (0, "measuring.collective_schedules", "prove", TREE, "proving double-binary-tree:segments="),
        (1, "measuring.exchanges", "page_aligned", PAIRS, "taking buffers"),
        (0, "worlds.recording", "_new_run", PAIRS, "opening the journal"),
    ],
)
def test_a_rank_that_stops_before_anything_is_measured_is_noticed(
    rank: int, module: str, name: str, command: tuple[str, ...], doing: str, tmp_path: Path
) -> None:
    arguments = ["-c", IN_THE_MIDDLE, str(rank), module, name, "", "collectives", *command]
    with started(2, [*arguments, "--timeout", "5", "--journal", str(tmp_path)]) as process:
        said = process.communicate(timeout=90)
    assert process.returncode != 0, said
    assert f"clusterbench: rank {1 - rank}: nothing went on for 5 s in {doing}" in said[1]
    if doing != "joining the other ranks":  # else nobody knows yet who is where
        assert f"rank {rank} (pid " in said[1]
        assert "is stopped" in said[1]


ENDS_STOPPED = """
import os, sys
from clusterbench.bench.worlds.watchdog import end_stopped
from clusterbench.bench.worlds.world import RankPlace

pids = [os.getpid(), *map(int, sys.argv[2:])]
here = [RankPlace(rank, "here", pid, rank, (), "") for rank, pid in enumerate(pids)]
there = [RankPlace(len(here), "there", int(sys.argv[1]), 0, (), "")]
end_stopped([*here, *there] if len(here) > 1 else [], 0)
"""
"""End what is stopped: of the named ranks of this host, or else of what the launcher, here the test, has started."""


@pytest.mark.parametrize("known", [True, False])
def test_a_rank_that_ends_takes_stopped_ones_of_its_host_with_it_and_no_others(known: bool) -> None:
    others = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    elsewhere, stopped, runs = others
    try:
        for process in (stopped, *([elsewhere] if known else [])):
            os.kill(process.pid, signal.SIGSTOP)
            while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)
        named = [stopped.pid, runs.pid] if known else []
        subprocess.run([sys.executable, "-c", ENDS_STOPPED, *map(str, (elsewhere.pid, *named))], check=True, timeout=60)
        assert stopped.wait(timeout=10) == -signal.SIGKILL
        assert (elsewhere.poll(), runs.poll()) == (None, None)
    finally:
        for process in others:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("rank", "module", "name", "to_all"),
    [
        (1, "launching.launch", "launcher_local_size", True),  # the other rank is inside MPI's initialisation
        (1, "launching.launch", "launcher_local_size", False),
        (1, "worlds.world", "_choose_core", True),
        (1, "measuring.collective_schedules", "measure_links", False),
        (0, "measuring.collective_schedules", "prove", True),
        (0, "worlds.recording", "_new_run", False),
    ],
)
def test_ctrl_c_ends_all_at_any_moment(rank: int, module: str, name: str, to_all: bool, tmp_path: Path) -> None:
    marker = tmp_path / "there"
    arguments = ["-c", IN_THE_MIDDLE, str(rank), module, name, str(marker), "collectives", *TREE]
    with started(2, [*arguments, "--journal", str(tmp_path)]) as process:
        wait_for(marker.exists, process)
        below = psutil.Process(process.pid).children(recursive=True)
        (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)
    assert process.returncode != 0, said
    assert "Traceback" not in said[1]
    assert not psutil.wait_procs(below, timeout=10)[1]
