"""A world of two processes that play ranks without MPI, for a supervisor to watch."""

from __future__ import annotations

import sys

from clusterbench.bench.worlds.supervisor import Supervised, supervise

LAUNCHER = """
import subprocess, sys
ranks = [subprocess.Popen([sys.executable, "-c", sys.argv[1], str(rank), doing, *sys.argv[4:]])
         for rank, doing in enumerate(sys.argv[2:4])]
sys.exit(max(abs(rank.wait()) for rank in ranks))
"""
"""A launcher that ends nothing: of the text of a rank, what the two are to do, and what each is told besides."""


def made_up_world(rank: str, first: str, second: str, silence_s: float = 2.0) -> Supervised:
    """Supervise two processes of the Python text `rank`.

    Its arguments are the number of the rank, what it is to do (`first`, `second`), and what the supervisor adds.
    """
    command = [sys.executable, "-c", LAUNCHER, rank, first, second]
    return supervise(command, timeout_s=60, silence_s=silence_s)
