"""Makes the network of a plan, and removes it again; what a killed emulation has left is removed in the same way.

Everything lies in network namespaces with names of our own, so that they are all there is to remove: cables vanish with
them, and outside nothing is ever to be seen.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from clusterbench.bench.emulation.batches import (
    PREFIX,
    SETTINGS,
    WISHES,
    addressing,
    late_namespace,
    making,
    namespace,
    raising_relay,
    shaping,
)
from clusterbench.bench.emulation.plan import EmulationError, Plan
from clusterbench.bench.emulation.runtime import runs

Runner = Callable[[Sequence[str], str], str]
"""Runs a command with a text on its standard input: what it prints. Raises `EmulationError` where it fails."""

NAMESPACES = Path("/run/netns")
"""Where ip-netns(8) keeps them."""
TOOLS = {"ip": "iproute2", "tc": "iproute2", "unshare": "util-linux", "mount": "util-linux", "hostname": "hostname"}
"""What is needed, and Debian's package of each; iproute2's tc is in iproute-tc on Fedora and its like."""
_RIGHTS = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
"""capability.h: for links, and for namespaces and mounts."""
MOST_ROUNDS = 10
"""Of ending processes, each those that the ones before had started meanwhile."""
GRACE_S = 3.0
"""For what still runs in a namespace to end once it is asked to."""


def refuse_unable() -> None:
    """Raises `EmulationError` where a tool or a right is missing, and says which."""
    for tool, package in TOOLS.items():
        if _found(tool) is None:
            raise EmulationError(f"there is no program {tool}; expected it on the path: install the package {package}")
    status = Path("/proc/self/status").read_text("utf-8")
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff")), 0)
    missing = [name for bit, name in _RIGHTS.items() if not held >> bit & 1]
    if missing:
        raise EmulationError(
            f"no right to make a network: {' and '.join(missing)} missing; expected root, as by sudo, or a container "
            "with these capabilities"
        )


def _found(tool: str) -> str | None:
    # Users' paths often lack the folders of administrators' tools.
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def run(command: Sequence[str], text: str = "", keeps: Sequence[int] = ()) -> str:
    """The `Runner` of this machine; what it starts has the descriptors `keeps`, too."""
    program = _found(command[0]) or command[0]
    try:
        done = subprocess.run(
            [program, *command[1:]], input=text, capture_output=True, text=True, timeout=120, pass_fds=keeps
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmulationError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = " / ".join(line.strip() for line in done.stderr.splitlines()[:3])
        raise EmulationError(f"{' '.join(command)}: {said or f'ended with {done.returncode}'}")
    return done.stdout


def in_use(runner: Runner) -> list[str]:
    """The namespaces here whose names are like ours."""
    return [name for name in _listed(runner) if name.startswith(PREFIX)]


def _listed(runner: Runner) -> list[str]:
    return [line.split()[0] for line in runner(["ip", "netns", "list"], "").splitlines() if line.strip()]


def make(plan: Plan, runner: Runner) -> dict[str, int]:
    """Build the network: the inode of each host's network namespace. Raises `EmulationError`; `remove` cleans up."""
    runner(["ip", "-batch", "-"], making(plan))
    for at in map(late_namespace, plan.late_cables()):
        runner(["ip", "netns", "exec", at, "sh", "-e"], settings_script())
        runner(["ip", "-n", at, "-batch", "-"], raising_relay())
    for node, name in enumerate(plan.names):
        at = namespace(name)
        runner(["ip", "netns", "exec", at, "sh", "-e"], settings_script())
        runner(["ip", "-n", at, "-batch", "-"], addressing(plan, node))
        shaped = shaping(plan, node)
        if shaped:
            runner(["tc", "-n", at, "-batch", "-"], shaped)
    return {name: _inode(NAMESPACES / namespace(name)) for name in plan.hosts}


def settings_script() -> str:
    """A shell script that sets up the kernel's network in one namespace."""
    must = [f"echo {value} > /proc/sys/{name}" for name, value in SETTINGS.items()]
    may = [f"{{ echo {value} > /proc/sys/{name}; }} 2>/dev/null || true" for name, value in WISHES.items()]
    return "\n".join([*must, *may, ""])


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def remove(namespaces: Iterable[str], runner: Runner, end: Callable[[list[int]], None] | None = None) -> list[str]:
    """Remove those of these namespaces that there are, and end what runs inside them: the names of what was removed.

    `end` is given the processes. Goes on where one cannot be removed, and raises `EmulationError` at the end.
    """
    there = set(_listed(runner))
    ours = [name for name in namespaces if name in there and name.startswith(PREFIX)]
    for _ in range(MOST_ROUNDS):
        pids = [int(pid) for name in ours for pid in runner(["ip", "netns", "pids", name], "").split()]
        if not pids:
            break
        (end or end_processes)(pids)
    errors = []
    for name in ours:
        try:
            runner(["ip", "netns", "delete", name], "")
        except EmulationError as error:
            errors.append(str(error))
    if errors:
        raise EmulationError(f"not removed: {'; '.join(errors[:3])}")
    return ours


def end_processes(pids: Sequence[int]) -> None:
    """Ask processes to end, and after `GRACE_S` kill them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = [pid for pid in pids if _signalled(pid, number)]
        until = monotonic() + GRACE_S
        while alive and monotonic() < until:
            sleep(0.02)
            alive = [pid for pid in alive if _signalled(pid, 0)]
        if not alive:
            return


def _signalled(pid: int, number: int) -> bool:
    """Whether the process was there, and runs still."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return runs(pid)
    return False
