"""Real test sessions with the plugin: what passes, what fails and why, what is kept, and what it costs others.

Sessions run in this process, where what measures is imported already, unless they look at what is imported.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import _pytest.pytester as pytester_module
import numpy as np
import pytest

from clusterbench.bench.pytest_plugin import collectives as ranks_of_a_test
from clusterbench.bench.pytest_plugin import functions
from clusterbench.bench.worlds.supervisor import Fault, Supervised
from clusterbench.kernels.device import cpu
from clusterbench.results.importing import import_file
from clusterbench.results.journal import Journal, now_iso, read_journal, write_journal
from clusterbench.results.record import Measurement, Run
from clusterbench.results.store import Store

pytest_plugins = ["pytester"]

INSTALLED = any(point.name == "clusterbench" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "clusterbench.bench.pytest_plugin")
QUICK = ("--clusterbench-budget=0.01", "--clusterbench-precision=0.5")
STORE = "sqlite:///results.db"

COUNTING = """
def test_count(function_benchmark):
    function_benchmark(sum, (range(100),), expected=4950)
"""
RING = """
def test_ring(collective_benchmark):
    row = collective_benchmark("all_reduce", size=8, algorithm="ring", simulated_on="dgx-h100")
    assert (row.evidence, row.ranks) == ("simulated", 8)
"""


@pytest.fixture(autouse=True)
def keep_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session in this process would forget what it was the first to import, which NumPy and Numba do not bear."""
    taken = pytester_module.SysModulesSnapshot
    monkeypatch.setattr(
        pytester_module, "SysModulesSnapshot", lambda preserve: taken(lambda name: not name.startswith("test_"))
    )


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of a test that runs under xdist are none of xdist's, under which nothing would be timed."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def session(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    """Run a test file with the plugin, with little patience for samples."""
    pytester.makepyfile(text)
    return pytester.runpytest(*PLUGIN, *QUICK, *arguments)


def launches(path: Path, times_s: Sequence[float], **changes: Any) -> Path:
    """A journal with the row of `COUNTING`'s test, once for each of these times."""
    run = Run(run_id="base", started_at=now_iso(), status="finished")
    row: dict[str, Any] = {
        "run_id": "base", "suite": "kernels", "name": "test_launches.py::test_count", "backend": "pytest",
        "sample_unit": functions.SAMPLE_UNIT, "device": cpu().name, "verdict": "PASS", **changes,
    }  # fmt: skip
    return write_journal(path, run, [(Measurement(**row, median_s=time_s), None) for time_s in times_s])


def counted(pytester: pytest.Pytester, against: Path, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_launches=COUNTING)
    return pytester.runpytest(*PLUGIN, *QUICK, f"--clusterbench-against={against}", *arguments)


# what is measured, and what is wrong


def test_kernels_functions_and_simulations_are_in_the_table_with_evidence_and_bound(pytester: pytest.Pytester) -> None:
    done = session(
        pytester,
        COUNTING
        + RING
        + """
def test_triad(kernel_benchmark):
    row = kernel_benchmark("triad", size="64K", dtype="float32")
    assert (row.evidence, row.wrong, row.shape) == ("measured", 0, "n=16384")
""",
        "--benchmark-json=all.json",
    )
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(["test_count*", "*benchmark 'simulated': 1 tests*", "test_ring*", "3 results, run *"])
    found = {one["name"]: one for one in json.loads(Path("all.json").read_text())["benchmarks"]}
    (row,) = found["test_ring"]["extra_info"]["clusterbench"]["rows"]
    assert row["evidence"] == "simulated"
    assert 0 < row["bound_share"] <= 1
    (row,) = found["test_triad"]["extra_info"]["clusterbench"]["rows"]
    assert row["ci95_low_s"] is None or row["ci95_low_s"] <= row["median_s"]
    assert found["test_triad"]["stats"]["rounds"] == row["n"] > 1
    assert found["test_count"]["stats"]["iterations"] > 1  # too short for the clock to be called one by one


def test_a_wrong_result_fails_with_its_place_and_values(pytester: pytest.Pytester) -> None:
    done = session(
        pytester,
        """
import numpy as np

def test_exact(function_benchmark):
    function_benchmark(np.cumsum, ([1, 2, 3],), expected=[1, 3, 5])

def test_rounded(function_benchmark):
    function_benchmark(np.sqrt, (np.array([4.0, 9.0]),), expected=[2.125, 3.5], error_bound=0.25)

def test_shape(function_benchmark):
    function_benchmark(np.cumsum, ([1, 2, 3],), expected=[1, 3])

def test_check(function_benchmark):
    function_benchmark(sum, ([1, 2],), check=lambda result: result == 4)

def test_later(function_benchmark):
    seen = []
    function_benchmark(lambda: seen.append(0) or min(len(seen), 2), expected=1)

def test_impossible(function_benchmark):
    function_benchmark(sum, ([1, 2],), expected=3, bound_s=1e6)
""",
    )
    done.assert_outcomes(failed=6)
    done.stdout.fnmatch_lines(
        [
            "*FAIL: 1 of 3 elements wrong, the first: element [[]2[]] is 6; expected 5",
            "*FAIL: 1 of 2 elements wrong, the first: element [[]1[]] is 3.0; expected 3.5 within 0.25",
            "*FAIL: the result has shape (3,); expected (2,)",
            "*FAIL: the check says no to 3",
            "*FAIL: after timing, 1 of 1 elements wrong, the first: it is 2; expected 1",
            "*INVALID: in 0% of the shortest time that is possible",
        ]
    )
    assert "pytest_benchmark/fixture.py" not in done.stdout.str()
    assert "benchmark: " not in done.stdout.str().partition("collected")[2]  # nothing wrong stands in the table


def test_a_wrong_kernel_fails_with_its_place_and_values(pytester: pytest.Pytester) -> None:
    done = session(
        pytester,
        """
from dataclasses import replace
from clusterbench.kernels.discovery import discover

def test_copy(kernel_benchmark):
    right = discover()["copy"]
    numba = right.implementations["numba"]

    def launch(out, source):
        out[...] = source
        out[0] = source[0] + 1

    kernel_benchmark(replace(right, implementations={"numba": replace(numba, launch=launch)}), size="4K")

def test_unknown(kernel_benchmark):
    kernel_benchmark("tirad")

def test_size(kernel_benchmark):
    kernel_benchmark("triad", size="many")

def test_type(kernel_benchmark):
    kernel_benchmark("triad", dtype="int3")
""",
    )
    done.assert_outcomes(failed=4)
    done.stdout.fnmatch_lines(
        [
            "*copy float32: FAIL: *elements wrong, the first: *[[]0[]] is *, expected *",
            "*'tirad'*",
            "*'many' is no size*",
        ]
    )


@pytest.mark.mpi
def test_ranks_are_really_started(pytester: pytest.Pytester) -> None:
    done = session(
        pytester,
        """
from clusterbench.collectives.algorithm import Call, Spec
from clusterbench.collectives.collective import collective
from clusterbench.collectives.discovery import schedule

def test_own(collective_benchmark):
    ring = schedule(Spec("ring"), Call(collective("all_reduce"), 2, -1))
    row = collective_benchmark("all_reduce", size="4K", schedule=ring, ranks=2)
    assert (row.evidence, row.wrong, row.ranks, row.algorithm) == ("measured", 0, 2, "file:schedule.json")
    assert row.n >= 6 and row.busbw > 0

def test_refused(collective_benchmark):
    collective_benchmark("broadcast", size=8, ranks=2, root=2)
""",
        f"--clusterbench-store={STORE}",
        "--clusterbench-launches=2",
    )
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        ["*broadcast: refused its input: *-r is 2; expected a rank from 0 to 1", f"2 results, run *, stored in {STORE}"]
    )
    with Store.open(STORE) as store:
        assert store.frame()["algorithm"].tolist() == ["file:schedule.json"] * 2
        (run,) = store.runs()
        assert run.environment["mpi"]["ranks"] == 2
        assert run.failures[0].startswith("test_ranks_are_really_started.py::test_refused: ")


def test_wrong_data_and_dead_ranks_fail_with_who_is_to_blame(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "rank 1: 3 of 8 elements wrong, the first: element 5 is 2.0, expected 3.0; the same in another call"
    row = Measurement(run_id="", suite="collectives", name="all_reduce", verdict="FAIL", reason=wrong, wrong=3)
    dead = Fault(1, "a rank ended before it was done; rank 1 (pid 7 on a) is gone", "rank 1", row)

    def supervise(command: Sequence[str], **limits: float) -> Supervised:
        asked = {flag: command[command.index(flag) + 1] for flag in ("--journal", "--run-id", "--part")}
        run = Run(run_id=asked["--run-id"], started_at=now_iso())
        with Journal.create(Path(asked["--journal"]), run, asked["--part"]) as journal:
            from dataclasses import replace

            journal.append(replace(row, run_id=run.run_id))
        finished = ranks_of_a_test.run_group(["false"], timeout_s=60)
        return (
            Supervised(finished, dead)
            if "ring" in command
            else Supervised(finished.__class__((), 3, "", "", False), None)
        )

    monkeypatch.setattr(ranks_of_a_test, "supervise", supervise)
    done = session(
        pytester,
        """
import pytest

@pytest.mark.parametrize("algorithm", ["library", "ring"])
def test_it(collective_benchmark, algorithm):
    collective_benchmark("all_reduce", size=32, algorithm=algorithm)
""",
    )
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines([f"*all_reduce: FAIL: {wrong}", f"*all_reduce: {dead.text}"])
    for _ in range(2):  # journals of other runs lie beside those of this one
        done = pytester.runpytest(*PLUGIN, *QUICK, f"--clusterbench-store={STORE}")
        done.stdout.fnmatch_lines([f"*all_reduce: FAIL: {wrong}", f"*all_reduce: {dead.text}"])
    with Store.open(STORE) as store:
        assert store.frame(verdict="FAIL").groupby("run_id").size().tolist() == [3, 3]
        assert {run.exit_code for run in store.runs()} == {3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('"all_reduce", size=8, algorithm="ring,library"', "expected one: @pytest.mark.parametrize"),
        ('"all_reduce", size="8,16"', "expected one: @pytest.mark.parametrize"),
        ('"all_reduce", size=8, algorithm="ring", schedule="a.json"', "expected one of them"),
        ('"all_reduce", size=8, placement="inplace"', "expected out-of-place or in-place"),
        ('"alreduce", size=8', "'alreduce'"),
        ('"all_reduce", size=8, ranks=4, simulated_on="dgx-h100"', "on all of the topology"),
        ('"all_reduce", size=8, algorithm="ring", simulated_on="dgx-h10"', "refused its input"),
    ],
)
def test_what_cannot_be_asked_says_what_to_ask(pytester: pytest.Pytester, arguments: str, said: str) -> None:
    done = session(pytester, f"def test_it(collective_benchmark):\n    collective_benchmark({arguments})\n")
    done.assert_outcomes(failed=1)
    assert said in done.stdout.str()


# against what was stored


def test_a_regression_fails_and_an_improvement_passes(pytester: pytest.Pytester, tmp_path: Path) -> None:
    steady = [1 + i / 1000 for i in range(6)]
    for factor, failed, said in ((1e-12, 1, "1 worse"), (1e6, 0, "1 better")):
        base = launches(tmp_path / said, [factor * time_s for time_s in steady])
        done = counted(pytester, base, "--clusterbench-launches=6")
        done.assert_outcomes(failed=failed, passed=1 - failed)
        done.stdout.fnmatch_lines([f"against {base}: {said}"])
    base = launches(tmp_path / "again", [1e-12 * time_s for time_s in steady])
    done = counted(pytester, base, "--clusterbench-launches=6")
    done.stdout.fnmatch_lines(["*slower than base: *times as long; *6 launches, then 6; p = *; tolerance 2.00%"])


def test_too_few_launches_pass_and_the_summary_says_how_many_are_needed(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    base = launches(tmp_path, [1e-12])
    done = counted(pytester, base)
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*1 cannot tell", "cannot tell: test_launches.py::test_count: *needs 4 a side*"])


def test_one_of_many_tests_must_be_surer_than_one_alone(pytester: pytest.Pytester, tmp_path: Path) -> None:
    base = launches(tmp_path, [1e-12 * (1 + i / 1000) for i in range(4)])
    counted(pytester, base, "--clusterbench-launches=4").assert_outcomes(failed=1)
    many = COUNTING + "".join(COUNTING.replace("test_count", f"test_{i}") for i in range(19))
    pytester.makepyfile(test_launches=many)
    options = (*PLUGIN, *QUICK, f"--clusterbench-against={base}", "--clusterbench-launches=4")
    done = pytester.runpytest(*options)
    done.assert_outcomes(passed=20)
    done.stdout.fnmatch_lines(["*1 cannot tell, 19 new", "cannot tell: *adjusted over 20 rows*"])


def test_samples_decide_where_they_are_to(pytester: pytest.Pytester, tmp_path: Path) -> None:
    base = launches(tmp_path, [1e-12], ci95_low_s=0.9e-12, ci95_high_s=1.1e-12)
    arguments = ("--clusterbench-unit=sample", "--clusterbench-precision=0.01", "--clusterbench-budget=0.05")
    counted(pytester, base, *arguments).assert_outcomes(failed=1)


def test_what_is_unlike_is_not_compared_in_silence(pytester: pytest.Pytester, tmp_path: Path) -> None:
    done = counted(pytester, launches(tmp_path, [1e-12], device="another"))
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*not alike in device: 'another' against *"])


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("max_time_us = 1e6", None),
        ("min_busbw_gb_per_s = 0.01", "below a threshold: * GB/s, and limits.toml: threshold*asks for 0.01* GB/s"),
        ("max_time_us = 1e-3", "limits.toml: threshold*and nothing can be better than*"),
    ],
)
def test_thresholds(pytester: pytest.Pytester, limit: str, said: str | None) -> None:
    head = '[[threshold]]\ncollective = "all_reduce"\nevidence = "simulated"\n'
    Path("limits.toml").write_text(f'{head}{limit}\n{head}max_time_us = 9\ndevice = "H*"\n')
    done = session(pytester, RING, "--clusterbench-thresholds=limits.toml")
    done.assert_outcomes(failed=said is not None, passed=said is None)
    done.stdout.fnmatch_lines([f"*{said}"] if said else [])
    done.stdout.fnmatch_lines(["limits.toml: threshold[[]2[]].max_time_us: no result is of this collective*"])


# what is kept


def test_results_are_stored_once_however_often_they_are_loaded(pytester: pytest.Pytester) -> None:
    for count in (1, 2):
        done = session(pytester, COUNTING, f"--clusterbench-store={STORE}")
        done.stdout.fnmatch_lines([f"1 results, run *, stored in {STORE}"])
        with Store.open(STORE, writable=True) as store:
            for journal in Path("clusterbench-out/journals").glob("*.jsonl"):
                assert store.load(journal) == 0
            frame = store.frame()
            assert len(frame) == count
            assert set(frame["origin"]) == {"own"}
            (row,) = read_journal(max(Path("clusterbench-out/journals").glob("*.jsonl"))).measurements
            (run, *_) = store.runs()
            assert run.environment["cpu"]
            assert run.status == "finished"
            assert frame.set_index("run_id").loc[row.run_id, "median_s"] == row.median_s


def test_the_file_of_pytest_benchmark_gives_the_same_rows(pytester: pytest.Pytester) -> None:
    text = COUNTING + RING + "\ndef test_theirs(benchmark):\n    benchmark(sum, [1, 2])\n"
    options = ("--benchmark-json=all.json", "--clusterbench-launches=2", f"--clusterbench-store={STORE}")
    session(pytester, text, *options, "--benchmark-max-time=0.001").assert_outcomes(passed=3)
    with Store.open(STORE) as store:
        (run,) = store.runs()
        stored = read_journal(next(Path("clusterbench-out/journals").glob("*.jsonl")))
    found = import_file(Path("all.json"))
    own = [row for row in found.measurements if row.origin == "own"]
    assert len(own) == 4
    assert [{**row.as_row(), "run_id": run.run_id} for row in own] == [row.as_row() for row in stored.measurements]
    for mine, samples in zip(found.samples, stored.samples, strict=False):
        assert (mine is None) == (samples is None)
        assert mine is None or np.array_equal(mine, samples)
    assert [row.name.partition("::")[2] for row in found.measurements if row.origin == "imported"] == ["test_theirs"]
    assert (found.run.seed, found.run.environment["cpu"]) == (run.seed, run.environment["cpu"])


def test_nothing_is_left_where_nothing_is_to_be_stored(pytester: pytest.Pytester) -> None:
    before = set(Path().iterdir())
    session(pytester, COUNTING, "-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert {path.name for path in set(Path().iterdir()) - before} <= {
        "test_nothing_is_left_where_nothing_is_to_be_stored.py", "__pycache__", ".benchmarks"
    }  # fmt: skip


def test_a_store_that_goes_away_fails_the_session_and_its_journals_stay(pytester: pytest.Pytester) -> None:
    text = (
        COUNTING
        + "\ndef test_gone():\n    from pathlib import Path\n    Path('results.db').write_text('noise' * 999)\n"
    )
    done = session(pytester, text, f"--clusterbench-store={STORE}")
    done.assert_outcomes(passed=2)
    assert done.ret == 1
    done.stdout.fnmatch_lines(
        ["not stored: *", "clusterbench results load *.pytest.jsonl --store sqlite:///results.db"]
    )


# how it behaves beside others


def test_a_session_that_does_not_use_it_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
import sys

def test_it():
    import clusterbench.bench.pytest_plugin
    heavy = {"numpy", "numba", "pandas", "scipy", "mpi4py", "click", "sqlalchemy", "psutil", "rich"}
    assert not heavy & set(sys.modules)
"""
    )
    done = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:hypothesispytest")
    done.assert_outcomes(passed=1)
    assert "= clusterbench =" not in done.stdout.str()


def test_it_is_there_without_pytest_benchmark(pytester: pytest.Pytester) -> None:
    done = session(pytester, COUNTING, "-p", "no:benchmark")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["1 results, run *"])


def test_where_benchmarks_are_disabled_data_are_checked_once(pytester: pytest.Pytester) -> None:
    text = """
def test_right(function_benchmark):
    calls = []
    row = function_benchmark(lambda: calls.append(0) or 1, expected=1)
    assert (row.median_s, row.verdict, len(calls)) == (None, "PASS", 1)

def test_kernel(kernel_benchmark):
    assert kernel_benchmark("copy").median_s is None

def test_wrong(function_benchmark):
    function_benchmark(int, expected=1)
"""
    for arguments in (("--benchmark-disable",), ("-n", "1")):
        done = session(pytester, text, *arguments)
        done.assert_outcomes(passed=2, failed=1)
        done.stdout.fnmatch_lines(["*the first: it is 0; expected 1"])
        assert "= clusterbench =" not in done.stdout.str()


def test_benchmarks_are_skipped_and_chosen_as_others_are(pytester: pytest.Pytester) -> None:
    text = COUNTING + "\ndef test_other():\n    pass\n"
    for option, chosen in (("--benchmark-skip", "test_other"), ("--benchmark-only", "test_count")):
        done = session(pytester, text, option, "-v")
        done.assert_outcomes(passed=1, skipped=1)
        done.stdout.fnmatch_lines([f"*::{chosen} PASSED*"])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--clusterbench-tolerance=0", "--clusterbench-tolerance is '0'; expected a number of percent over 0"),
        ("--clusterbench-tolerance=nan", "expected a number of percent"),
        ("--clusterbench-launches=0", "--clusterbench-launches is '0'; expected a whole number from 1"),
        ("--clusterbench-unit=run", "--clusterbench-unit is 'run'; expected launch or sample"),
        ("--clusterbench-budget=-1", "expected seconds"),
        ("--clusterbench-precision=2", "expected a share"),
        ("--clusterbench-store=nowhere://", "--clusterbench-store: "),
        ("--clusterbench-against=none.jsonl", "--clusterbench-against: none.jsonl: there is no such journal file"),
        ("--clusterbench-thresholds=none.toml", "--clusterbench-thresholds: none.toml: cannot read"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(pytester: pytest.Pytester, argument: str, said: str) -> None:
    done = session(pytester, COUNTING, argument)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert said in done.stderr.str()


def test_the_configuration_file_has_the_same_options(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nclusterbench_launches = 3\nclusterbench_precision = 0.5\nclusterbench_budget = 0.01\n")
    pytester.makepyfile(COUNTING)
    pytester.runpytest(*PLUGIN).stdout.fnmatch_lines(["3 results, run *"])
    pytester.runpytest(*PLUGIN, "--clusterbench-launches=2").stdout.fnmatch_lines(["2 results, run *"])
    pytester.makeini("[pytest]\nclusterbench_launches = many\n")
    done = pytester.runpytest(*PLUGIN)
    assert "clusterbench_launches in " in done.stderr.str()
