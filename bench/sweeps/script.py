"""A sweep as text: its command lines, its duration, and a batch script that runs it under Slurm (sbatch(1))."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from clusterbench.bench.jobs.world_runs import python, world_args
from clusterbench.bench.sweeps.file import SweepFileError
from clusterbench.bench.sweeps.job import SweepJob
from clusterbench.bench.sweeps.plan import Launch
from clusterbench.bench.sweeps.times import duration_text

TIME_FACTOR, TIME_MARGIN_S = 1.5, 600.0
"""Of the time that a job asks for: more than expected, as a job that is ended has to be started again."""


def command_text(job: SweepJob, launch: Launch) -> str:
    """The command line of a launch, as one would type it."""
    args = python(world_args(job.record, launch.part))
    return shlex.join(job.launcher.line(launch.ranks, launch.rank_placement, args))


def batch_script(job: SweepJob) -> str:
    """The script. Started again, as Slurm does with a job whose host failed, it goes on where it was."""
    ranks = max(launch.ranks for launch in job.plan.launches)
    per_host = job.launcher.ranks_per_host or -(-ranks // max(1, len(job.launcher.hosts)))
    hosts = job.launcher.hosts
    minutes = math.ceil((job.plan.expected_s * TIME_FACTOR + TIME_MARGIN_S) / 60)
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=clusterbench-sweep",
        f"#SBATCH --nodes={len(hosts) or -(-ranks // per_host)}",
        f"#SBATCH --ntasks-per-node={per_host}",
        f"#SBATCH --time={minutes // 60:02d}:{minutes % 60:02d}:00",
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        *([f"#SBATCH --nodelist={','.join(hosts)}"] if hosts else []),
        "",
        f"# {len(job.plan.launches)} launches, {job.plan.points} rows, about {duration_text(job.plan.expected_s)}",
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
    ]
    sweep = ["sweep", str(job.sweep.path), "--out", str(job.record.out), "--store", job.record.url, "--resume"]
    return "\n".join([*lines, f"exec {shlex.join(python(sweep))}", ""])


def write_script(path: Path, text: str) -> None:
    """Write a script that may be run. Raises `SweepFileError` where it cannot be written."""
    try:
        path.write_text(text)
        path.chmod(0o755)
    except OSError as error:
        raise SweepFileError(f"--sbatch {path}: cannot write it: {error.strerror or error}") from error
