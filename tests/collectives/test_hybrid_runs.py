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
    ("hosts", "pieces"),
    [
        ((0, 0, 1), 0),
        ((0, 0, 1), 1000),
        pytest.param((0, 1), 0, marks=slow),
        pytest.param((0, 1), 64, marks=slow),
        pytest.param((0, 1, 2), 20000, marks=slow),
        pytest.param((0, 0, 1, 1), 0, marks=slow),
        pytest.param((0, 1, 0, 1), 4097, marks=slow),
        pytest.param((0, 0, 1, 1, 2), 0, marks=slow),
        pytest.param((0, 0, 0, 1, 1), 0, marks=slow),
    ],
)
def test_every_algorithm_gives_what_it_does_over_messages_alone(hosts: tuple[int, ...], pieces: int) -> None:
    """Also where messages between hosts, and so of both transports, are cut into pieces, of so many bytes."""
    ranks = len(hosts)
    finished = mpi.ranks(
        ranks, str(SCRIPT), ",".join(map(str, hosts)), *([str(pieces)] if pieces else []), timeout_s=600
    )
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


def run(ranks: int, collective: str, folder: Path, *arguments: str) -> mpi.Finished:
    few = ("--journal", str(folder), "-n", "4", "-w", "1", "--transport", "hybrid")
    return mpi.clusterbench(ranks, "collectives", "run", collective, *few, *arguments)


@pytest.mark.parametrize(
    ("ranks", "host_ranks", "collective", "buffers"),
    [
        (3, 2, "all_reduce", "host"),
        (3, 2, "all_to_all_v", "registered"),
        pytest.param(3, 2, "all_reduce", "registered", marks=slow),
        pytest.param(4, 2, "all_to_all", "host", marks=slow),
        pytest.param(4, 1, "reduce_scatter", "registered", marks=slow),
        pytest.param(4, 3, "broadcast", "host", marks=slow),
        pytest.param(4, 2, "gather", "registered", marks=slow),
    ],
)
def test_the_command_line_runs_hybrid_as_if_hosts_had_so_many_ranks(
    ranks: int, host_ranks: int, collective: str, buffers: str, tmp_path: Path
) -> None:
    sizes = ("-b", str(12 * ranks), "-e", str(12 * ranks * 4001), "-f", "4001")
    asked = ("--host-ranks", str(host_ranks), "--algorithm", "all", "--buffers", buffers, "--json")
    rows = mpi.document(run(ranks, collective, tmp_path, *sizes, *asked))["rows"]
    assert {row["algorithm"] for row in rows} == {"library", *suitable(COLLECTIVES[collective], ranks)}
    assert all(row["wrong"] == 0 for row in rows), rows
    assert {row["transport"] for row in rows if row["algorithm"] != "library"} == {"hybrid"}
    shape = (*(["buffers=registered"] if buffers == "registered" else []), f"host_ranks={host_ranks}")
    assert all(set(shape) <= set(row["shape"].split(",")) for row in rows)


def test_without_host_ranks_the_hosts_that_there_are_share_memory(tmp_path: Path) -> None:
    found = run(3, "all_reduce", tmp_path, "-b", "48K", "--algorithm", "two-level,ring")
    assert found.exit_code == 0, found.stderr
    assert "host_ranks" not in found.stdout
    assert found.stdout.count("transport: hybrid\n") == 2


@pytest.mark.skipif(not mpi.TWO_HOSTS, reason="only MPICH can be told to take one host for two")
def test_real_hosts_are_told_apart_and_never_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in mpi.TWO_HOSTS.items():
        monkeypatch.setenv(variable, value)
    every = ("collectives", "run", "all_reduce", "-b", "48K", "-n", "4", "-w", "1", "--transport", "hybrid")
    asked = ("--algorithm", "library,direct,ring", "--buffers")
    where = ("--journal", str(tmp_path))
    commands = [(*every, *where, *asked, buffers, "--json") for buffers in ("host", "registered")]
    *ended, refused = mpi.each(3, [*commands, (*every, *where, "--algorithm", "ring", "--host-ranks", "2")])
    rows = [row for finished in ended for row in mpi.document(finished)["rows"]]
    assert len(rows) == 12
    assert [row for row in rows if row["wrong"] != 0] == []
    assert refused.exit_code == 2
    assert refused.stderr.count("--host-ranks 2 takes ranks 0 to 1 for those of one host, but they are on several") == 1


def test_what_hybrid_cannot_do_is_refused(tmp_path: Path) -> None:
    refused = {
        ("--transport", "shared", "--host-ranks", "2"): "--host-ranks is for --transport hybrid; the transport is sh",
        ("--pieces", "8"): "pieces of 8 bytes; expected at least 64, auto, or none",
        ("--buffers", "device"): "--transport hybrid runs on buffers of the host",
        ("--host-ranks", "0"): "Invalid value for '--host-ranks'",
    }
    every = ("collectives", "run", "all_reduce", "-b", "8", "--algorithm", "ring", "--journal", str(tmp_path))
    ended = mpi.each(2, [(*every, "--transport", "hybrid", *arguments) for arguments in refused])
    for finished, complaint in zip(ended, refused.values(), strict=True):
        assert finished.exit_code == 2
        assert complaint in finished.stderr
        assert "Traceback" not in finished.stderr
