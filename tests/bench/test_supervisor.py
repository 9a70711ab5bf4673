"""What is said of ranks by what they left in their pages, and by what has become of their processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from made_up_ranks import LAUNCHER, made_up_world

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.process_ends import ProcessEnds
from clusterbench.bench.worlds.status_page import PAGE_BYTES, StatusPage, read_pages
from clusterbench.bench.worlds.supervisor import Supervised, supervise
from clusterbench.results.record import Measurement

ROW = Measurement(run_id="r", suite="collectives", name="all_reduce", algorithm="ring", count=4, bound_s=float("inf"))

RANK = """
import os, signal, struct, sys, time
from clusterbench.bench.worlds.status_page import StatusPage
from clusterbench.results.record import Measurement
from pathlib import Path

rank, doing = int(sys.argv[1]), sys.argv[2]
page = StatusPage.create(Path(sys.argv[sys.argv.index("--status-pages") + 1]))
page.join(rank, 2, f"core {rank}")
page.alive("ring, 4 elements", 0.0)
page.begin_row(Measurement(run_id="r", suite="collectives", name="all_reduce", algorithm="ring", count=4))
if doing == "waits":
    page._numbers[7], page._numbers[8], page._numbers[9] = 12, 3, 6
    time.sleep(60)
if doing == "dies":
    time.sleep(2.5)
    doing = "SIGKILL"
if doing == "raises":
    page.fail("no such thing")
    sys.exit(1)
if doing == "ends":
    page.end()
    sys.exit(2)
os.kill(os.getpid(), getattr(signal, doing))
time.sleep(60)
"""
"""What a rank does, without MPI: `--status-pages` comes last, as the supervisor gives it."""


def world(first: str, second: str, silence_s: float = 2.0) -> Supervised:
    return made_up_world(RANK, first, second, silence_s)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not [child for child in psutil.Process().children(recursive=True) if child.status() != "zombie"]


def test_a_rank_that_is_stopped_is_named_with_how_far_it_and_the_others_are() -> None:
    done = world("waits", "SIGSTOP")
    assert done.fault is not None
    text = done.fault.text
    assert text.startswith("nothing went on for 2 s in ring, 4 elements; rank 1 (pid ")
    assert ", core 1) is stopped, in Python before the first call; rank 0 in step 3 of 6 of call 12" in text
    assert (done.fault.exit_code, done.fault.culprit) == (exit_codes.TIMED_OUT, "rank 1")
    assert done.fault.row is not None
    assert (done.fault.row.algorithm, done.fault.row.count) == ("ring", 4)


def test_a_rank_that_is_gone_is_noticed_long_before_the_time_out() -> None:
    done = world("SIGKILL", "waits", silence_s=50.0)
    assert done.fault is not None
    assert done.fault.text.startswith("a rank ended while the others went on; rank 0 (pid ")
    assert "is gone" in done.fault.text
    assert (done.fault.exit_code, done.fault.culprit) == (exit_codes.FAILED, "rank 0")


def test_ranks_that_all_run_are_told_apart_by_how_far_they_are() -> None:
    done = world("waits", "SIGCONT")
    assert done.fault is not None
    assert "rank 1 (pid " in done.fault.text
    assert "is computing, or waits for something outside of MPI, in Python before the first call" in done.fault.text
    assert done.fault.culprit == "rank 1"


def test_a_rank_that_raised_is_the_one_to_name() -> None:
    done = world("waits", "raises", silence_s=50.0)
    assert done.fault is not None
    assert "rank 1 (pid " in done.fault.text
    assert "ended by itself: no such thing" in done.fault.text


def test_ranks_that_end_by_themselves_are_no_fault_whatever_their_code() -> None:
    done = world("ends", "ends")
    assert done.fault is None
    assert done.finished.exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        "=   PID {pid} RUNNING AT here\n=   EXIT CODE: 9",
        "prterun noticed that process rank 1 with PID {pid} on node here exited on\nsignal 9 (Killed).",
        "srun: error: here: task 1: Killed",
    ],
)
def test_a_launcher_that_ends_all_is_believed_where_nothing_better_is_known(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessEnds, "watch", lambda self, pid, lifeline: None)
    script = LAUNCHER.replace(
        "sys.exit(",
        "ranks[1].wait(); print(LINE.format(pid=ranks[1].pid)); ranks[0].kill(); sys.exit(",
    ).replace("import", f"LINE = {line!r}\nimport", 1)
    command = [sys.executable, "-c", script, RANK, "waits", "SIGKILL"]
    done = supervise(command, timeout_s=60, silence_s=50)
    assert done.fault is not None
    assert done.fault.text.startswith("a rank ended before it was done; rank 1 (pid ")
    assert done.fault.culprit == "rank 1"


def test_of_ranks_that_all_were_ended_the_first_one_is_named() -> None:
    script = LAUNCHER.replace("sys.exit(", "ranks[1].wait(); ranks[0].kill(); sys.exit(")
    done = supervise([sys.executable, "-c", script, RANK, "waits", "dies"], timeout_s=60, silence_s=50)
    assert done.fault is not None
    assert done.fault.text.startswith("a rank ended before it was done; rank 1 (pid ")
    assert "; rank 0 in step 3 of 6 of call 12" in done.fault.text


def test_what_takes_too_long_in_all_is_ended_and_no_row_is_to_blame() -> None:
    command = [sys.executable, "-c", LAUNCHER, RANK, "waits", "waits"]
    done = supervise(command, timeout_s=3, silence_s=50)
    assert done.fault is not None
    assert done.fault.text.startswith("not done after 3 s")
    assert (done.fault.row, done.fault.final) == (None, True)


def test_a_page_says_what_was_written_and_survives_the_rank(tmp_path: Path) -> None:
    page = StatusPage.create(tmp_path)
    page.join(3, 8, "core 5")
    page.alive("proving ring", 100.0)
    page.begin_row(ROW)
    (status,) = read_pages(tmp_path)
    assert (status.rank, status.ranks, status.pid, status.device) == (3, 8, os.getpid(), "core 5")
    assert status.doing == "proving ring"
    assert status.silent_s < -90  # it may take so much longer
    assert status.row == ROW
    page.alive("", 0.0)
    page.end_row()
    (status,) = read_pages(tmp_path)
    assert (status.doing, status.row) == ("proving ring", None)
    assert status.silent_s >= 0


@pytest.mark.parametrize("damage", [lambda text: text[:100], lambda text: b"\0" * PAGE_BYTES, lambda text: b""])
def test_a_page_that_is_being_made_is_left_out(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    StatusPage.create(tmp_path)
    (path,) = tmp_path.glob("*.rank")
    path.write_bytes(damage(path.read_bytes()))
    assert read_pages(tmp_path) == []


def test_texts_too_long_for_a_page_are_cut_and_a_row_is_left_out(tmp_path: Path) -> None:
    page = StatusPage.create(tmp_path)
    page.alive("é" * 1000, 0.0)
    page.begin_row(Measurement(run_id="r", suite="s", name="n" * 5000))
    (status,) = read_pages(tmp_path)
    assert status.doing.startswith("ééé")
    assert status.row is None
    assert status.rows == 1
