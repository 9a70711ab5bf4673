"""`clusterbench sweep` on real ranks: what is measured, what a dead rank costs, and how it goes on after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import mpi
import psutil
import pytest
from sweeps import SLOW, journals, places, started, sweep_file, swept, wait_for

from clusterbench.bench import exit_codes
from clusterbench.results.store import Store

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile beforehand what ranks compile at their first start, for which the supervisor here may not wait."""
    folder = str(tmp_path_factory.mktemp("journals"))
    for collective, algorithm in (("all_reduce", "ring"), ("broadcast", "chain")):
        few = ("-b", "1K", "-n", "2", "-w", "1", "--algorithm", algorithm, "--journal", folder, "--json")
        mpi.document(mpi.clusterbench(2, "collectives", "run", collective, *few, timeout_s=300))


@pytest.mark.parametrize(
    ("name", "ranks"), [("SIGKILL", 2), ("SIGSTOP", 3), pytest.param("SIGKILL", 4, marks=pytest.mark.slow)]
)
def test_a_rank_that_is_killed_or_stopped_costs_its_row_only(
    name: str, ranks: int, compiled: None, tmp_path: Path
) -> None:
    path = sweep_file(tmp_path, ranks, timeout_s=10, rules=SLOW)
    with started(path) as process:
        pids = places(wait_for(path, process))
        victim = ranks - 1
        os.kill(pids[victim], getattr(signal, name))
        out, err = process.communicate(timeout=240)
    assert process.returncode == (exit_codes.FAILED if name == "SIGKILL" else exit_codes.TIMED_OUT), err
    named = f"rank {victim} (pid {pids[victim]} on "
    assert named in err
    assert ("is gone" if name == "SIGKILL" else "is stopped") in err
    with Store.open(f"sqlite:///{tmp_path / 'out' / 'results.db'}") as store:
        frame = store.frame()
        (run,) = store.runs()
    assert len(frame) == 7
    (lost,) = frame[frame["median_s"].isna()].itertuples()
    assert (lost.verdict, lost.culprit, lost.ranks) == ("FAIL", f"rank {victim}", ranks)
    assert named in lost.reason
    measured = frame[frame["median_s"].notna()]
    assert set(measured["wrong"]) == {0}
    assert (
        len({(row.name, row.algorithm, row.count) for row in frame.rename(columns={"count": "elements"}).itertuples()})
        >= 1
    )
    assert run.status == "failed"
    assert any(named in failure for failure in run.failures)
    assert named in out  # the summary
    assert not [pid for pid in pids.values() if psutil.pid_exists(pid)]


@pytest.mark.slow
def test_launches_of_a_point_are_rows_of_one_run_and_the_document_has_all(tmp_path: Path) -> None:
    code, out, err = swept(sweep_file(tmp_path, launches=2), "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["run"]["environment"]["sweep"]["content"]["seed"] == 5
    assert document["run"]["status"] == "finished"
    assert 0 < document["run"]["environment"]["sweep"]["start_s"] < 60
    (again,) = json.loads(swept(sweep_file(tmp_path, launches=1), "--dry-run", "--json")[1])["launches"][:1]
    assert again["expected_by"].keys() == {"earlier rows"}
    points: dict[tuple[str, str, int], int] = {}
    for row in document["rows"]:
        key = row["name"], row["algorithm"], row["count"]
        points[key] = points.get(key, 0) + 1
    assert len(points) == 7
    assert set(points.values()) == {2}


@pytest.mark.slow
def test_what_was_interrupted_goes_on_and_nothing_is_measured_twice(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, rules=SLOW)
    with started(path) as process:
        before = wait_for(path, process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == exit_codes.FAILED
    assert "Traceback" not in err
    assert "interrupted" in err
    code, out, err = swept(path, "--resume", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["run"]["run_id"] == before.run.run_id
    assert (document["run"]["status"], document["run"]["exit_code"]) == ("finished", 0)
    keys = [(row["name"], row["algorithm"], row["count"]) for row in document["rows"]]
    assert len(keys) == len(set(keys)) == 7
    assert {row.started_at for row in before.measurements} <= {row["started_at"] for row in document["rows"]}
    made = len(journals(path))
    assert swept(path, "--resume")[0] == 0
    assert len(journals(path)) == made  # nothing was left to run


@pytest.mark.slow
def test_a_sweep_that_was_killed_itself_goes_on(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, rules=SLOW)
    with started(path) as process:
        contents = wait_for(path, process)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in below:  # nobody is left to end them
            child.kill()
        psutil.wait_procs(below, timeout=10)
    code, out, err = swept(path, "--resume", "--json")
    assert code == 0, err
    keys = [(row["name"], row["algorithm"], row["count"]) for row in json.loads(out)["rows"]]
    assert len(keys) == len(set(keys)) == 7
    assert len(contents.measurements) >= 2


@pytest.mark.slow
def test_a_file_that_was_changed_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    assert swept(path)[0] == 0
    path.write_text(path.read_text().replace('sizes = "1K"', 'sizes = "2K"').replace("warmup = 1", "warmup = 2"))
    code, _, err = swept(path, "--resume")
    assert code == exit_codes.USAGE
    assert "measure 2.sizes was '1K' and is '2K'" in err
    assert "Traceback" not in err


def test_a_dry_run_prints_the_commands_and_runs_nothing(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, launches=2)
    code, out, err = swept(path, "--dry-run")
    assert code == 0, err
    assert out.startswith("# 4 launches, 14 rows, at most about ")
    lines = [line for line in out.splitlines() if not line.startswith("#")]
    assert len(lines) == 4
    assert all("mpiexec" in line and "collectives run" in line for line in lines)
    assert not (tmp_path / "out").exists()
    rows = json.loads(swept(path, "--dry-run", "--json")[1])["launches"]
    assert sorted(row["points"] for row in rows) == [1, 1, 6, 6]
    assert all(row["expected_s"] > 0 for row in rows)


def test_a_batch_script_has_the_hosts_and_goes_on_where_it_was(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    path.write_text(path.read_text() + "\n[launcher]\nkind = 'srun'\nhosts = 'n[01-02]'\nranks_per_host = 8\n")
    script = tmp_path / "night.sh"
    assert swept(path, "--sbatch", str(script))[0] == 0
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=8\n" in text
    assert "#SBATCH --nodelist=n01,n02\n" in text
    assert text.rstrip().endswith("--resume")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


LIMITED = '''
import sys
from clusterbench.bench import cli
from clusterbench.bench.jobs import world_runs

RANK = """
import resource, sys
from clusterbench.bench import cli
from clusterbench.results.journal import Journal

append = Journal.append

def limited(journal, row, samples):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    append(journal, row, samples)

Journal.append = limited
cli.main(sys.argv[1:])
"""
world_runs.python = lambda args: [sys.executable, "-c", RANK, *args]
cli.main(sys.argv[1:])
'''
"""The command line, whose ranks can write no more than 1 MiB to a journal."""


@pytest.mark.slow
def test_a_full_disk_is_said_costs_nothing_that_was_written_and_the_rest_is_measured_later(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, rules="samples = 20000\nwarmup = 1")  # more than 400 KB a row
    with started(path, program=LIMITED) as process:
        _, err = process.communicate(timeout=240)
    assert process.returncode == exit_codes.FAILED, err
    assert "cannot write: File too large" in err
    kept = [row for contents in journals(path) for row in contents.measurements]
    assert 2 <= len(kept) < 7
    assert all(row.median_s for row in kept)  # it was not the fault of the row
    assert not [line for contents in journals(path) for line in contents.damaged_lines]
    code, out, err = swept(path, "--resume", "--json")
    assert code == 0, err
    rows = json.loads(out)["rows"]
    assert len(rows) == 7
    assert {row.started_at for row in kept} <= {row["started_at"] for row in rows}


@pytest.mark.slow
def test_a_second_call_that_goes_on_with_the_same_sweep_is_refused(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, rules=SLOW)
    with started(path) as process:
        wait_for(path, process)
        code, _, err = swept(path, "--resume")
        assert code == exit_codes.USAGE
        assert "another process is writing to this journal" in err
        process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_wrong_file_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    sweep_file(tmp_path)
    path.write_text(f"launchs = 2\n{path.read_text()}")
    code, _, err = swept(path)
    assert (code, err) == (2, f"clusterbench: {path}: unknown key 'launchs'; the nearest known one is 'launches'\n")
