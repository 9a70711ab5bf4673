"""The rows of kernels that are timed on a GPU, under ceilings that are measured on it.

The ceilings are the suite's own kernels at sizes where nothing but one thing limits: copy and sum, far beyond the
last-level cache and within it, and multiply-add and matrix product for each type, each by the best back end that there
is, among them the driver's copy and cuBLAS, through CuPy. What the vendor says of the GPU, where there is a file of it,
is the second judge: nothing is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.judge import (
    MEMORY,
    ROOF_REPEATS,
    TOLERANCE,
    Bound,
    LevelRoof,
    Roof,
    is_beyond,
    judge_time,
    kernel_bound,
    level_of,
)
from clusterbench.bench.measuring.gpu_kernels import GpuTimed, is_cold
from clusterbench.bench.measuring.gpu_timing import Gpu
from clusterbench.bench.measuring.gpu_worker import GpuProblem, Refused, Result, time_in_worker
from clusterbench.bench.measuring.kernel_rows import COLD, kernel_row, step_text
from clusterbench.bench.measuring.kernel_timing import Cache
from clusterbench.bench.measuring.sampling import Rules, with_samples
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels.ceilings import vendor
from clusterbench.kernels.device import Level
from clusterbench.kernels.discovery import discover
from clusterbench.kernels.element_types import element_type
from clusterbench.kernels.kernel import Kernel, Shape, shape_text
from clusterbench.kernels.running.backends import Backend
from clusterbench.results.journal import now_iso
from clusterbench.results.notes import joined
from clusterbench.results.record import Measurement, Verdict
from clusterbench.results.statistics import Summary, summarise

STREAMED = ",launch=stream"
"""In the shape of a row whose calls are started one by one by the host, and not by a graph."""
CACHE = "L2"
"""The last-level cache of a GPU."""
MATRIX_EDGE = 4096
"""Of the matrices whose product is a ceiling: large enough for all units, small enough to be checked on the host."""
UNIT = "one call, between two events on the GPU, in a graph that is replayed; the mean of a batch where the row has one"
UNIT_STREAMED = (
    "one call that the host starts, between two events on the GPU; the mean of a batch where the row has one"
)

Row = tuple[Measurement, "NDArray[np.float64] | None"]
Problem = tuple[Kernel, str, str]
"""A kernel, its type and its back end."""
Worker = Callable[[Sequence[GpuProblem], Rules, int, float], Iterable[tuple[int, Result]]]


@dataclass(frozen=True, slots=True)
class _Ceiling:
    """One ceiling: what is measured for it, and where its rate goes."""

    name: str
    """`copy`, `read`, `fma` or `matrix`."""
    kernel: str
    dtype: str
    level: str = MEMORY
    size_bytes: int | None = None

    @property
    def title(self) -> str:
        """The name of its row."""
        return self.name if self.level == MEMORY else f"{self.name} {self.level}"

    def keep(self, roof: Roof, rate: float) -> None:
        """Keep a rate in the roof where it is the best so far."""
        if self.name in ("fma", "matrix"):
            roof.flop_per_s[self.dtype] = max(roof.flop_per_s.get(self.dtype, 0.0), rate)
            return
        at: Roof | LevelRoof = roof if self.level == MEMORY else roof.levels[self.level]
        if self.name == "copy":
            at.copy_bytes_per_s = max(at.copy_bytes_per_s, rate)
        else:
            at.read_bytes_per_s = max(at.read_bytes_per_s, rate)


class GpuRuns:
    """Times problems on the first GPU, and judges them. Every row goes to `add` with its samples."""

    def __init__(
        self,
        base: Measurement,
        backends: Sequence[Backend],
        rules: Rules,
        seed: int,
        timeout_s: float,
        add: Callable[..., None],
        account: TimeAccount,
        worker: Worker = time_in_worker,
    ) -> None:
        self.roof = Roof()
        self._base = replace(base, suite="kernels", evidence="measured")
        self._backends = [backend.name for backend in backends]
        self._rules = rules
        self._seed = seed
        self._timeout_s = timeout_s
        self._add = add
        self._account = account
        self._worker = worker
        self._gpu: Gpu | None = None

    def time(
        self,
        problems: Sequence[Problem],
        size_bytes: int | None,
        caches: Sequence[Cache],
        graphs: Sequence[bool],
        step: Callable[[str, int], None],
    ) -> None:
        """Time problems in an order drawn by the seed, so that kernels and back ends alternate."""
        asked = [
            (kernel, GpuProblem(kernel.file, backend, dtype, size_bytes, cache, graph))
            for kernel, dtype, backend in problems
            for cache in caches
            for graph in graphs
        ]
        if not asked:
            return
        step("roof of the GPU", 0)
        self._measure_roof(sorted({problem.dtype for _, problem in asked}))
        order = np.random.default_rng(self._seed).permutation(len(asked)).tolist()
        turns = [asked[i] for i in order]
        doubtful: list[tuple[Kernel, GpuProblem, Gpu, GpuTimed]] = []
        for index, result in self._worker([one for _, one in turns], self._rules, self._seed, self._timeout_s):
            kernel, problem = turns[index]
            step(f"timed {kernel.name} {problem.dtype} {problem.backend} on the GPU", 0)
            if isinstance(result, Refused):
                self._add(self._refused(kernel, problem, result))
                continue
            self._account.loops_s += result[1].samples.spent_s
            if self._is_beyond(kernel, problem, *result):
                doubtful.append((kernel, problem, *result))  # the next one is running, beside which no ceiling is
            else:
                self._add(*self._judged(kernel, problem, *result))
        for kernel, problem, gpu, timed in doubtful:
            for _ in range(ROOF_REPEATS):
                if not self._is_beyond(kernel, problem, gpu, timed):
                    break
                self._measure_roof([problem.dtype], gpu)
            self._add(*self._judged(kernel, problem, gpu, timed))

    def _measure_roof(self, dtypes: Sequence[str], gpu: Gpu | None = None) -> None:
        """Measure all ceilings; those of the cache too once it is known how large it is."""
        for row, samples in self._ceilings(_of_memory(dtypes)):
            self._add(row, samples)
        known = gpu or self._gpu
        if known and known.cache_bytes:
            self.roof.levels.setdefault(CACHE, LevelRoof(known.cache_bytes))
            for row, samples in self._ceilings(_of_cache(known)):
                self._add(row, samples)

    def _ceilings(self, ceilings: Sequence[_Ceiling]) -> list[Row]:
        """The best row of each ceiling, over the back ends that have it."""
        kernels = discover()
        asked = [
            (one, GpuProblem(kernels[one.kernel].file, backend, one.dtype, one.size_bytes))
            for one in ceilings
            for backend in self._backends
            if kernels[one.kernel].has(backend, one.dtype)
        ]
        best: dict[_Ceiling, tuple[float, Row]] = {}
        lacking: dict[_Ceiling, Measurement] = {}
        for index, result in self._worker([p for _, p in asked], self._rules, self._seed, self._timeout_s):
            ceiling, problem = asked[index]
            if isinstance(result, Refused):
                refused = self._refused(kernels[ceiling.kernel], problem, result)
                lacking[ceiling] = replace(refused, suite="roof", name=ceiling.title)
                continue
            self._gpu, timed = result
            self._account.loops_s += timed.samples.spent_s
            rate, row = self._ceiling_row(ceiling, problem, self._gpu, timed)
            if ceiling not in best or rate > best[ceiling][0]:
                best[ceiling] = rate, row
        for ceiling, (rate, _) in best.items():
            ceiling.keep(self.roof, rate)
        return [best[one][1] if one in best else (lacking[one], None) for one in dict.fromkeys(one for one, _ in asked)]

    def _ceiling_row(self, ceiling: _Ceiling, problem: GpuProblem, gpu: Gpu, timed: GpuTimed) -> tuple[float, Row]:
        """The rate of the best sample, 0 where the result is wrong, and the row."""
        kernel, seconds = discover()[ceiling.kernel], timed.samples.seconds
        size_bytes, flops = kernel.traffic_bytes(timed.shape, ceiling.dtype), kernel.operations(timed.shape)
        arithmetic = ceiling.name in ("fma", "matrix")
        rate = (flops if arithmetic else size_bytes) / float(seconds.min())
        row = replace(
            with_samples(self._base, timed.samples, summarise(seconds), UNIT if timed.graph else UNIT_STREAMED),
            suite="roof",
            name=ceiling.title,
            backend=problem.backend,
            dtype=ceiling.dtype,
            device=gpu.name,
            size_bytes=size_bytes,
            shape=shape_text(timed.shape),
            bytes_per_s=None if arithmetic else rate,
            flop_per_s=rate if arithmetic else None,
            verdict="PASS" if timed.check.passed else "FAIL",
            wrong=timed.check.wrong,
            reason=timed.check.reason,
            note=joined([f"rate of the best sample of {ceiling.kernel} by {problem.backend}", timed.note]),
            started_at=now_iso(),
        )
        return (rate if timed.check.passed else 0.0), (row, seconds)

    def _refused(self, kernel: Kernel, problem: GpuProblem, why: Refused) -> Measurement:
        return replace(
            self._base,
            name=kernel.name,
            backend=problem.backend,
            dtype=problem.dtype,
            device=self._gpu.name if self._gpu else "",
            verdict="FAIL" if why.failed else "INCONCLUSIVE",
            reason=why.reason if why.failed else f"not run: {why.reason}",
            started_at=now_iso(),
        )

    def _judged(self, kernel: Kernel, problem: GpuProblem, gpu: Gpu, timed: GpuTimed) -> Row:
        """The row of what was timed: its data first, then the vendor's figures, then the measured ceilings."""
        shape, dtype, summary = timed.shape, problem.dtype, summarise(timed.samples.seconds)
        cold = problem.cache == "cold"
        bound = self._bound(kernel, problem, gpu, timed)
        judged = judge_time(bound, summary)
        if cold and not is_cold(kernel, dtype, shape, timed.sets, gpu):
            judged = "INCONCLUSIVE", f"not cold: {timed.sets} sets of buffers are less than twice the cache"
        beyond, said = _by_vendor(kernel, shape, dtype, summary, _level(kernel, problem, gpu, timed), gpu)
        where = f"{kernel.footprint_bytes(shape, dtype) / gpu.cache_bytes:.2g} times the last-level cache"
        sets = f"{timed.sets} sets of buffers in turns" if timed.sets > 1 else ""
        sampled = with_samples(self._base, timed.samples, summary, UNIT if timed.graph else UNIT_STREAMED)
        row = kernel_row(sampled, kernel, dtype, shape, bound, timed.check, beyond or judged)
        row = replace(
            row,
            device=gpu.name,
            shape=row.shape + (COLD if cold else "") + ("" if timed.graph else STREAMED),
            note=joined([f"arrays of {where}", step_text(kernel, shape, summary.median_s), sets, said, timed.note]),
            started_at=now_iso(),
        )
        return row, timed.samples.seconds

    def _bound(self, kernel: Kernel, problem: GpuProblem, gpu: Gpu, timed: GpuTimed) -> Bound:
        return kernel_bound(kernel, timed.shape, problem.dtype, self.roof, _level(kernel, problem, gpu, timed))

    def _is_beyond(self, kernel: Kernel, problem: GpuProblem, gpu: Gpu, timed: GpuTimed) -> bool:
        return is_beyond(self._bound(kernel, problem, gpu, timed), summarise(timed.samples.seconds))


def _of_memory(dtypes: Iterable[str]) -> list[_Ceiling]:
    """Copy and read, and the peaks of these types."""
    kernels = discover()
    found = [_Ceiling("copy", "copy", "float64"), _Ceiling("read", "sum", "float64")]
    for dtype in dtypes:
        matrix = MATRIX_EDGE**2 * element_type(dtype).itemsize
        found += [_Ceiling("fma", "fma_peak", dtype)] if dtype in kernels["fma_peak"].dtypes else []
        found += [
            _Ceiling("matrix", name, dtype, size_bytes=matrix)
            for name in ("gemm", "gemm_tf32", "gemm_fp8")
            if dtype in kernels[name].dtypes
        ]
    return found


def _of_cache(gpu: Gpu) -> list[_Ceiling]:
    """Copy and read where all arrays together fill half of the last-level cache."""
    half = gpu.cache_bytes // 2
    return [_Ceiling("copy", "copy", "float64", CACHE, half // 2), _Ceiling("read", "sum", "float64", CACHE, half)]


def _level(kernel: Kernel, problem: GpuProblem, gpu: Gpu, timed: GpuTimed) -> str:
    """The level that the data of a call lay in; empty where a part of them may lie in the cache, and none bounds it."""
    shape, dtype = timed.shape, problem.dtype
    if problem.cache == "cold" and is_cold(kernel, dtype, shape, timed.sets, gpu):
        return MEMORY
    levels = [Level(CACHE, gpu.cache_bytes, gpu.cache_bytes)]
    level = level_of(kernel, shape, dtype, levels, gpu.cache_bytes)
    return level if level == MEMORY or timed.sets * kernel.footprint_bytes(shape, dtype) <= gpu.cache_bytes else ""


def _by_vendor(
    kernel: Kernel, shape: Shape, dtype: str, summary: Summary, level: str, gpu: Gpu
) -> tuple[tuple[Verdict, str] | None, str]:
    """INVALID for what the vendor's figures do not permit, and the share of them in words."""
    known = vendor.gpu_reported(gpu.name)
    if known is None:
        return None, f"no figures of the vendor for {gpu.name}"
    most = vendor.ceiling(known, kernel, shape, dtype)
    if most is None or (most.by == "memory" and (level != MEMORY or kernel.passes)):
        return None, ""
    share = most.time_s / summary.median_s
    said = f"{share:.0%} of the vendor's {most.by}"
    if is_beyond(Bound(most.time_s, most.by), summary, TOLERANCE):
        return ("INVALID", f"at {said}, which nothing exceeds"), said
    return None, said
