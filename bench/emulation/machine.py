"""What a rank on an emulated network measures: the topology that its rows are held against, and how they are marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clusterbench.bench.emulation.faults import emulated_faults, late_hosts
from clusterbench.bench.emulation.plan import emulated_topology
from clusterbench.bench.emulation.runtime import Record
from clusterbench.bench.emulation.shaping import HEADER_FACTOR, shaped_bound_s
from clusterbench.collectives.topology.graph import Topology
from clusterbench.collectives.topology.spec import topology_from
from clusterbench.results import notes
from clusterbench.results.record import Measurement


def machine(record: Record) -> Topology:
    """The topology with its faults, at the rates that its links have for payload. Raises `TopologyError`."""
    inside = Path(record.folder) / record.topology
    described = topology_from(str(inside) if inside.is_file() else record.topology)
    faulty = emulated_faults(replace(described, name=record.topology), record.faults)
    late_s = late_hosts(faulty)
    return replace(emulated_topology(faulty.topology, record.scale, 1 / HEADER_FACTOR, late_s), estimated=False)


def with_buckets(record: Record, bound_s: float) -> float:
    """A bound of `machine` where links begin with full buckets."""
    return shaped_bound_s(bound_s, [float(link["rate"]) for link in record.links])


def marked(record: Record, row: Measurement) -> Measurement:
    """The row as one of an emulated network."""
    return replace(
        row,
        evidence="emulated",
        topology=row.topology or record.topology,
        note=notes.joined([row.note, notes.emulated(record.scale, record.faults)]),
    )


def environment(record: Record) -> dict[str, object]:
    """What a run records of its emulation."""
    return {
        "topology": record.topology,
        "scale": record.scale,
        "faults": list(record.faults),
        "header_factor": record.header_factor,
        "hosts": list(record.hosts),
        "links": _links(record.links),
    }


def _links(links: Sequence[dict[str, object]]) -> list[str]:
    return [f"{one['from']}>{one['to']}: {one['rate']:.0f} bytes/s, bucket {one['bucket']} bytes" for one in links]
