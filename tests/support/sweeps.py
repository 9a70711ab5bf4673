"""Sweeps for tests, on real ranks: a file, the command in a session of its own, and what it has measured so far."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterbench.results.journal import JournalContents, read_journal

FAST = """
seed = 5
launches = {launches}
timeout_s = {timeout_s}

[[measure]]
collectives = "all_reduce"
algorithms = ["library", "ring"]
sizes = ["8", "64", "4K"]
ranks = {ranks}
placement = "out-of-place"
{rules}

[[measure]]
collectives = "broadcast"
algorithms = "chain"
sizes = "1K"
ranks = 2
placement = "out-of-place"
samples = 4
warmup = 1
"""
FIXED = "samples = 4\nwarmup = 1"
SLOW = "precision = 0.0001\nbudget_s = 0.6"
"""Long enough for something to be done to a rank in the middle."""


def sweep_file(folder: Path, ranks: int = 2, launches: int = 1, timeout_s: int = 60, rules: str = FIXED) -> Path:
    """The file `night.toml` in a folder."""
    path = folder / "night.toml"
    path.write_text(FAST.format(ranks=ranks, launches=launches, timeout_s=timeout_s, rules=rules))
    return path


@contextmanager
def started(path: Path, *options: str, program: str = "") -> Iterator[subprocess.Popen[str]]:
    """The sweep in a session of its own, as a terminal starts it; whatever is left of it is ended."""
    run = ["-c", program] if program else ["-m", "clusterbench.bench"]
    command = [sys.executable, *run, "sweep", str(path), "--out", str(path.parent / "out"), *options]
    # A shell that runs the tests in the background has them ignore Ctrl-C, and whatever they start as well.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, ours)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def swept(path: Path, *options: str) -> tuple[int, str, str]:
    """A sweep to its end: exit code, standard output, standard error."""
    with started(path, *options) as process:
        out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def journals(path: Path) -> list[JournalContents]:
    """What the sweep of a file has left."""
    return [read_journal(one) for one in sorted((path.parent / "out" / "journals").glob("*.jsonl"))]


def measuring(path: Path) -> JournalContents | None:
    """The journal of the world of all_reduce, once it has measured two rows."""
    for one in (path.parent / "out" / "journals").glob("*all_reduce*.jsonl"):
        if one.read_text().count('"measurement"') >= 2:
            return read_journal(one)
    return None


def wait_for(path: Path, process: subprocess.Popen[str]) -> JournalContents:
    """What `measuring` finds as soon as it finds something."""
    until = time.monotonic() + 120
    while True:
        found = measuring(path)
        if found is not None:
            return found
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.05)


def places(contents: JournalContents) -> dict[int, int]:
    """The processes of the ranks."""
    return {place["rank"]: place["pid"] for place in contents.run.environment["pinning"]["places"]}
