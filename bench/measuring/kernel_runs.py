"""Runs kernels: verifies every implementation, measures the roof, times the CPU's versions, and judges the rows.

Order: the CPU's implementations are verified, then the GPU sources (in their interpreter, simulator or on the GPU, each
in a worker process), then the roof is measured, then kernels are timed in an order shuffled by the seed. Nothing is
timed that was not verified, and after timing the result is checked again on the timed buffers with new data.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.judge import BEYOND_CACHE, Bound, Roof, is_beyond, judge_time, kernel_bound
from clusterbench.bench.measuring.python_timing import measured, python_block, reading_s
from clusterbench.bench.measuring.roof_runs import FMA_TYPES, RoofRuns
from clusterbench.bench.measuring.sampling import Rules, Samples, sample
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device, roofline
from clusterbench.kernels.backends import Backend, detect
from clusterbench.kernels.conversion import rounded
from clusterbench.kernels.data import make_inputs
from clusterbench.kernels.element_types import element_type, is_float
from clusterbench.kernels.kernel import BACKENDS, Array, Kernel, KernelError, Shape, shape_text
from clusterbench.kernels.verify import Check, checks_expected, poison, recheck, verify
from clusterbench.kernels.worker import Outcome, run_worker
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import Summary, summarise

WORKER_TIMEOUT_S = 300.0
MEMORY_SHARE = 0.5
"""Of the free memory, what arrays and the check of their results may take together."""
ROOF_REPEATS = 2
"""How often the ceilings are measured again for a row that beats them, before the row is judged."""
CHECK_COPIES = 3
"""Arrays of the size of the largest that checking needs at once, beside those that are timed."""

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
        itemsize = element_type(dtype).itemsize
        if self.size_bytes is not None:
            shape = kernel.shape_of(max(1, self.size_bytes // itemsize))
        elif kernel.elements is not None:
            shape = kernel.shape_of(kernel.elements)
        else:
            shape = kernel.shape_of(self.stream_bytes // itemsize)
        largest = max(kernel.size_bytes(array, shape, dtype) for array in kernel.arguments)
        needed, room = kernel.footprint_bytes(shape, dtype) + CHECK_COPIES * largest, MEMORY_SHARE * free_bytes()
        if needed > room:
            raise KernelError(
                f"kernel {kernel.name!r} {dtype} at {shape_text(shape)} needs {needed >> 20} MiB with its check; "
                f"expected at most {int(room) >> 20} MiB, half of the free memory"
            )
        return shape


def free_bytes() -> int:
    """Memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def stream_bytes() -> int:
    """An array far beyond the cache: four times the last-level cache, but at most a sixteenth of the free memory.

    Where memory decides, it is a power of two, so that two runs on one machine mostly measure the same problem.
    """
    room = 1 << max(0, (free_bytes() // 16).bit_length() - 1)
    return min(BEYOND_CACHE * device.cpu().cache_bytes, room)


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
    if timed and (missing or not run.roof.copy_bytes_per_s):
        run.measure_roof(sorted(missing))
    for kernel, dtype in timed:
        run.time(kernel, dtype, shapes[kernel.name, dtype])
    return run.rows


class _Run:
    """The state of one `run_kernels`: the rows so far and the roof so far."""

    def __init__(self, plan: Plan, step: Step, append: Append, roofs: RoofRuns | None, account: TimeAccount) -> None:
        self.plan = plan
        self.step = step
        self.rows: list[Measurement] = []
        self._append = append
        self._worst: dict[tuple[str, str], float] = {}
        self._base = _base(plan)
        self._account = account
        self._roofs = roofs or roof_runs(plan, account)

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
                    self.add(self._source_row(kernel, backend, dtype, outcome))

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

    def time(self, kernel: Kernel, dtype: str, shape: Shape) -> None:
        """Time one kernel on the CPU, check its buffers again, and judge the row."""
        self.step(f"time {kernel.name} {dtype}", 1)
        started_at = now_iso()
        timed = time_kernel(kernel, dtype, shape, self.plan.rules, self.plan.seed, self._account)
        summary = summarise(timed.samples.seconds)
        bound = self._bound(kernel, dtype, shape, summary)
        check = timed.recheck
        verdict, reason = judge_time(bound, summary)
        if not check.passed:
            verdict, reason = "FAIL", f"after timing, on the timed buffers: {check.reason}"
        size_bytes, flops = kernel.traffic_bytes(shape, dtype), kernel.operations(shape)
        row = replace(
            measured(self._base, timed.samples, summary),
            name=kernel.name,
            backend="numba",
            dtype=dtype,
            count=next(iter(shape.values())),
            size_bytes=size_bytes,
            shape=shape_text(shape),
            bytes_per_s=size_bytes / summary.median_s,
            flop_per_s=flops / summary.median_s if flops else None,
            bound_s=bound.time_s,
            bound_share=None if bound.time_s is None else bound.time_s / summary.median_s,
            bound_by=bound.by,
            wrong=check.wrong + check.unwritten + check.damaged,
            error_over_bound=max(self._worst[kernel.name, dtype], check.error_over_bound),
            verdict=verdict,
            reason=reason,
            note=_place(kernel, dtype, shape) + _step_text(kernel, shape, summary.median_s),
            started_at=started_at,
        )
        self.add(row, timed.samples.seconds)

    def _bound(self, kernel: Kernel, dtype: str, shape: Shape, summary: Summary) -> Bound:
        cache_bytes = device.cpu().cache_bytes
        bound = kernel_bound(kernel, shape, dtype, self.roof, cache_bytes)
        for _ in range(ROOF_REPEATS):
            if not is_beyond(bound, summary):
                break
            self.measure_roof([dtype] if dtype in FMA_TYPES else [])
            bound = kernel_bound(kernel, shape, dtype, self.roof, cache_bytes)
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


def _place(kernel: Kernel, dtype: str, shape: Shape) -> str:
    """Which level of memory the arrays live in, and what that means for the bound."""
    times = kernel.footprint_bytes(shape, dtype) / device.cpu().cache_bytes
    if times >= BEYOND_CACHE:
        return f"arrays of {times:.0f} times the last-level cache"
    return f"arrays of {times:.2g} times the last-level cache: no memory ceiling applies"


def _step_text(kernel: Kernel, shape: Shape, time_s: float) -> str:
    """The time of a step of a kernel whose steps follow one another."""
    steps = kernel.steps(shape) if kernel.steps else 0
    return f"; {1e9 * time_s / steps:.4g} ns for each of {steps} steps, one after the other" if steps else ""


@dataclass(frozen=True, slots=True)
class Timed:
    """The samples of one kernel, and the check of its buffers after the last of them."""

    samples: Samples
    recheck: Check


def time_kernel(
    kernel: Kernel, dtype: str, shape: Shape, rules: Rules, seed: int, account: TimeAccount | None = None
) -> Timed:
    """Time the CPU's implementation on zero-mean data, then check it on the same arrays with new, exact data."""
    account = account or TimeAccount()
    launch = kernel.implementations["numba"].launch
    types = {name: kernel.type_of(name, dtype) for name in (*kernel.inputs, *kernel.outputs)}
    rng = np.random.default_rng(seed)
    updated = {start: out for out, start in kernel.updates.items()}
    holder = {name: updated.get(name, name) for name in kernel.inputs}
    with account.checking():
        arrays = {name: _placed(kernel.extent(name, shape), types[name]) for name in kernel.arguments}
        outputs = [arrays[name] for name in kernel.outputs]
        given = kernel.fill(shape, dtype, "rounding", rng) if kernel.fill else {}
        for name in kernel.inputs:
            array = arrays[holder[name]]
            if name in given:
                array[...] = given[name]
            elif is_float(array.dtype):
                _repeat(array, rounded(rng.uniform(-1, 1, min(array.size, 1 << 20)), types[name]))
            else:
                array[...] = make_inputs(kernel, shape, dtype, "exact", rng)[name]
    arguments = (*arrays.values(), *kernel.scalar_values(dtype))
    samples = sample(python_block(lambda: launch(*arguments)), rules, reading_s())
    account.loops_s += samples.spent_s
    with account.checking():
        for name, out in zip(kernel.outputs, outputs, strict=True):
            out[...] = poison(types[name])
        inputs = make_inputs(kernel, shape, dtype, "exact", rng)
        for name, fresh in inputs.items():
            arrays[holder[name]][...] = fresh
        launch(*arguments)
        base = Check(kernel.name, "numba", dtype, shape_text(shape), "exact")
        return Timed(samples, recheck(kernel, base, shape, inputs, outputs))


def _repeat(array: Array, pattern: Array) -> None:
    """Fill an array with a shorter one again and again."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, pattern.size):
        part = flat[start : start + pattern.size]
        part[...] = pattern[: part.size]


def _placed(extent: tuple[int, ...], dtype: str) -> Array:
    """An array whose memory all cores have touched first, each its part."""
    array = np.empty(extent, element_type(dtype))
    flat = array.reshape(-1)
    # Numba has no floats of 16 and 8 bits: their bits are as good.
    bits = flat.view(f"u{flat.itemsize}") if flat.itemsize < 4 else flat
    roofline.fill(bits, bits.dtype.type(0))
    return array
