"""Runs kernels: verifies every implementation, measures the roof, times what runs here, and judges the rows.

Order: the CPU's implementations are verified, then the GPU sources (in their interpreter, simulator or on the GPU, each
in a worker process), then the roof is measured, then kernels are timed in an order shuffled by the seed, on the CPU and
after it on the GPU where there is one (`gpu_kernel_runs.py`). Nothing is timed that was not verified, and after timing
the result is checked again on the timed buffers with new data.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.judge import (
    BEYOND_CACHE,
    MEMORY,
    ROOF_REPEATS,
    Bound,
    Roof,
    is_beyond,
    judge_time,
    kernel_bound,
    level_of,
)
from clusterbench.bench.measuring.gpu_kernel_runs import GpuRuns
from clusterbench.bench.measuring.kernel_rows import COLD, kernel_row, step_text
from clusterbench.bench.measuring.kernel_timing import Cache, Timed, time_kernel, together
from clusterbench.bench.measuring.problem_sizes import beyond_cache_bytes, refuse_too_large, shape_to_time
from clusterbench.bench.measuring.python_timing import measured
from clusterbench.bench.measuring.roof_runs import FMA_TYPES, RoofRuns
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device
from clusterbench.kernels.judging.verify import Check, checks_expected, verify
from clusterbench.kernels.judging.worker import Outcome, run_worker
from clusterbench.kernels.kernel import BACKENDS, Kernel, Shape
from clusterbench.kernels.running.backends import Backend, detect
from clusterbench.results.journal import now_iso
from clusterbench.results.notes import joined
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Summary, summarise

WORKER_TIMEOUT_S = 300.0

Append = Callable[[Measurement, "NDArray[np.float64] | None"], None]
Step = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    kernels: tuple[Kernel, ...]
    dtypes: tuple[str, ...]
    rules: Rules
    seed: int
    run_id: str
    size_bytes: int | None = None
    """Of the largest array; None for each kernel's own choice."""
    verify: bool = True
    """Verify the GPU sources too; the CPU's are verified in any case."""
    caches: tuple[Cache, ...] = ("hot",)
    """In which states of the caches each problem is timed."""
    graphs: tuple[bool, ...] = (True,)
    """On a GPU: whether calls are replayed by a graph, or started by the host one by one."""
    rounds: int = 1
    """In how many parts, between which all others are timed; each has its share of the budget."""
    worker_timeout_s: float = WORKER_TIMEOUT_S
    stream_bytes: int = field(default_factory=lambda: stream_bytes())
    """Of an array far beyond the caches, for kernels and ceilings alike; free memory is asked once a run."""

    def problems(self) -> list[tuple[Kernel, str]]:
        """Every kernel with every dtype it has, in the order of the seed."""
        pairs = [(kernel, dtype) for kernel in self.kernels for dtype in self.dtypes if dtype in kernel.dtypes]
        order = np.random.default_rng(self.seed).permutation(len(pairs))
        return [pairs[i] for i in order]

    def steps(self) -> int:
        """How far `step` will count: the CPU's checks, the sources' checks, and the timings."""
        return len(self.problems()) * (len(BACKENDS) + 1 if self.verify else 2)

    def shape(self, kernel: Kernel, dtype: str) -> Shape:
        """The problem to time. Raises `KernelError` where its arrays do not fit into half of the free memory."""
        shape = shape_to_time(kernel, dtype, self.size_bytes, self.stream_bytes)
        refuse_too_large(kernel, dtype, shape, "cold" in self.caches, device.cpu().cache_bytes, free_bytes())
        return shape


def free_bytes() -> int:
    """Memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def stream_bytes() -> int:
    """An array far beyond the caches of the CPU."""
    return beyond_cache_bytes(device.cpu().cache_bytes, free_bytes())


def roof_runs(plan: Plan, account: TimeAccount) -> RoofRuns:
    """The ceilings of a plan's run, none of which is measured yet."""
    return RoofRuns(plan.rules, replace(_base(plan), suite="roof", backend="numba"), device.cpu().cores, account)


def _base(plan: Plan) -> Measurement:
    return Measurement(
        run_id=plan.run_id, suite="kernels", name="", host=socket.gethostname(), device=device.cpu().name
    )


def run_kernels(
    plan: Plan,
    *,
    step: Step | None = None,
    append: Append | None = None,
    roofs: RoofRuns | None = None,
    account: TimeAccount | None = None,
) -> list[Measurement]:
    """Do a plan; every row goes to `append` with its samples when it is finished, and all are returned.

    `step(what, advance)` hears what is done now. What `roofs` has of ceilings is not measured again for every plan;
    `account` is told what time is spent on. Raises `KernelError`, before anything runs, where a problem does not fit
    into memory.
    """
    account = account or TimeAccount()
    run = _Run(plan, step or (lambda what, advance: None), append or (lambda row, samples: None), roofs, account)
    shapes = {(kernel.name, dtype): plan.shape(kernel, dtype) for kernel, dtype in plan.problems()}
    backends = detect()
    with account.checking():
        refused = run.verify_cpu(backends["numba"])
        if plan.verify:
            run.verify_sources([backend for name, backend in backends.items() if name != "numba"])
    timed = [(kernel, dtype) for kernel, dtype in plan.problems() if (kernel.name, dtype) not in refused]
    missing = {dtype for _, dtype in timed if dtype in FMA_TYPES} - set(run.roof.flop_per_s)
    hot = timed if "hot" in plan.caches else []
    levels = {run.level(kernel, dtype, shapes[kernel.name, dtype]) for kernel, dtype in hot}
    # Ceilings of memory take seconds, which problems that somebody made small do not need.
    in_memory = plan.size_bytes is None or MEMORY in levels or "cold" in plan.caches
    if timed and in_memory and not run.roof.copy_bytes_per_s:
        run.measure_roof(sorted(missing))
    else:
        run.measure_levels([], sorted(missing))
    run.measure_levels(levels - {MEMORY, ""} - set(run.roof.levels))
    run.time([(kernel, dtype, shapes[kernel.name, dtype]) for kernel, dtype in timed])
    run.time_on_gpu([backend for name, backend in backends.items() if name != "numba" and backend.mode == "native"])
    return run.rows


def run_roofline(
    plan: Plan,
    *,
    step: Step | None = None,
    append: Append | None = None,
    account: TimeAccount | None = None,
) -> list[Measurement]:
    """`run_kernels` under all ceilings: those of every level of the caches too, and those of one core alone."""
    account = account or TimeAccount()
    roofs = roof_runs(plan, account)
    rows = []
    if step:
        step("roof", 0)
    names = [level.name for level in device.levels()]
    for row, samples in [*roofs.measure_levels(names), *roofs.measure_one_core(plan.stream_bytes)]:
        rows.append(row)
        if append:
            append(row, samples)
    return rows + run_kernels(plan, step=step, append=append, roofs=roofs, account=account)


class _Run:
    """The state of one `run_kernels`: the rows so far and the roof so far."""

    def __init__(self, plan: Plan, step: Step, append: Append, roofs: RoofRuns | None, account: TimeAccount) -> None:
        self.plan = plan
        self.step = step
        self.rows: list[Measurement] = []
        self._append = append
        self._worst: dict[tuple[str, str], float] = {}
        self._right: list[tuple[Kernel, str, str]] = []
        """The sources for GPUs that were found to be right, with type and back end."""
        self._base = _base(plan)
        self._account = account
        self._roofs = roofs or roof_runs(plan, account)
        self._order = np.random.default_rng(plan.seed)

    def add(self, row: Measurement, samples: NDArray[np.float64] | None = None) -> None:
        self.rows.append(row)
        self._append(row, samples)

    def verify_cpu(self, backend: Backend) -> set[tuple[str, str]]:
        """Verify the CPU's implementations. Returns what failed, which is then a row and is not timed."""
        refused = set()
        for kernel, dtype in self.plan.problems():
            if not kernel.has(backend.name, dtype):
                refused.add((kernel.name, dtype))
                self.add(self._unverified(kernel, backend, dtype, _lacks(kernel, backend, dtype)))
                continue
            self.step(f"verify {kernel.name} {dtype}", 1)
            checks = list(verify(kernel, backend, [dtype], self.plan.seed))
            self._worst[kernel.name, dtype] = max(check.error_over_bound for check in checks)
            if not all(check.passed for check in checks):
                refused.add((kernel.name, dtype))
                self.add(self._verified(kernel, backend, dtype, checks, ""))
        return refused

    def verify_sources(self, backends: Sequence[Backend]) -> None:
        """Verify the GPU sources, one worker process a back end, side by side."""
        self.step("verify GPU sources", 0)
        with ThreadPoolExecutor(len(backends)) as pool:
            outcomes = list(pool.map(self._outcome, backends))
        for backend, outcome in zip(backends, outcomes, strict=True):
            for kernel in self.plan.kernels:
                for dtype in (d for d in self.plan.dtypes if d in kernel.dtypes):
                    self.step(f"verify {kernel.name} {dtype} {backend.name}", 1)
                    row = self._source_row(kernel, backend, dtype, outcome)
                    self.add(row)
                    if row.verdict == "PASS":
                        self._right.append((kernel, dtype, backend.name))

    def _outcome(self, backend: Backend) -> Outcome:
        if backend.mode == "absent":
            return Outcome(())
        plan = self.plan
        if backend.in_worker:
            return run_worker(backend, plan.kernels, plan.dtypes, plan.seed, plan.worker_timeout_s)
        have = [kernel for kernel in plan.kernels if backend.name in kernel.implementations]
        checks = (verify(k, backend, [d for d in plan.dtypes if d in k.dtypes], plan.seed) for k in have)
        return Outcome(tuple(check for some in checks for check in some))

    def _source_row(self, kernel: Kernel, backend: Backend, dtype: str, outcome: Outcome) -> Measurement:
        if backend.mode == "absent":
            return self._unverified(kernel, backend, dtype, backend.reason)
        if not kernel.has(backend.name, dtype):
            return self._unverified(kernel, backend, dtype, _lacks(kernel, backend, dtype))
        mine = [check for check in outcome.checks if (check.kernel, check.dtype) == (kernel.name, dtype)]
        if len(mine) < checks_expected(kernel, backend.name):
            return self._verified(kernel, backend, dtype, mine, outcome.error or "not all checks were made")
        row = self._verified(kernel, backend, dtype, mine, "")
        # What was checked in full stands, whatever became of the worker after it.
        return replace(row, note=f"{row.note}; afterwards: {outcome.error}") if outcome.error else row

    def _unverified(self, kernel: Kernel, backend: Backend, dtype: str, why: str) -> Measurement:
        row = replace(self._base, name=kernel.name, backend=backend.name, dtype=dtype, started_at=now_iso())
        return replace(row, evidence=_evidence(backend), verdict="INCONCLUSIVE", reason=f"not run: {why}")

    def _verified(
        self, kernel: Kernel, backend: Backend, dtype: str, checks: Sequence[Check], problem: str
    ) -> Measurement:
        """One row for all checks of an implementation in one dtype; `problem` is what cut them off."""
        failed = [check for check in checks if not check.passed]
        ran = [check for check in checks if not check.error]
        reasons = [check.reason for check in failed[:1]] + ([problem] if problem else [])
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return replace(
            self._base,
            name=kernel.name,
            backend=backend.name,
            dtype=dtype,
            evidence=_evidence(backend),
            wrong=sum(check.wrong + check.unwritten + check.damaged for check in ran) if ran else None,
            error_over_bound=max((check.error_over_bound for check in ran), default=None),
            verdict="FAIL" if failed or problem else "PASS",
            reason="; ".join(reasons) + more,
            note=f"{'; '.join(_how(checks))}; {backend.mode}: {backend.reason}",
            started_at=now_iso(),
        )

    def measure_roof(self, dtypes: Iterable[str]) -> None:
        """Measure the ceilings of memory, and the multiply-add peaks of these dtypes."""
        self.step("roof", 0)
        for row, samples in self._roofs.measure(dtypes, self.plan.stream_bytes):
            self.add(row, samples)

    def measure_levels(self, names: Iterable[str], dtypes: Iterable[str] = ()) -> None:
        """Measure the ceilings of these levels of the caches, and the multiply-add peaks of these dtypes."""
        for row, samples in [*self._roofs.measure_levels(names), *self._roofs.measure_peaks(dtypes)]:
            self.add(row, samples)

    def level(self, kernel: Kernel, dtype: str, shape: Shape) -> str:
        """The level that a problem's arrays lie in while it runs again and again."""
        return level_of(kernel, shape, dtype, device.levels(), device.cpu().cache_bytes)

    def caches(self, kernel: Kernel, dtype: str, shape: Shape) -> tuple[Cache, ...]:
        """The states to time a problem in, shuffled; one of arrays far beyond the caches, which are always cold."""
        asked = self.plan.caches
        if len(asked) > 1 and self.level(kernel, dtype, shape) == MEMORY:
            return ("hot",)
        return tuple(asked[i] for i in self._order.permutation(len(asked)))

    def time(self, problems: Sequence[tuple[Kernel, str, Shape]]) -> None:
        """Time these on the CPU, round by round, each of which has an order of its own."""
        parts = [(*problem, cache) for problem in problems for cache in self.caches(*problem)]
        taken: list[list[Timed]] = [[] for _ in parts]
        began = [""] * len(parts)
        plan = self.plan
        iterations = None if plan.rules.iterations is None else -(-plan.rules.iterations // plan.rounds)
        rules = replace(plan.rules, budget_s=plan.rules.budget_s / plan.rounds, iterations=iterations)
        for number in range(plan.rounds):
            order = self._order.permutation(len(parts)).tolist() if number else range(len(parts))
            for i in order:
                kernel, dtype, shape, cache = parts[i]
                self.step(f"time {kernel.name} {dtype} {cache}", 0 if taken[i] else 1)
                began[i] = began[i] or now_iso()
                taken[i].append(time_kernel(kernel, dtype, shape, rules, plan.seed, self._account, cache))
                if number == plan.rounds - 1:
                    self._judge(kernel, dtype, shape, cache, together(taken[i]), began[i])

    def time_on_gpu(self, backends: Sequence[Backend]) -> None:
        """Time what was found to be right of the back ends that have a GPU here."""
        plan, native = self.plan, {backend.name for backend in backends}
        right = [one for one in self._right if one[2] in native and one[0].implementations[one[2]].timed]
        runs = GpuRuns(self._base, backends, plan.rules, plan.seed, plan.worker_timeout_s, self.add, self._account)
        runs.time(right, plan.size_bytes, plan.caches, plan.graphs, self.step)

    def _judge(self, kernel: Kernel, dtype: str, shape: Shape, cache: Cache, timed: Timed, started_at: str) -> None:
        """Make the row of what was timed, and judge its time by the level that its data lay in."""
        summary = summarise(timed.samples.seconds)
        level = self.level(kernel, dtype, shape) if cache == "hot" else MEMORY
        bound = self._bound(kernel, dtype, shape, summary, level)
        check = timed.recheck
        verdict, reason = judge_time(bound, summary)
        if cache == "cold" and not (timed.met and timed.met.from_memory):
            verdict, reason = "INCONCLUSIVE", f"not proven to be cold: {timed.met or 'the arrays have too few lines'}"
        notes = [_place(kernel, dtype, shape, level, cache), step_text(kernel, shape, summary.median_s)]
        if cache == "cold":
            notes.append(f"{timed.sets} sets of buffers in turns; {timed.met or ''}")
        if self.plan.rounds > 1:
            notes.append(f"in {self.plan.rounds} rounds, between which the others were timed")
        sampled = measured(self._base, timed.samples, summary)
        row = kernel_row(sampled, kernel, dtype, shape, bound, check, (verdict, reason))
        row = replace(
            row,
            shape=row.shape + (COLD if cache == "cold" else ""),
            error_over_bound=max(self._worst[kernel.name, dtype], check.error_over_bound),
            note=joined(notes),
            started_at=started_at,
        )
        self.add(row, timed.samples.seconds)

    def _bound(self, kernel: Kernel, dtype: str, shape: Shape, summary: Summary, level: str) -> Bound:
        bound = kernel_bound(kernel, shape, dtype, self.roof, level)
        for _ in range(ROOF_REPEATS):
            if not is_beyond(bound, summary):
                break
            types = [dtype] if dtype in FMA_TYPES else []
            if level in self.roof.levels:
                self.measure_levels([level], types)
            else:
                self.measure_roof(types)
            bound = kernel_bound(kernel, shape, dtype, self.roof, level)
        return bound

    @property
    def roof(self) -> Roof:
        return self._roofs.roof


def _lacks(kernel: Kernel, backend: Backend, dtype: str) -> str:
    if backend.name in kernel.implementations:
        return f"its {backend.name} source has no {dtype}"
    return "it has no implementation for this back end"


def _how(checks: Sequence[Check]) -> list[str]:
    """What a row of checks stands on, in words: the data, the RMS error, and a type that was modelled."""
    classes = list(dict.fromkeys(check.data for check in checks))
    found = [f"{', '.join(classes)} data around each tile"]
    errors = [check.rms for check in checks if check.rms is not None]
    if errors:
        found.append(f"RMS error at most {max(errors):.2g} typical ones")
    if any(check.modelled for check in checks):
        found.append("the type is modelled, as the interpreter gets it wrong: a model rounds, sums are float32's")
    return found


def _evidence(backend: Backend) -> Any:
    return "measured" if backend.mode == "native" else "simulated"


def _place(kernel: Kernel, dtype: str, shape: Shape, level: str, cache: Cache) -> str:
    """Which level of memory the arrays live in, and what that means."""
    times = kernel.footprint_bytes(shape, dtype) / device.cpu().cache_bytes
    if times >= BEYOND_CACHE:
        return f"arrays of {times:.0f} times the last-level cache, which are cold at every call"
    where = "in memory" if cache == "cold" else f"in {level}" if level else "in caches of unknown size"
    return f"arrays of {times:.2g} times the last-level cache, {where}"
