"""All ports on one switch that never blocks: the flat cluster."""

from __future__ import annotations

from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring
from clusterbench.collectives.topology.xgft import Level, xgft


def build(wiring: Wiring) -> Network:
    """A star."""
    level = Level(wiring.ports, 1, wiring.bandwidth, wiring.latency_s, "switch")
    return xgft(wiring.ports, [level], wiring.ecmp)


FABRIC = Fabric(
    name="single-switch",
    summary="all ports on one switch that never blocks",
    source="a crossbar",
    build=build,
)
