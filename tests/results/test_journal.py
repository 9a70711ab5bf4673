"""The journal: what was written is read back, whatever happened to the file."""

from __future__ import annotations

import json
import math
import resource
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.results.columns import columns_of
from clusterbench.results.journal import (
    Journal,
    JournalError,
    JournalWriteError,
    merge_runs,
    now_iso,
    read_journal,
    rows_since,
)
from clusterbench.results.record import EVIDENCE, ORIGINS, VERDICTS, Measurement, RecordError, Run

OLD = Path(__file__).parent / "old"

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
CHOICES = {"evidence": EVIDENCE, "origin": ORIGINS, "verdict": VERDICTS}
KINDS = {"text": TEXT, "integer": st.integers(-(2**63) + 1, 2**63 - 1), "real": st.floats()}


def field_values(name: str, kind: str, optional: bool) -> st.SearchStrategy[Any]:
    values = st.sampled_from(CHOICES[name]) if name in CHOICES else KINDS[kind]
    return st.none() | values if optional else values


MEASUREMENTS = st.builds(
    Measurement,
    **{c.name: field_values(c.name, c.kind, c.optional) for c in columns_of(Measurement) if c.name != "run_id"},
    run_id=st.just("r"),
)
SAMPLES = st.none() | st.lists(st.floats(), max_size=5)
RUN = Run(run_id="r", started_at="2026-01-01T00:00:00+00:00", environment={"host": {"name": "x"}})


def journal_of(rows: list[tuple[Measurement, Any]], folder: Path) -> Path:
    with Journal.create(folder, RUN) as journal:
        for measurement, samples in rows:
            journal.append(measurement, samples)
        journal.finish(0, ["a part failed"])
    return journal.path


def same(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@settings(max_examples=60)
@given(st.lists(st.tuples(MEASUREMENTS, SAMPLES), max_size=4))
def test_what_was_written_is_read_back(rows: list[tuple[Measurement, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        contents = read_journal(journal_of(rows, Path(folder)))
    assert (contents.run.status, contents.run.exit_code, contents.run.failures) == ("finished", 0, ("a part failed",))
    assert contents.damaged_lines == ()
    assert len(contents.measurements) == len(rows)
    for (measurement, samples), read, seconds in zip(rows, contents.measurements, contents.samples, strict=True):
        for field in fields(Measurement):
            assert same(getattr(measurement, field.name), getattr(read, field.name)), field.name
        assert (seconds is None) == (samples is None)
        if samples is not None and seconds is not None:
            np.testing.assert_array_equal(seconds, np.array(samples, dtype=np.float64))


@settings(max_examples=60)
@given(st.data())
def test_a_file_cut_anywhere_keeps_every_whole_line(data: st.DataObject) -> None:
    rows = [(Measurement(run_id="r", suite="kernels", name=f"k{i}", note="ü"), [0.1, 0.2]) for i in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        path = journal_of(rows, Path(folder))
        whole = path.read_bytes()
        first_end = whole.index(b"\n") + 1
        cut = data.draw(st.integers(first_end, len(whole)))
        path.write_bytes(whole[:cut])
        contents = read_journal(path)
    complete = whole[:cut].count(b"\n")
    assert [m.name for m in contents.measurements] == [f"k{i}" for i in range(min(complete - 1, 5))]
    assert len(contents.damaged_lines) == (0 if whole[:cut].endswith(b"\n") else 1)


@settings(max_examples=100)
@given(st.binary(max_size=40).filter(lambda line: b"\n" not in line), st.integers(1, 6))
def test_a_line_of_rubbish_costs_only_itself(rubbish: bytes, place: int) -> None:
    rows = [(Measurement(run_id="r", suite="kernels", name=f"k{i}"), None) for i in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        path = journal_of(rows, Path(folder))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:place], rubbish + b"\n", *lines[place:]]))
        contents = read_journal(path)
    assert [m.name for m in contents.measurements] == [f"k{i}" for i in range(5)]
    assert [damage.line for damage in contents.damaged_lines] == [place + 1]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("count", "many", "count is 'many'"),
        ("count", True, "count is True"),
        ("count", 1 << 70, "64 bits"),
        ("median_s", "fast", "median_s is 'fast'"),
        ("name", 7, "name is 7"),
        ("evidence", "guessed", "evidence is 'guessed'"),
        ("colour", "red", "no field 'colour'"),
        ("run_id", "other", "belongs to run 'other'"),
    ],
)
def test_a_row_with_a_wrong_value_is_reported_by_field(tmp_path: Path, field: str, value: Any, named: str) -> None:
    path = journal_of([(Measurement(run_id="r", suite="kernels", name="k"), None)], tmp_path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["row"][field] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    contents = read_journal(path)
    assert contents.measurements == ()
    assert contents.damaged_lines[0].line == 2
    assert named in contents.damaged_lines[0].reason


def test_rows_are_on_disk_while_the_run_still_goes_on(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, RUN)
    journal.append(Measurement(run_id="r", suite="kernels", name="copy"), [1.0])
    contents = read_journal(journal.path)
    journal.close()
    assert [m.name for m in contents.measurements] == ["copy"]
    assert contents.run == RUN


def test_a_journal_is_never_overwritten(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        with Journal.create(tmp_path, RUN, part="collectives") as journal:
            paths.append(journal.path.name)
    assert paths == ["r.collectives.jsonl", "r.collectives.2.jsonl", "r.collectives.3.jsonl"]


@pytest.mark.parametrize("run_id", ["", "../up", "a/b", "a b", "-x", "x" * 200])
def test_a_run_id_that_is_no_file_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(JournalError, match="run id"):
        Journal.create(tmp_path, Run(run_id=run_id, started_at=""))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file/journals: cannot write") as caught:
        Journal.create(tmp_path / "file" / "journals", RUN)
    assert caught.value.exit_code == 2


def test_a_full_disk_costs_only_the_row_that_did_not_fit(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal.create(tmp_path, RUN) as journal:
        journal.append(Measurement(run_id="r", suite="kernels", name="before"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 10, hard))
        try:
            with pytest.raises(JournalWriteError, match="cannot write") as caught:
                journal.append(Measurement(run_id="r", suite="kernels", name="lost"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.append(Measurement(run_id="r", suite="kernels", name="after"))
    contents = read_journal(journal.path)
    assert caught.value.exit_code == 1
    assert [m.name for m in contents.measurements] == ["before", "after"]
    assert contents.damaged_lines == ()


def test_a_row_of_another_run_is_refused(tmp_path: Path) -> None:
    with Journal.create(tmp_path, RUN) as journal, pytest.raises(RecordError, match="'other'"):
        journal.append(Measurement(run_id="other", suite="kernels", name="k"))


def test_a_newer_schema_is_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text('{"kind": "run", "schema_version": 999, "run": {"shape": "unknown"}}\n')
    with pytest.raises(JournalError, match=r"new\.jsonl, line 1: schema version 999") as caught:
        read_journal(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"{}\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"x\.jsonl"):
        read_journal(path)


def test_rows_survive_a_damaged_run_record(tmp_path: Path) -> None:
    path = journal_of([(Measurement(run_id="r", suite="kernels", name="k"), None)], tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("rubbish\n" + lines[1])
    contents = read_journal(path)
    assert [m.name for m in contents.measurements] == ["k"]
    assert contents.run.run_id == "r"
    assert "damaged" in contents.run.failures[0]


@pytest.mark.parametrize("path", sorted(OLD.glob("*.jsonl")), ids=lambda path: path.name)
def test_old_journals_still_load(path: Path) -> None:
    contents = read_journal(path)
    assert contents.damaged_lines == ()
    assert contents.run.status == "finished"
    assert [(m.suite, m.name, m.evidence) for m in contents.measurements] == [
        ("roof", "copy", "measured"),
        ("kernels", "triad", "measured"),
        ("kernels", "triad", "simulated"),
        ("collectives", "all_reduce", "measured"),
    ]
    assert contents.measurements[1].median_s == pytest.approx(1.2798e-3, rel=1e-3)
    assert [None if s is None else len(s) for s in contents.samples] == [None, 40, None, 40]


def test_an_old_journal_is_there() -> None:
    assert (OLD / "version-1.jsonl").is_file()


@given(st.permutations(range(3)))
def test_parts_of_a_run_merge_in_any_order(order: list[int]) -> None:
    parts = [
        Run(run_id="r", started_at="1", finished_at="9", status="finished", exit_code=0, command="run", seed=5,
            environment={"mpi": {"family": "mpich"}}),
        Run(run_id="r", started_at="2", finished_at="5", status="failed", exit_code=3, command="inner",
            environment={"mpi": {"family": "other", "ranks": 4}}, failures=("wrong data",)),
        Run(run_id="r", started_at="3", status="running", failures=("wrong data", "killed")),
    ]  # fmt: skip
    merged = merge_runs([parts[i] for i in order])
    assert (merged.command, merged.seed, merged.status, merged.exit_code) == ("run", 5, "failed", 3)
    assert (merged.started_at, merged.finished_at) == ("1", "9")
    assert merged.failures == ("wrong data", "killed")
    assert merged.environment == {"mpi": {"family": "mpich", "ranks": 4}}


def test_parts_are_ordered_by_the_instant_and_not_by_the_text_of_their_start() -> None:
    first = Run(run_id="r", started_at="2026-10-25T02:50:00.000+02:00", finished_at="2026-10-25T02:20:00.000+01:00",
                command="clusterbench run")  # fmt: skip
    inner = Run(run_id="r", started_at="2026-10-25T02:10:00.000+01:00", finished_at="2026-10-25T01:15:00.000+00:00",
                command="clusterbench kernels run")  # fmt: skip
    lost = Run(run_id="r", started_at="", command="")
    merged = merge_runs([lost, inner, first])
    assert merged.command == "clusterbench run"
    assert merged.finished_at == first.finished_at


def test_times_are_written_in_utc() -> None:
    assert now_iso().endswith("+00:00")


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "finished"), (3, "finished"), (4, "finished"), (1, "failed"), (2, "failed"), (124, "failed")],
)
def test_a_run_is_finished_when_all_was_run_whatever_it_found(tmp_path: Path, code: int, status: str) -> None:
    with Journal.create(tmp_path, RUN) as journal:
        journal.finish(code, ["x"])
    run = read_journal(journal.path).run
    assert run == journal.run
    assert (run.status, run.exit_code, run.failures) == (status, code, ("x",))
    assert run.finished_at


def test_rows_are_counted_as_they_are_appended_and_nothing_is_read_twice(tmp_path: Path) -> None:
    row = Measurement(run_id="r", suite="kernels", name="k", note='{"kind":"measurement"')
    with Journal.create(tmp_path, RUN) as journal:
        new, offset = rows_since(journal.path)
        assert (new, offset) == (0, journal.path.stat().st_size)
        journal.append(row, [1.0] * 100)
        journal.append(row)
        new, offset = rows_since(journal.path, offset)
        assert (new, offset) == (2, journal.path.stat().st_size)
        assert rows_since(journal.path, offset) == (0, offset)
        journal.finish(0)
    assert rows_since(journal.path)[0] == len(read_journal(journal.path).measurements)


def test_a_line_that_is_not_complete_yet_counts_when_it_is(tmp_path: Path) -> None:
    path = journal_of([(Measurement(run_id="r", suite="kernels", name="k"), [1.0])], tmp_path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 29):
        path.write_bytes(whole[:cut])
        early, offset = rows_since(path)
        path.write_bytes(whole)
        late, end = rows_since(path, offset)
        assert (early + late, end) == (1, len(whole))


def test_a_journal_that_is_gone_cannot_be_counted(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"gone\.jsonl"):
        rows_since(tmp_path / "gone.jsonl")


def test_a_journal_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    row = Measurement(run_id="r", suite="s", name="n")
    path = journal_of([(row, [1.0])], tmp_path)
    with path.open("ab") as file:
        file.write(b'{"kind":"measurement","schema')
    with Journal.reopen(path) as journal:
        journal.append(row, None)
        journal.finish(3)
    contents = read_journal(path)
    assert contents.measurements == (row, row)
    assert contents.damaged_lines == ()
    assert (contents.run.exit_code, contents.run.failures) == (3, ("a part failed",))
    assert contents.journal_id == json.loads(path.read_text().splitlines()[0])["journal"]


def test_a_journal_that_is_being_written_is_not_gone_on_with(tmp_path: Path) -> None:
    with Journal.create(tmp_path, RUN) as journal, pytest.raises(JournalError, match="another process is writing"):
        Journal.reopen(journal.path)
    Journal.reopen(journal.path).close()
    with pytest.raises(JournalError, match="cannot go on"):
        Journal.reopen(tmp_path / "none.jsonl")
