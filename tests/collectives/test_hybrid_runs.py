"""Real ranks that share memory only in blocks, and send each other messages between these."""

from __future__ import annotations

from pathlib import Path

import mpi
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable

pytestmark = pytest.mark.mpi

SCRIPT = Path(__file__).parents[1] / "support" / "hybrid_ranks.py"
slow = pytest.mark.slow


@pytest.mark.parametrize(
    "hosts",
    [
        (0, 1),
        (0, 0, 1),
        pytest.param((0, 1, 2), marks=slow),
        pytest.param((0, 0, 1, 1), marks=slow),
        pytest.param((0, 1, 0, 1), marks=slow),
        pytest.param((0, 0, 1, 1, 2), marks=slow),
        pytest.param((0, 0, 0, 1, 1), marks=slow),
    ],
)
def test_every_algorithm_gives_what_it_does_over_messages_alone(hosts: tuple[int, ...]) -> None:
    ranks = len(hosts)
    finished = mpi.ranks(ranks, str(SCRIPT), ",".join(map(str, hosts)), timeout_s=600)
    assert finished.exit_code == 0, finished.stderr
    lines = [line.split() for line in finished.stdout.splitlines()]
    assert [line for line in lines if line[-2:] != ["0", "0"]] == []
    tried = [tuple(line[:5]) for line in lines]
    assert set(tried) == {
        (what.name, algorithm, str(root), str(in_place), str(staged))
        for what in COLLECTIVES.values()
        for algorithm in suitable(what, ranks)
        for root in ((0, ranks - 1) if what.is_rooted else (-1,))
        for in_place in ((0,) if what.uneven else (0, 1))
        for staged in (0, 1)
    }
    assert len(tried) == 2 * len(set(tried))
    assert any(int(line[5]) > 1 for line in lines if line[4] == "1"), "nothing went in pieces"


JOINED = """
import mpi4py
mpi4py.rc.threads = False
from mpi4py import MPI
from clusterbench.collectives.transports.hybrid import split_window
from clusterbench.collectives.transports.shared_window import NoSharedMemoryError

try:
    # Only the host of rank 0 has too little room.
    split_window(MPI.COMM_WORLD, (0, 1, 1), 1 << 12, 1 << 60 if MPI.COMM_WORLD.rank == 0 else 1 << 12)
except NoSharedMemoryError as error:
    print(f"refused: {error}", flush=True)
"""


def test_a_window_that_one_host_cannot_have_is_refused_on_every_rank(tmp_path: Path) -> None:
    script = tmp_path / "joined.py"
    script.write_text(JOINED)
    finished = mpi.ranks(3, str(script))
    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.count("refused: ranks 0: 1 ranks need") == 3, finished.stdout
