"""What `collectives run` takes besides algorithms and sizes, on real ranks: files, roots, types, traffic, messages."""

from __future__ import annotations

from pathlib import Path

import mpi
import pytest

from clusterbench.collectives.algorithm import Call
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import algorithms
from clusterbench.collectives.schedule_file import write_schedule
from clusterbench.results.journal import read_journal
from clusterbench.results.notes import what_ran

pytestmark = pytest.mark.mpi

FEW = ("-n", "6", "-w", "1")


def run(ranks: int, collective: str, folder: Path, *arguments: str) -> mpi.Finished:
    return mpi.clusterbench(ranks, "collectives", "run", collective, "--journal", str(folder), *FEW, *arguments)


def schedule_file(folder: Path, ranks: int = 3) -> Path:
    path = folder / "ring.json"
    write_schedule(algorithms()["ring"].schedule(Call(COLLECTIVES["all_reduce"], ranks)), path, "my-ring")
    return path


def test_a_schedule_from_a_file_is_proven_and_run(tmp_path: Path) -> None:
    path = schedule_file(tmp_path)
    document = mpi.document(run(3, "all_reduce", tmp_path / "j", "-b", "4K", "--schedule", str(path), "--json"))
    assert [row["algorithm"] for row in document["rows"]] == ["file:ring.json"] * 2
    assert [what_ran(row["algorithm"], row["note"]) for row in document["rows"]] == [str(path)] * 2
    assert all(row["wrong"] == 0 and row["error_over_bound"] <= 1 for row in document["rows"])


def test_a_schedule_that_fails_its_proof_is_never_run(tmp_path: Path) -> None:
    path = schedule_file(tmp_path)
    path.write_text(path.read_text().replace('"copy"', '"reduce"', 1))
    finished = run(3, "all_reduce", tmp_path / "j", "-b", "4K", "--schedule", str(path))
    assert finished.exit_code == 2
    assert finished.stderr.count("file:ring.json is not run, as it fails its proof: round 2: rank") == 1
    assert "added twice" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not list((tmp_path / "j").glob("*")) if (tmp_path / "j").exists() else True


@pytest.mark.parametrize(
    ("collective", "ranks", "complaint"),
    [("all_reduce", 2, "ranks 3; this run has 2"), ("all_gather", 3, "collective all_reduce; this run has all_gather")],
)
def test_a_schedule_for_another_call_is_refused(collective: str, ranks: int, complaint: str, tmp_path: Path) -> None:
    finished = run(ranks, collective, tmp_path / "j", "-b", "4K", "--schedule", str(schedule_file(tmp_path)))
    assert finished.exit_code == 2
    assert complaint in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(("dtype", "op"), [("half", "sum"), ("bfloat16", "avg"), ("half", "max"), ("bf16", "prod")])
def test_16_bit_types_are_right_and_the_row_says_how_the_library_does_them(dtype: str, op: str, tmp_path: Path) -> None:
    rows = mpi.document(run(2, "reduce", tmp_path, "-b", "2K", "-d", dtype, "-o", op, "--algorithm", "all", "--json"))[
        "rows"
    ]
    assert {row["dtype"] for row in rows} == {"float16" if dtype == "half" else "bfloat16"}
    assert all(row["wrong"] == 0 for row in rows), rows
    assert all(row["error_over_bound"] <= 1 for row in rows if op in ("sum", "avg"))
    assert all(row["note"] for row in rows if row["algorithm"] == "library")


def test_skewed_traffic_is_the_same_for_the_library_and_the_row_says_how_skewed(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.txt"
    matrix.write_text("0 1 8\n1 0 8\n8 8 0\n")
    arguments = ("-b", "12K", "--traffic", str(matrix), "--algorithm", "all", "--json")
    rows = mpi.document(run(3, "alltoallv", tmp_path / "j", *arguments))["rows"]
    assert {row["algorithm"] for row in rows} == {"library", "direct", "pairwise"}
    (shape,) = {row["shape"] for row in rows}
    assert shape.startswith(f"bytes={rows[0]['size_bytes']},traffic=matrix.txt#")
    assert all(row["wrong"] == 0 and "the busiest rank sends or receives 1.41 times the mean" in row["note"]
               for row in rows)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["broadcast", "-r", "2"], "-r is 2; expected a rank from 0 to 1"),
        (["all_to_all_v", "--placement", "in-place"], "has no in-place form"),
        (["all_to_all_v", "--traffic", "nothing.txt"], "expected a file, uniform, skewed"),
        (["all_reduce", "--algorithm", "bruck"], "bruck does not serve all_reduce; it serves"),
        (["all_reduce", "--algorithm", "two-level:dims=3x4"], "two-level: "),
        (["all_reduce", "--algorithm", "ring:segments=2"], "ring has no option 'segments'; it has none"),
        (["all_reduce", "--algorithm", "library:1,library:2"], "the library can be told one algorithm a run"),
        (["all_reduce", "--algorithm", "library:a b"], "expected a number or a name of the library's own"),
        (["pingpong", "--algorithm", "ring"], "--algorithm does not apply to pingpong"),
        (["all_reduce", "--schedule", "no-such.json"], "no-such.json"),
    ],
)
def test_what_cannot_be_is_refused_once(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    finished = mpi.clusterbench(
        2, "collectives", "run", arguments[0], "-b", "1K", "--journal", str(tmp_path), *arguments[1:]
    )
    said = finished.stdout + finished.stderr
    assert finished.exit_code == 2, said
    assert said.count(complaint) == 1, said
    assert "Traceback" not in said


def test_messages_are_recorded_like_collectives(tmp_path: Path) -> None:
    document = mpi.document(run(2, "sendrecv", tmp_path, "-b", "4K", "-e", "16K", "--json"))
    assert [row["size_bytes"] for row in document["rows"]] == [4096, 8192, 16384]
    (path,) = tmp_path.glob("*.jsonl")
    assert {row.suite for row in read_journal(path).measurements} == {"point-to-point"}
