"""`collectives calibrate` on real ranks, and what `best` and `auto` make of its table."""

from __future__ import annotations

import json
from pathlib import Path

import mpi
import pytest

from clusterbench.bench.tables.choice_table import read_table
from clusterbench.results.journal import read_journal

pytestmark = pytest.mark.mpi

FEW = ("-n", "6", "-w", "1")
SIZES = {8: "shared", 4096: "mpi"}
"""Of the table that these tests write by hand: the transport at each size."""


def calibrated(ranks: int, table: Path, *arguments: str) -> mpi.Finished:
    where = ("--table", str(table), "--journal", str(table.parent / "j"))
    return mpi.clusterbench(ranks, "collectives", "calibrate", *where, "--budget", "0.002", *arguments)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, mpi.Finished]:
    """A table that was measured on two ranks, and what was printed."""
    path = tmp_path_factory.mktemp("measured") / "table.json"
    return path, calibrated(2, path, "--collective", "all_gather", "-e", "512", "-f", "64")


@pytest.fixture(scope="module")
def table(measured: tuple[Path, mpi.Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table by which a small all_reduce is fastest as `direct` over `shared`, a large one as `ring` over `mpi`."""
    cells = [
        {"size_bytes": size, "transport": over, "best": {"shared": "direct", "mpi": "ring"}, "over": {"binomial": over}}
        for size, over in SIZES.items()
    ]
    entries = [
        {"collective": "all_reduce", "ranks": 2, "hosts": 1, "buffers": buffers, "cells": cells}
        for buffers in ("host", "registered")
    ]
    machine = json.loads(measured[0].read_text())["machine"]  # as ranks see it
    path = tmp_path_factory.mktemp("written") / "table.json"
    document = {"format": "clusterbench-choices", "version": 1, "machine": machine, "entries": entries}
    path.write_text(json.dumps(document))
    return path


def command(table: Path, *arguments: str) -> tuple[str, ...]:
    where = ("--table", str(table), "--journal", str(table.parent / "j"), "--placement", "out-of-place")
    return ("collectives", "run", "all_reduce", *FEW, *where, *arguments)


def taken(finished: mpi.Finished) -> dict[tuple[str, int], tuple[str, str]]:
    found = mpi.document(finished)["rows"]
    assert all(row["wrong"] == 0 for row in found)
    return {(row["algorithm"], row["size_bytes"]): (row["transport"], row["note"]) for row in found}


def test_calibrating_measures_all_over_both_transports_and_keeps_the_choices(
    measured: tuple[Path, mpi.Finished],
) -> None:
    path, finished = measured
    assert finished.exit_code == 0, finished.stderr
    assert "all_gather, 2 ranks, registered buffers" in finished.stdout
    table = read_table(path)
    assert table is not None
    assert [(found.collective, found.ranks, found.hosts, found.buffers) for found in table.entries] == [
        ("all_gather", 2, 1, "host"), ("all_gather", 2, 1, "registered"),
    ]  # fmt: skip
    for found in table.entries:
        assert [cell.size_bytes for cell in found.cells] == [8, 512]
        assert all(set(cell.best) == {"mpi", "shared"} and "ring" in cell.over for cell in found.cells)
    (journal,) = (path.parent / "j").glob("*.jsonl")
    rows = read_journal(journal).measurements
    assert {row.transport for row in rows} == {"mpi", "staged", "shared"}
    assert "library" not in {row.algorithm for row in rows}
    # Another collective by other ranks: what was there stays.
    assert calibrated(3, path, "--collective", "gather", "-e", "8", "--buffers", "host").exit_code == 0
    again = read_table(path)
    assert again is not None
    assert again.entries[:2] == table.entries
    assert again.entries[2].key == ("gather", 3, 1, "host")


def test_a_file_that_is_no_table_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text('{"format": "something"}')
    finished = calibrated(2, path)
    assert finished.exit_code == 2
    assert finished.stderr.count("its format is 'something'; expected 'clusterbench-choices'") == 1
    assert path.read_text() == '{"format": "something"}'
    assert not (tmp_path / "j").exists()


BEST = ("-b", "8", "--algorithm", "best")
ON_TWO = {
    # 64 B is nearer to 8 B than to 4 KiB, by the logarithm; 1 KiB to 4 KiB.
    "nearest": ("-b", "64", "-e", "1K", "-f", "16", "--algorithm", "best,binomial,leader", "--json"),
    "registered": (*BEST, "--buffers", "registered", "--json"),
    "named": (*BEST, "--transport", "mpi", "--json"),
    "both": ("-b", "8", "-e", "4K", "-f", "512", "--algorithm", "best"),
    "options": ("-b", "8", "--algorithm", "best:radix=2"),
    "device": (*BEST, "--buffers", "device"),
}
ON_THREE = {"no choices": BEST, "auto": ("-b", "8", "--algorithm", "binomial", "--json")}


@pytest.fixture(scope="module")
def ended(table: Path) -> dict[str, mpi.Finished]:
    """How the commands ended on two ranks and on three."""
    two = mpi.each(2, [command(table, *arguments) for arguments in ON_TWO.values()])
    three = mpi.each(3, [command(table, *arguments) for arguments in ON_THREE.values()])
    return dict(zip((*ON_TWO, *ON_THREE), two + three, strict=True))


def test_best_and_auto_take_what_the_table_says_at_the_nearest_size(ended: dict[str, mpi.Finished]) -> None:
    found = taken(ended["nearest"])
    assert found["best", 64] == ("staged", "ran as direct")
    assert found["best", 1024] == ("mpi", "ran as ring")
    assert found["binomial", 64][0] == "staged"
    assert found["binomial", 1024][0] == "mpi"
    assert found["leader", 64][0] == found["leader", 1024][0] == "mpi"  # the table does not have it


def test_best_is_by_buffers_and_by_a_transport_that_is_named(ended: dict[str, mpi.Finished]) -> None:
    assert taken(ended["registered"]) == {("best", 8): ("shared", "ran as direct")}
    assert taken(ended["named"]) == {("best", 8): ("mpi", "ran as ring")}


def test_a_table_of_one_transport_shows_both_in_the_head_of_its_rows(ended: dict[str, mpi.Finished]) -> None:
    finished = ended["both"]
    assert finished.exit_code == 0, finished.stderr
    assert "# Algorithm: best transport: staged, mpi\n" in finished.stdout


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no choices", "no choices for all_reduce by 3 ranks on 1 host, host buffers, in "),
        ("options", "best has no options"),
        ("device", "best is by a table for buffers of the host"),
    ],
)
def test_best_without_a_choice_is_refused(name: str, complaint: str, ended: dict[str, mpi.Finished]) -> None:
    finished = ended[name]
    assert finished.exit_code == 2
    assert finished.stderr.count(complaint) == 1
    assert "Traceback" not in finished.stderr
    assert "collectives calibrate --collective all_reduce" in finished.stderr or name != "no choices"


def test_auto_is_mpi_where_the_table_has_nothing_for_so_many_ranks_and_says_so(ended: dict[str, mpi.Finished]) -> None:
    assert taken(ended["auto"])["binomial", 8][0] == "mpi"
    assert ended["auto"].stderr.count("--transport auto is mpi") == 1


def test_auto_without_a_table_is_mpi_and_best_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    every = ("collectives", "run", "all_reduce", "-b", "8", "--journal", str(tmp_path / "j"), *FEW, "--algorithm")
    auto, best = mpi.each(2, [(*every, "ring", "--json"), (*every, "best")])
    assert {row["transport"] for row in mpi.document(auto)["rows"]} == {"mpi"}
    assert best.exit_code == 2
    assert "run `clusterbench collectives calibrate --collective all_reduce` with as many ranks" in best.stderr


NO_ROOM = """
from clusterbench.collectives.transports import shared_window
shared_window._free_bytes = lambda folder: 1000
"""


def test_auto_falls_back_to_mpi_without_shared_memory_and_named_shared_does_not(table: Path) -> None:
    ways = ((), ("--transport", "shared"), ("--buffers", "registered"))
    fallen, *refused = mpi.each(2, [command(table, *BEST, "--json", *way) for way in ways], patch=NO_ROOM)
    assert taken(fallen)["best", 8] == ("mpi", "ran as direct; over mpi, as the ranks can share no memory")
    assert fallen.stderr.count("--transport auto runs all over mpi") == 1
    for finished in refused:
        assert finished.exit_code == 2
        assert finished.stderr.count("of shared memory, and ") == 1
