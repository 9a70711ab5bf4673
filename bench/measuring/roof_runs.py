"""Measures the roof: runs the ceilings of `kernels/ceilings/roofline.py` by the rules of sampling and makes their rows.

A ceiling is what the machine can do, so its rate is the best sample's, not the median's; the row's times are those of
every row. The ceilings of a cache name it, as `read L2` does, and the shape of a row says where and how much was moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterbench.bench.judge import MEMORY, LevelRoof, Roof
from clusterbench.bench.measuring.python_timing import measured, python_block, reading_s
from clusterbench.bench.measuring.sampling import Rules, sample
from clusterbench.bench.worlds.time_account import TimeAccount
from clusterbench.kernels import device
from clusterbench.kernels.ceilings import cache_loops, roofline
from clusterbench.kernels.device import Level
from clusterbench.kernels.loops.vectors import LINE_BYTES, vector_bytes
from clusterbench.results.journal import now_iso
from clusterbench.results.record import Measurement
from clusterbench.results.statistics import summarise

if TYPE_CHECKING:
    from clusterbench.kernels.kernel import Array

LEAST_BUDGET_S = 0.5
"""The ceilings judge every row of a run, so they get at least this long each."""
MOST_BUDGET_S = 2.0
NEVER_PRECISE = 1e-4
LEAST_ITERATIONS = 20
FMA_TYPES = roofline.fma_types()
FMA_STEPS = 1 << 20
"""Even, so that the chains end where they began; a few milliseconds a call."""
SWEPT_BYTES = 128 << 20
"""What a core reads of its part of a cache in one call: a third of a millisecond of the nearest, a hundred starts."""
RATE = "rate of the best sample"

RoofRow = tuple[Measurement, "NDArray[np.float64]"]


class RoofRuns:
    """The ceilings measured so far; measuring again keeps the better, and a wrong result is no ceiling."""

    def __init__(self, rules: Rules, base: Measurement, threads: int, account: TimeAccount) -> None:
        iterations = None if rules.iterations is None else max(LEAST_ITERATIONS, rules.iterations)
        # No stop by precision: it is that of the median, and a better sample may still come.
        budget_s = max(LEAST_BUDGET_S, min(rules.budget_s, MOST_BUDGET_S))
        self._rules = replace(rules, budget_s=budget_s, precision=NEVER_PRECISE, iterations=iterations)
        self._base = base
        self._threads = threads
        self._account = account
        self.roof = Roof()

    def measure(self, dtypes: Iterable[str], array_bytes: int) -> list[RoofRow]:
        """Measure copy, read, and the multiply-add peak of each dtype; `array_bytes` is the size of one array."""
        return [*self._memory(array_bytes), *self.measure_peaks(dtypes)]

    def measure_peaks(self, dtypes: Iterable[str]) -> list[RoofRow]:
        """Measure the multiply-add peak of each dtype."""
        return [self._fma(dtype) for dtype in dtypes]

    def _memory(self, array_bytes: int) -> list[RoofRow]:
        with self._account.checking():
            source, target = (np.empty(array_bytes // 8) for _ in range(2))
            roofline.fill(source, 3.0)
        row, seconds, right = self._copy(target, source)
        copy = 2 * source.nbytes / float(seconds.min())
        if right:
            self.roof.copy_bytes_per_s = max(self.roof.copy_bytes_per_s, copy)
        rows = [
            (_checked(replace(row, bytes_per_s=copy, size_bytes=2 * source.nbytes, count=source.size), right), seconds)
        ]

        sums = np.zeros(-(-source.size // roofline.PART))
        row, seconds, right = self._read(sums, source)
        read = source.nbytes / float(seconds.min())
        if right:
            self.roof.read_bytes_per_s = max(self.roof.read_bytes_per_s, read)
        rows.append(
            (_checked(replace(row, bytes_per_s=read, size_bytes=source.nbytes, count=source.size), right), seconds)
        )
        return rows

    def measure_levels(self, names: Iterable[str], threads: int | None = None) -> list[RoofRow]:
        """Measure read and copy of the levels of these names, in each of which every core has a set of its own.

        Only what all cores do together is a ceiling of rows; `threads` measures fewer, to be shown. A level that no
        set shows, as it is hardly larger than the one below it, is left out.
        """
        rows: list[RoofRow] = []
        below: Level | None = None
        for level in device.levels():
            count = cache_loops.working_set(level, below)
            if level.name in names and count:
                rows += self._level(level, count, threads or self._threads)
            below = level
        return rows

    def measure_one_core(self, array_bytes: int) -> list[RoofRow]:
        """Measure read and copy of memory and of every level by a single core, to be shown; none where there is one."""
        if self._threads == 1:
            return []
        memory = Level("", array_bytes, array_bytes)
        count = array_bytes // 8 // cache_loops.BLOCK * cache_loops.BLOCK
        names = [level.name for level in device.levels()]
        return [*self._level(memory, count, 1), *self.measure_levels(names, 1)]

    def _level(self, level: Level, count: int, threads: int) -> list[RoofRow]:
        """Read and copy of one level, `count` doubles for each core; a copy has half of them on either side."""
        blocks = count // cache_loops.BLOCK
        source, target = _aligned(threads * count), _aligned(threads * count)
        source[:] = 3.0
        sums: Array = np.zeros(threads)
        passes = max(1, SWEPT_BYTES // (8 * count))
        found = []
        for name in ("read", "copy"):
            if name == "read":
                read = cache_loops.read_alone if threads == 1 else cache_loops.read_again
                call: Callable[[], object] = partial(read, sums, source, blocks, passes)
                moved = 8 * threads * count * passes
            else:
                half = max(1, blocks // 2)
                target[:] = 0.0
                call = partial(cache_loops.copy_again, target, source, half, passes, threads)
                if threads == 1:
                    call = partial(cache_loops.copy_alone, target, source, half, passes)
                moved = 2 * 8 * threads * half * cache_loops.BLOCK * passes
            row, seconds = self._row(f"{name} {level.name}".strip(), "float64", call)
            if name == "read":
                right = bool(np.all(sums == 3.0 * count * passes))
            else:
                right = bool(np.all(target[: threads * half * cache_loops.BLOCK] == 3.0))
            rate = moved / float(seconds.min())
            if right and threads == self._threads:
                best = self.roof.levels.setdefault(level.name, LevelRoof(level.size_bytes))
                best.read_bytes_per_s = max(best.read_bytes_per_s, rate if name == "read" else 0.0)
                best.copy_bytes_per_s = max(best.copy_bytes_per_s, rate if name == "copy" else 0.0)
            shape = f"level={level.name or MEMORY},cores={threads},set={8 * count}"
            row = replace(row, bytes_per_s=rate, size_bytes=moved, count=count, shape=shape)
            found.append((_checked(row, right), seconds))
        return found

    def _copy(self, target: Array, source: Array) -> tuple[Measurement, NDArray[np.float64], bool]:
        """The best of the ways to copy, each checked on a cleared target; a wrong one is returned at once."""
        taken = []
        for copy in roofline.COPIES:
            with self._account.checking():
                roofline.fill(target, 0.0)
            row, seconds = self._row("copy", "float64", partial(copy, target, source))
            with self._account.checking():
                if not np.array_equal(target, source):
                    return row, seconds, False
            taken.append((row, seconds, True))
        return min(taken, key=lambda one: float(one[1].min()))

    def _read(self, sums: Array, source: Array) -> tuple[Measurement, NDArray[np.float64], bool]:
        """The better of the two ways to read, each checked; a wrong one is returned at once."""
        taken = []
        for read in (roofline.read, cache_loops.read_ahead):
            sums[:] = 0.0
            row, seconds = self._row("read", "float64", partial(read, sums, source))
            if float(sums.sum()) != 3.0 * source.size:
                return row, seconds, False
            taken.append((row, seconds, True))
        return min(taken, key=lambda one: float(one[1].min()))

    def _fma(self, dtype: str) -> RoofRow:
        passed = "float32" if dtype == "float16" else dtype
        kind: Any = np.dtype(passed).type
        out: Array = np.zeros(self._threads, passed)
        arguments = (out, kind(-1), kind(20), kind(1), FMA_STEPS)
        run = roofline.fma_half if dtype == "float16" else roofline.fma
        row, seconds = self._row("fma", dtype, lambda: run(*arguments))
        flops = roofline.fma_flops(out.size, FMA_STEPS, dtype)
        rate = flops / float(seconds.min())
        right = bool(np.all(out == roofline.fma_expected(1, dtype)))
        if right:
            self.roof.flop_per_s[dtype] = max(self.roof.flop_per_s.get(dtype, 0.0), rate)
        how = "fused" if roofline.has_fused() else "multiply and add apart, this CPU does not fuse"
        note = f"{row.note}; {how}, vectors of {vector_bytes()} bytes, {roofline.CHAINS} chains a core"
        return _checked(replace(row, flop_per_s=rate, count=out.size, note=note), right), seconds

    def _row(self, name: str, dtype: str, call: Callable[[], object]) -> RoofRow:
        started_at = now_iso()
        samples = sample(python_block(call), self._rules, reading_s())
        self._account.loops_s += samples.spent_s
        row = measured(self._base, samples, summarise(samples.seconds))
        return replace(row, name=name, dtype=dtype, note=RATE, started_at=started_at), samples.seconds


def _aligned(count: int) -> Array:
    """So many doubles from the beginning of a cache line on."""
    room: Array = np.zeros(count + LINE_BYTES // 8)
    first = -room.ctypes.data % LINE_BYTES // 8
    return room[first : first + count]


def _checked(row: Measurement, right: bool) -> Measurement:
    return replace(
        row, verdict="PASS" if right else "FAIL", wrong=0 if right else 1, reason="" if right else "wrong result"
    )
