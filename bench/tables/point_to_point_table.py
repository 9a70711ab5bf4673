"""The table of a ping-pong: as OSU prints latency and bandwidth, but medians, and both bandwidths beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from clusterbench.bench.measuring.point_to_point_runs import TRANSPORT, PointToPointRequest
from clusterbench.bench.output import rate_text, time_text
from clusterbench.bench.tables.nccl_table import SHARED_CORES
from clusterbench.bench.worlds.world import World
from clusterbench.results.record import Measurement


def pingpong_table(request: PointToPointRequest, world: World, device: str, rows: Sequence[Measurement]) -> str:
    """Latency, one-way and two-way bandwidth, one line a size; all else stands on # lines."""
    by_point = {(row.count, row.algorithm): row for row in rows}
    lines = [*_head(request, world, device)]
    for count in request.counts:
        found = [by_point.get((count, kind)) for kind in request.algorithms]
        if any(found):
            lines.append(_line(count * request.dtype.itemsize, found))
    return "\n".join([*lines, *_notes(request, rows)]) + "\n"


def _head(request: PointToPointRequest, world: World, device: str) -> Iterable[str]:
    first, last, rules = world.places[0], world.places[-1], request.rules
    cores = [",".join(map(str, place.cores)) if len(place.cores) <= 4 else "any" for place in (first, last)]
    evidence = "emulated" if world.emulation else "measured"
    yield f"# clusterbench version {version('clusterbench')}, evidence: {evidence}, buffers: host memory, {device}"
    yield (
        f"# Ping-pong over {TRANSPORT}: rank {first.rank} on {first.host} core {cores[0]}, "
        f"rank {last.rank} on {last.host} core {cores[1]}"
    )
    yield (
        f"# type: {request.dtype.name} window: {request.window} "
        f"warmup iters: {'detected' if rules.warmup is None else rules.warmup} "
        f"iters: {rules.iterations or f'until ±{rules.precision:.1%} or {rules.budget_s:g} s'} "
        f"validation: {int(request.check)} seed: {request.seed} thread level: {world.thread_level}"
    )
    if world.oversubscribed:
        yield f"# More ranks than cores: {SHARED_CORES[bool(world.yields)]}"
    yield "# GB/s = 1e9 bytes/s; two-way counts both directions"
    yield f"# {'Size':<12s}{'Latency(us)':>14s}{'One-way(GB/s)':>16s}{'Two-way(GB/s)':>16s}{'#wrong':>9s}"


def _line(size_bytes: int, found: Sequence[Measurement | None]) -> str:
    latency, *bandwidths = found
    cells = [f"{time_text(latency.median_s) if latency else 'N/A':>14s}"]
    cells += [f"{rate_text(row.busbw) if row else 'N/A':>16s}" for row in bandwidths]
    counts = [row.wrong for row in found if row is not None]
    checked = [count for count in counts if count is not None]
    wrong = str(sum(checked)) if len(checked) == len(counts) else "N/A"
    return f"{size_bytes:<14d}{''.join(cells)}{wrong:>9s}"


def _notes(request: PointToPointRequest, rows: Sequence[Measurement]) -> Iterable[str]:
    for kind in request.algorithms:
        unit = next((row.sample_unit for row in rows if row.algorithm == kind), "")
        if unit:
            yield f"# {kind}: medians; a sample is {unit}"
    for row in sorted(rows, key=lambda row: (request.algorithms.index(row.algorithm), row.count)):
        low, high = row.ci95_low_s, row.ci95_high_s
        interval = f"[{low * 1e6:.3f}, {high * 1e6:.3f}] us" if low is not None and high is not None else "none"
        extra = "; ".join(filter(None, [row.verdict if row.verdict != "PASS" else "", row.reason, row.note]))
        yield (
            f"# {row.algorithm} {row.size_bytes} B: 95 % interval {interval}, {row.n} samples of {row.batch}, "
            f"{row.stop}{'; ' + extra if extra else ''}"
        )
    points = len(request.counts) * len(request.algorithms)
    if len(rows) < points:
        yield f"# Not measured: {points - len(rows)} of {points} points, as the run ended early"
