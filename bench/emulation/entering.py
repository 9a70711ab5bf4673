"""How processes come to be on an emulated host: a script that enters one, and one that a launcher takes for ssh.

A host is a network namespace, a host name, shared memory and inter-process communication of its own, so that each MPI
takes it for another machine; files, processes and memory are those of this machine.
"""

from __future__ import annotations

from pathlib import Path

from clusterbench.bench.emulation.batches import PREFIX
from clusterbench.bench.emulation.plan import Plan

ENTER, REMOTE, HOSTS, STARTED = "enter", "remote", "hosts", "started"
"""Files of the runtime folder: both scripts, the names of all hosts, and a folder with a file for each that was
entered."""

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


def write_scripts(plan: Plan, folder: Path) -> None:
    """Put into the runtime folder what starts processes on the hosts of a plan."""
    names = {"prefix": PREFIX, "folder": folder, "hosts": HOSTS, "started": STARTED, "enter": ENTER}
    for name, text in ((ENTER, _ENTER), (REMOTE, _REMOTE)):
        path = folder / name
        path.write_text(text.format(**names), "utf-8")
        path.chmod(0o755)
    (folder / HOSTS).write_text(hosts_file(plan), "utf-8")
    (folder / STARTED).mkdir(exist_ok=True)


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
