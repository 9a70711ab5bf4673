"""`collectives prove`: what it proves, and what it refuses, in words that name the file or the flag."""

from __future__ import annotations

import json
from pathlib import Path

import plans
import pytest
from click import UsageError

from clusterbench.bench.cli import cli
from clusterbench.collectives.proof import ProofError
from clusterbench.collectives.schedule_file import ScheduleFileError


def prove(*arguments: str) -> None:
    cli.main(["collectives", "prove", *arguments], standalone_mode=False)


def written(folder: Path, algorithm: str, collective: str, *arguments: str) -> Path:
    path = folder / f"{algorithm}.json"
    prove(algorithm, "--collective", collective, "-p", "4", "--write", str(path), *arguments)
    return path


def test_every_collective_that_an_algorithm_serves_is_proven(capsys: pytest.CaptureFixture[str]) -> None:
    prove("ring", "-p", "5", "--json")
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["collective"]: row["rounds"] for row in rows} == {"all_reduce": 8, "reduce_scatter": 4, "all_gather": 4}
    assert {row["ranks"] for row in rows} == {5}


def test_a_file_that_fails_its_proof_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "ring", "all_reduce")
    path.write_text(path.read_text().replace('"copy"', '"reduce"', 1))
    with pytest.raises(ProofError, match=r"ring\.json fails its proof: round 3: rank .* added twice"):
        prove(str(path))


def test_a_file_that_is_no_schedule_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("[]")
    with pytest.raises(ScheduleFileError, match=r"broken\.json: found \[\]; expected a JSON object"):
        prove(str(path))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-p", "3"], r"-p is 3, but .*binomial\.json has 4"),
        (["--collective", "reduce"], r"--collective is reduce, but .*binomial\.json has broadcast"),
        (["-r", "0"], r"-r is 0, but .*binomial\.json has 2"),
    ],
)
def test_options_may_not_contradict_a_file(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    path = written(tmp_path, "binomial", "broadcast", "-r", "2")
    with pytest.raises(UsageError, match=complaint):
        prove(str(path), *arguments)


def test_a_file_without_a_root_is_given_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"-r is 0, but .*ring\.json has no root"):
        prove(str(written(tmp_path, "ring", "all_reduce")), "-r", "0")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["binomial", "-p", "8", "-r", "8"], "-r is 8; expected a rank from 0 to 7"),
        (["ring", "-r", "99"], "-r is 99; expected a rank from 0 to 7"),
        (["ring", "-r", "1"], "-r is 1; there is no root in .*all_reduce"),
        (["library"], "library is the MPI library's own, whose schedules are not known"),
        (["library:4"], "library:4 is the MPI library's own"),
        (["ring,chain"], "names 2 algorithms; expected one, or a file"),
        (["ring", "--draw", "x.svg"], "ring serves all_reduce"),
    ],
)
def test_what_cannot_be_proven_is_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        prove(*arguments)


def test_a_schedule_is_written_as_a_plan_of_msccl_and_proven_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ring.xml"
    prove("ring", "--collective", "all_gather", "-p", "4", "--write", str(path), "--json")
    written = json.loads(capsys.readouterr().out)["rows"]
    prove(str(path), "--json")
    assert json.loads(capsys.readouterr().out)["rows"] == written


def test_a_plan_that_cannot_end_is_refused_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "stuck.xml"
    first = plans.step("r", "o1", "o1"), plans.step("s", "o0")
    second = plans.step("r", "o0", "o0"), plans.step("s", "o1")
    stuck = [
        plans.gpu(plans.block(*steps, send=peer, recv=peer), chunks=(1, 2, 0))
        for steps, peer in ((first, 1), (second, 0))
    ]
    path.write_text(plans.algo("allgather", 2, *stuck))
    with pytest.raises(
        ScheduleFileError, match=r"stuck\.xml: deadlock: gpu 0, tb 0, step 0 \(line 5\) waits for gpu 1"
    ):
        prove(str(path))


def test_what_msccl_does_not_have_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ScheduleFileError, match=r"x\.xml: MSCCL has no gather; it has all_reduce"):
        prove("binomial", "--collective", "gather", "--write", str(tmp_path / "x.xml"))
