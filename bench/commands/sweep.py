"""`clusterbench sweep`: many launches of collectives, as a file says; each point in several fresh worlds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterbench.bench import exit_codes
from clusterbench.bench.launching.launch import launcher, launcher_size, speaks
from clusterbench.bench.options import job_options, machine_options

if TYPE_CHECKING:
    from clusterbench.bench.sweeps.file import Sweep
    from clusterbench.bench.sweeps.job import SweepJob
    from clusterbench.bench.worlds.launchers import Launcher


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@job_options
@click.option("--dry-run", is_flag=True, help="Print the commands and the time that they take; run nothing.")
@click.option(
    "--resume", is_flag=True, help="Go on with the last sweep of FILE in OUT; what is complete is not run again."
)
@click.option(
    "--sbatch",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a batch script for Slurm that runs the sweep; run nothing.",
)
@machine_options
def sweep(
    file: Path,
    out: Path,
    url: str | None,
    dry_run: bool,
    resume: bool,
    sbatch: Path | None,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Measure all that FILE asks for: collectives × algorithms × sizes × types × ranks × placements × launches.

    Starts mpiexec or srun itself, once for each launch. A rank that is killed, stopped or hangs is named; the row that
    it was at is marked, and the sweep goes on with the next. The exit code is the worst of the launches. --json and
    --csv print all rows instead of the summary.
    """
    found = launcher()
    if found is not None and (launcher_size() or 1) > 1:
        raise click.UsageError(
            f"`clusterbench sweep` starts the ranks itself; {found.name} has started {launcher_size()} of it: "
            "start it once"
        )
    from clusterbench.bench.sweeps.file import read_sweep

    asked = read_sweep(file)
    job = _job(asked, out, url, resume, tables=not (as_json or as_csv))
    if sbatch is not None:
        return _write_script(job, sbatch)
    if dry_run:
        return _show(job, as_json, as_csv)
    done = job.run()
    if as_json or as_csv:
        from clusterbench.bench.output import emit_csv, emit_json

        rows = [row.as_row() for row in done.rows]
        if as_json:
            emit_json(done.run.as_row(), rows)
        else:
            emit_csv(rows)
    return done.exit_code if speaks() else exit_codes.GOOD


def _job(asked: Sweep, out: Path, url: str | None, resume: bool, tables: bool) -> SweepJob:
    import secrets

    from clusterbench.bench.hosts.environment import new_run_id
    from clusterbench.bench.jobs.job_record import JobRecord
    from clusterbench.bench.output import note
    from clusterbench.bench.sweeps.job import SweepJob, earlier_run, known_times
    from clusterbench.bench.sweeps.plan import plan

    earlier = earlier_run(asked, out / "journals") if resume else None
    if resume and earlier is None:
        note(f"there is no sweep of {asked.path} in {out} to go on with: a new one begins")
    seed = asked.seed if earlier is None else earlier.seed
    record = JobRecord(
        out=out,
        url=url or f"sqlite:///{out / 'results.db'}",
        seed=secrets.randbits(32) if seed is None else seed,
        run_id=new_run_id() if earlier is None else earlier.run_id,
        tables=tables,
    )
    starts = _launcher(asked)
    known = known_times(record.url, asked, starts)
    planned = plan(asked, starts, record.seed, known)
    for text in planned.left_out:
        note(f"left out: {text}")
    return SweepJob(asked, planned, known, starts, record)


def _launcher(asked: Sweep) -> Launcher:
    from clusterbench.bench.worlds.launchers import find_launcher, slurm_hosts

    choice = asked.launcher
    hosts = choice.hosts or slurm_hosts()
    return find_launcher(choice.kind, choice.command, hosts, choice.ranks_per_host, choice.arguments)


def _show(job: SweepJob, as_json: bool, as_csv: bool) -> int:
    """Print what would be run."""
    from collections import Counter

    from clusterbench.bench.hosts.recorded_variables import redact
    from clusterbench.bench.output import emit_csv, emit_document
    from clusterbench.bench.sweeps.script import command_text
    from clusterbench.bench.sweeps.times import BUDGET, duration_text, in_words

    left = job.left()
    rows = [
        {
            "launch": launch.part.title,
            "ranks": launch.ranks,
            "points": launch.points,
            "expected_s": launch.expected_s,
            "expected_by": launch.by if as_json else in_words(job.known, launch.by),
            "command": redact(command_text(job, launch)),
        }
        for launch in left
    ]
    if as_json:
        start = {"start_s": job.known.start_s, "start_known": job.known.start_known}
        emit_document({"launches": rows, "left_out": list(job.plan.left_out), **start})
    elif as_csv:
        emit_csv(rows)
    else:
        expected_s = sum(launch.expected_s for launch in left)
        by = sum((launch.by for launch in left), Counter[str]())
        most = "at most " if by.total() == by[BUDGET] else ""
        click.echo(f"# {len(left)} launches, {by.total()} rows, {most}about {duration_text(expected_s)}")
        click.echo(f"# {in_words(job.known, by)}")
        for row, launch in zip(rows, left, strict=True):
            click.echo(f"# {row['launch']}: {row['points']} rows, {duration_text(launch.expected_s)}\n{row['command']}")
    return exit_codes.GOOD


def _write_script(job: SweepJob, path: Path) -> int:
    from clusterbench.bench.hosts.recorded_variables import redact
    from clusterbench.bench.sweeps.script import batch_script, write_script

    if redact(job.record.url) != job.record.url:
        raise click.UsageError(
            "--store has a password, which the script would show; leave it to PGPASSFILE or ~/.pgpass"
        )
    write_script(path, batch_script(job))
    click.echo(f"Script: {path}")
    return exit_codes.GOOD
