"""Runs SimGrid's MPI simulator (Debian package libsimgrid-dev: smpicc, smpirun) on a platform."""

from __future__ import annotations

import resource
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

PROGRAM = Path(__file__).resolve().parents[1] / "oracles" / "smpi.c"
FLAGS = (
    # Links have the bandwidth and latency that the platform says, and no traffic of their own ...
    "network/model:CM02",
    "network/TCP-gamma:0",
    "network/crosstraffic:0",
    "network/weight-S:0",
    # ... messages cost nothing but their way, and what a rank copies to itself nothing at all ...
    "smpi/bw-factor:0:1",
    "smpi/lat-factor:0:1",
    "smpi/os:0:0:0",
    "smpi/or:0:0:0",
    "smpi/ois:0:0:0",
    "smpi/wtime:0",
    "network/loopback-lat:0",
    "network/loopback-bw:1e18",
    # ... and neither does what the program computes.
    "smpi/simulate-computation:no",
    "smpi/shared-malloc:global",
    "smpi/privatization:no",
)
MISSING = "SimGrid's smpirun and smpicc are not installed (Debian package libsimgrid-dev)"


def installed() -> bool:
    """Whether SimGrid's MPI simulator is here."""
    return shutil.which("smpirun") is not None and shutil.which("smpicc") is not None


@cache
def program() -> Path:
    """The compiled program."""
    binary = Path(mkdtemp(prefix="smpi-")) / "smpi"
    subprocess.run(["smpicc", "-O2", "-o", str(binary), str(PROGRAM)], check=True, capture_output=True, text=True)
    return binary


@dataclass(frozen=True, slots=True)
class Run:
    """What a run printed, as numbers, and the seconds of processor time that it took."""

    rows: list[list[float]]
    cpu_s: float


def _children_s() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def smpirun(
    platform: Path, hosts: list[str], *arguments: str, flags: tuple[str, ...] = (), timeout_s: int = 1800
) -> Run:
    """Run the program with a rank on each of the hosts, in their order."""
    listed = platform.with_suffix(".hosts")
    listed.write_text("".join(f"{host}\n" for host in hosts))
    command = ["smpirun", "-np", str(len(hosts)), "-platform", str(platform), "-hostfile", str(listed)]
    command += [f"--cfg={flag}" for flag in (*FLAGS, *flags)]
    before_s = _children_s()
    done = subprocess.run(
        [*command, str(program()), *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    cpu_s = _children_s() - before_s
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return Run([[float(word) for word in line.split()] for line in done.stdout.splitlines()], cpu_s)


def version() -> str:
    """The version that smpirun says it is of."""
    done = subprocess.run(["smpirun", "-version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]
