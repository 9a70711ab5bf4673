"""Placement: which rank runs where. A topology lists its places host by host; a placement puts ranks on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from clusterbench.collectives.schedule import Ints
from clusterbench.collectives.topology.graph import Topology, TopologyError

BLOCK, ROUND_ROBIN, RANDOM = "block", "round-robin", "random"
MOST_BYTES = 64 << 20
"""Of a file: some five million ranks."""


def placed(topology: Topology, how: str) -> Topology:
    """The topology with its ranks placed: `block` (host after host, as they are), `round-robin` (one rank a host in
    turn), `round-robin:N` (one in turn to each N neighbouring places, such as the hosts of a rack), `random:SEED`, or a
    file that names the places of rank 0, 1, ... one a line: vertices on which the topology has ranks.

    Raises `TopologyError`.
    """
    if how == BLOCK:
        return topology
    if how == ROUND_ROBIN:
        return replace(topology, ranks=topology.ranks[_in_turn(topology.hosts[topology.ranks])])
    word, colon, seed = how.partition(":")
    if word == ROUND_ROBIN:
        size = int(seed) if seed.isdecimal() and len(seed) <= 18 else 0
        if not size:
            raise TopologyError(f"{how!r}: expected {ROUND_ROBIN}:N with N places, at least 1")
        return replace(topology, ranks=topology.ranks[_in_turn(np.arange(len(topology.ranks)) // size)])
    if word == RANDOM:
        if colon and not (seed.isdecimal() and len(seed) <= 18):
            raise TopologyError(f"{how!r}: expected {RANDOM}:SEED with a whole number")
        return replace(topology, ranks=np.random.default_rng(int(seed or 0)).permutation(topology.ranks))
    return replace(topology, ranks=_read(Path(how), topology))


def _in_turn(hosts: Ints) -> Ints:
    """Order of the places in which the first of every host comes first, then the second of every host, and so on."""
    order = np.argsort(hosts, kind="stable")
    first = np.searchsorted(hosts[order], hosts[order])
    turn = np.empty_like(hosts)
    turn[order] = np.arange(len(hosts)) - first
    return np.lexsort((np.arange(len(hosts)), hosts, turn))


def _read(path: Path, topology: Topology) -> Ints:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        expected = f"{BLOCK}, {ROUND_ROBIN}, {ROUND_ROBIN}:N, {RANDOM}:SEED, or a file of vertices"
        raise TopologyError(f"{path}: {reason}; expected {expected}") from None
    if len(raw) > MOST_BYTES:
        raise TopologyError(f"{path}: over {MOST_BYTES} bytes; expected at most that")
    number = {topology.names[int(vertex)]: int(vertex) for vertex in topology.ranks}
    ranks = []
    for line_number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if name not in number:
            raise TopologyError(
                f"{path}, line {line_number}: {name[:80]!r} is no place for a rank of {topology.name}; "
                f"expected one such as {topology.names[int(topology.ranks[0])]!r}"
            )
        ranks.append(number[name])
    if not ranks:
        raise TopologyError(f"{path}: no vertices; expected one a line, for rank 0, 1 and so on")
    return np.array(ranks, np.int64)
