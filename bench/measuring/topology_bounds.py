"""What `clusterbench topology bound` gives: a row a size, and a table for a person."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import click

from clusterbench.bench.output import print_table, rate_text, size_text, time_text
from clusterbench.collectives.bounds.bounds import limits
from clusterbench.collectives.bounds.classes import class_limit
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.topology.graph import Topology
from clusterbench.results import rates


def bound_rows(topology: Topology, collective: Collective, sizes: Sequence[int], root: int) -> list[dict[str, Any]]:
    """A row a size (bytes): seconds, bytes/s, and the exact bytes/s that bandwidth permits, as a fraction in text.

    Raises what `limits` raises.
    """
    found = limits(topology, collective.name, root if collective.is_rooted else -1)
    of_class = class_limit(topology) if collective.name == "all_reduce" else None
    ranks, rows = len(topology.ranks), []
    for size_bytes in sizes:
        bound = found.at(size_bytes)
        algbw = size_bytes / bound.bound_s if bound.bound_s else None
        rows.append(
            {
                "topology": topology.name,
                "collective": collective.name,
                "size_bytes": size_bytes,
                "ranks": ranks,
                "bound_s": bound.bound_s,
                "algbw": algbw,
                "busbw": None if algbw is None else rates.busbw(collective.name, size_bytes, bound.bound_s, ranks),
                "limit": bound.kind,
                "by": bound.by,
                "latency_s": bound.latency_s,
                "hardware_s": bound.hardware_s,
                "exact_algbw": _inverse(bound.seconds_per_byte),
                "class_s": of_class.at(size_bytes) if of_class else None,
                "class_name": of_class.name if of_class else None,
                "class_reason": of_class.reason if of_class else None,
                "among": bound.among,
                "complete": bound.complete,
                "estimated": bound.estimated,
            }
        )
    return rows


def _inverse(seconds_per_byte: Fraction) -> str | None:
    """Bytes/s as a whole number or a fraction; None where nothing limits them."""
    return str(1 / seconds_per_byte) if seconds_per_byte else None


def print_bounds(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows of one collective on one topology, what limits it, and what the figures hold for."""
    first, last = rows[0], rows[-1]
    click.echo(f"{first['collective']} on {first['topology']}, {first['ranks']} ranks: no algorithm is faster")
    columns = ["size", "bound µs", "algbw GB/s", "busbw GB/s", "limited by"]
    cells = [
        [size_text(row["size_bytes"]), time_text(row["bound_s"]), rate_text(row["algbw"]), rate_text(row["busbw"]),
         row["limit"]]
        for row in rows
    ]  # fmt: skip
    if first["class_s"] is not None:
        columns.append("class µs")
        cells = [[*line, time_text(row["class_s"])] for line, row in zip(cells, rows, strict=True)]
    print_table("", columns, cells)
    for limit in dict.fromkeys((row["limit"], row["by"]) for row in rows):
        click.echo(f"{limit[0]}: {limit[1]}")
    if last["exact_algbw"] is not None:
        click.echo(f"exact algbw by bandwidth alone: {_exact(last['exact_algbw'])} GB/s")
    certain = "exactly" if last["complete"] else "not all of them"
    click.echo(f"cuts: {last['among']}, {certain}")
    if last["class_name"]:
        why = f": not known, {last['class_reason']}" if last["class_reason"] else ""
        click.echo(f"class: {last['class_name']}{why}")
    if last["estimated"]:
        click.echo("estimated: links were measured or guessed, so this is not what the hardware permits")


def _exact(bytes_per_s: str) -> str:
    """GB/s of a fraction: `2400/7 = 342.857`."""
    exact = Fraction(bytes_per_s) / 10**9
    return str(exact) if exact.denominator == 1 else f"{exact} = {float(exact):.6g}"
