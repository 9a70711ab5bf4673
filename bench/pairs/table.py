"""What `collectives pairs` prints: matrices of latency and bandwidth, the figures of each class, who is to blame."""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np

from clusterbench.bench.output import print_table, rate_text, size_text, time_text
from clusterbench.bench.pairs.outliers import ClassFigures, class_figures
from clusterbench.bench.pairs.runs import ALONE, CLASSES, LATENCY, NOT_ALONE, QUANTITIES, PairRuns
from clusterbench.results.record import Measurement

MATRIX_RANKS = 16
"""Ranks up to which every pair is printed."""


def print_pairs(runs: PairRuns, rows: Sequence[Measurement], device: str) -> None:
    """Print what was measured on standard output."""
    world, request = runs.world, runs.request
    measured, there = len(runs.measured), world.size * (world.size - 1) // 2
    sampled = "" if measured == there else f", a sample drawn by seed {request.seed}"
    click.echo(
        f"{measured} of {there} pairs of {world.size} ranks on {world.nodes} hosts in {len(runs.rounds)} rounds"
        f"{sampled}; {device}\n"
        f"latency at {size_text(request.latency_bytes)}, bandwidth at {size_text(request.bandwidth_bytes)} with "
        f"{request.window} messages in flight; medians, all pairs of a round at once\n"
    )
    if world.size <= MATRIX_RANKS:
        for quantity in QUANTITIES:
            _print_matrix(runs, quantity)
    _print_classes(runs)
    _print_again([row for row in rows if row.algorithm == ALONE])
    for row in rows:
        if row.verdict in ("FAIL", "INVALID"):
            click.echo(f"{row.verdict}: {row.name} {row.shape}: {row.reason}")
    for text in runs.skipped:
        click.echo(f"skipped: {text}")


def _value(runs: PairRuns, quantity: str, time_s: float) -> str:
    if np.isnan(time_s):
        return ""
    return time_text(time_s) if quantity == LATENCY else rate_text(runs.request.bandwidth_bytes / time_s)


def _print_matrix(runs: PairRuns, quantity: str) -> None:
    ranks = range(runs.world.size)
    title = (
        "Latency, µs (half of a round trip)" if quantity == LATENCY else "Bandwidth, GB/s, from the rank of the line"
    )
    print_table(
        title,
        ["from \\ to", *map(str, ranks)],
        [[src, *(_value(runs, quantity, runs.times_s[quantity][src, dst]) for dst in ranks)] for src in ranks],
    )


def _print_classes(runs: PairRuns) -> None:
    listed = []
    for quantity in QUANTITIES:
        for which, name in enumerate(CLASSES):
            times_s = runs.times_s[quantity]
            if quantity == LATENCY:
                times_s = np.where(np.triu(np.ones(times_s.shape, bool)), times_s, np.nan)  # both ways are the same
            figures = class_figures(times_s, runs.classes, which)
            if figures is not None:
                listed.append([quantity, name, figures.pairs, *_figures(runs, quantity, figures)])
    print_table(
        "By what a pair shares, in µs and GB/s",
        ["quantity", "class", "measured", "median", "MAD", "best", "worst"],
        listed,
    )


def _figures(runs: PairRuns, quantity: str, figures: ClassFigures) -> list[str]:
    share = f"{100 * figures.mad_s / figures.median_s:.1f} %"
    values = [_value(runs, quantity, time_s) for time_s in (figures.median_s, figures.best_s, figures.worst_s)]
    return [values[0], share, *values[1:]]


def _print_again(rows: Sequence[Measurement]) -> None:
    bad = [row for row in rows if row.culprit]
    quiet = [row for row in rows if NOT_ALONE in row.note]
    if bad:
        print_table(
            "Slow with the others and alone",
            ["culprit", "quantity", "pair", "figures"],
            [[row.culprit, row.name, row.shape, row.reason] for row in bad],
        )
    if quiet:
        click.echo(f"{len(quiet)} measurements stood out with all pairs at once and not alone.")
    if not bad:
        click.echo("No pair stands out.")
