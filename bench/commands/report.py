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
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The HTML file to write.")
@click.option(
    "--figures",
    "figures_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the figures of the runs into this folder, as PNG and as SVG.",
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
    help="A run to report on, the latest unless given: its id, a unique beginning, latest, previous; several times.",
)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Report on the last N runs of the store.")
def report(
    output: Path | None,
    figures_folder: Path | None,
    url: str,
    journals: tuple[Path, ...],
    run_texts: tuple[str, ...],
    last: int | None,
) -> int:
    """Write the report of one run or several: verdicts, roofline, kernels, collectives, messages, schedules, what was
    skipped; of several the comparison of any two, the history of a point, and what changed in the environment."""
    if output is None and figures_folder is None:
        raise click.UsageError("nothing to write: expected --output FILE, --figures DIR, or both")
    if sum(map(bool, (journals, run_texts, last))) > 1:
        raise click.UsageError("--journal, --run and --last exclude each other")
    runs, frame = _from_journals(journals) if journals else _from_store(url, run_texts, last or 1)
    if output is not None:
        _write_page(output, runs, frame)
    if figures_folder is not None:
        from clusterbench.results.report.figure_files import write_figures

        click.echo(f"figures: {len(write_figures(figures_folder, runs, frame))} files in {figures_folder}")
    return exit_codes.GOOD


def _write_page(output: Path, runs: list[Run], frame: DataFrame) -> None:
    from clusterbench.bench.tables.pictures import pictures
    from clusterbench.results.report.page import write_report

    shown = pictures(frame)
    write_report(output, runs, frame, shown.drawn, shown.not_drawn)
    click.echo(f"report: {output}")


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


def _from_store(url: str, run_texts: tuple[str, ...], last: int) -> tuple[list[Run], DataFrame]:
    from clusterbench.results.store import Store

    with Store.open(url, create=False) as store:
        if run_texts:
            runs = list({run.run_id: run for run in map(store.find_run, run_texts)}.values())
        else:
            store.find_run("latest")  # says so where there is none
            runs = list(store.runs()[:last])
        return runs, store.frame(run_id=[run.run_id for run in runs])
