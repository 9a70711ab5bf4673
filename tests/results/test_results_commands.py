"""`clusterbench results` and `clusterbench report`, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clusterbench.bench.cli import main
from clusterbench.results.record import Measurement

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line: exit code, standard output, standard error."""

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, synthetic: Callable[..., Any]) -> Path:
    """A folder with the journals of a base run, and of a later one that is 10 % slower."""
    folder = tmp_path_factory.mktemp("runs")
    synthetic("base", 1).write(folder)
    synthetic("slower", 2, 1.1).write(folder)
    return folder


@pytest.fixture
def store(folder: Path, call: Call) -> str:
    """The URL of a store with both runs; only read by the tests."""
    url = f"sqlite:///{folder}/results.db"
    if not (folder / "results.db").exists():
        code, out, _ = call("results", "load", "--store", url, *sorted(folder.glob("*.jsonl")))
        assert (code, out) == (0, f"174 new rows from 2 journals in {url}\n")
    return url


def test_list_shows_the_runs(store: str, call: Call) -> None:
    code, out, _ = call("results", "list", "--store", store)
    assert code == 0
    assert out.index("slower") < out.index("base")
    assert "clusterbench run --preset quick" in out


def test_list_prints_one_json_document(store: str, call: Call) -> None:
    _, out, _ = call("results", "list", "--store", store, "--json")
    runs = json.loads(out)
    assert [(row["run_id"], row["rows"]) for row in runs["rows"]] == [("slower", 87), ("base", 87)]
    _, out, _ = call("results", "list", "--store", store, "--run", "ba", "--suite", "kernels", "--json")
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["run"]["run_id"] == "base"
    assert len(document["rows"]) == 20
    assert set(document["rows"][0]) == {field.name for field in fields(Measurement)}


def test_list_prints_csv_with_the_fields_of_a_measurement(store: str, call: Call) -> None:
    _, out, _ = call("results", "list", "--store", store, "--run", "latest", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 87
    assert float(next(row for row in rows if row["name"] == "triad")["median_s"]) > 0


def test_list_prints_rows_as_a_table(store: str, call: Call) -> None:
    code, out, _ = call("results", "list", "--store", store, "--suite", "collectives")
    assert code == 0
    assert "128 rows, suite collectives" in out
    assert "recursive_doubling" in out


def test_list_shows_the_rows_that_were_asked_for(store: str, call: Call) -> None:
    where = "--where", "name=all_reduce,copy", "--where", "size_bytes=512", "--where", "size_bytes=4K"
    _, out, _ = call("results", "list", "--store", store, "--run", "base", *where, "--json")
    rows = json.loads(out)["rows"]
    assert {(row["name"], row["size_bytes"]) for row in rows} == {("all_reduce", 512), ("all_reduce", 4096)}
    _, out, err = call("results", "list", "--store", store, *where, "--limit", 3)
    assert "3 rows, all runs" in out
    assert f"the first 3 of {2 * len(rows)} rows" in err


def test_export_writes_what_was_asked_for(store: str, call: Call, tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    code, out, _ = call(
        "results", "export", "--store", store, "--run", "base", "--format", "parquet", "--output", target
    )
    assert (code, out) == (0, f"87 rows in {target}\n")
    assert set(pd.read_parquet(target)["run_id"]) == {"base"}


@pytest.mark.parametrize("file_format", ["csv", "nccl-json"])
def test_export_takes_the_rows_that_list_shows(store: str, call: Call, tmp_path: Path, file_format: str) -> None:
    where = (
        "--where",
        "name=all_reduce",
        "--where",
        "size_bytes=512",
        "--where",
        "size_bytes=4K",
        "--suite",
        "collectives",
    )
    shown = json.loads(call("results", "list", "--store", store, "--run", "base", *where, "--json")[1])["rows"]
    target = tmp_path / "rows"
    ask = "results", "export", "--store", store, "--run", "base", *where, "--format", file_format, "--output", target
    code, out, err = call(*ask)
    assert (code, err) == (0, "")
    assert out.startswith(f"{len(shown)} rows in ")
    if file_format == "csv":
        rows = list(csv.DictReader(io.StringIO(target.read_text())))
        assert [(row["algorithm"], int(row["size_bytes"])) for row in rows] == [
            (row["algorithm"], row["size_bytes"]) for row in shown
        ]
    code, out, err = call(*ask, "--limit", 3)
    assert (code, err) == (0, f"clusterbench: the first 3 of {len(shown)} rows; more with --limit\n")
    assert out.startswith("3 rows in ")
    assert call(*ask, "--where", "nam=x")[0] == 2


def test_compare_ends_with_4_on_a_regression_and_with_0_on_none(store: str, call: Call) -> None:
    inside = "--store", store, "--unit", "sample"
    code, out, _ = call("results", "compare", "base", "latest", *inside)
    assert code == 4
    assert "76 worse" in out
    assert call("results", "compare", "latest", "previous", *inside)[0] == 0
    assert call("results", "compare", "base", "base", *inside)[0] == 0
    assert call("results", "compare", "base", "latest", *inside, "--tolerance", 20)[0] == 0


def test_compare_of_single_launches_tells_nothing_and_is_a_failure_only_where_told(store: str, call: Call) -> None:
    code, out, _ = call("results", "compare", "base", "latest", "--store", store)
    assert code == 0
    assert "0 worse" in out
    assert "7 launches needed" in out
    assert "1 launches against 1, and Mann-Whitney needs 4 a side, or 7 to tell of one of 76 rows" in out
    code, _, err = call("results", "compare", "base", "latest", "--store", store, "--strict", "--csv")
    assert code == 1
    assert "nothing can be told of 79 of 87 rows" in err


def test_compare_takes_several_runs_a_side_as_launches(
    tmp_path: Path, synthetic: Callable[..., Any], call: Call
) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    journals = [synthetic(f"a{i}", i, 1 + i / 1000).write(tmp_path) for i in range(1, 8)]
    journals += [synthetic(f"b{i}", i, 1.1 + i / 1000).write(tmp_path) for i in range(1, 8)]
    call("results", "load", "--store", url, *journals)
    a, b = (",".join(f"{side}{i}" for i in range(1, 8)) for side in "ab")
    code, out, _ = call("results", "compare", a, b, "--store", url, "--json")
    document = json.loads(out)
    assert code == 4
    assert document["run"]["counts"]["worse"] == 76
    assert [run["run_id"] for run in document["run"]["a"]] == a.split(",")
    row = next(row for row in document["rows"] if row["name"] == "triad" and row["backend"] == "numba")
    assert (row["launches_a"], row["launches_b"], row["test"]) == (7, 7, "Mann-Whitney")
    assert row["p_adjusted"] < 0.05
    files = (",".join(map(str, journals[:7])), ",".join([*map(str, journals[7:13]), "b7"]))
    assert call("results", "compare", *files, "--store", url, "--json")[1].count('"worse"') == 77


def test_compare_prints_one_json_document(store: str, call: Call) -> None:
    code, out, _ = call("results", "compare", "base", "latest", "--store", store, "--unit", "sample", "--json")
    document = json.loads(out)
    assert code == 4
    assert document["run"]["counts"]["worse"] == 76
    assert document["run"]["tolerance"] == 0.02
    row = next(row for row in document["rows"] if row["name"] == "triad" and row["backend"] == "numba")
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert row["change"] == "worse"


def test_compare_takes_journal_files_without_a_store(tmp_path: Path, synthetic: Callable[..., Any], call: Call) -> None:
    a, b = synthetic("a", 1).write(tmp_path), synthetic("b", 2, 0.8).write(tmp_path)
    code, out, _ = call(
        "results", "compare", a, b, "--unit", "sample", "--csv", "--store", f"sqlite:///{tmp_path}/none.db"
    )
    changes = [row["change"] for row in csv.DictReader(io.StringIO(out)) if row["a_s"]]
    assert code == 0
    assert changes == ["better"] * 76


def test_report_writes_one_file_from_a_store_or_from_journals(
    store: str, call: Call, tmp_path: Path, synthetic: Callable[..., Any]
) -> None:
    maker = synthetic("third", 3)
    parts = [maker.write(tmp_path, maker.kernels()), maker.write(tmp_path, maker.collectives(), part="collectives")]
    code, out, _ = call("report", "--store", store, "--output", tmp_path / "a.html")
    assert (code, out) == (0, f"report: {tmp_path}/a.html\n")
    assert ">slower<" in (tmp_path / "a.html").read_text()
    code, _, _ = call(
        "report", "--journal", parts[0], "--journal", parts[1], "--journal", parts[0], "--output", tmp_path / "b.html"
    )
    text = (tmp_path / "b.html").read_text()
    assert code == 0
    assert text.count("<article") == 1
    assert "run0-roofline-0" in text
    assert "run0-busbw-0" in text
    assert '"count":87,' in text.replace(" ", "")


@pytest.mark.parametrize("args", [["results", "list"], ["report", "--output", "x.html"]], ids=" ".join)
def test_a_damaged_store_is_answered_in_words(
    args: list[str], call: Call, tmp_path: Path, synthetic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/results.db"
    maker = synthetic("hurt", 1)
    call("results", "load", "--store", url, maker.write(tmp_path, maker.kernels()[:1]))
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE runs SET environment = '{x'")
    code, _, err = call(*args, "--store", url)
    assert code == 2
    assert "run 'hurt' is damaged: environment is no JSON" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["results", "list", "--store", "sqlite:///nowhere/x.db"], "there is no store"),
        (["results", "list", "--store", "nonsense"], "not a URL"),
        (["results", "list", "--store", "sqlite://"], "in memory"),
        (["results", "list", "--suite", "nosuch", "--store", "STORE"], "'kernels', 'collectives', 'point-to-point'"),
        (["results", "export", "--suite", "nosuch", "--format", "csv", "--output", "x"], "'kernels', 'collectives'"),
        (["results", "list", "--json", "--csv", "--store", "STORE"], "exclude each other"),
        (["results", "list", "--run", "nobody", "--store", "STORE"], "'nobody'"),
        (["results", "compare", "base", "gone.jsonl", "--store", "STORE"], "no such journal"),
        (["results", "compare", "base", "slower", "--tolerance", "0", "--store", "STORE"], "--tolerance"),
        (["results", "compare", "base,base", "slower", "--store", "STORE"], "run base is named twice"),
        (["results", "compare", "base", "base,slower", "--store", "STORE"], "run base is on both sides"),
        (["results", "list", "--where", "nam=triad", "--store", "STORE"], "no field 'nam'; did you mean name?"),
        (["results", "list", "--where", "name", "--store", "STORE"], "expected FIELD=VALUE"),
        (["results", "list", "--where", "ranks=many", "--store", "STORE"], "expected an integer"),
        (["results", "list", "--limit", "0", "--store", "STORE"], "--limit"),
        (["results", "check", "base", "--thresholds", __file__, "--store", "STORE"], "no TOML"),
        (["results", "check", "base", "--thresholds", "gone.toml", "--store", "STORE"], "gone.toml"),
        (["results", "outliers", "nobody", "--store", "STORE"], "'nobody'"),
        (["results", "export", "--format", "xml", "--output", "x"], "'xml'"),
        (["results", "export", "--format", "csv", "--output", "/dev/null/x.csv", "--store", "STORE"], "cannot write"),
        (["results", "load", "missing.jsonl"], "missing.jsonl"),
        (["results", "load", __file__, "--store", "STORE"], "no line of a journal"),
        (["report", "--output", "/dev/null/x.html", "--store", "STORE"], "cannot write"),
        (["report", "--output", "x.html", "--journal", __file__, "--run", "base"], "exclude each other"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(store: str, call: Call, args: list[str], said: str) -> None:
    code, out, err = call(*(store if arg == "STORE" else arg for arg in args))
    assert code == 2
    assert said in err
    assert out == ""
    assert "Traceback" not in err
