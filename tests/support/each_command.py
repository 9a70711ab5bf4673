"""Run by every rank of a test: one command line of `clusterbench` after the other in one MPI world.

Starting Pythons on two cores takes longer than most of what they measure, so one world runs all commands; each is the
whole command line, as a user gives it, with its own exit code and its own words. The first argument is a file with a
list of them in JSON, the second is Python to be executed before, which may change something for a test. Rank 0 prints
one JSON document: for each command the exit code of every rank, and what all ranks printed.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from called import Called, clusterbench


class Heard(io.StringIO):
    """Keeps what is written to it, and passes it on at once: where a command aborts all, it has said why."""

    def write(self, text: str) -> int:
        sys.__stderr__.write(text)  # type: ignore[union-attr] # there is one under mpiexec
        return super().write(text)


def gathered(own: list[Called]) -> list[tuple[Called, ...]]:
    """How each command ended on every rank, in their order; nothing but on rank 0."""
    import mpi4py

    mpi4py.rc.threads = False
    from mpi4py import MPI

    return list(zip(*MPI.COMM_WORLD.gather(own) or [], strict=True))


def report(ranks: tuple[Called, ...]) -> dict[str, Any]:
    """A command of all ranks, as values of JSON."""
    return {
        "exit_codes": [called.returncode for called in ranks],
        "stdout": "".join(called.stdout for called in ranks),
        "stderr": "".join(called.stderr for called in ranks),
    }


if __name__ == "__main__":
    exec(sys.argv[2], {})
    commands = json.loads(Path(sys.argv[1]).read_text())
    if ended := gathered([clusterbench(*command, err=Heard()) for command in commands]):
        sys.stdout.write(json.dumps([report(ranks) for ranks in ended]))
