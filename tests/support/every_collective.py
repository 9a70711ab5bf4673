"""Run by every rank of a test: `clusterbench collectives run` for one collective after the other in one MPI world.

Starting eight Pythons on two cores takes longer than most of what they measure, so one world runs all commands; each is
the whole command line, as a user gives it. Arguments: the journal's folder, then what every command gets. Ends with the
gravest exit code.
"""

from __future__ import annotations

import sys

from clusterbench.bench.cli import cli
from clusterbench.bench.world import join_world
from clusterbench.collectives.collective import COLLECTIVES

LARGE = 1_000_003


def commands(ranks: int) -> list[list[str]]:
    """For each collective counts 1 and 3 as floats, and 1,000,003 elements a rank."""
    made = []
    for name, what in COLLECTIVES.items():
        parts = what.parts(ranks)
        made.append([name, "-b", str(4 * parts), "-e", str(12 * parts), "-f", "3", "-r", str(ranks - 1)])
        # One byte an element where there are many ranks, so that all their vectors fit the host.
        dtype, itemsize = ("int8", 1) if ranks > 4 else ("float", 4)
        made.append([name, "-b", str(LARGE * itemsize * parts), "-d", dtype, "-r", "0"])
    return made


def main(folder: str, *arguments: str) -> int:
    gravest = 0
    for command in commands(join_world().size):
        traffic = ["--traffic", "skewed"] if command[0] == "all_to_all_v" else []
        whole = ["collectives", "run", *command, *traffic, "--algorithm", "all", "--journal", folder, *arguments]
        gravest = max(gravest, cli.main(whole, standalone_mode=False) or 0)
    return gravest


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
