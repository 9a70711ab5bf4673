"""Commands that measure on a disk that is really full: what they say, how they end, and what is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import importer_files
import pytest
from small_disk import DISK_BYTES, on_small_disk

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import Finished
from clusterbench.bench.worlds.launchers import MPIEXEC, find_launcher
from clusterbench.results.journal import Journal, JournalContents, read_journal
from clusterbench.results.record import Measurement
from clusterbench.results.store import Store

CLUSTERBENCH = [sys.executable, "-m", "clusterbench.bench"]
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
ROOM_BYTES = 110 << 10
"""For some of the rows of these sizes, of 2,000 samples each, but not for all."""
FULL = "cannot write: No space left on device"
STORE_FULL = "the store cannot be written: No space left on device"


def said(done: Finished, text: str) -> str:
    """The one line on standard error that has a text."""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if text in line]
    return line


def kept(folder: Path) -> list[JournalContents]:
    return [read_journal(path) for path in sorted((folder / "kept").rglob("*.jsonl"))]


def ranks(*args: str) -> list[str]:
    return find_launcher(MPIEXEC, "", (), 0, ()).line(2, "block", [*CLUSTERBENCH, *args])


@pytest.mark.mpi
def test_what_does_not_fit_into_the_journal_is_shown_and_what_did_fit_can_be_read(tmp_path: Path) -> None:
    args = ("--sizes", ",".join(map(str, SIZES)), "--placement", "out-of-place", "-n", "2000", "-w", "1")
    command = ranks("collectives", "run", "all_reduce", *args, "--journal", "disk/j")
    done = on_small_disk(tmp_path, command, used_bytes=DISK_BYTES - ROOM_BYTES)
    assert done.exit_code == exit_codes.FAILED, done.stderr
    assert said(done, FULL).startswith("clusterbench: rank 0: disk/j/")
    (contents,) = kept(tmp_path)
    assert 1 <= len(contents.measurements) < len(SIZES)
    assert not contents.damaged_lines
    assert all(samples is not None and len(samples) == 2000 for samples in contents.samples)
    shown = [line for line in done.stdout.splitlines() if line.split() and line.split()[0] in map(str, SIZES)]
    assert len(shown) == len(contents.measurements) + 1  # that which was not written, too


@pytest.mark.mpi
def test_no_room_for_a_journal_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    command = ranks("collectives", "run", "all_reduce", "--sizes", "8", "-n", "2", "--journal", "disk/j")
    done = on_small_disk(tmp_path, command, used_bytes=DISK_BYTES)
    assert done.exit_code == exit_codes.FAILED
    assert said(done, FULL).startswith("clusterbench: disk/j/")
    assert not list((tmp_path / "kept").rglob("*.jsonl"))


@pytest.mark.mpi
def test_a_sweep_shows_what_it_cannot_write_and_goes_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(
        'seed = 5\nlaunches = 1\n[[measure]]\ncollectives = "all_reduce"\nranks = 2\n'
        f'sizes = {list(SIZES)}\nplacement = "out-of-place"\nsamples = 2000\nwarmup = 1\n'
    )
    store = f"sqlite:///{tmp_path}/results.db"
    command = [*CLUSTERBENCH, "sweep", "night.toml", "--out", "disk/out", "--store", store]
    done = on_small_disk(tmp_path, command, used_bytes=DISK_BYTES - ROOM_BYTES)
    assert done.exit_code == exit_codes.FAILED, done.stderr
    assert "Traceback" not in done.stderr
    assert "clusterbench: rank 0: disk/out/journals/" in done.stderr
    assert FULL in done.stderr
    assert "# Collective test starting: all_reduce_perf" in done.stderr  # with the row that was not written
    rows = [row for contents in kept(tmp_path) for row in contents.measurements]
    assert 1 <= len(rows) < len(SIZES)
    assert all(row.median_s for row in rows)
    with Store.open(store) as opened:
        assert len(opened.frame()) == len(rows)
        (run,) = opened.runs()
    assert any(FULL in failure for failure in run.failures)


@pytest.mark.mpi
@pytest.mark.slow
def test_a_run_goes_on_without_a_disk_and_shows_what_it_cannot_write(tmp_path: Path) -> None:
    command = [*CLUSTERBENCH, "run", "--preset", "smoke", "--out", "disk/out"]
    done = on_small_disk(tmp_path, command, used_bytes=DISK_BYTES - (100 << 10))
    assert done.exit_code == exit_codes.FAILED, done.stderr
    assert "Traceback" not in done.stderr
    for what in ("disk/out/journals/", STORE_FULL, "report: disk/out/report.html"):
        assert what in done.stderr
    assert "no line of a journal" not in done.stderr
    assert sum(len(contents.measurements) for contents in kept(tmp_path)) > 10
    assert not [line for contents in kept(tmp_path) for line in contents.damaged_lines]


def test_kernels_are_shown_that_do_not_fit_into_the_journal(tmp_path: Path) -> None:
    command = [*CLUSTERBENCH, "kernels", "run", "copy", "--dtype", "float32", "--size", "64K", "--no-verify"]
    command += ["-n", "400", "-w", "1", "--journal"]
    subprocess.run([*command, "j"], cwd=tmp_path, check=True, capture_output=True)
    (whole,) = (tmp_path / "j").glob("*.jsonl")
    before = whole.read_bytes().index(b'"suite":"kernels"')
    # Room for the ceilings, though they will not be as long to the byte, and by pages, of which the row takes several.
    room = -(-(before + 1000) // 4096) * 4096
    done = on_small_disk(tmp_path, [*command, "disk/j"], used_bytes=DISK_BYTES - room)
    assert done.exit_code == exit_codes.FAILED, done.stderr
    assert said(done, FULL).startswith("clusterbench: disk/j/")
    assert "Kernels on the CPU, median of n samples" in done.stdout
    (contents,) = kept(tmp_path)
    assert not [row for row in contents.measurements if row.suite == "kernels"]  # after the roof, for which there is
    assert not contents.damaged_lines


def test_an_import_shows_its_rows_and_names_the_store_or_the_journal_that_is_full(tmp_path: Path) -> None:
    for where, journal, store, text in (
        ("journal", "disk/j", "sqlite:///results.db", FULL),
        ("store", "j", "sqlite:///disk/results.db", STORE_FULL),
    ):
        folder = tmp_path / where
        folder.mkdir()
        (folder / "log").write_text(importer_files.EXAMPLES["nccl-tests"])
        room = 80 << 10 if where == "store" else 4096
        done = on_small_disk(
            folder,
            [*CLUSTERBENCH, "results", "import", "log", "--journal", journal, "--store", store],
            used_bytes=DISK_BYTES - room,
        )
        assert done.exit_code == exit_codes.FAILED, done.stderr
        assert said(done, text).startswith(f"clusterbench: {journal if where == 'journal' else store}")
        assert not list((folder / "kept").rglob("*.jsonl*"))  # no half of one
        if where == "store":
            assert "clusterbench report --run nccl-tests-" in done.stdout
            (path,) = (folder / "j").glob("*.jsonl")
            with Store.open(f"sqlite:///{folder}/other.db") as other:
                assert other.load(path) == 6


KILLED = """
import os
from pathlib import Path
from clusterbench.results.journal import Journal
from clusterbench.results.record import Measurement, Run

Journal._cut_back = lambda journal: os._exit(9)
journal = Journal.create(Path("disk"), Run(run_id="r", started_at=""))
journal.append(Measurement(run_id="r", suite="kernels", name="first"))
journal.append(Measurement(run_id="r", suite="kernels", name="second"), [1e-6 / 3] * 100_000)
"""
"""Ends as one that is killed before it takes back the half line for the rest of which there is no room."""


def test_half_a_line_that_nobody_took_back_is_reported_and_costs_that_row_only(tmp_path: Path) -> None:
    done = on_small_disk(tmp_path, [sys.executable, "-c", KILLED])
    assert done.exit_code == 9, done.stderr
    (contents,) = kept(tmp_path)
    assert contents.path.stat().st_size > DISK_BYTES - (8 << 10)
    assert [row.name for row in contents.measurements] == ["first"]
    assert [(damaged.line, damaged.reason) for damaged in contents.damaged_lines] == [(3, "cut off")]
    with Journal.reopen(contents.path) as journal:
        journal.append(Measurement(run_id="r", suite="kernels", name="third"))
    again = read_journal(contents.path)
    assert [row.name for row in again.measurements] == ["first", "third"]
    assert not again.damaged_lines
