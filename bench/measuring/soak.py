"""A soak: the same work again and again for a given time, every result compared bit for bit with the first.

The first result of each kernel is checked against its reference and bound; from then on any difference is a fault of
the machine, as its inputs and the order of its operations stay the same. Outputs are poisoned before every call, so
that an old result never passes for a new one. Kernels take turns. Every second, and at both ends, clocks and
temperatures are read, of the processor where the system tells and of GPUs where NVML does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from clusterbench.bench.hosts.gpu_state import GpuCondition, gpu_conditions
from clusterbench.bench.measuring.kernel_runs import Append, Plan, Step
from clusterbench.bench.measuring.python_timing import SAMPLE_UNIT
from clusterbench.kernels.device import CPUS, affinity, cpu, read_text
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.judging.data import make_inputs
from clusterbench.kernels.judging.verify import Check, poison, recheck
from clusterbench.kernels.kernel import Array, Kernel, KernelError, Shape, shape_text
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

READING_S = 1.0
"""Between two readings of clocks and temperatures."""
LEAST_ROUNDS = 2
"""However short the soak is."""
PART = 65536
"""Elements of one task of a comparison."""


@njit(parallel=True, cache=True)
def _differing(one: Array, other: Array) -> Any:
    """How many elements of two arrays of integers differ."""
    parts = (one.size + PART - 1) // PART
    found = np.zeros(parts, np.int64)
    for part in prange(parts):
        count = 0
        for i in range(part * PART, min((part + 1) * PART, one.size)):
            count += one[i] != other[i]
        found[part] = count
    return found.sum()


@dataclass(frozen=True, slots=True)
class Reading:
    """Clocks and temperatures at one moment."""

    at_s: float
    cpu_mhz: float | None
    cpu_celsius: float | None
    gpus: tuple[GpuCondition, ...]


@dataclass(slots=True)
class _Work:
    """One kernel under soak: its arrays, its first result, and what came of its calls."""

    kernel: Kernel
    dtype: str
    shape: Shape
    arrays: dict[str, Array]
    check: Check
    first: list[Array]
    seconds: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    wrong: int = 0
    """Elements over all calls that differ from the first result."""
    first_wrong: str = ""

    def call(self, now_s: Callable[[], float]) -> None:
        """Run once, and compare."""
        outputs = [self.arrays[name] for name in self.kernel.outputs]
        for name, out in zip(self.kernel.outputs, outputs, strict=True):
            out[...] = poison(self.kernel.type_of(name, self.dtype))
        before = perf_counter()
        launch(self.kernel, self.dtype, self.arrays)
        self.seconds.append(perf_counter() - before)
        self.ended_s.append(now_s())
        for name, out, right in zip(self.kernel.outputs, outputs, self.first, strict=True):
            wrong = int(_differing(_words(out), _words(right)))
            if wrong and not self.wrong:
                self.first_wrong = f"{wrong} of {out.size} elements of {name} in call {len(self.seconds)}"
            self.wrong += wrong


def launch(kernel: Kernel, dtype: str, arrays: dict[str, Array]) -> None:
    """Run the CPU's implementation on these arrays."""
    kernel.implementations["numba"].launch(*arrays.values(), *kernel.scalar_values(dtype))


def _words(array: Array) -> Array:
    return array.reshape(-1).view(f"u{array.itemsize}")


def run_soak(plan: Plan, seconds: float, step: Step, append: Append) -> list[Measurement]:
    """Soak the CPU by the plan's kernels for so many seconds; a row of each goes to `append` with its samples.

    Raises `KernelError`, before anything runs, for a kernel that has no implementation for the CPU in the type, updates
    an array in place, so that no two calls have the same work, or does not fit into memory.
    """
    works = [_prepared(plan, kernel, dtype) for kernel, dtype in plan.problems()]
    readings = [read_state(0.0)]
    started_at, started = now_iso(), perf_counter()

    def now_s() -> float:
        return perf_counter() - started

    rounds = 0
    while now_s() < seconds or rounds < LEAST_ROUNDS:
        rounds += 1
        for work in works:
            if work.check.passed:
                work.call(now_s)
        if now_s() - readings[-1].at_s >= READING_S:
            readings.append(read_state(now_s()))
            wrong = sum(work.wrong for work in works)
            step(f"soak, {now_s():.0f} of {seconds:.0f} s, {wrong} wrong", 0)
        if not any(work.check.passed for work in works):
            break
    readings.append(read_state(now_s()))
    state = state_text(readings)
    rows = []
    for work in works:
        step(f"soak {work.kernel.name} {work.dtype}", 1)
        row = replace(_row(work, plan, state), started_at=started_at)
        append(row, np.array(work.seconds) if work.seconds else None)
        rows.append(row)
    return rows


def _prepared(plan: Plan, kernel: Kernel, dtype: str) -> _Work:
    if not kernel.has("numba", dtype):
        raise KernelError(f"kernel {kernel.name!r} has no numba implementation for {dtype}, which is what is soaked")
    if kernel.updates:
        raise KernelError(f"kernel {kernel.name!r} updates an array in place: no two of its calls do the same work")
    shape = plan.shape(kernel, dtype)
    inputs = make_inputs(kernel, shape, dtype, _data(kernel), np.random.default_rng(plan.seed))
    arrays: dict[str, Array] = {}
    for name in kernel.arguments:
        kind = kernel.type_of(name, dtype)
        arrays[name] = (
            inputs[name] if name in inputs else np.full(kernel.extent(name, shape), poison(kind), element_type(kind))
        )
    launch(kernel, dtype, arrays)
    outputs = [arrays[name] for name in kernel.outputs]
    first = [out.copy() for out in outputs]
    for out, copy in zip(outputs, first, strict=True):
        _differing(_words(out), _words(copy))  # compiles it, so that no soak is spent on that
    base = Check(kernel.name, "numba", dtype, shape_text(shape), _data(kernel))
    return _Work(kernel, dtype, shape, arrays, recheck(kernel, base, shape, inputs, outputs), first)


def _data(kernel: Kernel) -> Any:
    return "rounding" if "rounding" in kernel.data else "exact"


def _row(work: _Work, plan: Plan, state: str) -> Measurement:
    row = Measurement(
        run_id=plan.run_id, suite="kernels", name=work.kernel.name, backend="numba", dtype=work.dtype,
        host=socket.gethostname(), device=cpu().name, shape=shape_text(work.shape),
        count=next(iter(work.shape.values())), error_over_bound=work.check.error_over_bound,
    )  # fmt: skip
    if not work.check.passed:
        reason = f"the first result is wrong already: {work.check.reason}"
        return replace(row, wrong=work.check.wrong + work.check.unwritten, verdict="FAIL", reason=reason)
    seconds = np.array(work.seconds)
    summary = summarise(seconds)
    size_bytes, flops = work.kernel.traffic_bytes(work.shape, work.dtype), work.kernel.operations(work.shape)
    wrong = work.first_wrong and f"the same work gave another result: {work.first_wrong}; {work.wrong} over all calls"
    return replace(
        row,
        size_bytes=size_bytes,
        n=summary.n,
        median_s=summary.median_s,
        ci95_low_s=summary.ci95_low_s,
        ci95_high_s=summary.ci95_high_s,
        min_s=summary.min_s,
        mean_s=summary.mean_s,
        p95_s=summary.p95_s,
        p99_s=summary.p99_s,
        sample_unit=SAMPLE_UNIT,
        stop="budget",
        bytes_per_s=size_bytes / summary.median_s,
        flop_per_s=flops / summary.median_s if flops else None,
        wrong=work.wrong,
        verdict="FAIL" if work.wrong else "PASS",
        reason=wrong,
        note="; ".join(text for text in ("soak", drift_text(seconds, np.array(work.ended_s)), state) if text),
    )


def drift_text(seconds: NDArray[np.float64], ended_s: NDArray[np.float64]) -> str:
    """How much slower the last tenth of the calls is than the first, by medians; empty for fewer than 20 calls."""
    tenth = len(seconds) // 10
    if tenth < 2:
        return ""
    change = np.median(seconds[-tenth:]) / np.median(seconds[:tenth]) - 1
    return f"the last tenth of {len(seconds)} calls, in {ended_s[-1]:.0f} s, took {change:+.1%} of the first's time"


def read_state(at_s: float) -> Reading:
    """Clocks and temperatures now; None of what the system does not tell."""
    return Reading(at_s, _cpu_mhz(CPUS, affinity()), _cpu_celsius(), gpu_conditions())


def _cpu_mhz(cpus: Path, cores: Sequence[int]) -> float | None:
    """The mean clock of these cores as Linux has it."""
    texts = [read_text(cpus / f"cpu{core}" / "cpufreq" / "scaling_cur_freq") for core in cores]
    clocks = [int(text) / 1000 for text in texts if text and text.isdigit()]
    return sum(clocks) / len(clocks) if clocks else None


def _cpu_celsius() -> float | None:
    """The hottest of the processor's sensors."""
    import psutil

    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    found = [one.current for name in ("coretemp", "k10temp", "cpu_thermal") for one in sensors.get(name, [])]
    return max(found) if found else None


def state_text(readings: Sequence[Reading]) -> str:
    """The ranges of clocks and temperatures over a soak, and why GPUs were slowed; what nobody tells is left out."""
    found = [
        _range_text("CPU clock", [one.cpu_mhz for one in readings], "MHz"),
        _range_text("CPU", [one.cpu_celsius for one in readings], "°C"),
    ]
    for index in sorted({gpu.index for one in readings for gpu in one.gpus}):
        mine = [gpu for one in readings for gpu in one.gpus if gpu.index == index]
        found.append(_range_text(f"GPU {index} clock", [gpu.sm_mhz for gpu in mine], "MHz"))
        found.append(_range_text(f"GPU {index}", [gpu.temperature_c for gpu in mine], "°C"))
        slowed = sorted({reason for gpu in mine for reason in gpu.slowed_by})
        found.append(f"GPU {index} slowed by {', '.join(slowed)}" if slowed else "")
    return "; ".join(text for text in found if text)


def _range_text(what: str, values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{what} {low:.0f} {unit}" if round(low) == round(high) else f"{what} {low:.0f} to {high:.0f} {unit}"
