"""Calls the command line in this process, where starting a process of its own is not what is tested."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from clusterbench.bench.cli import main


@dataclass(frozen=True, slots=True)
class Called:
    """How a command ended: its exit code, and what it wrote to either stream."""

    returncode: int
    stdout: str
    stderr: str


def clusterbench(*arguments: str, err: io.StringIO | None = None) -> Called:
    """Call `clusterbench ARGUMENTS` down to its exit code; an error that would be a traceback is raised.

    `err` takes the place of standard error.
    """
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(err or io.StringIO()) as said:
        try:
            main(list(arguments))
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Called(code, out.getvalue(), said.getvalue())
