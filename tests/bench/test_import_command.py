"""`clusterbench results import`, as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import importer_files
import pytest

from clusterbench.bench.cli import main
from clusterbench.bench.stored import imported_runs
from clusterbench.results.store import Store

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in an empty folder with the examples: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name, text in importer_files.EXAMPLES.items():
        (tmp_path / f"{name}.out").write_text(text)

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["results", *(str(arg) for arg in args)])
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def stored() -> Store:
    return Store.open("sqlite:///clusterbench-out/results.db")


def test_a_log_and_a_topology_give_a_table_a_journal_and_rows_in_the_store(call: Call) -> None:
    code, out, err = call("import", "nccl-tests.out", "--topology", "dgx-h100")
    assert (code, err) == (0, "")
    assert "in-network" in out
    assert "nvls, simple" in out
    assert "all_reduce is limited by links out of rank 0" in out
    assert "6 new rows from 1 files" in out
    (journal,) = Path("clusterbench-out/journals").glob("*.jsonl")
    with stored() as store:
        frame = store.frame()
    assert list(frame["topology"].unique()) == ["dgx-h100"]
    assert frame["bound_share"].notna().all()
    assert frame["run_id"].iloc[0] == journal.stem
    assert f"clusterbench report --run {journal.stem}" in out


def test_of_a_long_file_the_first_rows_are_shown_and_those_that_are_wrong(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imported_runs, "MOST_SHOWN", 2)
    text = importer_files.EXAMPLES["nccl-tests"]
    Path("long.out").write_text(text.replace("478.74       0  15700.0", "478.74       7  15700.0"))
    code, out, _ = call("import", "long.out")
    assert code == 3
    assert len(re.findall("^ ?all_reduce .* (?:PASS|FAIL)", out, re.MULTILINE)) == 3
    assert out.count("FAIL") == 1
    assert re.search("^3 further rows: clusterbench results list --run nccl-tests-", out, re.MULTILINE)
    assert "6 new rows" in out


def test_importing_again_changes_nothing_and_with_a_topology_it_is_another_run(call: Call) -> None:
    call("import", "nccl-tests.out")
    assert "0 new rows" in call("import", "nccl-tests.out")[1]
    assert "6 new rows" in call("import", "nccl-tests.out", "--topology", "dgx-h100")[1]
    assert "0 new rows" in call("import", "nccl-tests.out", "--topology", "dgx-h100")[1]
    with stored() as store:
        assert len(store.runs()) == 2
        assert len(store.frame()) == 12
    assert len(list(Path("clusterbench-out/journals").glob("*.jsonl"))) == 2


def test_files_of_all_tools_are_one_json_document(call: Call) -> None:
    names = [f"{name}.out" for name in importer_files.EXAMPLES]
    code, out, err = call("import", *names, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["run"] == {}
    assert [run["environment"]["imported"]["file"] for run in document["runs"]] == names
    assert {row["run_id"] for row in document["rows"]} == {run["run_id"] for run in document["runs"]}
    code, out, _ = call("import", "imb.out", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows), rows[0]["name"]) == (0, 5, "pingpong")


def test_what_was_skipped_is_said_by_line_and_the_rest_is_kept(call: Call) -> None:
    text = importer_files.NCCL_TESTS
    Path("cut.log").write_text(text[: text.index("15700.0  273.56  478.74     N/A")])
    code, out, err = call("import", "cut.log")
    assert code == 0
    assert "clusterbench: cut.log: line 18: a row of 9 fields, its header has 13; left out" in err
    assert "ends without its footer" in err
    assert "4 new rows" in out


def test_a_refused_file_is_said_and_the_others_are_imported(call: Call) -> None:
    Path("other.log").write_text("nothing\n")
    code, out, err = call("import", "other.log", "imb.out")
    assert code == 2
    assert "clusterbench: other.log: the output of no known tool; expected one of imb, nccl-tests" in err
    assert "5 new rows from 1 files" in out
    code, _, err = call("import", "imb.out", "--topology", "single-switch:nodes=8")
    assert (code, err) == (0, "clusterbench: imb.out: rows without a bound: 1, they move no data\n")
    code, out, err = call("import", "nccl-tests.out", "--topology", "single-switch:nodes=4")
    assert code == 2
    assert "all_reduce ran on 8 ranks, and --topology single-switch:nodes=4 has 4" in err


def test_a_topology_that_is_none_and_an_importer_that_is_none_are_refused(call: Call) -> None:
    assert call("import", "imb.out", "--topology", "dgx-h1000")[0] == 2
    code, _, err = call("import", "imb.out", "--importer", "excel")
    assert code == 2
    assert "unknown importer 'excel'; expected one of imb," in err
    assert "no result" in call("import", "imb.out", "--importer", "osu")[2]


def test_wrong_data_and_rows_that_cannot_be_end_with_3(call: Call) -> None:
    Path("wrong.log").write_text(importer_files.NCCL_TESTS.replace("73.40       0", "73.40      17"))
    code, out, _ = call("import", "wrong.log")
    assert code == 3
    assert "reason: 17 wrong elements" in out
    code, out, _ = call("import", "nccl-tests.out", "--topology", "single-switch:nodes=8")
    assert code == 3
    assert "of what the topology permits" in out


def test_ranks_that_a_log_does_not_say_come_from_the_user_or_the_topology(call: Call) -> None:
    Path("osu.log").write_text(importer_files.OSU.partition("\n")[2])
    assert "expected --ranks N" in call("import", "osu.log")[2]
    assert call("import", "osu.log", "--ranks", 4)[0] == 0
    call("import", "osu.log", "--topology", "single-switch:nodes=16")
    with stored() as store:
        assert set(store.frame(name="all_gather")["size_bytes"]) == {4096, 16384}


def test_what_was_imported_is_exported_with_the_keys_of_nccl_tests(call: Call) -> None:
    call("import", "nccl-tests.out")
    code, out, err = call("export", "--format", "nccl-json", "--output", "back.json")
    assert (code, out, err) == (0, "6 rows in back.json\n", "")
    assert json.loads(Path("back.json").read_text())["results"][0]["out_of_place"]["nwrong"] == 0
    assert call("import", "back.json")[0] == 0
