"""Removes what an emulation has left that was killed: at once, by a process that waits for its end, or the next call.

The kernel closes the pipe at whose other end that process waits, however the one that emulates ends, and whatever ends
all processes of a terminal or of a group leaves it, as it has a session of its own. What kills it as well, as the end
of a container's or a batch job's processes does, leaves the network for the next call to remove.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from clusterbench.bench.emulation import network, runtime
from clusterbench.bench.emulation.batches import namespace
from clusterbench.bench.emulation.plan import EmulationError
from clusterbench.bench.output import note


def clean(folder: Path, say: Callable[[str], None], runner: network.Runner = network.run) -> None:
    """Remove what a killed emulation has left. Raises `EmulationError` where names are in use that it has not made."""
    left = runtime.read_record(folder)
    if left is not None:
        removed = network.remove(left.namespaces, runner)
        runtime.forget(folder)
        if removed:
            say(f"removed {len(removed)} network namespaces that process {left.pid} had left")
    names = network.in_use(runner)
    if names:
        raise EmulationError(
            f"the network namespace {names[0]} is there and no emulation has recorded it; expected none that begins "
            f"with {namespace('')}: `ip netns delete {names[0]}` removes it"
        )


@contextmanager
def cleaned_if_killed(folder: Path) -> Iterator[None]:
    """Have a process wait for the end of this one, and clean `folder`, unless this comes to its own end."""
    line = [sys.executable, "-P", "-m", __name__, str(folder), str(os.getpid())]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as waits:
        try:
            yield
        finally:
            waits.kill()  # whatever signals it blocks, as this process may do


def _clean_after(folder: Path, emulates: int) -> None:
    """Wait until the process that emulates has ended, and clean what it has left. Raises `EmulationError`."""
    sys.stdin.read()
    while os.getppid() == emulates:  # until it has let go of its lock, too
        sleep(0.01)
    left = runtime.read_record(folder)
    if left is not None and left.pid == emulates:  # else the next call came first
        with runtime.sole(folder):
            clean(folder, note)


if __name__ == "__main__":
    try:
        _clean_after(Path(sys.argv[1]), int(sys.argv[2]))
    except EmulationError as error:
        note(str(error))
