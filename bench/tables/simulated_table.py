"""The table of a simulation: nccl-tests' own, with what it is made of on `#` lines below."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from clusterbench.bench.measuring.simulated_runs import Simulation
from clusterbench.bench.tables.nccl_table import columns, line
from clusterbench.results.record import Measurement


def table(asked: Simulation, rows: Sequence[Measurement]) -> str:
    """One algorithm's table, its rows in the order of sizes."""
    busbw = [row.busbw for row in rows if row.busbw is not None]
    program = f"{rows[0].name}_perf"
    lines = [
        f"# Algorithm: {', '.join(dict.fromkeys(row.algorithm for row in rows))} transport: simulated",
        f"# clusterbench version {version('clusterbench')}, evidence: simulated, mode: {asked.mode}",
        f"# Collective test starting: {program}",
        f"# Topology: {asked.topology.name}, {asked.ranks} ranks on {asked.topology.nodes} nodes",
        *(f"# Fault: {fault}" for fault in asked.faults),
        "#",
        *columns(),
        *(line(row.op or "none", (row, None)) for row in rows),
        "# Out of bounds values : 0 OK",
        f"# Avg bus bandwidth    : {sum(busbw) / len(busbw) / 1e9 if busbw else 0:g} ",
        "#",
        *(f"# {row.size_bytes} B: {_bound(row)}; {row.note}" for row in rows),
        "#",
        f"# Collective test concluded: {program}",
        "#",
    ]
    return "\n".join(lines) + "\n"


def _bound(row: Measurement) -> str:
    if row.bound_s is None:
        return "no bound"
    if row.bound_share is None:
        return f"below the bound of {row.bound_s * 1e6:.2f} us by {row.bound_by}"
    return f"{row.bound_share:.0%} of the bound of {row.bound_s * 1e6:.2f} us by {row.bound_by}"
