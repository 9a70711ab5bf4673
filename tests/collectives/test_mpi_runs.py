"""Real ranks: every algorithm and the library under mpiexec with 2, 3 and 4 ranks, and what happens when one fails."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mpi
import pytest

from clusterbench.bench.hosts.hardware import describe_cpu
from clusterbench.bench.launching.launch import find_mpiexec, mpiexec_family
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.kernels.element_types import element_type
from clusterbench.results.journal import read_journal

pytestmark = pytest.mark.mpi

FEW = ("-n", "6", "-w", "1")
"""Enough samples for an interval."""


@pytest.mark.parametrize(("ranks", "counts"), [(2, (1, 11, 121)), (3, (1, 121)), (4, (1, 121))])
def test_every_algorithm_is_right_on_real_ranks(ranks: int, counts: tuple[int, ...], tmp_path: Path) -> None:
    # Fewer floats than ranks, and as many as neither 2 nor 3 nor 4 divides.
    commands = []
    for name, what in COLLECTIVES.items():
        first = 4 * what.parts(ranks)
        sizes = ("-b", str(first), "-e", str(first * counts[-1]), "-f", str(counts[1]))
        commands.append(("collectives", "run", name, *sizes, *FEW, "--algorithm", "all"))
    rows = mpi.command_lines(ranks, tmp_path, commands)
    assert sorted((row.name, row.algorithm, row.count, row.placement) for row in rows) == sorted(
        (what.name, algorithm, count, placement)
        for what in COLLECTIVES.values()
        for algorithm in ("library", *suitable(what, ranks))
        for count in counts
        for placement in (("out_of_place",) if what.uneven else ("out_of_place", "in_place"))
    )
    for row in rows:
        assert row.wrong == 0, row
        assert row.ranks == ranks
        assert row.evidence == "measured"
        assert row.n == 6
        assert 0 < row.ci95_low_s <= row.median_s <= row.ci95_high_s
        assert row.error_over_bound is None or row.error_over_bound <= 1


@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_large_vectors_that_no_rank_number_divides_are_right(ranks: int, tmp_path: Path) -> None:
    commands = []
    for name, what in COLLECTIVES.items():
        size, names = 4 * 1_000_003 * what.parts(ranks), ",".join(suitable(what, ranks))
        commands.append(("collectives", "run", name, "-b", str(size), "-n", "1", "-w", "0", "--algorithm", names))
    rows = mpi.command_lines(ranks, tmp_path, commands)
    assert {(row.name, row.algorithm) for row in rows} == {
        (what.name, algorithm) for what in COLLECTIVES.values() for algorithm in suitable(what, ranks)
    }
    assert {row.count for row in rows} == {1_000_003}
    assert [row for row in rows if row.wrong != 0] == []


def test_types_and_operations_are_right(tmp_path: Path) -> None:
    asked = [("double", "avg"), ("int8", "prod"), ("uint8", "sum"), ("int64", "min"), ("uint32", "max"),
             ("int32", "avg")]  # fmt: skip
    every = ("collectives", "run", "all_reduce", "-b", "1K", *FEW, "--algorithm", "all")
    rows = mpi.command_lines(2, tmp_path, [(*every, "-d", dtype, "-o", op) for dtype, op in asked])
    assert {(row.dtype, row.op) for row in rows} == {(element_type(dtype).name, op) for dtype, op in asked}
    assert [row for row in rows if row.wrong != 0] == []


COARSE = ("all_reduce", "-b", "8", "-n", "2", "-w", "1", "--algorithm", "ring", "--json")
PRINTED = {
    "table": ("all_reduce", "-b", "8", "-e", "512", "-f", "8", *FEW, "--algorithm", "library,ring"),
    "unchecked": ("all_gather", "-b", "64", *FEW, "-c", "0"),
    "csv": ("all_reduce", "-b", "8", *FEW, "--algorithm", "ring", "--csv"),
    "all_gather with -o and -r": ("all_gather", "-b", "8", *FEW, "-o", "max", "-r", "7", "--json"),
    "sendrecv with -o and -r": ("sendrecv", "-b", "8", *FEW, "-o", "max", "-r", "7", "--json"),
    "coarse": COARSE,
    "coarse and strict": (*COARSE, "--strict"),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mpi.Finished]:
    """What each of the commands ended with and printed on two ranks."""
    where = ("--journal", str(tmp_path_factory.mktemp("journals")))
    commands = [("collectives", "run", *command, *where) for command in PRINTED.values()]
    return dict(zip(PRINTED, mpi.each(2, commands), strict=True))


def test_the_table_is_that_of_nccl_tests(printed: dict[str, mpi.Finished]) -> None:
    finished = printed["table"]
    assert finished.exit_code == 0, finished.stderr
    tables = finished.stdout.split("# Algorithm: ")[1:]
    assert [table.split("\n")[0] for table in tables] == ["library transport: library", "ring transport: mpi"]
    for table in tables:
        rows = [line.split() for line in table.splitlines()[1:] if line and not line.startswith("#")]
        assert [row[:6] for row in rows] == [[str(n), str(n // 4), "float", "sum", "-1", row[5]] for n, row in
                                             zip((8, 64, 512), rows, strict=True)]  # fmt: skip
        assert all(len(row) == 13 and row[8] == row[12] == "0" for row in rows)
        assert all(float(cell) >= 0 for row in rows for cell in row[5:])
        assert "# Out of bounds values : 0 OK" in table
        assert "thread level: single\n" in table
        assert "# Avg bus bandwidth    : " in table
        assert table.count("#  Rank ") == 2
        assert "core" in table
        assert str(describe_cpu()["model"]) in table


def test_unchecked_data_is_not_called_right(printed: dict[str, mpi.Finished]) -> None:
    lines = printed["unchecked"].stdout.splitlines()
    row = next(line.split() for line in lines if line and not line.startswith("#"))
    assert row[8] == row[12] == "N/A"
    assert row[3] == "none"


def test_csv_has_a_line_for_every_row(printed: dict[str, mpi.Finished]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed["csv"].stdout)))
    assert [row["placement"] for row in rows] == ["out_of_place", "in_place"]
    assert all(float(row["median_s"]) > 0 for row in rows)


def test_the_same_seed_gives_the_same_order_and_another_one_does_not(tmp_path: Path) -> None:
    every = ("collectives", "run", "all_reduce", "-b", "8", "-e", "1K", *FEW, "--algorithm", "library,ring", "--seed")
    commands = [(*every, seed, "--run-id", name) for name, seed in (("one", "7"), ("two", "7"), ("three", "8"))]
    rows = mpi.command_lines(2, tmp_path, commands)
    one, two, three = (
        [(row.count, row.algorithm, row.placement) for row in rows if row.run_id == name]
        for name in ("one", "two", "three")
    )
    assert one == two
    assert one != three


WRONG_USE = (
    (["all_reduc"], "unknown collective 'all_reduc'; expected one of all_reduce"),
    (["all_reduce", "--algorithm", "rings"], "unknown algorithm 'rings'; did you mean 'ring'?"),
    (["all_reduce", "-b", "64", "-e", "8"], "expected -b to be at most -e"),
    (["all_reduce", "-b", "8X"], "'8X' is no size"),
    (["all_reduce", "-b", "8", "-e", "64", "-f", "1"], "expected a factor over 1"),
    (["all_reduce", "-d", "float31"], "unknown type 'float31'"),
    (["all_reduce", "-o", "mean"], "'mean' is not one of"),
    (["all_reduce", "--itres", "5"], "No such option '--itres'"),
    (["all_reduce", "-b", "8", "--store", "sqlite:////proc/none/x.db"], "/proc/none"),
    (["all_reduce", "-b", "8", "--journal", "/proc/none"], "/proc/none"),
    (["all_reduce", "-b", "8T"], "GiB free; choose a smaller -e"),
    (["all_reduce", "-b", "9" * 400], "is too large"),
    (["all_reduce", "-b", "8", "-e", "64M", "-f", "1.0000001"], "-f 1.0000001 makes more than 10000 sizes"),
    (["all_reduce", "-b", "8", "-e", "1T", "-i", "8"], "-i 8 makes more than 10000 sizes"),
    (["all_reduce", "--budget", "nan"], "'nan' is not a number that can be worked with"),
    (["all_reduce", "--budget", "inf"], "'--budget'"),
    (["all_reduce", "--precision", "nan"], "'nan' is not a number that can be worked with"),
    (["all_reduce", "-n", "100000000000"], "'-n'"),
    (["all_reduce", "-w", "1" + "0" * 20], "'-w'"),
    (["all_reduce", "--algorithm", ","], "--algorithm is ','"),
    (["all_reduce", "-o", "all"], "'all' is not one of"),
    (["all_to_all", "--traffic", "skewed"], "--traffic does not apply to all_to_all; it is for all_to_all_v"),
    (["all_reduce", "--window", "64"], "--window does not apply to all_reduce; it is for pingpong"),
    (["sendrecv", "--window", "64"], "--window does not apply to sendrecv; it is for pingpong"),
    (["sendrecv", "--placement", "both"], "--placement does not apply to sendrecv; it is for collectives"),
)
"""Arguments of `collectives run`, and what is said of them."""


def wrong_use(folder: Path, arguments: list[str]) -> tuple[str, ...]:
    return ("collectives", "run", arguments[0], "--journal", str(folder), *arguments[1:])


def assert_refused_once(finished: mpi.Finished, complaint: str) -> None:
    assert finished.exit_code == 2
    said = finished.stdout + finished.stderr
    assert said.count(complaint) == 1, said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[mpi.Finished]:
    """What each wrong use ended with and printed on two ranks."""
    folder = tmp_path_factory.mktemp("journals")
    return mpi.each(2, [wrong_use(folder, arguments) for arguments, _ in WRONG_USE])


@pytest.mark.parametrize("number", range(len(WRONG_USE)), ids=[complaint for _, complaint in WRONG_USE])
def test_wrong_use_is_refused_once_with_code_2_and_without_a_traceback(
    number: int, refusals: list[mpi.Finished]
) -> None:
    assert_refused_once(refusals[number], WRONG_USE[number][1])


@pytest.mark.parametrize("complaint", ["unknown collective 'all_reduc'", "'--budget'", "GiB free; choose a smaller -e"])
def test_ranks_that_refuse_end_mpiexec_with_code_2(complaint: str, tmp_path: Path) -> None:
    arguments, complaint = next(case for case in WRONG_USE if case[1].startswith(complaint))
    assert_refused_once(mpi.clusterbench(2, *wrong_use(tmp_path, arguments)), complaint)


@pytest.mark.parametrize("name", ["all_gather", "sendrecv"])
def test_what_scripts_for_nccl_tests_give_to_every_program_is_passed_over_with_a_note(
    name: str, printed: dict[str, mpi.Finished]
) -> None:
    rows = mpi.document(finished := printed[f"{name} with -o and -r"])["rows"]
    assert {(row["op"], row["root"]) for row in rows} == {("", -1)}
    assert finished.stderr.count(f"clusterbench: -o does not apply to {name}; it is for collectives that reduce") == 1
    assert finished.stderr.count(f"clusterbench: -r does not apply to {name}; it is for collectives with a root") == 1


def test_a_world_of_one_rank_under_a_launcher_of_three_is_refused() -> None:
    started_by_another = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}
    finished = subprocess.run(
        [sys.executable, "-m", "clusterbench.bench", "collectives", "run", "all_reduce", "-b", "8"],
        env={**os.environ, **started_by_another}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert finished.returncode == 2
    assert "the MPI world has 1 rank, but the launcher started 3" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert "Traceback" not in finished.stderr


RAISING_RANK = """
import sys
from clusterbench.bench import cli
from clusterbench.collectives.transports import prepared

timed, calls = prepared.PreparedCall.time, 0

def time(self, samples, batch):
    global calls
    calls += 1
    if calls == 20 and self.mpi.comm.rank == {rank}:  # 8 calls measure links, and then some points are done
        raise {error}
    return timed(self, samples, batch)

prepared.PreparedCall.time = time
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("rank", "error"), [(0, "RuntimeError('card on fire')"), (1, "MemoryError('no memory left')")])
def test_a_rank_that_raises_ends_all_and_keeps_what_was_measured(rank: int, error: str, tmp_path: Path) -> None:
    script = tmp_path / "raising.py"
    script.write_text(RAISING_RANK.format(rank=rank, error=error))
    sizes = ("-b", "8", "-e", "1K", "-f", "2", *FEW, "--algorithm", "ring", "--journal", str(tmp_path / "journals"))
    finished = mpi.ranks(3, str(script), "collectives", "run", "all_reduce", *sizes)
    assert not finished.timed_out
    assert finished.exit_code == 1
    assert f"clusterbench: rank {rank}: {error.split(chr(39))[1]}" in finished.stderr
    if rank == 0:  # it still prints what there is
        assert "# Not measured: " in finished.stdout
        assert all(len(line.split()) == 13 for line in finished.stdout.splitlines() if line and line[0] != "#")
    contents = read_journal(next((tmp_path / "journals").iterdir()))
    assert 3 <= len(contents.measurements) < 16
    assert all(row.wrong == 0 for row in contents.measurements)


FLIPPED_BIT = """
import sys
import numpy as np
from clusterbench.bench import cli
from clusterbench.collectives.transports import prepared

run = prepared.PreparedCall.run

def flip(self):
    run(self)
    if self.mpi.comm.rank == 1:
        self.buffers.result.view("uint8")[20:24] DAMAGE

prepared.PreparedCall.run = flip
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("dtype", "damage", "values"),
    [
        ("int32", "^= np.uint8([4, 0, 0, 0])", r"expected (-?\d+), found (-?\d+) \(4 apart\)"),
        ("float32", "= 255", r"expected (-?\d+), found nan"),
    ],
)
def test_wrong_data_ends_with_code_3_and_names_rank_index_and_values(
    dtype: str, damage: str, values: str, tmp_path: Path
) -> None:
    script = tmp_path / "flipped.py"
    script.write_text(FLIPPED_BIT.replace("DAMAGE", damage))
    arguments = ("-b", "64", *FEW, "-d", dtype, "--algorithm", "ring", "--json", "--journal", str(tmp_path / "j"))
    finished = mpi.ranks(2, str(script), "collectives", "run", "all_reduce", *arguments)
    assert finished.exit_code == 3
    for row in json.loads(finished.stdout)["rows"]:
        assert row["wrong"] == 1
        assert row["verdict"] == "FAIL"
        assert row["culprit"] == "rank 1"
        assert re.fullmatch(rf"rank 1: 1 wrong, first at index 5: {values}; the same in another call", row["reason"])


def test_a_measurement_too_coarse_to_tell_is_a_failure_only_if_strict(printed: dict[str, mpi.Finished]) -> None:
    rows = mpi.document(printed["coarse"])["rows"]
    assert [row["verdict"] for row in rows] == ["INCONCLUSIVE"] * 2
    assert printed["coarse and strict"].exit_code == 1


def test_ctrl_c_ends_all_ranks_and_keeps_what_was_measured(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    command = [find_mpiexec() or "mpiexec", "-n", "2", sys.executable, "-m", "clusterbench.bench", "collectives", "run"]
    family = mpiexec_family(command[0])[0]
    if os.geteuid() == 0 and family == "openmpi":
        command.insert(1, "--allow-run-as-root")
    arguments = ["all_reduce", "-b", "8", "-e", "1M", "--algorithm", "all", "--journal", str(journals)]
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        written = []
        until = time.monotonic() + 120
        while time.monotonic() < until and not any('"measurement"' in path.read_text() for path in written):
            time.sleep(0.2)
            written = list(journals.glob("*.jsonl"))
        os.killpg(process.pid, signal.SIGINT)
        said = "".join(process.communicate(timeout=60))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode != 0
    assert "Traceback" not in said
    (path,) = written
    contents = read_journal(path)
    assert contents.measurements
    if family == "mpich":  # it hands the signal on; others end the ranks themselves
        assert "clusterbench: rank 0: interrupted" in said
        assert "# Not measured: " in said
        assert contents.run.status == "failed"


PEAK_MEMORY = """
import os, resource, sys
from clusterbench.bench import cli

try:
    cli.main(sys.argv[1:])
finally:
    # One write, so that the lines of two ranks cannot mix.
    os.write(2, b"peak %d\\n" % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
"""


def test_a_rank_takes_less_than_300_mb_beyond_its_buffers(tmp_path: Path) -> None:
    script = tmp_path / "peak.py"
    script.write_text(PEAK_MEMORY)
    size = 32 << 20
    every = (
        "collectives",
        "run",
        "all_reduce",
        "-b",
        "8",
        *FEW,
        "--algorithm",
        "all",
        "--journal",
        str(tmp_path / "j"),
    )
    mpi.ranks(2, str(script), *every)  # compiles, where nothing is cached yet
    finished = mpi.ranks(2, str(script), *every, "-e", str(size), "-f", "64")
    assert finished.exit_code == 0, finished.stderr
    peaks = [int(line.split()[1]) for line in finished.stderr.splitlines() if line.startswith("peak ")]
    assert len(peaks) == 2
    # Input, output, and a working copy in scratch, at most, of the largest size.
    assert max(peaks) - 3 * size // 2**20 < 300
