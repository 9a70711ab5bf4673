"""Starts real ranks for tests: `mpiexec -n P` with this Python, with a time-out, and everything that was printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from clusterbench.bench.launching.launch import Finished, find_mpiexec, mpiexec_family, run_mpiexec
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement as Row

TWO_HOSTS = {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1"} if mpiexec_family(find_mpiexec() or "mpiexec")[0] == "mpich" else {}
"""Variables by which the library takes odd ranks and even ones for those of two hosts; empty where it cannot."""


def ranks(count: int, *arguments: str, timeout_s: float = 120.0) -> Finished:
    """Run `python ARGUMENTS` on `count` ranks."""
    return run_mpiexec(count, [sys.executable, *arguments], timeout_s=timeout_s)


def clusterbench(count: int, *arguments: str, timeout_s: float = 120.0) -> Finished:
    """Run `clusterbench ARGUMENTS` on `count` ranks."""
    return ranks(count, "-m", "clusterbench.bench", *arguments, timeout_s=timeout_s)


def each(count: int, commands: Sequence[Sequence[str]], *, patch: str = "", timeout_s: float = 300.0) -> list[Finished]:
    """Run several command lines in one world: the exit code of each, alike on all ranks, and what all ranks printed.

    `patch` is Python that every rank executes before them.
    """
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([list(command) for command in commands], file)
        file.flush()
        script = str(Path(__file__).with_name("each_command.py"))
        world = ranks(count, script, file.name, patch, timeout_s=timeout_s)
    assert world.exit_code == 0, f"exit code {world.exit_code}: {world.stderr}"
    ended = json.loads(world.stdout)
    assert len(ended) == len(commands)
    assert [end for end in ended if len(set(end["exit_codes"])) != 1] == []
    return [
        Finished(tuple(command), end["exit_codes"][0], end["stdout"], end["stderr"], False)
        for command, end in zip(commands, ended, strict=True)
    ]


def command_lines(count: int, folder: Path, commands: Sequence[Sequence[str]], timeout_s: float = 300.0) -> list[Row]:
    """Run several command lines that measure in one world of `count` ranks: all their rows, read from the journals.

    Their journals go to `folder`. A command that fails fails the test with what it said.
    """
    for finished in each(count, [[*command, "--journal", str(folder)] for command in commands], timeout_s=timeout_s):
        assert finished.exit_code == 0, (
            f"{' '.join(finished.command)}: exit code {finished.exit_code}: {finished.stderr}"
        )
    journals = [read_journal(journal) for journal in sorted(folder.glob("*.jsonl"))]
    assert len(journals) == len(commands)
    assert {journal.run.status for journal in journals} == {"finished"}
    return [row for journal in journals for row in journal.measurements]


def document(finished: Finished) -> dict[str, Any]:
    """The one JSON document that a command printed; a failed command fails the test with what it said."""
    assert finished.exit_code == 0, f"exit code {finished.exit_code}: {finished.stderr}"
    parsed: dict[str, Any] = json.loads(finished.stdout)
    return parsed
