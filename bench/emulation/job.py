"""One emulation from its beginning to its end: what is refused, the network, COMMAND under mpiexec, and no trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clusterbench.bench import exit_codes
from clusterbench.bench.emulation import entering, network, runtime
from clusterbench.bench.emulation.batches import namespaces
from clusterbench.bench.emulation.cleaning import clean, cleaned_if_killed
from clusterbench.bench.emulation.late import end_relays, refuse_ended, start_relays
from clusterbench.bench.emulation.mpi_lines import mpi_line, mpi_variables
from clusterbench.bench.emulation.plan import EmulationError, Plan
from clusterbench.bench.emulation.shaping import HEADER_FACTOR, bucket_bytes
from clusterbench.bench.emulation.slices import shorten_slices
from clusterbench.bench.launching.launch import (
    Finished,
    LaunchError,
    find_mpiexec,
    mpiexec_family,
    run_group,
    terminated_as_interrupt,
)


@dataclass(frozen=True, slots=True)
class Emulation:
    """What is to be run, and where."""

    text: str
    """The topology as it was written."""
    plan: Plan
    faults: tuple[str, ...]
    """In the topology of the plan."""
    rate: float
    """Bytes/s of the fastest link of a host."""
    command: tuple[str, ...]
    timeout_s: float
    mpiexec: str
    family: str
    once: bool = False
    """Whether COMMAND starts its ranks itself."""

    def hosts(self) -> list[str]:
        """The host of every rank."""
        return [self.plan.hosts[host] for host in self.plan.ranks]


def find_command(words: Sequence[str]) -> tuple[str, ...]:
    """COMMAND with the path of its program, which may be one of this Python environment. Raises `EmulationError`."""
    own = str(Path(sys.exec_prefix) / "bin")
    program = shutil.which(words[0]) or shutil.which(words[0], path=own)
    if program is None:
        raise EmulationError(f"COMMAND {words[0][:80]!r}: there is no such program on the path or in {own}")
    return (str(Path(program).absolute()), *words[1:])


def find_mpi() -> tuple[str, str]:
    """The mpiexec of this environment and its family. Raises `LaunchError`."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise LaunchError("no mpiexec in this Python environment or on the path; `pip install mpich` brings one")
    return mpiexec, mpiexec_family(mpiexec)[0]


def run(asked: Emulation, say: Callable[[str], None], show: Callable[[str], None]) -> int:
    """Build the network, run COMMAND across its hosts, and remove all again: the exit code.

    `say` is told what is done and `show` each line that COMMAND prints. Where this process is killed, another one
    removes what it leaves; where that one was killed too, the next call does so first. Raises `EmulationError` and
    `LaunchError`.
    """
    network.refuse_unable()
    with terminated_as_interrupt(), runtime.sole() as (folder, lock):
        clean(folder, say)
        relays: list[subprocess.Popen[bytes]] = []
        with cleaned_if_killed(folder):
            try:
                runtime.write_record(record_of(asked), folder)
                # What is killed half way through lets go of the lock when nothing more is made.
                inodes = network.make(asked.plan, partial(network.run, keeps=(lock,)))
                runtime.write_record(record_of(asked, inodes), folder)
                entering.write_scripts(asked.plan, folder)
                relays += start_relays(asked.plan)
                code = _run_command(asked, folder, show)
                refuse_ended(asked.plan, relays)
                return code
            finally:
                with _undisturbed():
                    end_relays(relays)
                    network.remove(namespaces(asked.plan), network.run)
                    runtime.forget(folder)


def record_of(asked: Emulation, inodes: dict[str, int] | None = None) -> runtime.Record:
    """What is written down of an emulation: before anything is made, and again with what was."""
    plan = asked.plan
    return runtime.Record(
        pid=os.getpid(),
        topology=asked.text,
        folder=str(Path.cwd()),
        scale=plan.scale,
        rate=asked.rate,
        hosts=inodes or dict.fromkeys(plan.hosts, 0),
        namespaces=tuple(namespaces(plan)),
        faults=asked.faults,
        links=tuple(
            {"from": plan.names[end.node], "to": plan.names[cable.far(end.node)], "rate": end.rate,
             "bucket": bucket_bytes(end.rate)}
            for cable in plan.cables for end in cable.ends if end.rate < float("inf")
        ),
        header_factor=HEADER_FACTOR,
        places=tuple(asked.hosts()),
    )  # fmt: skip


def _run_command(asked: Emulation, folder: Path, show: Callable[[str], None]) -> int:
    hosts = asked.hosts()
    line = list(asked.command) if asked.once else _line_of_ranks(asked, folder)
    # mpiexec runs on the host of rank 0, as on a cluster, whose network its messages to the others take.
    enter = [str(folder / entering.ENTER), hosts[0]]
    variables = mpi_variables(asked.family, len(set(hosts)) < len(hosts), asked.plan.rails)
    settings = [f"{name}={value}" for name, value in variables.items() if name not in os.environ]
    shorten_slices()
    path = f"PATH={os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = run_group([*_environment(path, settings), *enter, *line], timeout_s=asked.timeout_s, on_line=show)
    return _exit_code(asked, folder, done)


def _line_of_ranks(asked: Emulation, folder: Path) -> list[str]:
    # Intel's mpiexec ends with 255 where a rank on another host fails, whatever its exit code.
    keeping = [str(folder / entering.RANK)] if asked.family == "impi" else []
    remote = str(folder / entering.REMOTE)
    return mpi_line(asked.mpiexec, asked.family, remote, asked.hosts(), [*keeping, *asked.command])


def _environment(path: str, settings: Sequence[str]) -> list[str]:
    return ["env", path, *settings]


def _exit_code(asked: Emulation, folder: Path, done: Finished) -> int:
    """That of COMMAND, or 1 where a signal ended it. Raises `LaunchError` where it did not reach all hosts."""
    if done.timed_out:
        return exit_codes.TIMED_OUT
    missing = [] if asked.once else entering.not_entered(asked.plan, folder)
    if done.exit_code and missing:
        first = f"{', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}"
        raise LaunchError(
            f"{asked.mpiexec} ({asked.family}) ended with {done.exit_code} and started nothing on {first}: it cannot "
            "launch across hosts; expected an MPI that starts ranks by a program in the place of ssh and connects them "
            "by TCP"
        )
    if not done.exit_code:
        return exit_codes.GOOD
    return entering.first_failure(folder) or max(done.exit_code, exit_codes.FAILED)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nothing but SIGKILL interrupt: a second Ctrl-C must not leave half a network."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
