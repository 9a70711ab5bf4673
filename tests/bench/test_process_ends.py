"""In which order processes ended, as seen from outside."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from clusterbench.bench.launching.process_ends import ProcessEnds

HOLDS = """
import os, sys, time
from pathlib import Path
from clusterbench.bench.launching.process_ends import hold_lifeline
if sys.argv[1]:
    hold_lifeline(Path(sys.argv[1]))
much = bytearray(int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
{then}
time.sleep(600)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that holds a lifeline, if it is given one, and takes so many bytes; ended at the end."""
    processes = []

    def started(lifeline: Path | None, size: int = 0, then: str = "", **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDS.format(then=then), str(lifeline or ""), str(size)]
        process: subprocess.Popen[str] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def order(ends: ProcessEnds, count: int) -> list[int]:
    """Who has ended, once `count` have."""
    until = monotonic() + 30
    while len(ends.times) < count:
        assert monotonic() < until, ends.times
        sleep(0.01)
    return list(ends.times)


@pytest.mark.parametrize("has_lifelines", [True, False])
def test_processes_are_seen_to_end_in_their_order(has_lifelines: bool, start: Start, tmp_path: Path) -> None:
    lifelines = [tmp_path / str(number) for number in range(3)]
    processes = [start(lifeline if has_lifelines else None) for lifeline in lifelines]
    with ProcessEnds() as ends:
        for process, lifeline in zip(processes, lifelines, strict=True):
            ends.watch(process.pid, lifeline)
        for process in reversed(processes):
            process.kill()
            process.wait()
        assert order(ends, 3) == [process.pid for process in reversed(processes)]


def test_a_process_is_at_its_end_when_it_lets_its_lifeline_go(start: Start, tmp_path: Path) -> None:
    # The kernel takes a moment from there to the end, in which a launcher kills others: here it takes very long.
    first = start(tmp_path / "first", then="os.closerange(0, 4096)")
    second = start(tmp_path / "second")
    with ProcessEnds() as ends:
        ends.watch(first.pid, tmp_path / "first")
        ends.watch(second.pid, tmp_path / "second")
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert order(ends, 1) == [first.pid]
        second.kill()
        assert order(ends, 2) == [first.pid, second.pid]
        assert first.poll() is None


def test_one_that_ended_before_it_could_be_watched_is_seen_where_it_was_not_waited_for(
    start: Start, tmp_path: Path
) -> None:
    process = start(tmp_path / "lifeline")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with ProcessEnds() as ends:
        ends.watch(process.pid, tmp_path / "lifeline")
        assert order(ends, 1) == [process.pid]


def test_a_lifeline_is_held_where_fewer_descriptors_are_allowed(start: Start, tmp_path: Path) -> None:
    process = start(
        tmp_path / "lifeline",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert Path(f"/proc/{process.pid}/fd/63").readlink() == tmp_path / "lifeline"


@pytest.mark.slow
def test_the_first_one_is_known_though_a_launcher_kills_the_others_as_soon_as_its_socket_closes(
    start: Start, tmp_path: Path
) -> None:
    for turn in range(10):
        ours, theirs = zip(*(socket.socketpair() for _ in range(4)), strict=True)
        lifelines = [tmp_path / f"{turn}-{number}" for number in range(4)]
        # The first one to end takes longest to, as its memory is given back.
        sizes = [1 << 28, 1, 1, 1]
        processes = [
            start(lifeline, size, then="while True: much.count(1)", pass_fds=(end.fileno(),))
            for lifeline, size, end in zip(lifelines, sizes, theirs, strict=True)
        ]
        with ProcessEnds() as ends:
            for process, lifeline, end in zip(processes, lifelines, theirs, strict=True):
                end.close()
                ends.watch(process.pid, lifeline)
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            sleep(0.05)
            os.kill(processes[0].pid, signal.SIGKILL)
            assert ours[0].recv(1) == b""
            for process in processes[1:]:
                os.kill(process.pid, signal.SIGKILL)
            assert order(ends, 4)[0] == processes[0].pid
        for end in ours:
            end.close()
