"""Files of other tools become runs: read, held against a topology, written to a journal each, and loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterbench.bench import exit_codes, judge
from clusterbench.bench.output import (
    emit_csv,
    emit_document,
    note,
    print_table,
    progress,
    rate_text,
    share_text,
    size_text,
    time_text,
)
from clusterbench.bench.stored.imported_bounds import judged
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.spec import topology_from
from clusterbench.results import notes
from clusterbench.results.importing import Imported, ImportedFileError, import_file
from clusterbench.results.journal import write_journal
from clusterbench.results.record import Measurement
from clusterbench.results.store import Store

if TYPE_CHECKING:
    from clusterbench.collectives.topology.graph import Topology


MOST_SHOWN = 500
"""Rows of a file that a table shows, and as many again of the others that are not good: the layout of more takes longer
than reading them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the files."""

    importer: str | None
    ranks: int | None
    """How many ran, for files that do not say; those of the topology where there is one."""
    topology: str
    url: str
    journals: Path


def import_files(paths: Sequence[Path], asked: Asked, *, as_json: bool, as_csv: bool) -> int:
    """Import files one after the other, and show their rows; what was skipped is said on standard error, by line.

    A file that is refused is said and left out. Returns the exit code: 3 where data are wrong or a row cannot be, else
    2 where a file was refused, else 0. Raises `TopologyError` for a topology that is none, and `JournalError`,
    `JournalWriteError` and `StoreError` where the rows cannot be kept.
    """
    topology = topology_from(asked.topology) if asked.topology else None
    refused = 0
    found: list[tuple[Path, Imported]] = []
    with progress("importing", len(paths)) as step:
        for path in paths:
            step(path.name, 0)
            try:
                found.append((path, _imported(path, asked, topology)))
            except (ImportedFileError, TopologyError) as error:
                refused += 1
                note(str(error))
            step("", 1)
    journals = [
        write_journal(asked.journals, one.run, zip(one.measurements, one.samples, strict=True)) for _, one in found
    ]
    rows = [row for _, one in found for row in one.measurements]
    if as_json:
        runs = [one.run.as_row() for _, one in found]
        emit_document({"run": runs[0] if len(runs) == 1 else {}, "runs": runs, "rows": [row.as_row() for row in rows]})
    elif as_csv:
        emit_csv([row.as_row() for row in rows])
    else:
        for path, one in found:
            _print(path, one)
    with Store.open(asked.url) as store:  # last: whatever becomes of it, the rows have been shown
        new = sum(store.load(journal) for journal in journals)
    if not (as_json or as_csv):
        click.echo(f"{new} new rows from {len(found)} files in {asked.url}")
    code = judge.exit_code(rows)
    return code if code == exit_codes.WRONG_DATA else exit_codes.USAGE if refused else code


def _imported(path: Path, asked: Asked, topology: Topology | None) -> Imported:
    """One file; its run id tells apart what was read with other ranks, or judged by another topology."""
    ranks = asked.ranks if asked.ranks is not None or topology is None else len(topology.ranks)
    found = import_file(path, asked.importer, ranks)
    for failure in found.run.failures:
        note(f"{path}: {failure}")
    if topology is not None:
        found, without = judged(found, topology, asked.topology, str(path))
        for words in without:
            note(f"{path}: {words}")
    return found if topology is None and asked.ranks is None else _named_by_rows(found)


def _named_by_rows(imported: Imported) -> Imported:
    rows = json.dumps([row.as_row() for row in imported.measurements], sort_keys=True)
    run_id = f"{imported.run.run_id}-{hashlib.sha256(rows.encode()).hexdigest()[:8]}"
    return replace(
        imported,
        run=replace(imported.run, run_id=run_id),
        measurements=tuple(replace(row, run_id=run_id) for row in imported.measurements),
    )


def _print(path: Path, imported: Imported) -> None:
    """A table of the rows, what limits them, and how to go on."""
    rows = imported.measurements
    not_good = [row for row in rows[MOST_SHOWN:] if row.verdict not in (None, "PASS")]
    shown = [*rows[:MOST_SHOWN], *not_good[:MOST_SHOWN]]
    columns = ["what", "ranks", "type", "size", "time us", "busbw GB/s"]
    held = any(row.bound_s is not None for row in rows)
    columns += ["bound us", "of bound", "expected us", "of expected", "expected by"] if held else []
    print_table(
        f"{path}: {len(rows)} rows, run {imported.run.run_id}",
        [*columns, "verdict", "label"],
        [[*_cells(row, held=held), row.verdict or "", _label(row)] for row in shown],
    )
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} further rows: clusterbench results list --run {imported.run.run_id}")
    for name, by in dict.fromkeys((row.name, row.bound_by) for row in rows if row.bound_by):
        click.echo(f"{name} is limited by {by}")
    for reason in dict.fromkeys(row.reason for row in rows if row.reason):
        click.echo(f"reason: {reason}")
    click.echo(f"clusterbench report --run {imported.run.run_id} --output report.html")


def _cells(row: Measurement, *, held: bool) -> list[Any]:
    placement = "in place" if row.placement == "in_place" else ""
    algorithm = "" if row.algorithm in ("library", row.name) else row.algorithm
    what = " ".join(filter(None, (row.name, algorithm, placement)))
    size = row.shape if row.suite == "kernels" else size_text(row.size_bytes)
    cells = [what, row.ranks, row.dtype, size, time_text(row.median_s), rate_text(row.busbw)]
    if held:
        cells += [time_text(row.bound_s), share_text(row.bound_share)]
        model = notes.expecting_model(row.note).removeprefix("NCCL's model: ").partition(" of ")[0]
        cells += [time_text(row.expected_s), share_text(row.expected_share), model]
    return cells


def _label(row: Measurement) -> str:
    return "in-network" if notes.is_in_network(row.note) else ""
