"""How processes come to be on an emulated host: a script that enters one, and one that a launcher takes for ssh.

A host is a network namespace, a host name, shared memory and inter-process communication of its own, so that each MPI
takes it for another machine; files, processes and memory are those of this machine.
"""

from __future__ import annotations

from pathlib import Path

from clusterbench.bench.emulation.batches import PREFIX
from clusterbench.bench.emulation.plan import Plan

ENTER, REMOTE, RANK, HOSTS, STARTED, ENDED = "enter", "remote", "rank", "hosts", "started", "ended"
"""What lies in the runtime folder: scripts, the names of all hosts, and folders with a file for each host that was
entered, and for each rank that failed."""

_ENTER = """#!/bin/sh
# HOST COMMAND...: run COMMAND on an emulated host.
host=$1
shift
exec ip netns exec "{prefix}$host" unshare --uts --ipc --mount sh -c '
host=$1
shift
hostname "$host" && mount --bind {folder}/{hosts} /etc/hosts && mount -t tmpfs tmpfs /dev/shm &&
: > {folder}/{started}/"$host" && exec "$@"' enter "$host" "$@"
"""
_REMOTE = """#!/bin/sh
# As ssh: [OPTION...] HOST WORD...: the words are a line for the shell of that host.
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1
shift
exec {folder}/{enter} "$host" sh -c "$*"
"""
_RANK = """#!/bin/sh
# COMMAND...: run it, and keep its exit code where it fails.
"$@"
code=$?
[ $code = 0 ] || echo $code > {folder}/{ended}/$$
exit $code
"""


def write_scripts(plan: Plan, folder: Path) -> None:
    """Put into the runtime folder what starts processes on the hosts of a plan."""
    names = {"prefix": PREFIX, "folder": folder, "hosts": HOSTS, "started": STARTED, "enter": ENTER, "ended": ENDED}
    for name, text in ((ENTER, _ENTER), (REMOTE, _REMOTE), (RANK, _RANK)):
        path = folder / name
        path.write_text(text.format(**names), "utf-8")
        path.chmod(0o755)
    (folder / HOSTS).write_text(hosts_file(plan), "utf-8")
    for name in (STARTED, ENDED):
        (folder / name).mkdir(exist_ok=True)


def hosts_file(plan: Plan) -> str:
    """hosts(5) of an emulated host: every host by the address of its first rail."""
    lines = ["127.0.0.1 localhost"]
    lines += [f"{plan.addresses(number)[0]} {name}" for number, name in enumerate(plan.hosts) if plan.addresses(number)]
    return "".join(f"{line}\n" for line in lines)


def not_entered(plan: Plan, folder: Path) -> list[str]:
    """The hosts with ranks on which nothing was ever started."""
    return [
        plan.hosts[number] for number in sorted(set(plan.ranks)) if not (folder / STARTED / plan.hosts[number]).exists()
    ]


def first_failure(folder: Path) -> int | None:
    """The exit code of the rank that failed first, where `RANK` started it; None where none is known."""
    ended = sorted((folder / ENDED).iterdir(), key=lambda path: path.stat().st_mtime_ns)
    codes = [path.read_text("utf-8").strip() for path in ended]
    return next((int(code) for code in codes if code.isdigit()), None)
