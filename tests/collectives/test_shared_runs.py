"""`collectives run` over memory that ranks share: right data on real ranks, what rows say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import mpi
import pytest

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms, suitable
from clusterbench.collectives.schedule_file import write_schedule
from clusterbench.kernels.element_types import element_type

pytestmark = pytest.mark.mpi

FEW = ("-n", "6", "-w", "1")
OVER = ("--transport", "shared")


def run(ranks: int, collective: str, folder: Path, *arguments: str) -> mpi.Finished:
    return mpi.clusterbench(ranks, "collectives", "run", collective, "--journal", str(folder), *FEW, *arguments)


def commands(buffers: str, *asked: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Command lines over shared memory; `asked` are the collectives with what each is to be run with."""
    return [("collectives", "run", *command, *FEW, *OVER, "--buffers", buffers) for command in asked]


@pytest.mark.parametrize(
    ("ranks", "buffers"),
    [(3, "host"), pytest.param(4, "registered", marks=pytest.mark.slow)],  # others: test_shared_transport.py
)
def test_every_algorithm_is_right_over_shared_memory(ranks: int, buffers: str, tmp_path: Path) -> None:
    asked = []
    for name, what in COLLECTIVES.items():
        first = 4 * what.parts(ranks)
        asked.append((name, "-b", str(first), "-e", str(first * 121), "-f", "121", "--algorithm", "all"))
    found = mpi.command_lines(ranks, tmp_path, commands(buffers, *asked))
    assert sorted((row.name, row.algorithm, row.count, row.placement) for row in found) == sorted(
        (what.name, algorithm, count, placement)
        for what in COLLECTIVES.values()
        for algorithm in ("library", *suitable(what, ranks))
        for count in (1, 121)
        for placement in (("out_of_place",) if what.uneven else ("out_of_place", "in_place"))
    )
    assert [row for row in found if row.wrong != 0] == []
    assert all(row.error_over_bound is None or row.error_over_bound <= 1 for row in found)
    over = "staged" if buffers == "host" else "shared"
    assert {row.transport for row in found if row.algorithm != "library"} == {over}
    assert {row.transport for row in found if row.algorithm == "library"} == {"library"}
    assert all(("buffers=registered" in row.shape.split(",")) == (buffers == "registered") for row in found)


def test_vectors_longer_than_a_stage_are_right(tmp_path: Path) -> None:
    asked = [
        (name, "-b", str(4 * 1_000_003 * COLLECTIVES[name].parts(3)), "--algorithm", algorithms)
        for name, algorithms in (("all_reduce", "direct,ring,binomial"), ("all_to_all", "direct,pairwise,bruck"))
    ]
    found = mpi.command_lines(3, tmp_path, commands("host", *asked) + commands("registered", *asked))
    assert {row.count for row in found} == {1_000_003}
    assert [sum(row.transport == over for row in found) for over in ("staged", "shared")] == [12, 12]
    assert [row for row in found if row.wrong != 0] == []


def test_types_and_operations_are_right(tmp_path: Path) -> None:
    each = [("half", "avg"), ("bfloat16", "sum"), ("double", "prod"), ("int8", "max"), ("uint64", "min"),
            ("int32", "avg")]  # fmt: skip
    every = ("all_reduce", "-b", "1K", "--algorithm", "direct,recursive-doubling,ring")
    asked = [(*every, "-d", dtype, "-o", op) for dtype, op in each]
    found = mpi.command_lines(2, tmp_path, commands("host", *asked) + commands("registered", *asked))
    for over in ("staged", "shared"):
        rows = [row for row in found if row.transport == over]
        assert {(row.dtype, row.op) for row in rows} == {(element_type(dtype).name, op) for dtype, op in each}
        assert len(rows) == 36
    assert [row for row in found if row.wrong != 0] == []
    assert all(row.error_over_bound is None or row.error_over_bound <= 1 for row in found)


def test_skewed_traffic_and_a_schedule_from_a_file_are_right_and_the_rows_say_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    write_schedule(algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], 3)), path, "my-ring")
    skewed = ("all_to_all_v", "-b", "12K", "--traffic", "skewed:2", "--seed", "7", "--algorithm", "all")
    asked = commands("registered", skewed) + commands("host", ("all_reduce", "-b", "4K", "--schedule", str(path)))
    found = mpi.command_lines(3, tmp_path / "j", asked)
    assert [row for row in found if row.wrong != 0] == []
    exchanged = [row for row in found if row.name == "all_to_all_v"]
    assert {row.algorithm for row in exchanged} == {"library", "direct", "pairwise"}
    shapes = {row.shape.partition(",")[2] for row in exchanged}
    assert shapes == {"buffers=registered,traffic=skewed:2,seed=7"}
    reduced = {(row.algorithm, row.transport) for row in found if row.name == "all_reduce"}
    assert reduced == {("file:ring.json", "staged")}


def test_messages_run_on_registered_buffers_too_and_the_table_says_which_memory_it_is(tmp_path: Path) -> None:
    finished = run(2, "all_reduce", tmp_path, "-b", "4K", "--algorithm", "library,ring", "--transport", "mpi",
                   "--buffers", "registered")  # fmt: skip
    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.count("buffers: registered memory") == 2
    assert finished.stdout.count("[no GPU used]") == 4
    assert "# Algorithm: ring transport: mpi\n" in finished.stdout


PATCHED = """
import sys
from clusterbench.bench import cli
from clusterbench.bench.measuring import shared_calls

{patch}
cli.main(sys.argv[1:])
"""


def fused(patch: str, folder: Path) -> mpi.Finished:
    """A run of fused programs with something changed in the process of every rank, which it ends."""
    command = ("collectives", "run", "all_reduce", "--journal", str(folder), "-b", "1K", "--algorithm", "ring")
    return mpi.ranks(2, "-c", PATCHED.format(patch=patch), *command, *FEW, *OVER)


def test_a_fused_program_that_is_wrong_never_runs(tmp_path: Path) -> None:
    # What the check says is what decides: here it finds fault with everything.
    patch = "shared_calls.check_fused = lambda *arguments: 'rank 1, step 2: reads too early'"
    finished = fused(patch, tmp_path)
    assert finished.exit_code == 1
    assert "ring is not run, as its fused program is wrong: rank 1, step 2: reads too early" in finished.stderr
    assert not list(tmp_path.iterdir())


def test_the_check_sees_the_very_programs_that_run(tmp_path: Path) -> None:
    """Without one of its waits a program is found to be wrong, so it is that one which is checked."""
    patch = """
from dataclasses import replace
from clusterbench.collectives.fusion.steps import Wait
fuse = shared_calls.fuse
def without_a_wait(*arguments):
    first, *others = fuse(*arguments)
    number = [i for i, step in enumerate(first.steps) if isinstance(step, Wait)][0]
    return [replace(first, steps=first.steps[:number] + first.steps[number + 1:]), *others]
shared_calls.fuse = without_a_wait
"""
    finished = fused(patch, tmp_path)
    assert finished.exit_code == 1
    assert "ring is not run, as its fused program is wrong: rank " in finished.stderr


def test_without_room_for_a_window_nothing_runs_and_it_says_how_to_make_it(tmp_path: Path) -> None:
    patch = """
from clusterbench.collectives.transports import shared_window
shared_window._free_bytes = lambda folder: 1 << 20
"""
    every = ("collectives", "run", "all_reduce", "--journal", str(tmp_path), "-b", "8M", *FEW, "--algorithm", "ring")
    for finished in mpi.each(2, [(*every, *OVER), (*every, "--buffers", "registered")], patch=patch):
        assert finished.exit_code == 2, finished.stderr
        assert finished.stderr.count("MiB of shared memory, and /dev/shm has 1 MiB free; enlarge it") == 1
        assert "--shm-size=" in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not list(tmp_path.iterdir())


def test_a_window_larger_than_memory_is_refused_before_it_is_taken(tmp_path: Path) -> None:
    patch = "from clusterbench.bench.worlds import memory\nmemory.free_bytes = lambda: 50 << 20"
    # Two buffers of 16 MiB a rank fit into 50 MiB of host memory once, and not twice.
    asked = ("--algorithm", "library", "--buffers", "registered", "-b", "16M", "--journal", str(tmp_path))
    (finished,) = mpi.each(2, [("collectives", "run", "all_reduce", *asked)], patch=patch)
    assert finished.exit_code == 2
    assert finished.stderr.count("-e needs 0.1 GiB on host ") == 1
    assert "for the buffers of 2 ranks" in finished.stderr


@pytest.mark.skipif(not mpi.TWO_HOSTS, reason="only MPICH can be told to take one host for two")
def test_ranks_of_several_hosts_share_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in mpi.TWO_HOSTS.items():
        monkeypatch.setenv(variable, value)
    asked = [("all_reduce", "-b", "8", "--algorithm", "ring", "--journal", str(tmp_path))]
    for finished in mpi.each(2, commands("host", *asked) + commands("registered", *asked)):
        assert finished.exit_code == 2, finished.stderr
        assert finished.stderr.count("the 2 ranks are on several hosts, which share no memory") == 1
        assert "use --transport hybrid or mpi" in finished.stderr


def test_transports_are_refused_on_buffers_that_they_cannot_use(tmp_path: Path) -> None:
    every = ("collectives", "run", "all_reduce", "-b", "8", "--algorithm", "library", "--journal", str(tmp_path))
    refused = {
        ("--transport", "shared", "--buffers", "device"): "--buffers host or registered",
        ("--transport", "nccl", "--buffers", "registered"): "--transport nccl needs --buffers device",
    }
    ended = mpi.each(2, [(*every, *arguments) for arguments in refused])
    for finished, complaint in zip(ended, refused.values(), strict=True):
        assert finished.exit_code == 2
        assert finished.stderr.count(complaint) == 1
        assert "Traceback" not in finished.stderr
