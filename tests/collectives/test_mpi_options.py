"""What `collectives run` takes besides algorithms and sizes, on real ranks: files, roots, types, traffic, messages."""

from __future__ import annotations

from pathlib import Path

import mpi
import plans
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def on_three(folder: Path) -> dict[str, mpi.Finished]:
    """What commands with files ended with and printed on three ranks."""
    path = schedule_file(folder)
    wrong, matrix = folder / "wrong.json", folder / "matrix.txt"
    wrong.write_text(path.read_text().replace('"copy"', '"reduce"', 1))
    matrix.write_text("0 1 8\n1 0 8\n8 8 0\n")
    commands = {
        "right": ("all_reduce", "-b", "4K", "--schedule", str(path), "--json"),
        "wrong": ("all_reduce", "-b", "4K", "--schedule", str(wrong)),
        "all_gather": ("all_gather", "-b", "4K", "--schedule", str(path)),
        "traffic": ("alltoallv", "-b", "12K", "--traffic", str(matrix), "--algorithm", "all", "--json"),
    }
    ended = mpi.each(3, [
        ("collectives", "run", *command, *FEW, "--journal", str(folder / name)) for name, command in commands.items()
    ])  # fmt: skip
    return dict(zip(commands, ended, strict=True))


def test_a_schedule_from_a_file_is_proven_and_run(folder: Path, on_three: dict[str, mpi.Finished]) -> None:
    document = mpi.document(on_three["right"])
    assert [row["algorithm"] for row in document["rows"]] == ["file:ring.json"] * 2
    ran = [what_ran(row["algorithm"], row["note"]) for row in document["rows"]]
    assert ran == [str(folder / "ring.json")] * 2
    assert all(row["wrong"] == 0 and row["error_over_bound"] <= 1 for row in document["rows"])


def test_a_schedule_that_fails_its_proof_is_never_run(folder: Path, on_three: dict[str, mpi.Finished]) -> None:
    finished = on_three["wrong"]
    assert finished.exit_code == 2
    assert finished.stderr.count("file:wrong.json is not run, as it fails its proof: round 2: rank") == 1
    assert "added twice" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not list((folder / "wrong").glob("*"))


def test_a_plan_of_msccl_is_proven_and_run(tmp_path: Path) -> None:
    right, stuck, wrong = (tmp_path / f"{name}.xml" for name in ("right", "stuck", "wrong"))
    right.write_text(plans.ring(4))
    stuck.write_text(plans.ring(4).replace('type="s"', 'type="nop"', 1))
    wrong.write_text(plans.ring(4).replace('type="rrcs"', 'type="rcs"', 1))
    ran, unpaired, refused = mpi.each(4, [
        ("collectives", "run", "all_reduce", "-b", "4K", "--schedule", str(path), *FEW, "--json", "--journal",
         str(tmp_path / path.stem)) for path in (right, stuck, wrong)
    ])  # fmt: skip
    rows = mpi.document(ran)["rows"]
    assert [row["algorithm"] for row in rows] == ["file:right.xml"] * 2
    assert [what_ran(row["algorithm"], row["note"]) for row in rows] == [str(right)] * 2
    assert all(row["wrong"] == 0 and row["transport"] == "mpi" for row in rows)
    for finished, complaint in (
        (unpaired, "stuck.xml, line 22: gpu 1, tb 0, step 6 receives what has no partner"),
        (refused, "file:wrong.xml is not run, as it fails its proof: "),
    ):
        assert finished.exit_code == 2
        assert finished.stderr.count(complaint) == 1
        assert "Traceback" not in finished.stderr


def test_a_schedule_for_another_call_is_refused(tmp_path: Path, on_three: dict[str, mpi.Finished]) -> None:
    by_two = run(2, "all_reduce", tmp_path / "j", "-b", "4K", "--schedule", str(schedule_file(tmp_path)))
    for finished, complaint in (
        (by_two, "ranks 3; this run has 2"),
        (on_three["all_gather"], "collective all_reduce; this run has all_gather"),
    ):
        assert finished.exit_code == 2
        assert complaint in finished.stderr
        assert "Traceback" not in finished.stderr


def test_16_bit_types_are_right_and_the_row_says_how_the_library_does_them(tmp_path: Path) -> None:
    asked = [("half", "sum"), ("bfloat16", "avg"), ("half", "max"), ("bf16", "prod")]
    every = ("collectives", "run", "reduce", *FEW, "-b", "2K", "--algorithm", "all")
    rows = mpi.command_lines(2, tmp_path, [(*every, "-d", dtype, "-o", op) for dtype, op in asked])
    assert {(row.dtype, row.op) for row in rows} == {
        ("float16", "sum"), ("bfloat16", "avg"), ("float16", "max"), ("bfloat16", "prod"),
    }  # fmt: skip
    assert [row for row in rows if row.wrong != 0] == []
    assert all(
        row.error_over_bound is not None and row.error_over_bound <= 1 for row in rows if row.op in ("sum", "avg")
    )
    assert all(row.note for row in rows if row.algorithm == "library")


def test_skewed_traffic_is_the_same_for_the_library_and_the_row_says_how_skewed(
    on_three: dict[str, mpi.Finished],
) -> None:
    rows = mpi.document(on_three["traffic"])["rows"]
    assert {row["algorithm"] for row in rows} == {"library", "direct", "pairwise"}
    (shape,) = {row["shape"] for row in rows}
    assert shape.startswith(f"bytes={rows[0]['size_bytes']},traffic=matrix.txt#")
    assert all(row["wrong"] == 0 and "the busiest rank sends or receives 1.41 times the mean" in row["note"]
               for row in rows)  # fmt: skip


IMPOSSIBLE = (
    (["broadcast", "-r", "2"], "-r is 2; expected a rank from 0 to 1"),
    (["all_to_all_v", "--placement", "in-place"], "has no in-place form"),
    (["all_to_all_v", "--traffic", "nothing.txt"], "expected a file, uniform, skewed"),
    (["all_reduce", "--algorithm", "bruck"], "bruck does not serve all_reduce; it serves"),
    (["all_reduce", "--algorithm", "two-level:dims=3x4"], "two-level: "),
    (["all_reduce", "--algorithm", "ring:segments=2"], "ring has no option 'segments'; it has order"),
    (["all_reduce", "--algorithm", "library:1,library:2"], "the library can be told one algorithm a run"),
    (["all_reduce", "--algorithm", "library:a b"], "expected a number or a name of the library's own"),
    (["pingpong", "--algorithm", "ring"], "--algorithm does not apply to pingpong"),
    (["all_reduce", "--schedule", "no-such.json"], "no-such.json"),
)
"""Arguments of `collectives run`, and what is said of them."""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[mpi.Finished]:
    """What each of them ended with and printed on two ranks."""
    where = ("-b", "1K", "--journal", str(tmp_path_factory.mktemp("journals")))
    return mpi.each(2, [("collectives", "run", name, *where, *more) for (name, *more), _ in IMPOSSIBLE])


@pytest.mark.parametrize("number", range(len(IMPOSSIBLE)), ids=[complaint for _, complaint in IMPOSSIBLE])
def test_what_cannot_be_is_refused_once(number: int, refusals: list[mpi.Finished]) -> None:
    said = refusals[number].stdout + refusals[number].stderr
    assert refusals[number].exit_code == 2, said
    assert said.count(IMPOSSIBLE[number][1]) == 1, said
    assert "Traceback" not in said


def test_messages_are_recorded_like_collectives(tmp_path: Path) -> None:
    document = mpi.document(run(2, "sendrecv", tmp_path, "-b", "4K", "-e", "16K", "--json"))
    assert [row["size_bytes"] for row in document["rows"]] == [4096, 8192, 16384]
    (path,) = tmp_path.glob("*.jsonl")
    assert {row.suite for row in read_journal(path).measurements} == {"point-to-point"}
