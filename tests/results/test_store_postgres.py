"""The store on a real PostgreSQL server, which the tests start: the same answers as SQLite's, and what happens when it
goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import uuid4

import importer_files
import numpy as np
import pandas as pd
import pytest
from postgres import MISSING, Server, binaries
from sweeps import journals, sweep_file

from clusterbench.bench.cli import main
from clusterbench.results.databases import StoreError
from clusterbench.results.journal import read_journal
from clusterbench.results.record import Measurement
from clusterbench.results.store import Store, load_all

pytestmark = pytest.mark.serial
Maker = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running server. Without PostgreSQL the tests are skipped, except under CI, where they fail."""
    if binaries() is None and os.environ.get("CI"):
        pytest.fail(f"{MISSING}; continuous integration installs it")
    if binaries() is None:
        pytest.skip(f"{MISSING}: the store was not tested on a server")
    started = Server()
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a new database."""
    import psycopg

    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)


def test_a_server_gives_back_what_sqlite_gives_back(url: str, tmp_path: Path, synthetic: Maker) -> None:
    journals = [synthetic("a", 1).write(tmp_path), synthetic("b", 2).write(tmp_path)]
    with Store.open(url) as there, Store.open(f"sqlite:///{tmp_path}/here.db") as here:
        assert load_all(there, journals) == load_all(here, journals)
        pd.testing.assert_frame_equal(there.frame(), here.frame())
        chosen: dict[str, Any] = {"suite": "collectives", "algorithm": ["ring", "library"], "size_bytes": 512}
        pd.testing.assert_frame_equal(there.frame("b", **chosen, limit=3), here.frame("b", **chosen, limit=3))
        assert there.count("b", **chosen) == here.count("b", **chosen) > 3
        assert there.runs() == here.runs()
        assert there.counts() == here.counts()
        ours, theirs = here.samples(here.frame("b").index), there.samples_of(["b"])
        assert ours.keys() == theirs.keys()
        for row_id, seconds in ours.items():
            np.testing.assert_array_equal(seconds, theirs[row_id])


def test_every_field_comes_back_from_a_server_as_it_was(url: str, tmp_path: Path, synthetic: Maker) -> None:
    path = synthetic().write(tmp_path)
    with Store.open(url) as store:
        store.load(path)
        frame = store.frame()
    assert list(frame.columns) == [field.name for field in fields(Measurement)]
    for measurement, row in zip(read_journal(path).measurements, frame.to_dict("records"), strict=True):
        for name, value in measurement.as_row().items():
            assert (pd.isna(row[name]) and value is None) or row[name] == value, name


def test_loaders_at_once_and_again_lose_and_double_nothing(url: str, tmp_path: Path, synthetic: Maker) -> None:
    maker = synthetic()
    journals = [maker.write(tmp_path, maker.kernels(), part=f"p{i}") for i in range(4)]

    def load(path: Path) -> int:
        with Store.open(url) as store:
            return store.load(path)

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(load, journals * 2))
    with Store.open(url) as store:
        assert len(store.frame()) == sum(new) == 4 * len(maker.kernels())
        assert load_all(store, journals) == (0, ())


def test_a_server_that_goes_away_while_it_is_loaded_costs_nothing(
    server: Server, url: str, tmp_path: Path, synthetic: Maker
) -> None:
    import psycopg

    maker = synthetic()
    path = maker.write(tmp_path, maker.kernels())
    with Store.open(url) as store, ThreadPoolExecutor(1) as pool:
        holder = psycopg.connect(url)
        holder.execute("LOCK TABLE measurements IN EXCLUSIVE MODE")
        loading = pool.submit(store.load, path)
        with psycopg.connect(url, autocommit=True) as watcher:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not watcher.execute(waiting).fetchone()[0]:  # type: ignore[index] # a count has one row
                assert not loading.done()
        server.stop(signal.SIGQUIT)
        holder.close()
        with pytest.raises(StoreError, match=r"cannot be written: .*results load JOURNAL") as caught:
            loading.result(60)
        assert caught.value.exit_code == 1
        with pytest.raises(StoreError, match="cannot be read"):
            store.frame()
        server.start()
        assert store.load(path) == len(maker.kernels())
        assert len(store.frame()) == len(maker.kernels())


def test_a_server_that_is_locked_is_not_waited_for_for_ever(url: str, tmp_path: Path, synthetic: Maker) -> None:
    import psycopg

    path = synthetic().write(tmp_path)
    with psycopg.connect(url) as holder, Store.open(url, lock_wait_s=0.2) as store:
        holder.execute("LOCK TABLE measurements IN EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="lock timeout"):
            store.load(path)
        holder.rollback()
        assert store.load(path) > 0


def test_a_server_that_does_not_answer_is_named_without_its_password(server: Server) -> None:
    with pytest.raises(StoreError, match=r"cannot be opened: .*refused") as caught:
        Store.open("postgresql://tester:secret@127.0.0.1:9/postgres", lock_wait_s=1)
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        Store.open(server.url("nowhere"))


def test_a_store_of_an_older_version_on_a_server_is_migrated(url: str, tmp_path: Path, synthetic: Maker) -> None:
    import psycopg

    maker = synthetic()
    path = maker.write(tmp_path, maker.kernels())
    with Store.open(url) as store:
        store.load(path)
        expected = store.frame()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP INDEX measurements_by_name")
        connection.execute("ALTER TABLE measurements DROP COLUMN culprit, DROP COLUMN batch")
        connection.execute("UPDATE schema_version SET version = 1")
    with Store.open(url) as store:
        pd.testing.assert_frame_equal(store.frame(), expected)
        assert store.load(path) == 0


def test_commands_work_on_a_server(
    url: str, tmp_path: Path, synthetic: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    journals = [synthetic("base", 1).write(tmp_path), synthetic("slower", 2, 1.1).write(tmp_path)]

    def call(*args: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return int(ended.value.code or 0), capsys.readouterr().out

    assert call("results", "load", "--store", url, *journals)[0] == 0
    assert "slower" in call("results", "list", "--store", url)[1]
    where = ("--where", "size_bytes=512", "--where", "algorithm=ring,library")
    assert "4 rows" in call("results", "list", "--store", url, "--run", "base", *where)[1]
    code, out = call("results", "compare", "base", "slower", "--store", url, "--unit", "sample")
    assert (code, "76 worse" in out) == (4, True)


KILLER = """
import os, signal, sys
from clusterbench.bench import cli
from clusterbench.results.store import Store

load_rows = Store._load_rows

def killed(store, connection, contents, key):
    found = load_rows(store, connection, contents, key)
    os.kill(int(sys.argv[1]), signal.SIGQUIT)
    return found

Store._load_rows = killed
cli.main(sys.argv[2:])
"""
"""The command line; the server of the process that comes first is killed while the first rows are being loaded."""


def with_a_killer(server: Server, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLER, str(server.pid), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_an_import_whose_server_is_killed_keeps_its_journal_and_is_loaded_when_it_is_called_again(
    server: Server, url: str, tmp_path: Path
) -> None:
    log = tmp_path / "nccl-tests.out"
    log.write_text(importer_files.EXAMPLES["nccl-tests"])
    ask = "results", "import", log, "--journal", tmp_path / "journals", "--store", url
    done = with_a_killer(server, *ask)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"clusterbench: postgresql://tester@127.0.0.1:{server.port}/")
    assert "the store cannot be written: " in line
    assert "clusterbench results load JOURNAL" in line
    assert "clusterbench report --run nccl-tests-" in done.stdout  # the rows are shown all the same
    (journal,) = (tmp_path / "journals").iterdir()
    assert len(read_journal(journal).measurements) == 6
    server.stop()
    server.start()
    with Store.open(url) as store:
        assert len(store.frame()) == 0  # all of a journal or nothing
    again = [sys.executable, "-m", "clusterbench.bench", *map(str, ask)]
    for new in (6, 0):
        done = subprocess.run(again, capture_output=True, text=True, timeout=240, check=False)
        assert (done.returncode, f"{new} new rows" in done.stdout) == (0, True), done.stderr


@pytest.mark.mpi
@pytest.mark.slow
def test_a_sweep_whose_server_is_killed_keeps_its_journals_and_is_loaded_later(
    server: Server, url: str, tmp_path: Path
) -> None:
    path = sweep_file(tmp_path)
    done = with_a_killer(server, "sweep", path, "--out", tmp_path / "out", "--store", url)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "clusterbench: store: postgresql://tester@127.0.0.1" in done.stderr
    assert (tmp_path / "out" / "report.html").exists()
    contents = journals(path)
    assert sum(len(one.measurements) for one in contents) == 7
    (run,) = [one.run for one in contents if "sweep" in one.run.environment]
    assert any("the store cannot be written" in failure for failure in run.failures)
    server.stop()
    server.start()
    paths = [one.path for one in contents]
    with Store.open(url) as store:
        assert load_all(store, paths)[0] == 7
        assert load_all(store, paths) == (0, ())
        assert len(store.frame()) == 7
        assert [found.run_id for found in store.runs()] == [run.run_id]
