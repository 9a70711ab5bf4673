"""Every collective by every algorithm on 2 to 8 real ranks, with counts that nothing divides, under the MPI at hand.

`make test-all` runs this file under MPICH, Open MPI and Intel MPI, each in an environment of its own.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import mpi
import pytest

from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import suitable
from clusterbench.collectives.plans.tuned_rules import TunedRule, TunedRules, write_tuned_rules

LARGE = 1_000_003
ALL_REDUCE = """
from mpi4py import MPI
MPI.COMM_WORLD.Allreduce([bytearray({size}), MPI.BYTE], [bytearray({size}), MPI.BYTE], MPI.BAND)
"""


def commands(ranks: int) -> list[list[str]]:
    """For each collective counts 1 and 3 as floats, and 1,000,003 elements a rank."""
    made = []
    for name, what in COLLECTIVES.items():
        parts = what.parts(ranks)
        # One byte an element where there are many ranks, so that all their vectors fit the host.
        dtype, itemsize = ("int8", 1) if ranks > 4 else ("float", 4)
        traffic = ["--traffic", "skewed"] if what.uneven else []
        for sizes in (
            ["-b", str(4 * parts), "-e", str(12 * parts), "-f", "3", "-r", str(ranks - 1)],
            ["-b", str(LARGE * itemsize * parts), "-d", dtype, "-r", "0"],
        ):
            made.append(["collectives", "run", name, *sizes, *traffic, "--algorithm", "all", "-n", "1", "-w", "0"])
    return made


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 7, 8])
def test_nothing_is_wrong_anywhere(ranks: int, tmp_path: Path) -> None:
    rows = mpi.command_lines(ranks, tmp_path, commands(ranks), timeout_s=900)
    assert [row for row in rows if row.wrong != 0 or row.verdict == "FAIL"] == []
    measured = {(row.name, row.algorithm, row.count, row.placement) for row in rows}
    assert measured == {
        (what.name, algorithm, count, placement)
        for what in COLLECTIVES.values()
        for algorithm in ("library", *suitable(what, ranks))
        for count in (1, 3, LARGE)
        for placement in (("out_of_place",) if what.uneven else ("out_of_place", "in_place"))
    }
    assert {row.ranks for row in rows} == {ranks}
    assert {row.root for row in rows if COLLECTIVES[row.name].is_rooted} == {0, ranks - 1}
    assert all(row.error_over_bound is None or row.error_over_bound <= 1 for row in rows)


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
def test_an_algorithm_that_the_library_does_not_have_is_not_taken_for_run(tmp_path: Path) -> None:
    finished = mpi.clusterbench(
        2, "collectives", "run", "all_reduce", "-b", "8", "-n", "6", "-w", "1", "--algorithm", "library:99",
        "--journal", str(tmp_path),
    )  # fmt: skip
    if installed("openmpi"):
        assert finished.exit_code == 2
        assert "library:99: Open MPI's all_reduce has 1 (basic_linear)" in finished.stderr
        assert "Traceback" not in finished.stderr
    elif installed("mpich"):
        assert finished.exit_code != 0  # MPICH ends by itself, in MPI_Init
    else:
        assert finished.exit_code == 0  # Intel MPI cannot be asked
    assert installed("impi-rt") or not list(tmp_path.glob("*.jsonl"))


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.every_mpi
@pytest.mark.parametrize("requests", [None, 8])
def test_rules_that_are_written_are_loaded_by_open_mpi(
    requests: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open MPI does not say what it loads, but a call by an algorithm that it does not have fails."""
    monkeypatch.setenv("OMPI_MCA_coll_tuned_priority", "100")
    monkeypatch.setenv("OMPI_MCA_coll_tuned_use_dynamic_rules", "1")
    for algorithm, fails in ((3, False), (99, installed("openmpi"))):
        path = tmp_path / f"{algorithm}.conf"
        rules = (TunedRule(0, 0), TunedRule(16, algorithm, requests=requests))
        write_tuned_rules(path, TunedRules({2: {2: rules}}))
        monkeypatch.setenv("OMPI_MCA_coll_tuned_dynamic_rules_filename", str(path))
        for size, wrong in ((1, False), (4, fails)):
            finished = mpi.ranks(2, "-c", ALL_REDUCE.format(size=4 * size))
            assert (finished.exit_code != 0) == wrong, (algorithm, size, finished.stderr)


def installed(wheel: str) -> bool:
    try:
        return bool(distribution(wheel))
    except PackageNotFoundError:
        return False
