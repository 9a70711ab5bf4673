"""What NCCL should take, as `clusterbench tune --nccl` shows it: every call that had a choice, and the file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from clusterbench.bench.output import emit_csv, emit_document, print_table, size_text, time_text
from clusterbench.bench.tuning.nccl_choices import NcclChoice

_COLUMNS = ["size", "fastest", "µs", "against", "µs", "fastest / against", "launches", "change"]


def show(choices: Sequence[NcclChoice], rules: int, file: Path, *, as_json: bool, as_csv: bool) -> None:
    """Print the choices of calls, and how many rules are in the file."""
    rows = [_row(choice) for choice in choices]
    if as_json:
        emit_document({"nccl": str(file), "rules": rules, "choices": rows})
        return
    if as_csv:
        emit_csv(rows)
        return
    for (name, ranks, nodes), of in groupby(
        choices, key=lambda choice: (choice.collective, choice.ranks, choice.nodes)
    ):
        calls = list(of)
        evidence = calls[0].row.point["evidence"]
        title = (
            f"{name} over {ranks} ranks on {nodes} nodes, {evidence}: the fastest choice, and what it is held against"
        )
        print_table(title, _COLUMNS, [_cells(choice) for choice in calls])
    unsure = next((choice.row.reason for choice in choices if choice.row.change == "cannot tell"), "")
    if unsure:
        click.echo(f"cannot tell, for one: {unsure}")
    click.echo(f"Rules: {rules} in {file}")


def _row(choice: NcclChoice) -> dict[str, Any]:
    found = choice.row.as_row()
    return {
        "collective": choice.collective,
        "ranks": choice.ranks,
        "nodes": choice.nodes,
        "size_bytes": choice.size_bytes,
        "evidence": found["evidence"],
        "algorithm": choice.algorithm,
        "protocol": choice.protocol,
        "against": choice.against,
        "against_s": found["a_s"],
        "fastest_s": found["b_s"],
        **{name: found[name] for name in ("ratio", "ratio_low", "ratio_high", "change", "p_adjusted", "reason")},
        "rule": choice.kept,
    }


def _cells(choice: NcclChoice) -> tuple[object, ...]:
    row, ratio = choice.row, choice.row.ratio
    interval = f" [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio is not None and ratio.low is not None else ""
    value = "" if ratio is None else f"{ratio.value:.2f}{interval}"
    launches = f"{row.launches[1]}, {row.launches[0]}"
    fastest = f"{choice.algorithm}/{choice.protocol}"
    times = time_text(row.b_s), time_text(row.a_s)
    return size_text(choice.size_bytes), fastest, times[0], choice.against, times[1], value, launches, row.change
