"""Faults of an emulated network: those of `collectives/topology/faults.py`, as far as a network can have them.

A link at a fraction of its rate, one that is down, and a rank that is slow, of which the links of its device are slow
here and its cores are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from clusterbench.bench.emulation.plan import EmulationError
from clusterbench.collectives.topology.faults import Faulty, with_faults
from clusterbench.collectives.topology.graph import Topology


def emulated_faults(topology: Topology, faults: Iterable[str]) -> Faulty:
    """The topology with faults, which may also be written as `link=A-B:FRACTION` and `down=A-B`.

    Raises `EmulationError` for a rank that begins late, and what `with_faults` raises.
    """
    found = with_faults(topology, [_usual(fault) for fault in faults])
    for fault in found.faults:
        if fault.startswith("late:"):
            raise EmulationError(
                f"--fault {fault}: the ranks of COMMAND begin when they like, and a network cannot delay one; expected "
                "a fault of links, or slow:RANK=FACTOR; `clusterbench simulate` knows late ranks"
            )
    return found


def _usual(fault: str) -> str:
    """A fault as `with_faults` reads it."""
    other = re.fullmatch(r"link=(.+):([^:=]+)", fault)
    if other:
        return f"link:{other[1]}={other[2]}"
    return f"down:{fault.removeprefix('down=')}" if fault.startswith("down=") else fault
