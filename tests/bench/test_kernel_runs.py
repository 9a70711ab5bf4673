"""Runs of kernels: what is timed, what is only verified, in which order, and what the rows say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click import Abort
from click.testing import CliRunner

from clusterbench.bench import exit_codes
from clusterbench.bench.cli import cli
from clusterbench.bench.commands import kernels as command
from clusterbench.bench.jobs.presets import PRESETS, Preset
from clusterbench.bench.judge import ROOF_REPEATS, exit_code
from clusterbench.bench.measuring import kernel_runs, kernel_timing, roof_runs
from clusterbench.bench.measuring.kernel_runs import Plan, run_kernels, time_kernel
from clusterbench.bench.measuring.roof_runs import RoofRuns
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device
from clusterbench.kernels.ceilings.coldness import Visit
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.judging.verify import Check, checks_expected
from clusterbench.kernels.judging.worker import Outcome
from clusterbench.kernels.kernel import Array, Implementation, Kernel, KernelError
from clusterbench.kernels.running.backends import Backend, detect
from clusterbench.results.journal import JournalError, read_journal
from clusterbench.results.record import Measurement
from clusterbench.results.store import Store, StoreError

pytestmark = pytest.mark.serial

KERNELS = discover()
FEW = Rules(iterations=8, warmup=1)
_STREAM_BYTES = kernel_runs.stream_bytes


def _plan(*names: str, **changes: object) -> Plan:
    kernels = tuple(KERNELS[name] for name in names)
    plan = Plan(kernels, ("float32",), FEW, seed=3, run_id="test", size_bytes=1 << 16, verify=False)
    return replace(plan, **changes)  # type: ignore[arg-type] # the fields are of several types


@pytest.fixture(scope="module", autouse=True)
def small_ceilings() -> object:
    """Ceilings on small arrays and short chains: these tests are about rows, not about figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_runs, "stream_bytes", lambda: 1 << 20)
        patch.setattr(roof_runs, "FMA_STEPS", 1 << 14)
        patch.setattr(roof_runs, "SWEPT_BYTES", 1 << 18)
        yield


@pytest.fixture(scope="module")
def full() -> tuple[list[Measurement], list[tuple[Measurement, np.ndarray | None]]]:
    """One whole run of two kernels with all sources, and what was appended meanwhile."""
    appended: list[tuple[Measurement, np.ndarray | None]] = []
    rows = run_kernels(_plan("triad", "dot", verify=True), append=lambda row, samples: appended.append((row, samples)))
    return rows, appended


def test_every_row_is_appended_in_the_order_in_which_it_was_finished(
    full: tuple[list[Measurement], list[tuple[Measurement, np.ndarray | None]]],
) -> None:
    rows, appended = full
    assert [row for row, _ in appended] == rows
    for row, samples in appended:
        assert (samples is None) == (row.median_s is None)
        if samples is not None:
            assert len(samples) == row.n
            assert float(np.median(samples)) == row.median_s


def test_the_cpu_is_measured_and_sources_for_gpus_are_simulated_without_any_time(
    full: tuple[list[Measurement], list[tuple[Measurement, np.ndarray | None]]],
) -> None:
    rows = [row for row in full[0] if row.suite == "kernels"]
    assert {(row.name, row.backend) for row in rows} == {(k, b) for k in ("triad", "dot") for b in detect()}
    for row in rows:
        assert row.wrong == 0
        assert row.error_over_bound is not None
        assert row.error_over_bound <= 1
        if row.backend == "numba":
            assert row.evidence == "measured"
            assert row.bytes_per_s == pytest.approx(row.size_bytes / (row.median_s or 0))
            assert row.n == 8
        elif detect()[row.backend].mode != "native":
            assert row.evidence == "simulated"
            assert row.median_s is row.bytes_per_s is row.flop_per_s is None
            assert row.n == 0
            assert row.verdict == "PASS"
            assert detect()[row.backend].reason in row.note


def test_the_roof_has_a_row_for_each_ceiling(
    full: tuple[list[Measurement], list[tuple[Measurement, np.ndarray | None]]],
) -> None:
    roof = {(row.name, row.dtype): row for row in full[0] if row.suite == "roof"}
    assert ("fma", "float32") in roof
    levels = {row.note.split("last-level cache, in ")[1].split(";")[0] for row in full[0] if row.bound_by}
    assert {name.split()[1] for name, _ in roof if " " in name} == levels & {level.name for level in device.levels()}
    assert all(row.verdict == "PASS" and row.evidence == "measured" for row in roof.values())
    rates = [row for (name, _), row in roof.items() if name != "fma"]
    assert rates
    assert all(row.bytes_per_s == pytest.approx(row.size_bytes / (row.min_s or 0)) for row in rates)
    assert not {"copy", "read"} & {name for name, _ in roof}, "nothing lies in memory"


def test_the_order_is_shuffled_by_the_seed_and_repeats() -> None:
    plan = _plan(*KERNELS, dtypes=("float32", "float64"))
    orders = {seed: [(k.name, d) for k, d in replace(plan, seed=seed).problems()] for seed in (1, 2)}
    assert orders[1] != orders[2]
    assert sorted(orders[1]) == sorted(orders[2])
    assert orders[1] == [(k.name, d) for k, d in replace(plan, seed=1).problems()]


def _wrong(kernel: Kernel, launch: object) -> Kernel:
    implementation = Implementation(launch, tile=kernel.implementations["numba"].tile)  # type: ignore[arg-type] # a function
    return replace(kernel, implementations={"numba": implementation})


def test_a_kernel_that_fails_its_check_is_a_row_and_is_never_timed() -> None:
    def short(a: Array, b: Array) -> None:
        a[:-1] = b[:-1]

    rows = run_kernels(replace(_plan("copy"), kernels=(_wrong(KERNELS["copy"], short),)))
    assert [(row.suite, row.verdict, row.median_s) for row in rows] == [("kernels", "FAIL", None)]
    assert rows[0].wrong
    assert "never written" in rows[0].reason


def test_a_kernel_that_goes_wrong_at_the_timed_size_only_fails_after_timing() -> None:
    def stale(a: Array, b: Array) -> None:
        if a.size < 10_000 or np.isnan(a[0]):
            a[: a.size // 2 if a.size >= 10_000 else a.size] = b[: a.size // 2 if a.size >= 10_000 else a.size]

    rows = run_kernels(replace(_plan("copy"), kernels=(_wrong(KERNELS["copy"], stale),)))
    row = next(row for row in rows if row.suite == "kernels")
    assert row.median_s is not None
    assert row.verdict == "FAIL"
    assert "on the timed buffers" in row.reason


def test_a_rate_above_the_ceiling_is_invalid_and_the_ceiling_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(a: Array, b: Array) -> None:
        if a.size < 1000 or np.isnan(a[0]):  # does its work only where it is checked
            a[:] = b

    monkeypatch.setattr(kernel_runs.device, "cpu", lambda: replace(_real_cpu(), cache_bytes=1 << 10))
    many = replace(FEW, iterations=100)  # of a few, the interval is the whole range, and one disturbed call is in it
    plan = _plan("copy", size_bytes=1 << 22, rules=many)
    rows = run_kernels(replace(plan, kernels=(_wrong(KERNELS["copy"], nothing),)))
    row = next(row for row in rows if row.suite == "kernels")
    assert (row.verdict, row.wrong) == ("INVALID", 0)
    assert "measured copy bandwidth" in row.reason
    assert [r.name for r in rows if r.suite == "roof"].count("copy") == 1 + ROOF_REPEATS


def _real_cpu() -> kernel_runs.device.Device:
    return kernel_runs.device.Device("CPU", 1, 1 << 25, "given", 1 << 30)


def test_a_problem_beyond_memory_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_runs, "verify", lambda *args: pytest.fail("something ran"))
    with pytest.raises(KernelError, match=r"needs \d+ MiB with its check; expected at most"):
        run_kernels(_plan("triad", size_bytes=1 << 50))


def test_a_worker_that_breaks_down_fails_the_rows_it_did_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome((*_all_checks("triad"), *_all_checks("dot")[:-1]), "the triton worker was stopped after 1 s")
    monkeypatch.setattr(kernel_runs, "run_worker", lambda *args: outcome)
    monkeypatch.setattr(kernel_runs, "detect", lambda: {n: b for n, b in detect().items() if n in ("numba", "triton")})
    rows = run_kernels(_plan("triad", "dot", "add", verify=True))
    verdicts = {row.name: (row.verdict, row.reason) for row in rows if row.backend == "triton"}
    assert verdicts["triad"] == ("PASS", "")
    assert verdicts["dot"] == verdicts["add"] == ("FAIL", "the triton worker was stopped after 1 s")
    assert exit_code(rows) == exit_codes.FAILED  # no data were wrong


def test_a_kernel_that_was_checked_in_full_stands_though_the_worker_died_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = Outcome((*_all_checks("dot"), *_all_checks("triad")), "the triton worker failed: signal 11")
    monkeypatch.setattr(kernel_runs, "run_worker", lambda *args: outcome)
    monkeypatch.setattr(kernel_runs, "detect", lambda: {n: b for n, b in detect().items() if n in ("numba", "triton")})
    rows = [row for row in run_kernels(_plan("triad", "dot", verify=True)) if row.backend == "triton"]
    assert [(row.verdict, row.reason) for row in rows] == [("PASS", "")] * 2
    assert all(row.note.endswith("afterwards: the triton worker failed: signal 11") for row in rows)


def _all_checks(name: str) -> list[Check]:
    done = Check(name, "triton", "float32", "n=1", "exact", elements=1)
    return [done] * checks_expected(KERNELS[name], "triton")


@pytest.mark.parametrize(("free", "expected"), [(31 << 30, 1 << 30), (17 << 30, 1 << 30), (1 << 40, 4 << 29)])
def test_arrays_are_of_one_size_whatever_little_memory_comes_and_goes(
    free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_runs, "free_bytes", lambda: free)
    monkeypatch.setattr(kernel_runs.device, "cpu", lambda: replace(_real_cpu(), cache_bytes=1 << 29))
    assert _STREAM_BYTES() == expected


def test_free_memory_is_asked_once_a_run_for_the_size_of_its_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1 << 20, 1 << 19, 1 << 18, 1 << 17])
    monkeypatch.setattr(kernel_runs, "stream_bytes", lambda: next(sizes))
    rows = run_kernels(_plan("copy", "scale", size_bytes=None))
    assert {row.size_bytes for row in rows if row.name in ("copy", "scale")} == {2 << 20}
    assert {row.size_bytes for row in rows if row.name == "read"} == {1 << 20}
    assert {row.size_bytes for row in rows if row.name == "copy" and row.suite == "roof"} == {2 << 20}


def test_a_copy_that_does_nothing_after_a_right_one_is_no_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    real = roof_runs.roofline.COPIES
    monkeypatch.setattr(roof_runs.roofline, "COPIES", (real[0], lambda a, b: None, *real[1:]))
    runs = RoofRuns(FEW, Measurement(run_id="r", suite="roof", name=""), 2, TimeAccount())
    row = next(row for row, _ in runs.measure([], 1 << 21) if row.name == "copy")
    assert (row.verdict, row.wrong) == ("FAIL", 1)
    assert runs.roof.copy_bytes_per_s == 0


def test_an_absent_back_end_is_a_row_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Backend("triton", "absent", "triton is not installed; install clusterbench's extra `triton`")
    monkeypatch.setattr(kernel_runs, "detect", lambda: {"numba": detect()["numba"], "triton": absent})
    rows = run_kernels(_plan("triad", verify=True))
    row = next(row for row in rows if row.backend == "triton")
    assert (row.verdict, row.wrong) == ("INCONCLUSIVE", None)
    assert "extra `triton`" in row.reason


def test_a_kernel_of_steps_says_what_one_takes_and_integers_have_no_multiply_add_peak() -> None:
    rows = run_kernels(_plan("chase", "cache_sweep", dtypes=("int32",), size_bytes=4096))
    assert {row.name.split()[0] for row in rows if row.suite == "roof"} == {"copy", "read"}
    notes = {row.name: row.note for row in rows if row.suite == "kernels"}
    assert "ns for each of 1023 steps, one after the other" in notes["chase"]
    assert "steps" not in notes["cache_sweep"]


def test_cold_calls_meet_other_buffers_each_time_and_say_how_they_were_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_runs.device, "cpu", lambda: replace(_real_cpu(), cache_bytes=1 << 20))
    met: list[int] = []

    def noting(a: Array, b: Array) -> None:
        met.append(b.ctypes.data)
        a[:] = b

    plan = _plan("copy", caches=("hot", "cold"), size_bytes=1 << 18, rules=Rules(iterations=20, warmup=1))
    rows = run_kernels(replace(plan, kernels=(_wrong(KERNELS["copy"], noting),)))
    timed = {row.shape: row for row in rows if row.suite == "kernels"}
    assert set(timed) == {"n=65536", "n=65536,cache=cold"}
    cold = timed["n=65536,cache=cold"]
    assert cold.wrong == 0
    assert "5 sets of buffers in turns" in cold.note
    assert "ns a line when met" in cold.note
    assert cold.verdict in ("PASS", "INCONCLUSIVE", "INVALID")  # where the caches are larger than was said, it is not
    in_turns = met[-6:-1] if cold == [r for r in rows if r.suite == "kernels"][-1] else met[-60:]
    assert len(set(in_turns)) >= 5


def test_rounds_time_the_others_in_between_and_make_one_row_of_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = kernel_runs.time_kernel

    def noting(kernel: Kernel, *args: object) -> object:
        order.append(kernel.name)
        return real(kernel, *args)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(kernel_runs, "time_kernel", noting)
    rows = [row for row in run_kernels(_plan("copy", "scale", "add", rounds=3)) if row.suite == "kernels"]
    assert sorted(row.name for row in rows) == ["add", "copy", "scale"]
    assert all(row.n == 9 and "in 3 rounds" in row.note for row in rows)
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6)] == [["add", "copy", "scale"]] * 3


def test_a_round_that_left_wrong_data_fails_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = kernel_runs.time_kernel, iter(range(9))

    def first_wrong(*args: object) -> kernel_timing.Timed:
        timed = real(*args)  # type: ignore[arg-type] # as they came
        check = replace(timed.recheck, wrong=1, first="b[0] is 1, expected 2")
        return replace(timed, recheck=check) if next(calls) == 0 else timed

    monkeypatch.setattr(kernel_runs, "time_kernel", first_wrong)
    (row,) = (row for row in run_kernels(_plan("copy", rounds=2)) if row.suite == "kernels")
    assert row.verdict == "FAIL"


def test_a_cold_row_without_proof_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_runs.device, "cpu", lambda: replace(_real_cpu(), cache_bytes=1 << 18))
    for found, said in ((Visit(4.0, 4.0, 100.0), "4 ns a line"), (None, "too few lines")):
        monkeypatch.setattr(kernel_timing, "visit", lambda array, rng, found=found: found)
        rows = run_kernels(_plan("copy", caches=("cold",), size_bytes=1 << 16))
        (row,) = (row for row in rows if row.suite == "kernels")
        assert row.verdict == "INCONCLUSIVE"
        assert "not proven to be cold" in row.reason
        assert said in row.reason


def test_arrays_far_beyond_the_caches_are_timed_once_for_hot_and_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_runs.device, "cpu", lambda: replace(_real_cpu(), cache_bytes=1 << 12))
    rows = run_kernels(_plan("copy", caches=("hot", "cold"), size_bytes=1 << 16))
    (row,) = (row for row in rows if row.suite == "kernels")
    assert "cold at every call" in row.note


def test_what_is_updated_in_place_is_timed_and_checked_on_new_data() -> None:
    timed = time_kernel(KERNELS["nstream"], "float32", {"n": 1000}, _plan().rules, 3)
    assert timed.recheck.reason == ""
    assert timed.recheck.elements == 1000


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_name_kernels_that_there_are(preset: Preset) -> None:
    assert set(preset.kernels.names) <= set(KERNELS)


def test_timing_leaves_a_check_of_the_timed_buffers() -> None:
    timed = time_kernel(KERNELS["gemm"], "float64", {"m": 33, "k": 65, "n": 17}, FEW, 1)
    assert timed.recheck.passed
    assert timed.recheck.elements == 33 * 17
    assert len(timed.samples.seconds) == 8


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write into the current folder unless told otherwise."""
    monkeypatch.chdir(tmp_path)


def _invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["kernels", *args], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout


def test_list_shows_every_kernel_with_its_costs_and_back_ends() -> None:
    code, out = _invoke("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert code == 0
    assert set(rows) == set(KERNELS)
    assert rows["triad"]["bytes"] == "3·n·s"
    assert rows["triad"]["backends"]["numba"] == "native"
    code, out = _invoke("list")
    assert "multiply" not in out
    assert "Σ x·y" in out


def test_run_prints_one_json_document_and_writes_the_same_rows_to_its_journal(tmp_path: Path) -> None:
    args = ["run", "copy", "-d", "float", "--size", "64K", "-n", "7", "--seed", "5", "--no-verify", "--json"]
    code, out = _invoke(*args, "--journal", str(tmp_path), "--run-id", "given")
    document = json.loads(out)
    assert code == 0
    assert document["run"]["run_id"] == "given"
    assert document["run"]["seed"] == 5
    (path,) = tmp_path.iterdir()
    contents = read_journal(path)
    assert [row.as_row() for row in contents.measurements] == document["rows"]
    assert contents.run.status == "finished"
    assert document["run"] == contents.run.as_row()


def test_without_a_word_a_run_keeps_a_journal_and_a_store_where_one_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    args = ["run", "copy", "-d", "float", "--size", "64K", "-n", "7", "--no-verify", "--json"]
    code, out = _invoke(*args, "--run-id", "given", "--store", url)
    rows = json.loads(out)["rows"]
    assert code == 0
    contents = read_journal(tmp_path / "clusterbench-out" / "journals" / "given.kernels.jsonl")
    assert [row.as_row() for row in contents.measurements] == rows
    with Store.open(url) as store:
        (run,) = store.runs()
        assert (run, len(store.frame())) == (contents.run, len(rows))


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (["--store", "sqlite:////dev/null/x.db"], StoreError, "cannot make the folder"),
        (["--store", "sqlite://"], StoreError, "in memory"),
        (["--run-id", "a/b"], JournalError, "'a/b'"),
    ],
)
def test_what_could_not_be_kept_is_refused_before_anything_is_measured(
    args: list[str], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_runs, "run_kernels", lambda *args, **hooks: pytest.fail("something was measured"))
    with pytest.raises(error, match=said) as caught:
        _invoke("run", "copy", *args)
    assert getattr(caught.value, "exit_code", None) == 2


def test_a_store_that_can_only_be_read_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Store) -> None:
        raise OSError("attempt to write a readonly database")

    monkeypatch.setattr(Store, "_try_to_write", refuse)
    monkeypatch.setattr(kernel_runs, "run_kernels", lambda *args, **hooks: pytest.fail("something was measured"))
    with pytest.raises(StoreError, match="cannot be written"):
        _invoke("run", "copy", "--store", f"sqlite:///{tmp_path}/results.db")
    assert not (tmp_path / "clusterbench-out").exists()


def test_the_document_and_the_journal_agree_on_how_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Measurement(run_id="given", suite="kernels", name="dot", verdict="FAIL", reason="the worker was stopped")
    wrong = replace(lost, wrong=3, reason="3 elements wrong")
    for name, rows, code, status in (("a", [lost], 1, "failed"), ("b", [lost, wrong], 3, "finished")):
        monkeypatch.setattr(kernel_runs, "run_kernels", lambda plan, rows=rows, **hooks: rows)
        for more in ([], ["--journal", str(tmp_path / name)]):
            ended, out = _invoke("run", "dot", "--json", "--run-id", "given", *more)
            run = json.loads(out)["run"]
            assert (ended, run["exit_code"], run["status"]) == (code, code, status)
            assert any("the worker was stopped" in failure for failure in run["failures"])
        (path,) = (tmp_path / name).iterdir()
        assert read_journal(path).run.as_row() == run


def test_a_run_that_is_refused_or_breaks_off_does_not_stay_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: Plan, **hooks: object) -> list[Measurement]:
        raise KeyboardInterrupt

    with pytest.raises(KernelError):
        _invoke("run", "triad", "--size", "9999G", "--journal", str(tmp_path), "--run-id", "refused")
    monkeypatch.setattr(kernel_runs, "run_kernels", broken)
    with pytest.raises((KeyboardInterrupt, Abort)):
        _invoke("run", "triad", "--journal", str(tmp_path), "--run-id", "broken")
    with pytest.raises((KeyboardInterrupt, Abort)):
        _invoke("run", "triad", "--run-id", "default")
    run = read_journal(tmp_path / "clusterbench-out" / "journals" / "default.kernels.jsonl").run
    assert (run.status, run.exit_code) == ("failed", 1)
    for run_id, code, why in (("refused", 2, "half of the free memory"), ("broken", 1, "KeyboardInterrupt")):
        run = read_journal(tmp_path / f"{run_id}.kernels.jsonl").run
        assert (run.status, run.exit_code) == ("failed", code)
        assert run.finished_at
        assert why in run.failures[0]


def test_several_types_of_one_source_show_the_gravest_verdict() -> None:
    row = Measurement(run_id="r", suite="kernels", name="dot", backend="triton", verdict="PASS")
    shown = [
        [replace(row, verdict=verdict) for verdict in verdicts]
        for verdicts in (("PASS", "INVALID", "FAIL"), ("PASS", "INCONCLUSIVE"), (None, None))
    ]
    assert [command._verified_cells(rows)[-1] for rows in shown] == ["INVALID", "INCONCLUSIVE", None]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "triat"], "did you mean 'triad'"),
        (["run", "triad", "-d", "flaot32"], "did you mean 'float32'"),
        (["run", "triad", "--size", "3Q"], "3Q"),
        (["run", "triad", "--size", "0"], "at least one"),
        (["run", "triad", "--size", "9999G"], "half of the free memory"),
        (["run", "triad", "--precision", "0"], "0.0001<=x<=1"),
        (["run", "triad", "--seed", "4294967296"], "0<=x<=4294967295"),
        (["run", "triad", "--json", "--csv"], "exclude each other"),
    ],
)
def test_a_mistake_is_answered_in_words(args: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        _invoke(*args)
    assert getattr(caught.value, "exit_code", None) == 2
