"""The table of nccl-tests, from its header to its footers, so that everything that reads one reads ours.

Layout: src/common.cu and src/util.cu of nccl-tests 2.17; always 13 fields a row. What is new stands on `#` lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from clusterbench.bench.measuring.collective_request import DEVICE, HOST, PLACEMENTS, Request
from clusterbench.bench.measuring.point_to_point_runs import TRANSPORT, PointToPointRequest
from clusterbench.bench.measuring.sampling import Rules
from clusterbench.bench.names import NCCL_NAMES
from clusterbench.bench.worlds.world import World
from clusterbench.results.notes import emulated
from clusterbench.results.record import Measurement

SHARED_CORES = {
    True: "the library is told to let others run while it waits; times are those of the scheduler, too",
    False: "waiting ranks spin; times are those of the scheduler, too",
}
"""What more ranks than cores mean, with and without `World.yields`."""
_PROGRAMS = {"all_to_all": "alltoall", "all_to_all_v": "alltoallv"}


@dataclass(frozen=True, slots=True)
class Heading:
    """What a table says of what was asked for."""

    name: str
    """Of the collective, or `sendrecv`."""
    counts: tuple[int, ...]
    sizes_bytes: tuple[int, ...]
    op: str
    """Empty where nothing is reduced."""
    placements: tuple[str, ...]
    transport: str
    """Where no row says it."""
    buffers: str
    check: bool
    rules: Rules
    seed: int
    traffic: str = ""
    """Of an all_to_all_v."""
    host_ranks: int = 0
    """See `Request.host_ranks`."""


def heading(request: Request, ranks: int) -> Heading:
    """The heading of a collective's table."""
    return Heading(
        name=request.collective.name,
        counts=request.counts,
        sizes_bytes=tuple(request.size_bytes(count, ranks) for count in request.counts),
        op=request.op,
        placements=request.placements,
        transport=request.named(request.transports[0]),
        buffers=request.buffers,
        check=request.check,
        rules=request.rules,
        seed=request.seed,
        traffic=request.traffic,
        host_ranks=request.host_ranks,
    )


def message_heading(request: PointToPointRequest) -> Heading:
    """The heading of a table of messages."""
    return Heading(
        name=request.name,
        counts=request.counts,
        sizes_bytes=tuple(count * request.dtype.itemsize for count in request.counts),
        op="",
        placements=PLACEMENTS[:1],
        transport=TRANSPORT,
        buffers=HOST,
        check=request.check,
        rules=request.rules,
        seed=request.seed,
    )


def table(asked: Heading, world: World, device: str, algorithm: str, rows: Sequence[Measurement]) -> str:
    """One algorithm's table, its rows in the order of sizes."""
    transport = ", ".join(dict.fromkeys(row.transport for row in rows)) or asked.transport
    program = f"{_PROGRAMS.get(asked.name, asked.name)}_perf"
    by_point = {(row.count, row.placement): row for row in rows}
    lines = [
        f"# Algorithm: {algorithm} transport: {transport}",
        *_head(asked, world, rows[0].device if rows else device, program),
    ]
    both = [[by_point.get((count, placement)) for placement in PLACEMENTS] for count in asked.counts]
    lines += [line(asked.op or "none", pair) for pair in both if any(pair)]
    wrong = sum(row.wrong or 0 for row in rows)
    busbw = [row.busbw for row in rows if row.busbw is not None]
    lines += [
        f"# Out of bounds values : {wrong} {'FAILED' if wrong else 'OK'}",
        f"# Avg bus bandwidth    : {sum(busbw) / len(busbw) / 1e9 if busbw else 0:g} ",
        "#",
        *_notes(asked, rows),
        f"# Collective test concluded: {program}",
        "#",
    ]
    return "\n".join(lines) + "\n"


def _head(asked: Heading, world: World, device: str, program: str) -> Iterable[str]:
    rules = asked.rules
    evidence = "emulated" if world.emulation else "measured"
    yield f"# clusterbench version {version('clusterbench')}, evidence: {evidence}, buffers: {asked.buffers} memory"
    yield f"# Collective test starting: {program}"
    gpus = int(asked.buffers == DEVICE)
    yield (
        f"# nThread 1 nGpus {gpus} minBytes {min(asked.sizes_bytes)} maxBytes {max(asked.sizes_bytes)} "
        f"warmup iters: {'detected' if rules.warmup is None else rules.warmup} "
        f"iters: {rules.iterations or f'until ±{rules.precision:.1%} or {rules.budget_s:g} s'} "
        f"validation: {int(asked.check)} seed: {asked.seed} thread level: {world.thread_level}"
    )
    if world.emulation:
        yield f"# Network: {emulated(world.emulation.scale, world.emulation.faults)}, {world.emulation.topology}"
    if asked.traffic:
        yield f"# Traffic: {asked.traffic}"
    if asked.host_ranks:
        yield f"# Hosts: as if each had {asked.host_ranks} of the ranks, in their order"
    yield "#"
    yield "# Using devices"
    for place in world.places:
        cores = ",".join(map(str, place.cores)) if len(place.cores) <= 4 else f"{len(place.cores)} cores"
        used = f"GPU {place.local_rank}" if asked.buffers == DEVICE else "no GPU used"
        place_text = f"Pid {place.pid:6d} on {place.host:>10s} core {cores:>2s} [{used}] {device}"
        yield f"#  Rank {place.rank:2d} Group  0 {place_text}"
    if world.oversubscribed:
        yield f"# More ranks than cores: {SHARED_CORES[bool(world.yields)]}"
    yield "#"
    yield from columns()


def columns() -> Iterable[str]:
    """The lines above the rows: out of place and in place, the columns, their units."""
    yield f"#{'':61s}{'out-of-place':^32s}{'in-place':^40s}".rstrip()
    columns = f"{'time':>8s}{'algbw':>8s}{'busbw':>8s}{'#wrong':>8s}"
    units = f"{'(us)':>8s}{'(GB/s)':>8s}{'(GB/s)':>8s}{'':>8s}"
    yield f"#{'size':>11s}{'count':>14s}{'type':>10s}{'redop':>8s}{'root':>8s} {columns} {columns}"
    yield f"#{'(B)':>11s}{'(elements)':>14s}{'':>26s} {units} {units}".rstrip()


def line(op: str, both: Sequence[Measurement | None]) -> str:
    """A row of the table: a measurement out of place and one in place, of which one may be missing."""
    row = next(row for row in both if row is not None)
    fields = f"{row.size_bytes:12d} {row.count:13d} {NCCL_NAMES[row.dtype]:>9s} {op:>7s} {row.root:7d}"
    return fields + "".join(f" {_figures(row)}" for row in both)


def _figures(row: Measurement | None) -> str:
    if row is None or row.median_s is None:
        return f"{'N/A':>8s} {'N/A':>7s} {'N/A':>7s} {'N/A':>7s}"
    wrong = "N/A" if row.wrong is None else str(row.wrong)
    # A blank between the fields, however wide they grow: readers split at blanks.
    return f"{_time(row.median_s * 1e6):>8s} {(row.algbw or 0) / 1e9:7.2f} {(row.busbw or 0) / 1e9:7.2f} {wrong:>7s}"


def _time(time_us: float) -> str:
    """As nccl-tests prints it: as many decimals as fit seven characters."""
    if time_us >= 10000:
        return f"{time_us:.0f}" if time_us >= 100000 else f"{time_us:.1f}"
    return f"{time_us:.2f}"


def _notes(asked: Heading, rows: Sequence[Measurement]) -> Iterable[str]:
    """What nccl-tests has no place for: intervals, what a sample is, and what was found wrong."""
    if rows:
        yield f"# Times are medians; a sample is the {rows[0].sample_unit}"
    for row in sorted(rows, key=lambda row: (row.placement != "out_of_place", row.count)):
        low, high = row.ci95_low_s, row.ci95_high_s
        interval = f"[{low * 1e6:.2f}, {high * 1e6:.2f}] us" if low is not None and high is not None else "none"
        verdict = row.verdict if row.verdict != "PASS" else ""
        extra = "; ".join(filter(None, [verdict, row.reason, *_held_against(row), row.note]))
        yield (
            f"# {row.placement.replace('_', '-')} {row.size_bytes} B: 95 % interval {interval}, {row.n} samples of "
            f"{row.batch}, {row.stop}{'; ' + extra if extra else ''}"
        )
    if rows and rows[0].bound_by:
        yield f"# Bound by {rows[0].bound_by}" + (f", of {rows[0].topology}" if rows[0].topology else "")
    points = len(asked.counts) * len(asked.placements)
    if len(rows) < points:
        yield f"# Not measured: {points - len(rows)} of {points} points, as the run ended early"
    yield "#"


def _held_against(row: Measurement) -> Iterable[str]:
    """How near a row comes to its bound and to what was expected."""
    if row.bound_s is not None and row.bound_share is not None:
        yield f"{row.bound_share:.0%} of the bound of {row.bound_s * 1e6:.2f} us"
    if row.expected_s is not None and row.expected_share is not None:
        yield f"{row.expected_share:.0%} of the speed expected, {row.expected_s * 1e6:.2f} us"
