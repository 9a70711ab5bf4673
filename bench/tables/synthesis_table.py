"""What `clusterbench synthesize` gives: a row a size, a table for a person, and a file that was proven."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from clusterbench.bench.output import print_table, rate_text, share_text, size_text, time_text
from clusterbench.collectives.plans.files import write_schedule
from clusterbench.collectives.proof import prove
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.synthesis.choosing import Choice, chosen
from clusterbench.collectives.synthesis.synthesis import Synthesis, synthesize
from clusterbench.collectives.topology.graph import Topology


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A synthesis, what is best of it by size, and how long both took."""

    synthesis: Synthesis
    choices: tuple[Choice, ...]
    synthesis_s: float
    choosing_s: float


def made(topology: Topology, name: str, sizes: Sequence[int], root: int, most_trees: int | None) -> Made:
    """Synthesise, and choose for each size. Raises what `synthesize` does."""
    start_s = perf_counter()
    found = synthesize(topology, name, root, most_trees)
    middle_s = perf_counter()
    patterns = Patterns(topology)
    choices = tuple(chosen(found, size_bytes, patterns) for size_bytes in sizes)
    return Made(found, choices, middle_s - start_s, perf_counter() - middle_s)


def rows(of: Made) -> list[dict[str, Any]]:
    """A row a size: bytes, seconds, bytes/s, and the exact rate of the trees as a fraction in text."""
    synthesis = of.synthesis
    return [
        {
            "topology": synthesis.topology.name,
            "collective": synthesis.limits.collective,
            "size_bytes": choice.size_bytes,
            "ranks": synthesis.fast.ranks,
            "kind": choice.kind,
            "segments": choice.segments,
            "time_s": choice.time_s,
            "evidence": "simulated",
            "bound_s": (bound := synthesis.limits.at(choice.size_bytes)).bound_s,
            "bound_share": bound.bound_s / choice.time_s if choice.time_s else None,
            "explanation": choice.prediction.explanation,
            "exact_rate": None if synthesis.fast.rate is None else str(synthesis.fast.rate),
            "exact_rate_share": None if synthesis.share is None else str(synthesis.share),
            "trees": synthesis.fast.trees,
            "trees_of_a_root": synthesis.most_trees_of_a_root,
            "depth": synthesis.fast.depth,
            "synthesis_s": of.synthesis_s,
            "choosing_s": of.choosing_s,
        }
        for choice in of.choices
    ]


def print_synthesis(of: Made) -> None:
    """Print what was made and what it is simulated to take."""
    synthesis, fast = of.synthesis, of.synthesis.fast
    click.echo(f"{synthesis.limits.collective} on {synthesis.topology.name}, {fast.ranks} ranks")
    if fast.rate is None:
        click.echo("rate: no link limits it")
    else:
        exact = fast.rate / 10**9
        text = str(exact) if exact.denominator == 1 else f"{exact} = {float(exact):.6g}"
        share = synthesis.share
        of_bound = (
            "no bound" if share is None else "all of the bound" if share == 1 else f"{float(share):.2%} of the bound"
        )
        click.echo(f"rate: {text} GB/s, {of_bound}")
    click.echo(f"trees: {fast.trees}, at most {synthesis.most_trees_of_a_root} of a root; depth {fast.depth}")
    click.echo(f"took: {of.synthesis_s:.2f} s for the trees, {of.choosing_s:.2f} s for the segments")
    cells = []
    for choice in of.choices:
        bound_s = synthesis.limits.at(choice.size_bytes).bound_s
        cells.append(
            [size_text(choice.size_bytes), choice.kind, choice.segments, time_text(choice.time_s), time_text(bound_s),
             share_text(bound_s / choice.time_s if choice.time_s else None),
             rate_text(choice.size_bytes / choice.time_s if choice.time_s else None)]
        )  # fmt: skip
    print_table("", ["size", "by", "segments", "simulated µs", "bound µs", "share", "algbw GB/s"], cells)


def written(of: Made, path: Path) -> str:
    """Prove the schedule of the last size and write it to a file; in words, what was proven.

    Raises `ProofError` or `ScheduleFileError`.
    """
    choice = of.choices[-1]
    proof = prove(choice.schedule)
    topology = re.sub(r"[^A-Za-z0-9._:,=-]", "-", of.synthesis.topology.name)
    write_schedule(choice.schedule, path, f"synthesized:{topology}"[:100])
    return (
        f"{path}: proven, {proof.transfers} transfers in {proof.rounds} rounds, {choice.segments} segments for "
        f"{size_text(choice.size_bytes)}"
    )
