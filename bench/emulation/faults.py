"""Faults of an emulated network: those of `collectives/topology/faults.py`, as far as a network can have them.

A link at a fraction of its rate, one that is down, a rank that is slow, of which the links of its device are slow here
and its cores are not, and one that is late: all that its host sends arrives later, by as much each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from clusterbench.bench.emulation.plan import EmulationError, nodes
from clusterbench.collectives.topology.faults import Faulty, with_faults
from clusterbench.collectives.topology.graph import Topology


def emulated_faults(topology: Topology, faults: Iterable[str]) -> Faulty:
    """The topology with faults, which may also be written as `link=A-B:FRACTION`, `down=A-B` and `host=NAME:late=TIME`.

    Raises `EmulationError` for a host that is not there or has no rank, and what `with_faults` raises.
    """
    return with_faults(topology, [_usual(topology, fault) for fault in faults])


def late_hosts(found: Faulty) -> tuple[float, ...]:
    """Of each host, by how many seconds what it sends is late: the most of its ranks; empty where none is."""
    if not found.late_s.any():
        return ()
    node, _, hosts = nodes(found.topology)
    late_s = [0.0] * hosts
    for at, rank_s in zip(node[found.topology.ranks].tolist(), found.late_s.tolist(), strict=True):
        late_s[at] = max(late_s[at], rank_s)
    return tuple(late_s)


def _usual(topology: Topology, fault: str) -> str:
    """A fault as `with_faults` reads it."""
    link = re.fullmatch(r"link=(.+):([^:=]+)", fault)
    if link:
        return f"link:{link[1]}={link[2]}"
    host = re.fullmatch(r"host[=:](.+):late=([^:=]+)", fault)
    if host:
        return f"late:{_first_rank(topology, fault, host[1])}={host[2]}"
    return f"down:{fault.removeprefix('down=')}" if fault.startswith("down=") else fault


def _first_rank(topology: Topology, fault: str, name: str) -> int:
    node, names, hosts = nodes(topology)
    of_ranks = [names[at] for at in node[topology.ranks].tolist()]
    if name not in of_ranks:
        raise EmulationError(
            f"--fault {fault[:80]}: no host {name[:40]} with ranks; expected one of {', '.join(names[: min(hosts, 8)])}"
            f"{', ...' if hosts > 8 else ''}"
        )
    return of_ranks.index(name)
