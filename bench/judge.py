"""Rows meet their bounds: PASS, FAIL, INCONCLUSIVE or INVALID, with the reason in words.

FAIL          the data are wrong, or an error is over its derived bound.
INVALID       far faster than what was measured as the machine's ceiling: a mistake in the measurement, never a record.
INCONCLUSIVE  the data are right, and either the time or the ceiling is not known well enough to say anything.
PASS          none of these.

Ceilings are measured, so they have noise of their own: on a shared machine the memory of one minute is not that of the
next. A ceiling is the best sample and a kernel its median. A kernel whose whole interval lies beyond its ceiling by
more than `TOLERANCE` has the ceiling measured again, next to it in time. If it still lies beyond, the ceiling is the
worse of the two measurements, and the row is INCONCLUSIVE; by more than `IMPOSSIBLE` no ceiling is so wrong, and the
row is INVALID.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from clusterbench.bench import exit_codes
from clusterbench.kernels.device import Level
from clusterbench.kernels.kernel import Kernel, Shape
from clusterbench.results.record import Measurement, Verdict
from clusterbench.results.statistics import MIN_SAMPLES_CI95, Summary

TOLERANCE = 0.05
"""How far beyond a measured ceiling a whole interval must lie to be doubted: about what repeated measurements of a
ceiling differ by on a quiet machine."""
IMPOSSIBLE = 0.5
"""How far beyond it a whole interval must lie to be called impossible: more than measurements of a ceiling differed by
on a shared virtual machine (a third), less than what a loop that was optimised away or a wrong count of bytes gives."""
WIDEST = 0.10
"""Half-width of the 95 % interval, as a share of the median, from which a time is no answer."""
ROOF_REPEATS = 2
"""How often the ceilings are measured again for a row that beats them, before the row is judged."""
BEYOND_CACHE = 4
"""Times the last-level cache: from here the memory ceilings apply (STREAM's rule)."""


@dataclass(slots=True)
class LevelRoof:
    """The measured ceilings of one level of the caches, of all cores at once, each the best so far."""

    size_bytes: int
    """All its caches together."""
    copy_bytes_per_s: float = 0.0
    read_bytes_per_s: float = 0.0


@dataclass(slots=True)
class Roof:
    """The measured ceilings of this machine, each the best so far."""

    copy_bytes_per_s: float = 0.0
    read_bytes_per_s: float = 0.0
    flop_per_s: dict[str, float] = field(default_factory=dict)
    """By dtype."""
    levels: dict[str, LevelRoof] = field(default_factory=dict)
    """Of the caches by their name, nearest first; of those that were measured."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time that the ceilings allow, and which of them sets it. None where no ceiling applies."""

    time_s: float | None
    by: str


NO_BOUND = Bound(None, "")


MEMORY = "memory"
"""The level behind all caches."""


def level_of(kernel: Kernel, shape: Shape, dtype: str, levels: Sequence[Level], cache_bytes: int) -> str:
    """The level that a problem's arrays lie in while it runs again and again: the nearest that could hold them all.

    `MEMORY` from `BEYOND_CACHE` last-level caches on; between one and so many a part may still be found in the last
    cache, which is their level. The nearest cache is that of a kernel that passes over its arrays several times, as its
    tasks may each take a small part of them. Empty where no caches are known.
    """
    footprint = kernel.footprint_bytes(shape, dtype)
    if not kernel.passes and footprint >= BEYOND_CACHE * cache_bytes:
        return MEMORY
    fitting = (level.name for level in levels if kernel.passes or level.size_bytes >= footprint)
    return next(fitting, levels[-1].name if levels else "")


def kernel_bound(kernel: Kernel, shape: Shape, dtype: str, roof: Roof, level: str) -> Bound:
    """The least time of a kernel under the roof, its arrays in this level (see `level_of`; empty for none).

    Memory: reads at the rate of a pure reader, writes at what a copy leaves for them (2/copy - 1/read seconds a byte),
    so that a copy and a reader meet their own ceilings exactly. It bounds no kernel of several passes, of which only
    the first finds the arrays there.
    A cache reads and writes at once, so there nothing is added up: what is read takes as long as by a pure reader, and
    as much as is both read and written as long as its copy, whichever is longer.
    Arithmetic: flops at the multiply-add peak of the dtype.
    """
    bounds: list[Bound] = []
    cache = roof.levels.get(level)
    if level == MEMORY and not kernel.passes and roof.copy_bytes_per_s and roof.read_bytes_per_s:
        bounds.append(_memory_bound(kernel, shape, dtype, roof))
    elif cache and cache.copy_bytes_per_s and cache.read_bytes_per_s:
        bounds.append(_cache_bound(kernel, shape, dtype, level, cache))
    peak = roof.flop_per_s.get(dtype)
    if peak and kernel.operations(shape):
        bounds.append(Bound(kernel.operations(shape) / peak, "multiply-add peak"))
    return max(bounds, key=lambda bound: bound.time_s or 0.0, default=Bound(None, ""))


def _memory_bound(kernel: Kernel, shape: Shape, dtype: str, roof: Roof) -> Bound:
    written = kernel.written_bytes(shape, dtype)
    read = kernel.traffic_bytes(shape, dtype) - written
    per_read = 1 / roof.read_bytes_per_s
    per_written = max(0.0, 2 / roof.copy_bytes_per_s - per_read)
    if kernel.only_reads(shape, dtype):
        name = "read bandwidth"
    else:
        name = "copy bandwidth" if read == written else "copy and read bandwidth"
    return Bound(read * per_read + written * per_written, name)


def _cache_bound(kernel: Kernel, shape: Shape, dtype: str, level: str, cache: LevelRoof) -> Bound:
    written = kernel.written_bytes(shape, dtype)
    read = max(0, kernel.traffic_bytes(shape, dtype) - written)
    reading = Bound(read / cache.read_bytes_per_s, f"{level} read bandwidth")
    copying = Bound(2 * min(read, written) / cache.copy_bytes_per_s, f"{level} copy bandwidth")
    return max(copying, reading, key=lambda bound: bound.time_s or 0.0)


def is_beyond(bound: Bound, summary: Summary, by: float = TOLERANCE) -> bool:
    """Whether the whole interval of a time lies beyond its bound, by more than the share `by`."""
    if bound.time_s is None or summary.ci95_high_s is None:
        return False
    return summary.ci95_high_s * (1 + by) < bound.time_s


def judge_time(bound: Bound, summary: Summary) -> tuple[Verdict, str]:
    """The verdict on a timed row whose data are right; `Bound(None, "")` where nothing bounds it (collectives)."""
    if summary.half_width is None:
        return "INCONCLUSIVE", f"{summary.n} samples; an interval needs {MIN_SAMPLES_CI95}"
    if is_beyond(bound, summary):
        share = (bound.time_s or 0.0) / summary.median_s
        where = f"at {share:.0%} of the measured {bound.by}, which was measured again beside it"
        if is_beyond(bound, summary, IMPOSSIBLE):
            return "INVALID", where
        return "INCONCLUSIVE", f"{where}: that ceiling is too low to judge by; the machine is not quiet"
    if summary.half_width > WIDEST:
        return (
            "INCONCLUSIVE",
            f"the median is known to {_within(summary.half_width)} only; "
            "the machine is not quiet, or the budget too small",
        )
    return "PASS", ""


def _within(half_width: float) -> str:
    return f"±{half_width:.0%}" if half_width < 1 else f"within a factor of {1 + half_width:.0f}"


def judge_against_proof(bound: Bound, summary: Summary) -> tuple[Verdict, str]:
    """The verdict on a timed row whose data are right, by what is proven that hardware permits; it may have no time.

    A row whose whole interval lies beyond is INVALID: the measurement is wrong, or the description of the hardware.
    """
    if is_beyond(bound, summary):
        return "INVALID", _beyond_proof(bound, summary.median_s)
    return judge_time(Bound(None, ""), summary)


def judge_figure(bound: Bound, time_s: float) -> tuple[Verdict, str]:
    """The same for a time of which one figure is known, such as a mean in a log, and so no interval."""
    if bound.time_s is not None and time_s * (1 + TOLERANCE) < bound.time_s:
        return "INVALID", _beyond_proof(bound, time_s)
    return "PASS", ""


def _beyond_proof(bound: Bound, time_s: float) -> str:
    share = (bound.time_s or 0.0) / time_s
    return f"at {share:.0%} of what the topology permits, by {bound.by}: it is not this machine's"


def exit_code(rows: Iterable[Measurement], *, strict: bool = False) -> int:
    """The worst of the rows: wrong data, an error over its bound or INVALID 3; else another FAIL, as of a process that
    was stopped, 1; else 0. `strict`: INCONCLUSIVE is 1.
    """
    bad = ("FAIL", "INVALID", "INCONCLUSIVE") if strict else ("FAIL", "INVALID")
    failed = [row for row in rows if row.verdict in bad]
    if any(row.verdict == "INVALID" or (row.verdict == "FAIL" and _is_wrong(row)) for row in failed):
        return exit_codes.WRONG_DATA
    return exit_codes.FAILED if failed else exit_codes.GOOD


def _is_wrong(row: Measurement) -> bool:
    error = row.error_over_bound
    return bool(row.wrong) or (error is not None and not error <= 1)  # NaN is an error over any bound
