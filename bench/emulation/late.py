"""Hosts that are late: the cables at which what they send is held back, and the programs that do it (`relay.py`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterbench.bench.emulation import relay
from clusterbench.bench.emulation.batches import late_namespace
from clusterbench.bench.emulation.plan import EmulationError, Plan


def start_relays(plan: Plan) -> list[subprocess.Popen[bytes]]:
    """Start a relay for each cable of a late host; they run until they are ended."""
    program = str(Path(relay.__file__))
    started = []
    for number in plan.late_cables():
        inside = ["ip", "netns", "exec", late_namespace(number)]
        line = [*inside, sys.executable, "-I", program, *map(repr, plan.delays(number))]
        # Ctrl-C is for COMMAND; they end with the network.
        started.append(subprocess.Popen(line, start_new_session=True, stdin=subprocess.DEVNULL))
    return started


def refuse_ended(plan: Plan, relays: Sequence[subprocess.Popen[bytes]]) -> None:
    """Raise `EmulationError` where a relay has ended by itself: its host has been cut off since."""
    for number, one in zip(plan.late_cables(), relays, strict=True):
        if one.poll() is not None:
            names = " and ".join(plan.names[end.node] for end in plan.cables[number].ends)
            raise EmulationError(
                f"what held back frames between {names} ended with {one.returncode} before COMMAND did: what was "
                "measured since is not of a host that is late; expected it to run until the network is removed"
            )


def end_relays(relays: Sequence[subprocess.Popen[bytes]]) -> None:
    """End them, and wait until they have."""
    for one in relays:
        one.terminate()
    for one in relays:
        one.wait()
