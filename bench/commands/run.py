"""`clusterbench run`: the main job. Doctor, kernels, collectives, store, report; a part that fails stops no other."""

from __future__ import annotations

from pathlib import Path

import click

from clusterbench.bench.jobs.presets import PRESETS
from clusterbench.bench.launching.launch import launcher, launcher_size, speaks
from clusterbench.bench.options import SEED, job_options, machine_options


@click.command()
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(list(PRESETS)),
    default="quick",
    show_default=True,
    help="; ".join(f"{preset.name}: {preset.summary}" for preset in PRESETS.values()) + ".",
)
@job_options
@click.option("--seed", type=SEED, help="Order of sizes and algorithms.  [default: drawn]")
@click.option("--ranks", type=click.IntRange(min=2), help="Ranks for collectives.  [default: the cores, at least 2]")
@machine_options
def run(
    preset_name: str, out: Path, url: str | None, seed: int | None, ranks: int | None, as_json: bool, as_csv: bool
) -> int:
    """Measure this machine: what it can do, what its kernels and collectives do, and a report to look at.

    Starts mpiexec itself. The exit code is the worst of the parts; what failed is in the report. --json and --csv print
    all rows instead of the summary.
    """
    from clusterbench.bench.jobs.main_job import MainJob

    found = launcher()
    if found is not None and (launcher_size() or 1) > 1:
        raise click.UsageError(
            f"`clusterbench run` starts mpiexec itself; {found.name} has started {launcher_size()} of it: start it once"
        )
    job = MainJob.plan(PRESETS[preset_name], out, url=url, seed=seed, ranks=ranks, tables=not (as_json or as_csv))
    done = job.run()
    if as_json or as_csv:
        from clusterbench.bench.output import emit_csv, emit_json

        rows = [row.as_row() for row in done.rows]
        if as_json:
            emit_json(done.run.as_row(), rows)
        else:
            emit_csv(rows)
    return done.exit_code if speaks() else 0
