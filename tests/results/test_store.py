"""The store: filled from journals, as often as one likes, and never the only place of a measurement."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterbench.results.databases import StoreError
from clusterbench.results.journal import Journal, read_journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store, load_all

Maker = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/folder/results.db") as opened:
        yield opened


def test_one_call_gives_a_tidy_typed_frame(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    path = synthetic().write(tmp_path)
    new = store.load(path)
    frame = store.frame()
    assert new == len(frame) == len(read_journal(path).measurements)
    assert list(frame.columns) == [field.name for field in fields(Measurement)]
    types = {"median_s": "float64", "count": "int64", "wrong": "Int64", "name": "str", "verdict": "string"}
    assert {name: str(frame[name].dtype) for name in types} == types
    assert frame["busbw"].max() > 1e9


def test_every_field_comes_back_from_the_store_as_it_was(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    path = synthetic().write(tmp_path)
    store.load(path)
    for measurement, row in zip(read_journal(path).measurements, store.frame().to_dict("records"), strict=True):
        for name, value in measurement.as_row().items():
            assert (pd.isna(row[name]) and value is None) or row[name] == value, name


@settings(max_examples=25)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_loading_in_any_order_and_any_number_of_times_gives_the_same_store(order: list[int]) -> None:
    parts = [_contents(i) for i in range(3)]
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/results.db") as store:
        for i in order:
            store.load(parts[i])
        frame = store.frame()
        assert sorted(frame["name"]) == sorted({f"k{i}" for i in order})
        assert len(store.runs()) == 1
        assert sorted(store.runs()[0].failures) == sorted({f"part {i}" for i in order})


def _contents(i: int) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Run(run_id="r", started_at=f"2026-01-0{i + 1}", failures=(f"part {i}",))
        with Journal.create(Path(folder), run, f"part{i}") as journal:
            journal.append(Measurement(run_id="r", suite="kernels", name=f"k{i}"), [1.0, 2.0])
        return read_journal(journal.path)


def test_a_journal_that_grew_adds_only_its_new_rows(store: Store, tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, Run(run_id="r", started_at="1", status="running"))
    journal.append(Measurement(run_id="r", suite="kernels", name="first"), [1.0])
    loaded = [store.load(journal.path), store.load(journal.path)]
    journal.append(Measurement(run_id="r", suite="kernels", name="second"), [2.0])
    journal.finish(0)
    shutil.copy(journal.path, tmp_path / "under-another-name.jsonl")
    loaded += [store.load(tmp_path / "under-another-name.jsonl"), store.load(journal.path)]
    assert loaded == [1, 0, 1, 0]
    assert list(store.frame()["name"]) == ["first", "second"]
    assert store.find_run("r").status == "finished"


def test_two_loaders_at_once_lose_and_double_nothing(tmp_path: Path, synthetic: Maker) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    maker = synthetic()
    journals = [maker.write(tmp_path, maker.kernels(), part=f"p{i}") for i in range(4)]

    def load(path: Path) -> int:
        with Store.open(url) as store:
            return store.load(path)

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(load, journals * 2))
    with Store.open(url) as store:
        assert len(store.frame()) == sum(new) == 4 * len(maker.kernels())


def test_raw_samples_come_back_bit_for_bit(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    path = synthetic().write(tmp_path)
    store.load(path)
    contents, frame = read_journal(path), store.frame()
    samples = store.samples(frame.index)
    assert set(samples) == set(frame.index[frame["n"] > 0])
    for row_id, expected in zip(frame.index, contents.samples, strict=True):
        if expected is not None:
            np.testing.assert_array_equal(samples[row_id], expected)


def test_filters_select_rows_by_value_and_by_list(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    store.load(synthetic(run_id="a").write(tmp_path))
    store.load(synthetic(run_id="b").write(tmp_path))
    frame = store.frame("a", "collectives", algorithm=["ring", "library"], size_bytes=512)
    assert set(frame["run_id"]) == {"a"}
    assert set(frame["algorithm"]) == {"ring", "library"}
    assert set(frame["size_bytes"]) == {512}
    assert len(store.frame(suite="kernels", evidence="simulated")) == 16
    assert store.frame("nobody").empty
    with pytest.raises(StoreError, match="no field 'colour'"):
        store.frame(colour="red")


def test_runs_are_found_by_beginning_and_by_age(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    for seed, run_id in enumerate(("alpha-1", "alpha-2", "beta"), start=1):
        maker = synthetic(run_id=run_id, seed=seed)
        store.load(maker.write(tmp_path, maker.kernels()[:1]))
    assert [store.find_run(text).run_id for text in ("latest", "previous", "be", "alpha-1")] == [
        "beta",
        "alpha-2",
        "beta",
        "alpha-1",
    ]
    assert store.counts()["beta"] == {"roof": 1}
    for text in ("alpha", "gamma", ""):
        with pytest.raises(StoreError, match="expected one"):
            store.find_run(text)


def test_the_latest_run_is_the_one_that_started_last_whatever_its_time_zone(
    store: Store, tmp_path: Path, synthetic: Maker
) -> None:
    starts = {"earlier": "2026-10-25T02:50:00.000+02:00", "later": "2026-10-25T02:10:00.000+01:00", "lost": ""}
    for run_id, started_at in starts.items():
        maker = synthetic(run_id=run_id)
        store.load(maker.write(tmp_path, maker.kernels()[:1], started_at=started_at))
    assert [run.run_id for run in store.runs()] == ["later", "earlier", "lost"]
    assert store.find_run("previous").run_id == "earlier"


def test_the_run_keeps_its_environment(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    maker = synthetic()
    store.load(maker.write(tmp_path, maker.kernels()[:1]))
    assert store.find_run("latest").environment == maker.run().environment


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    Store.open(url).close()
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE schema_version SET version = 999")
    with pytest.raises(StoreError, match="schema version 999") as caught:
        Store.open(url)
    assert caught.value.exit_code == 2


OLD = Path(__file__).parent / "old"


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store that version 1 made of `version-1.jsonl`."""
    file = tmp_path / "old.db"
    with sqlite3.connect(file) as connection:
        connection.executescript((OLD / "store-1.sql").read_text())
    return file


def test_a_store_of_version_1_is_read_and_migrated(old_store: Path, tmp_path: Path) -> None:
    journal = OLD / "version-1.jsonl"
    with Store.open(f"sqlite:///{tmp_path}/new.db") as new, Store.open(f"sqlite:///{old_store}", create=False) as old:
        new.load(journal)
        pd.testing.assert_frame_equal(old.frame(), new.frame())
        assert old.runs() == new.runs()
        assert old.samples_of(["version-1"]).keys() == new.samples_of(["version-1"]).keys() != set()
        assert old.load(journal) == 0
    assert _schema(old_store) == _schema(tmp_path / "new.db")
    Store.open(f"sqlite:///{old_store}", writable=True).close()


def _schema(file: Path) -> tuple[Any, ...]:
    """The version, the indices, and each table's columns with their types."""
    with sqlite3.connect(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            table: {
                (name, kind, required)
                for _, name, kind, required, *_ in connection.execute(f"PRAGMA table_info({table})")
            }
            for table in tables
        }
        indices = set(connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"))
        return connection.execute("SELECT version FROM schema_version").fetchall(), indices, columns


def test_a_field_that_a_record_has_gained_is_added_with_its_default(old_store: Path) -> None:
    with sqlite3.connect(old_store) as connection:
        for table, field in (
            ("measurements", "culprit"),
            ("measurements", "batch"),
            ("measurements", "p99_s"),
            ("runs", "failures"),
        ):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {field}")
    with Store.open(f"sqlite:///{old_store}") as store:
        frame = store.frame()
        assert set(frame["culprit"]) == {""}
        assert set(frame["batch"]) == {1}
        assert frame["p99_s"].isna().all()
        assert store.runs()[0].failures == ()


def test_several_processes_that_open_an_old_store_at_once_migrate_it_once(old_store: Path) -> None:
    def rows(_: int) -> int:
        with Store.open(f"sqlite:///{old_store}") as store:
            return len(store.frame())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(rows, range(16))) == {4}


def test_an_old_store_that_can_only_be_read_is_read(old_store: Path, sealed: Path) -> None:
    with contextlib.ExitStack() as as_root:
        if os.geteuid() != os.getuid():  # the folder is sealed against this process as well
            os.seteuid(os.getuid())
            as_root.callback(os.seteuid, 65534)
        sealed.chmod(0o755)
        (sealed / "results.db").unlink()
        shutil.copy(old_store, sealed / "old.db")
        (sealed / "old.db").chmod(0o444)
        sealed.chmod(0o555)
    with Store.open(f"sqlite:///{sealed}/old.db") as store:
        assert len(store.frame()) == 4
    with pytest.raises(StoreError, match="readonly"):
        Store.open(f"sqlite:///{sealed}/old.db", writable=True)


def test_rows_are_counted_limited_and_read_in_part(store: Store, tmp_path: Path, synthetic: Maker) -> None:
    store.load(synthetic(run_id="a").write(tmp_path))
    every = store.frame(suite="collectives", size_bytes=512)
    assert store.count(suite="collectives", size_bytes=512) == len(every)
    pd.testing.assert_frame_equal(store.frame(suite="collectives", size_bytes=512, limit=3), every[:3])
    part = store.frame(suite="collectives", size_bytes=512, columns=["median_s", "verdict"])
    pd.testing.assert_frame_equal(part, every[["median_s", "verdict"]])
    with pytest.raises(StoreError, match="no field 'colour'"):
        store.frame(columns=["colour"])
    with pytest.raises(StoreError, match="no field 'colour'"):
        store.count(colour="red")


@pytest.mark.parametrize(
    "where",
    [
        "run_id = 'r'",
        "run_id = 'r' AND suite = 'kernels'",
        "suite = 'collectives' AND name = 'all_reduce' AND algorithm = 'ring'",
        "name = 'all_reduce' AND size_bytes = 512",
        "verdict = 'FAIL'",
    ],
)
def test_what_is_often_asked_for_is_found_by_an_index(tmp_path: Path, where: str) -> None:
    Store.open(f"sqlite:///{tmp_path}/results.db").close()
    with sqlite3.connect(tmp_path / "results.db") as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM measurements WHERE {where}").fetchall()
    assert all("USING INDEX measurements_by_" in step[-1] for step in plan)


def test_a_locked_database_is_refused_in_words_and_costs_nothing(tmp_path: Path, synthetic: Maker) -> None:
    maker = synthetic()
    path, url = maker.write(tmp_path, maker.kernels()), f"sqlite:///{tmp_path}/results.db"
    Store.open(url).close()
    holder = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"locked.*results load"), Store.open(url, lock_wait_s=0.1) as store:
        store.load(path)
    holder.execute("ROLLBACK")
    holder.close()
    with Store.open(url) as store:
        assert store.load(path) == len(maker.kernels())


def test_a_database_lost_on_the_way_is_made_again_from_the_journal(tmp_path: Path, synthetic: Maker) -> None:
    maker = synthetic()
    path, url = maker.write(tmp_path, maker.kernels()), f"sqlite:///{tmp_path}/results.db"
    with Store.open(url) as store:
        store.load(path)
    (tmp_path / "results.db").write_bytes(b"\0garbage" * 1000)
    with pytest.raises(StoreError, match="not a database") as caught:
        Store.open(url)
    assert caught.value.exit_code == 2
    (tmp_path / "results.db").unlink()
    with Store.open(url) as store:
        assert store.load(path) == len(maker.kernels())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a URL"),
        ("postgresql://u:secret@h:notaport/db", "not a URL"),
        ("sqlite://", "in memory would be lost"),
        ("sqlite:///:memory:", "in memory would be lost"),
        ("sqlite:////tmp/x.db?foo=bar", "takes no options, found foo"),
        ("mysql://u:secret@h/d", "expected sqlite or postgresql"),
        ("sqlite:////dev/null/results.db", "cannot make the folder"),
        ("sqlite:////proc/results.db", "cannot be opened"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        Store.open(url)
    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)


@pytest.fixture
def sealed() -> Iterator[Path]:
    """The folder of a store that this process may read and not write, whoever it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Store.open(f"sqlite:///{folder}/results.db").close()
        (folder / "results.db").chmod(0o444)
        folder.chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # modes do not bind root
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)


def test_a_store_that_can_only_be_read_is_refused_where_it_will_be_written(sealed: Path) -> None:
    url = f"sqlite:///{sealed}/results.db"
    with Store.open(url) as store:
        assert store.runs() == ()
    with pytest.raises(StoreError, match=r"cannot be written: .*readonly") as caught:
        Store.open(url, writable=True)
    assert caught.value.exit_code == 2


def test_trying_to_write_changes_nothing_and_keeps_no_lock(tmp_path: Path) -> None:
    file = tmp_path / "results.db"
    Store.open(f"sqlite:///{file}").close()
    before = file.read_bytes()
    with Store.open(f"sqlite:///{file}", writable=True), sqlite3.connect(file, timeout=0) as other:
        assert file.read_bytes() == before
        other.execute("BEGIN EXCLUSIVE")


def _damage(store: Store, tmp_path: Path, synthetic: Maker, statement: str) -> Any:
    """A store of one run in which a statement has changed something."""
    maker = synthetic("hurt")
    path = maker.write(tmp_path, maker.kernels()[:4])
    store.load(path)
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        connection.execute(statement)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("environment = '{x'", "run 'hurt' is damaged: environment is no JSON"),
        ("environment = '[1]'", "environment is a JSON list; expected a dict"),
        ("failures = '7'", "failures is a JSON int; expected a list"),
        ("exit_code = 'x'", "exit_code is 'x'; expected an integer"),
    ],
)
def test_a_damaged_run_is_refused_by_its_name_and_field(
    change: str, said: str, store: Store, tmp_path: Path, synthetic: Maker
) -> None:
    _damage(store, tmp_path, synthetic, f"UPDATE runs SET {change}")
    with pytest.raises(StoreError, match=re.escape(said)):
        store.runs()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("median_s = 'soon'", "median_s is 'soon'; expected a number"),
        ("count = 'many'", "count is 'many'; expected an integer"),
        ("mean_s = x'00'", "mean_s is b'\\x00'; expected a number"),
    ],
)
def test_a_damaged_value_is_refused_by_its_row_and_field(
    change: str, said: str, store: Store, tmp_path: Path, synthetic: Maker
) -> None:
    last = (1 << 32) + 5
    _damage(store, tmp_path, synthetic, f"UPDATE measurements SET {change} WHERE row_id = {last}")
    with pytest.raises(StoreError, match=re.escape(f"row {last} is damaged: {said}")):
        store.frame()


def test_damaged_samples_and_parts_are_refused_by_their_row_and_run(
    store: Store, tmp_path: Path, synthetic: Maker
) -> None:
    path = _damage(store, tmp_path, synthetic, "UPDATE samples SET seconds = x'00'")
    with pytest.raises(StoreError, match=r"samples of row \d+ is damaged: seconds"):
        store.samples(store.frame().index)
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE journals SET run = '{x', journal = 'another'")
    with pytest.raises(StoreError, match="a journal of run 'hurt' is damaged: run is no JSON"):
        store.load(path)


def test_a_command_that_only_reads_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        Store.open(f"sqlite:///{tmp_path}/none/results.db", create=False)
    assert not (tmp_path / "none").exists()


def test_old_journals_load_and_damage_is_reported(store: Store, tmp_path: Path) -> None:
    old = Path(__file__).parent / "old" / "version-1.jsonl"
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(old.read_bytes()[:-5])
    new, damaged = load_all(store, [cut, old])
    assert new == 4
    assert damaged == (f"{cut}, line 6: skipped, cut off",)
