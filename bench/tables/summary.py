"""What a run found, on one screen: the roof, the best kernels, and the library against the best schedule by size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import click

from clusterbench.bench.output import print_table, rate_text, share_text, size_text, time_text
from clusterbench.results.notes import SHARED_CORES, shares_cores
from clusterbench.results.record import Measurement
from clusterbench.results.report.figures import series_name
from clusterbench.results.report.rows import buffers
from clusterbench.results.statistics import faster

_HOW = {"simulated": "in an interpreter or simulator", "compiled": "by compiling"}


def print_summary(rows: Sequence[Measurement], failures: Iterable[str]) -> None:
    """Print the summary of a run's rows and its failures on standard output."""
    kernels = [row for row in rows if row.suite == "kernels"]
    _print_roof([row for row in rows if row.suite == "roof"])
    _print_kernels([row for row in kernels if row.median_s is not None])
    _print_verified([row for row in kernels if row.median_s is None])
    collectives = [row for row in rows if row.suite == "collectives" and row.median_s is not None]
    groups: dict[tuple[str, str, int, str], list[Measurement]] = {}
    for row in collectives:
        groups.setdefault((row.name, row.dtype, row.ranks, buffers(row.shape)), []).append(row)
    for (name, dtype, ranks, memory), found in groups.items():
        _print_collective(f"{name}, {dtype}, {ranks} ranks{f', {memory} buffers' if memory else ''}", found)
    _print_wrong(rows)
    for failure in failures:
        click.echo(f"failed: {failure}")


def _print_roof(rows: Sequence[Measurement]) -> None:
    # A ceiling may be measured again beside a kernel that seemed to beat it: the highest is the roof.
    highest: dict[tuple[str, str], Measurement] = {}
    for row in (row for row in rows if " " not in row.name):  # the caches' ceilings are in the report
        key = (row.name, row.dtype)
        if key not in highest or _rate(row) > _rate(highest[key]):
            highest[key] = row
    parts = [
        f"{row.name} {row.dtype} {rate_text(row.flop_per_s)} GFLOP/s"
        if row.flop_per_s is not None
        else f"{row.name} {rate_text(row.bytes_per_s)} GB/s"
        for row in highest.values()
    ]
    if parts:
        click.echo(f"\nMeasured roof: {', '.join(parts)}\n")


def _rate(row: Measurement) -> float:
    return row.flop_per_s or row.bytes_per_s or 0.0


def _print_kernels(rows: Sequence[Measurement]) -> None:
    best: dict[tuple[str, str], Measurement] = {}
    for row in rows:
        key = (row.name, row.dtype)
        if key not in best or (row.bound_share or 0) > (best[key].bound_share or 0):
            best[key] = row
    if not best:
        return
    print_table(
        "Kernels on the CPU, median, against the measured roof",
        ["kernel", "type", "shape", "GB/s", "GFLOP/s", "of roof", "verdict"],
        [
            (
                row.name,
                row.dtype,
                row.shape,
                rate_text(row.bytes_per_s),
                rate_text(row.flop_per_s),
                share_text(row.bound_share),
                row.verdict or "",
            )
            for _, row in sorted(best.items(), key=lambda item: (item[0][1], item[0][0]))
        ],
    )


def _print_verified(rows: Sequence[Measurement]) -> None:
    checked = Counter((row.backend, row.evidence) for row in rows if row.verdict is not None)
    passed = Counter((row.backend, row.evidence) for row in rows if row.verdict == "PASS")
    for (backend, evidence), count in sorted(checked.items()):
        how = _HOW.get(evidence, evidence)
        click.echo(f"{backend}: {passed[backend, evidence]} of {count} kernels verified {how}; not timed")
    if checked:
        click.echo()


def _print_collective(what: str, rows: Sequence[Measurement]) -> None:
    table = []
    out_of_place = [row for row in rows if row.placement != "in_place"] or list(rows)
    for size in sorted({row.size_bytes for row in out_of_place}):
        here = [row for row in out_of_place if row.size_bytes == size]
        library = min((row for row in here if row.algorithm.startswith("library")), key=_median, default=None)
        schedule = min((row for row in here if not row.algorithm.startswith("library")), key=_median, default=None)
        table.append(
            (
                size_text(size),
                time_text(library.median_s) if library else "",
                rate_text(library.busbw) if library else "",
                series_name(schedule.algorithm, schedule.transport, "", "measured", "own") if schedule else "",
                time_text(schedule.median_s) if schedule else "",
                rate_text(schedule.busbw) if schedule else "",
                compared(library, schedule) if library and schedule else "",
            )
        )
    if table:
        is_shared = any(shares_cores(row.note) for row in rows)
        shared = f"; {SHARED_CORES}: times are those of the scheduler, too" if is_shared else ""
        print_table(
            f"{what}, out of place, busbw in GB/s{shared}",
            ["size", "library µs", "busbw", "best schedule", "its µs", "busbw", "faster"],
            table,
        )


def compared(library: Measurement, schedule: Measurement) -> str:
    """Which of the two is faster and by what factor, or `cannot tell` (see `statistics.faster`).

    With more ranks than cores it cannot be told either: such times are those of the scheduler, too.
    """
    if library.median_s is None or schedule.median_s is None:
        return "cannot tell"
    if any(shares_cores(row.note) for row in (library, schedule)):
        return "cannot tell"
    by = faster((library.ci95_low_s, library.ci95_high_s), (schedule.ci95_low_s, schedule.ci95_high_s))
    if by == "second":
        return f"schedule {library.median_s / schedule.median_s:.2f}x"
    return f"library {schedule.median_s / library.median_s:.2f}x" if by == "first" else by


def _print_wrong(rows: Sequence[Measurement]) -> None:
    checked = [row for row in rows if row.wrong is not None]
    bad = [row for row in rows if row.verdict in ("FAIL", "INVALID") or row.wrong]
    if checked or bad:
        click.echo(f"Data checked in {len(checked)} rows; wrong or impossible: {len(bad)}.")
    for row in bad[:10]:
        what = " ".join(part for part in (row.name, row.algorithm, row.backend, row.dtype, row.shape) if part)
        click.echo(f"  {row.verdict or 'wrong'}: {what}: {row.reason or f'{row.wrong} wrong elements'}")


def _median(row: Measurement) -> float:
    return float("inf") if row.median_s is None else row.median_s
