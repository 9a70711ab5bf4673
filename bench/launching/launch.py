"""Starting ranks, and knowing from the environment which rank this process is, before MPI is loaded.

Each launcher tells its processes their rank in variables of its own. Reading them costs nothing, works where MPI is
broken, and shows the field's most frequent trap: a launcher that starts N processes whose MPI library does not know
that launcher, so that each takes itself for a world of one rank.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import IO, ClassVar

from clusterbench.bench import exit_codes
from clusterbench.kernels.device import usable_cores

SAID_BY = "clusterbench:"
"""What the lines begin with that this suite itself says."""
WAIT_STEP_S = 1.0
"""Seldom enough not to disturb ranks that share the cores with this process."""


class LaunchError(RuntimeError):
    """Ranks could not be started; the message says what was found and what to do."""

    exit_code: ClassVar[int] = exit_codes.FAILED


@dataclass(frozen=True, slots=True)
class Launcher:
    """The variables by which one launcher tells a process its place. Empty where it has no such variable."""

    name: str
    rank: str
    size: str = ""
    local_size: str = ""


# The innermost launcher comes first: mpiexec of Open MPI or Hydra inside a Slurm job sets its own variables beside
# Slurm's. Of Slurm's, SLURM_PROCID is set in a batch script too, where nothing was launched; SLURM_STEP_NUM_TASKS only
# by srun.
_LAUNCHERS = (
    Launcher("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    Launcher("MVAPICH2", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
    # MPICH and Intel MPI both start ranks by Hydra.
    Launcher("Hydra", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    Launcher("Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
    Launcher("PMIx", "PMIX_RANK"),
)

# What a launcher leaves in the environment of its processes and must not leak into a second launcher that they start.
_LEAKS = ("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCAL", "HYDI_", "HYDRA_", "MV2_COMM_WORLD_", "PRTE_")


def launcher() -> Launcher | None:
    """The launcher that started this process, or None where it was started by hand."""
    for candidate in _LAUNCHERS:
        if not os.environ.get(candidate.rank, "").isdigit():
            continue
        if candidate.name == "Slurm" and not os.environ.get(candidate.size):
            continue
        return candidate
    return None


def launcher_rank() -> int | None:
    """This process's rank as its launcher says, or None where there is no launcher."""
    return _read("rank")


def launcher_size() -> int | None:
    """How many processes the launcher started, or None where there is no launcher or it does not say."""
    return _read("size")


def launcher_local_size() -> int | None:
    """How many processes the launcher started on this host, or None where it does not say."""
    return _read("local_size")


def _read(field: str) -> int | None:
    found = launcher()
    variable = getattr(found, field) if found else ""
    # Slurm writes `4(x2)` for two nodes of four tasks each.
    match = re.match(r"\d+", os.environ.get(variable, "")) if variable else None
    return int(match.group()) if match else None


def speaks() -> bool:
    """Whether this process prints: it is rank 0, or no launcher started it."""
    return (launcher_rank() or 0) == 0


def lone_world(size: int) -> str | None:
    """What is wrong when the MPI world has `size` ranks but the launcher started more; None when nothing is."""
    found, started, rank = launcher(), launcher_size(), launcher_rank()
    if found is None or size != 1 or ((started or 1) == 1 and not rank):
        return None
    many = str(started) if started else "more than one process"
    variable = found.size or found.rank
    return (
        f"the MPI world has 1 rank, but the launcher started {many} ({found.name}: "
        f"{variable}={os.environ.get(variable)}). The launcher does not belong to the MPI library that mpi4py loads, "
        f"so every process would run alone. Start with {find_mpiexec() or 'that library’s own mpiexec'}, or under srun "
        "choose the interface by --mpi=pmix or --mpi=pmi2; `clusterbench doctor` says which library is loaded."
    )


def find_mpiexec() -> str | None:
    """The mpiexec that belongs to this Python environment, else the first one on the path, else None.

    mpi4py's wheel looks for libmpi in the environment's own lib folder first, so the mpiexec beside the Python
    interpreter is the right one even if the environment is not activated.
    """
    own = Path(sys.exec_prefix) / "bin" / "mpiexec"
    return str(own) if os.access(own, os.X_OK) else shutil.which("mpiexec")


def mpiexec_family(mpiexec: str) -> tuple[str, str]:
    """Which MPI an mpiexec belongs to, and its version: (`mpich` | `openmpi` | `impi` | `unknown`, version text).

    Raises `LaunchError` where it does not start or does not answer in 30 seconds.
    """
    try:
        done = subprocess.run(
            [mpiexec, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{mpiexec} --version does not answer: {error}") from error
    return family_of(done.stdout + done.stderr)


def family_of(version_text: str) -> tuple[str, str]:
    """Family and version from the text of `mpiexec --version` or of MPI_Get_library_version."""
    patterns = (
        ("impi", r"Intel\(R\) MPI Library.*?(\d{4}\.\d[\d.]*)"),
        ("openmpi", r"(?:Open MPI\)? v?|OpenRTE\) )(\d+\.\d+[\w.]*)"),
        ("mpich", r"(?:MPICH Version|HYDRA build details:\s*Version):\s*(\S+)"),
    )
    for family, pattern in patterns:
        match = re.search(pattern, version_text, re.DOTALL)
        if match:
            return family, match.group(1)
    return "unknown", ""


def mpiexec_command(
    ranks: int, args: Sequence[str], *, mpiexec: str, family: str, as_root: bool | None = None
) -> list[str]:
    """The command line that starts `ranks` processes of `args` on this host, with what the family needs.

    Ranks pin themselves to cores, so every library's own binding is turned off.
    """
    as_root = os.geteuid() == 0 if as_root is None else as_root
    options: list[str] = []
    if family == "openmpi":
        options += ["--bind-to", "none"]
        if as_root:
            options.append("--allow-run-as-root")
        if ranks > usable_cores():
            options.append("--oversubscribe")
    elif family == "impi":
        options += ["-genv", "I_MPI_PIN", "0"]
    return [mpiexec, *options, "-n", str(ranks), *args]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a started command ended. `exit_code` is 124 where it was stopped because its time was over."""

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    """What went through to standard error; empty where both streams were collected as one."""
    timed_out: bool
    wall_s: float = 0.0
    """From its start to the end of all its processes."""


def pass_on(line: str) -> None:
    """Show a line that a started command wrote on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def run_mpiexec(
    ranks: int,
    args: Sequence[str],
    *,
    timeout_s: float,
    mpiexec: str | None = None,
    family: str | None = None,
    on_line: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
    quiet: bool = False,
) -> Finished:
    """Start `ranks` processes of `args` by mpiexec and wait for them.

    Standard output is collected, and given line by line to `on_line` as it comes; standard error goes through as it
    comes, or is collected with standard output if `quiet`. `on_wait` is called every `WAIT_STEP_S` seconds meanwhile.
    At the time-out, on Ctrl-C and on SIGTERM, everything that was started is stopped before this returns or raises.
    Raises `LaunchError` where there is no mpiexec or it does not start.
    """
    mpiexec = mpiexec or find_mpiexec()
    if mpiexec is None:
        raise LaunchError("no mpiexec in this Python environment or on the path; `pip install mpich` brings one")
    family = family or mpiexec_family(mpiexec)[0]
    command = mpiexec_command(ranks, args, mpiexec=mpiexec, family=family)
    return run_group(command, timeout_s=timeout_s, on_line=on_line, on_wait=on_wait, quiet=quiet)


def run_group(
    command: Sequence[str],
    *,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
    quiet: bool = False,
    give_up: Callable[[], bool] | None = None,
    takes: Callable[[str], bool] | None = None,
    on_error_line: Callable[[str], None] = pass_on,
) -> Finished:
    """`run_mpiexec` for any command line: a process group of its own, stopped as a whole.

    `give_up` is asked as often as `on_wait` is called, and where it says so all is stopped as at the time-out. `takes`
    is given the lines of standard error first; one that it takes is neither kept nor shown. `on_error_line` shows the
    others.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_LEAKS)}
    began_s = monotonic()
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if quiet else subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise LaunchError(f"{command[0]} does not start: {error}") from error
    lines: tuple[list[str], list[str]] = ([], [])
    readers = [
        threading.Thread(target=_collect, args=(process.stdout, lines[0], on_line), daemon=True),
        threading.Thread(target=_collect, args=(process.stderr, lines[1], on_error_line, takes), daemon=True),
    ]
    with terminated_as_interrupt():
        try:
            for reader in readers:
                reader.start()
            timed_out = _wait(process, timeout_s, on_wait, give_up)
        except BaseException:
            stop_group(process)
            raise
    for reader in readers:
        reader.join(5)
    code = exit_codes.TIMED_OUT if timed_out else process.returncode
    # A negative code is the signal that ended the launcher: in this suite's table that is a failure at run time.
    return Finished(
        tuple(command),
        code if code >= 0 else exit_codes.FAILED,
        "".join(lines[0]),
        "".join(lines[1]),
        timed_out,
        monotonic() - began_s,
    )


def _wait(
    process: subprocess.Popen[str],
    timeout_s: float,
    on_wait: Callable[[], None] | None,
    give_up: Callable[[], bool] | None,
) -> bool:
    """Wait for the end, or stop the group at the time-out, or where it is given up, and return True."""
    deadline = monotonic() + timeout_s
    looks = on_wait is not None or give_up is not None
    while True:
        left = deadline - monotonic()
        try:
            process.wait(max(0.0, min(left, WAIT_STEP_S) if looks else left))
            return False
        except subprocess.TimeoutExpired:
            if monotonic() >= deadline or (give_up is not None and give_up()):
                stop_group(process)
                return True
        if on_wait is not None:
            on_wait()


def _collect(
    stream: IO[str] | None,
    lines: list[str],
    on_line: Callable[[str], None] | None,
    takes: Callable[[str], bool] | None = None,
) -> None:
    for line in stream or ():
        if takes is not None and takes(line):
            continue
        lines.append(line)
        if on_line is not None:
            try:
                on_line(line.rstrip("\n"))
            except BrokenPipeError:  # nobody reads on, as behind `| head`: what is being measured still ends
                on_line = None


def stop_group(process: subprocess.Popen[str], grace_s: float = 5.0) -> None:
    """End a process started with a session of its own and everything below it: asked first, then killed."""
    import psutil

    try:
        # Launchers put ranks into groups of their own, so the group alone would miss them.
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(below, timeout=1)
    for child in alive:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, so that what was started is stopped with us; on the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
