"""`clusterbench report`: one self-contained HTML file from the store or from journals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.options import store_option
from clusterbench.bench.output import note

if TYPE_CHECKING:
    from pandas import DataFrame

    from clusterbench.results.record import Measurement, Run


@click.command()
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The HTML file to write."
)
@store_option
@click.option(
    "--journal",
    "journals",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Report on this journal instead of the store; may be given several times.",
)
@click.option(
    "--run",
    "run_texts",
    multiple=True,
    metavar="RUN",
    help="A run to report on: its id, a unique beginning, latest, previous. The latest unless given.",
)
def report(output: Path, url: str, journals: tuple[Path, ...], run_texts: tuple[str, ...]) -> int:
    """Write the report of a run: verdicts, roofline, kernels, collectives, messages, schedules, what was skipped."""
    from clusterbench.bench.pictures import pictures
    from clusterbench.results.report.page import write_report

    if journals and run_texts:
        raise click.UsageError("--journal and --run exclude each other")
    runs, frame = _from_journals(journals) if journals else _from_store(url, run_texts or ("latest",))
    shown = pictures(frame)
    write_report(output, runs, frame, shown.drawn, shown.not_drawn)
    click.echo(f"report: {output}")
    return exit_codes.GOOD


def _from_journals(journals: tuple[Path, ...]) -> tuple[list[Run], DataFrame]:
    from clusterbench.results.columns import to_frame
    from clusterbench.results.journal import merge_runs, read_journal

    parts: dict[str, list[Run]] = {}
    measurements: list[Measurement] = []
    seen: set[str] = set()
    for path in journals:
        contents = read_journal(path)
        for line in contents.damaged_lines:
            note(f"{path}, line {line.line}: skipped, {line.reason}")
        if contents.journal_id not in seen:
            seen.add(contents.journal_id)
            parts.setdefault(contents.run.run_id, []).append(contents.run)
            measurements += contents.measurements
    return [merge_runs(runs) for runs in parts.values()], to_frame(measurements)


def _from_store(url: str, run_texts: tuple[str, ...]) -> tuple[list[Run], DataFrame]:
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        runs = list({run.run_id: run for run in map(store.find_run, run_texts)}.values())
        return runs, store.frame(run_id=[run.run_id for run in runs])
