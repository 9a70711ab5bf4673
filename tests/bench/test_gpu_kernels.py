"""Kernels timed on a GPU that is made up: the protocol, the rows and their judges, and a process that dies.

What that proves and what not is said in `made_up_gpu.py`.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_gpu import CACHE_BYTES, MadeUpCupy

from clusterbench.bench.measuring import gpu_kernel_runs, gpu_kernels, gpu_timing, gpu_worker, kernel_runs
from clusterbench.bench.measuring.gpu_kernel_runs import GpuRuns
from clusterbench.bench.measuring.gpu_kernels import GpuTimed, time_on_gpu
from clusterbench.bench.measuring.gpu_worker import GpuProblem, Refused, time_in_worker
from clusterbench.bench.measuring.kernel_runs import Plan, run_kernels
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels.ceilings import vendor
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.kernel import Implementation, Kernel, KernelError
from clusterbench.kernels.running.backends import Backend, Memory, detect
from clusterbench.kernels.running.gpu_stream import launched_on
from clusterbench.results.record import Measurement

pytestmark = pytest.mark.serial

KERNELS = discover()
NATIVE = Backend("cupy", "native", "1 GPU(s), the first is used")
FEW = Rules(iterations=9, warmup=1)
MS_A_MIB = 1.0


@pytest.fixture(autouse=True)
def without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_timing, "gpu_conditions", tuple)
    monkeypatch.setattr(gpu_kernel_runs, "MATRIX_EDGE", 64)


class BusyNumPy:
    """NumPy as the array module of kernels, each of whose functions keeps the GPU busy by the bytes of its result."""

    def __init__(self, cupy: MadeUpCupy, ms_a_mib: float = MS_A_MIB) -> None:
        self._cupy, self._ms_a_mib = cupy, ms_a_mib

    def __getattr__(self, name: str) -> Any:
        whole = getattr(np, name)
        if isinstance(whole, type) or not callable(whole):
            return whole

        def busy(*arguments: Any, **named: Any) -> Any:
            arrays = [one for one in (*arguments, *named.values()) if isinstance(one, np.ndarray)]
            self._cupy.spend(self._ms_a_mib * max((one.nbytes for one in arrays), default=0) / (1 << 20))
            return whole(*arguments, **named)

        return busy


def _memory(xp: Any) -> Memory:
    return Memory(np.array, lambda buffer, first, extent: buffer[first : first + int(np.prod(extent))].reshape(extent),
                  np.asarray, last=(xp,))  # fmt: skip


def _timed(kernel: Kernel, cupy: MadeUpCupy, **how: Any) -> GpuTimed:
    place = _memory(how.pop("xp", None) or BusyNumPy(cupy))
    return time_on_gpu(kernel, NATIVE, "float64", how.pop("size_bytes", None), FEW, 3, cupy, place=place, **how)


def test_calls_are_replayed_by_a_graph_and_timed_by_events_on_one_stream() -> None:
    cupy = MadeUpCupy()
    timed = _timed(KERNELS["copy"], cupy)
    assert timed.graph
    assert timed.shape == {"n": 4 * CACHE_BYTES // 8}
    assert timed.samples.seconds == pytest.approx(4 * CACHE_BYTES / (1 << 20) * 1e-3 * MS_A_MIB)
    assert len(timed.samples.seconds) == 9
    assert timed.check.passed
    assert cupy.asked.count("begin") == cupy.asked.count("end") > 0
    assert cupy.asked.count("launch") >= 9
    assert cupy.asked[:2] == ["free", "enter"]
    assert timed.note == "NVML does not say how the GPU ran"


def test_the_host_starts_each_call_where_that_is_asked_for() -> None:
    cupy = MadeUpCupy()
    assert not _timed(KERNELS["copy"], cupy, graph=False).graph
    assert "begin" not in cupy.asked


def test_calls_that_cannot_be_captured_are_started_by_the_host_and_that_is_said() -> None:
    cupy = MadeUpCupy()

    def copied(a: Any, b: Any, xp: Any) -> None:
        if cupy.asked.count("begin") > cupy.asked.count("end"):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        xp.copyto(a, b)

    timed = _timed(_with(KERNELS["copy"], copied), cupy)
    assert not timed.graph
    assert "no graph: RuntimeError: operation not permitted when stream is capturing" in timed.note
    assert "more" not in timed.note
    assert cupy.asked.count("begin") == cupy.asked.count("end"), "the stream is let out of the capture"
    assert timed.check.passed


def _with(kernel: Kernel, launch: Any) -> Kernel:
    return replace(kernel, implementations={"cupy": Implementation(launch, tile=kernel.implementations["cupy"].tile)})


def test_cold_calls_take_sets_in_turns_that_fill_the_cache_twice() -> None:
    cupy, met = MadeUpCupy(), []

    def copied(a: Any, b: Any, xp: Any) -> None:
        met.append(a.ctypes.data)
        cupy.spend(1.0)
        a[...] = b

    timed = _timed(_with(KERNELS["copy"], copied), cupy, size_bytes=CACHE_BYTES // 8, cache="cold")
    assert timed.sets == 9
    assert len(set(met)) == 9
    assert met[:9] == met[9:18]
    assert timed.samples.seconds == pytest.approx(1e-3)
    assert timed.samples.batch % 9 == 0


def test_a_problem_beyond_the_memory_of_the_gpu_is_refused_before_anything_is_allocated() -> None:
    cupy = MadeUpCupy(free_bytes=1 << 20)
    with pytest.raises(KernelError, match=r"expected at most 0 MiB, half of the free memory of Made-up GPU"):
        time_on_gpu(KERNELS["copy"], NATIVE, "float64", 1 << 40, FEW, 3, cupy, place=Memory(None, None, None))  # type: ignore[arg-type] # none of it is reached


def test_the_timed_buffers_are_checked_with_other_data_after_timing() -> None:
    def stale(a: Any, b: Any, xp: Any) -> None:
        a[: a.size // 2] = b[: a.size // 2]

    check = _timed(_with(KERNELS["copy"], stale), MadeUpCupy()).check
    assert not check.passed
    assert check.unwritten == check.elements // 2


def test_numba_cuda_launches_on_the_stream_that_is_told() -> None:
    told: list[Any] = []

    class Recorder:
        def __getitem__(self, configuration: tuple[Any, ...]) -> Any:
            told.append(configuration[2])
            return lambda *arguments: None

    for kernel in KERNELS.values():
        if "numba-cuda" in kernel.implementations:
            launch = kernel.implementations["numba-cuda"].launch
            names = [name for name in launch.__code__.co_names if name.startswith("cuda_")]
            assert names
            arrays = [np.zeros((2,) * len(extent)) for extent in (*kernel.outputs.values(), *kernel.inputs.values())]
            with pytest.MonkeyPatch.context() as patch, launched_on("ours"):
                for name in names:
                    patch.setitem(launch.__globals__, name, Recorder())
                launch(*arrays[: len(kernel.arguments)], *kernel.scalars.values())
    assert len(told) >= 13
    assert set(told) == {"ours"}


class InProcess:
    """A worker in this process, on a GPU that is made up; `faster` are kernels whose calls take a share of the time."""

    def __init__(self, cupy: MadeUpCupy, **ms_a_mib: float) -> None:
        self.cupy, self.ms_a_mib = cupy, ms_a_mib
        self.asked: list[GpuProblem] = []

    def __call__(
        self, problems: Sequence[GpuProblem], rules: Rules, seed: int, timeout_s: float
    ) -> Iterator[tuple[int, Any]]:
        for index, problem in enumerate(problems):
            self.asked.append(problem)
            out = io.StringIO()
            xp = BusyNumPy(self.cupy, self.ms_a_mib.get(Path(problem.file).stem, MS_A_MIB))
            job = {"problems": [_fields(problem)], "first": 0, "rules": _fields(rules), "seed": seed}
            gpu_worker.work(job, out, self.cupy, _memory(xp))
            yield index, gpu_worker._result(json.loads(out.getvalue().splitlines()[-1]))


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _rows(
    worker: InProcess,
    *names: str,
    dtype: str = "float64",
    size_bytes: int | None = None,
    caches: Any = ("hot",),
    graphs: Any = (True,),
    account: TimeAccount | None = None,
) -> list[Measurement]:
    rows: list[Measurement] = []
    base = Measurement(run_id="r", suite="kernels", name="", host="h")
    account = account or TimeAccount()
    runs = GpuRuns(base, [NATIVE], FEW, 3, 60, lambda row, samples=None: rows.append(row), account, worker)
    problems = [(KERNELS[name], dtype, "cupy") for name in names]
    runs.time(problems, size_bytes, caches, graphs, lambda what, advance: None)
    return rows


def test_rows_stand_under_ceilings_that_are_measured_on_the_gpu() -> None:
    rows = _rows(InProcess(MadeUpCupy()), "copy", "triad", "gemm")
    roof = {row.name: row for row in rows if row.suite == "roof"}
    assert list(roof) == ["copy", "read", "matrix", "copy L2", "read L2"]
    assert roof["copy"].bytes_per_s == pytest.approx(2 * (1 << 20) * 1e3 / MS_A_MIB)
    assert (roof["matrix"].bytes_per_s, roof["matrix"].dtype) == (None, "float64")
    assert {row.device for row in rows} == {"Made-up GPU"}
    timed = {row.name: row for row in rows if row.suite == "kernels"}
    assert set(timed) == {"copy", "triad", "gemm"}
    assert timed["copy"].bound_share == pytest.approx(1)
    assert timed["copy"].bound_by == "copy bandwidth"
    assert timed["gemm"].bound_by == "multiply-add peak"
    assert all(row.evidence == "measured" and row.wrong == 0 for row in timed.values())
    assert timed["copy"].verdict == timed["triad"].verdict == "PASS"
    assert "no figures of the vendor for Made-up GPU" in timed["copy"].note


def test_cold_calls_and_those_that_the_host_starts_have_rows_of_their_own() -> None:
    rows = _rows(InProcess(MadeUpCupy()), "copy", caches=("hot", "cold"), graphs=(True, False))
    states = {row.shape.partition(",")[2] for row in rows if row.suite == "kernels"}
    assert states == {"", "cache=cold", "launch=stream", "cache=cold,launch=stream"}


def test_a_ceiling_that_is_wrong_by_every_back_end_is_a_failed_row_and_no_ceiling() -> None:
    class Halved(InProcess):
        def __call__(self, *asked: Any) -> Iterator[tuple[int, Any]]:
            for index, result in super().__call__(*asked):
                gpu, timed = result
                yield index, (gpu, replace(timed, check=replace(timed.check, wrong=1)))

    rows = _rows(Halved(MadeUpCupy()), "copy")
    assert {row.verdict for row in rows} == {"FAIL"}
    assert [row.name for row in rows if row.suite == "roof"] == ["copy", "read", "matrix", "copy L2", "read L2"]
    assert rows[-1].bound_s is None


def test_too_few_sets_to_be_cold_are_said_and_bounded_by_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_kernels, "MOST_GRAPH_SETS", 2)
    worker = InProcess(MadeUpCupy(), transpose=1e-3)
    row = _rows(worker, "transpose", size_bytes=CACHE_BYTES // 2, caches=("cold",))[-1]
    assert (row.verdict, row.reason) == ("INCONCLUSIVE", "not cold: 2 sets of buffers are less than twice the cache")
    assert row.bound_s is None


def test_the_time_of_a_step_is_said_where_steps_follow_one_another() -> None:
    account = TimeAccount()
    row = _rows(InProcess(MadeUpCupy()), "launch", dtype="int32", graphs=(False,), account=account)[-1]
    assert "ns for each of 1000 steps, one after the other" in row.note
    assert account.loops_s > 0


def test_what_beats_its_ceiling_by_far_is_invalid_once_the_ceiling_was_measured_again() -> None:
    worker = InProcess(MadeUpCupy(), transpose=0.1)
    row = next(row for row in _rows(worker, "transpose") if row.suite == "kernels")
    assert row.verdict == "INVALID"
    assert "measured copy bandwidth" in row.reason
    assert sum(Path(problem.file).stem == "copy" for problem in worker.asked) > 3


def test_nothing_is_faster_than_what_the_vendor_says() -> None:
    cupy = MadeUpCupy()
    h100 = vendor.gpu("h100")
    cupy.cuda.runtime.getDeviceProperties = lambda number: {"name": h100.reported, "l2CacheSize": CACHE_BYTES}
    fast_ms = 2 * (1 << 20) / (1.2 * h100.memory.rate) * 1e3
    row = next(row for row in _rows(InProcess(cupy, copy=fast_ms, sum=fast_ms), "copy") if row.suite == "kernels")
    assert row.verdict == "INVALID"
    assert row.reason == "at 120% of the vendor's memory, which nothing exceeds"
    slow = next(row for row in _rows(InProcess(cupy, copy=2 * fast_ms, sum=fast_ms), "copy") if row.suite == "kernels")
    assert slow.verdict == "PASS"
    assert "60% of the vendor's memory" in slow.note


def test_a_run_times_what_was_found_to_be_right_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = detect()["cupy"]
    if cupy.mode == "native":
        pytest.skip("there is a GPU, whose results cannot be NumPy's")
    native = replace(cupy, mode="native")
    monkeypatch.setattr(kernel_runs, "detect", lambda: {"numba": detect()["numba"], "cupy": native})
    monkeypatch.setattr(kernel_runs, "GpuRuns", partial(GpuRuns, worker=InProcess(MadeUpCupy())))
    monkeypatch.setattr(kernel_runs._Run, "_outcome", _as_simulated)
    kernels = (KERNELS["copy"], KERNELS["chase"])
    rows = run_kernels(Plan(kernels, ("float64", "int32"), FEW, 3, "r", 1 << 16))
    timed = [(row.name, row.backend) for row in rows if row.suite == "kernels" and row.median_s is not None]
    assert ("copy", "cupy") in timed
    assert ("chase", "cupy") not in timed, "it is here for its result only"
    assert ("chase", "numba") in timed


def _as_simulated(run: Any, backend: Backend) -> Any:
    from clusterbench.kernels.judging.verify import verify
    from clusterbench.kernels.judging.worker import Outcome

    simulated = replace(backend, mode="simulator")
    checks = [
        c for k in run.plan.kernels for c in verify(k, simulated, [d for d in run.plan.dtypes if d in k.dtypes], 3)
    ]
    return Outcome(tuple(checks))


DYING = """
import json, os, sys
job = json.load(sys.stdin)
for index in range(job["first"], len(job["problems"])):
    print(json.dumps({"begin": index}), flush=True)
    dtype = job["problems"][index]["dtype"]
    if dtype == "dies":
        print("an illegal memory access", file=sys.stderr)
        os._exit(3)
    if dtype == "hangs":
        import time
        time.sleep(60)
    print(json.dumps({"error": f"{dtype} by {os.getpid()}", "failed": dtype == "raises"}), flush=True)
    if dtype == "raises":
        break
"""


def _refusals(monkeypatch: pytest.MonkeyPatch, *dtypes: str, timeout_s: float = 30) -> list[Refused]:
    monkeypatch.setattr(gpu_worker, "COMMAND", (sys.executable, "-c", DYING))
    problems = [GpuProblem("file", "cupy", dtype) for dtype in dtypes]
    found = list(time_in_worker(problems, FEW, 3, timeout_s))
    assert [index for index, _ in found] == list(range(len(dtypes)))
    return [result for _, result in found if isinstance(result, Refused)]


def test_what_follows_a_kernel_that_ends_the_process_is_timed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before, died, after, last = _refusals(monkeypatch, "a", "dies", "b", "c")
    assert died == Refused("the process that timed it ended with exit code 3 (an illegal memory access)", failed=True)
    assert after.reason.split()[-1] == last.reason.split()[-1] != before.reason.split()[-1]
    assert not after.failed


def test_a_process_that_ends_between_two_problems_costs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    raised, after = _refusals(monkeypatch, "raises", "b")
    assert raised.failed
    assert after.reason.startswith("b by ")


def test_a_kernel_that_hangs_is_stopped_and_the_next_one_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    hung, after = _refusals(monkeypatch, "hangs", "b", timeout_s=5)
    assert hung.reason == "the process that timed it was stopped after 5 s"
    assert after.reason.startswith("b by ")


def test_a_process_that_does_not_start_refuses_all_problems_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_worker, "COMMAND", (sys.executable, "-c", "raise SystemExit('no driver')"))
    found = list(time_in_worker([GpuProblem("file", "cupy", "a")] * 3, FEW, 3, 30))
    assert [index for index, _ in found] == [0, 1, 2]
    assert {result.reason for _, result in found} == {"the process that timed it ended with exit code 1 (no driver)"}  # type: ignore[union-attr] # all are refused
