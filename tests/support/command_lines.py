"""Run by every rank of a test: one command line of `clusterbench` after the other in one MPI world.

Starting Pythons on two cores takes longer than most of what they measure, so one world runs all commands; each is the
whole command line, as a user gives it. The argument is a file with a list of them in JSON. Ends with the gravest exit
code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clusterbench.bench.cli import cli


def main(path: str) -> int:
    gravest = 0
    for command in json.loads(Path(path).read_text()):
        gravest = max(gravest, cli.main(command, standalone_mode=False) or 0)
    return gravest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
