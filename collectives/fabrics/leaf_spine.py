"""Leaf and spine: racks of hosts under a leaf switch each, and spine switches over all leaves."""

from __future__ import annotations

from collections.abc import Mapping

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, whole
from clusterbench.collectives.topology.xgft import Level, xgft


def nodes(options: Mapping[str, str]) -> int:
    """Racks times hosts."""
    return whole("racks", options["racks"], 1, 1 << 20) * whole("hosts", options["hosts"], 1, 1 << 20)


def build(wiring: Wiring) -> Network:
    """Every leaf has all ports of its rack below, and 1/taper of their bandwidth above, spread over the spines."""
    racks, hosts = wiring.integer("racks", 1), wiring.integer("hosts", 1)
    spines, taper = wiring.integer("spines", 1), wiring.number("taper", 1e-3, 1e6)
    ports = hosts * wiring.ports_per_node
    uplink = ports * wiring.bandwidth / taper / spines
    return xgft(
        wiring.ports,
        [
            Level(ports, 1, wiring.bandwidth, wiring.latency_s, "leaf"),
            Level(racks, spines, uplink, wiring.latency_s, "spine"),
        ],
        wiring.ecmp,
    )


FABRIC = Fabric(
    name="leaf-spine",
    summary="racks of hosts under a leaf each, spines over all leaves",
    source="C. Clos, A study of non-blocking switching networks, Bell System Technical Journal 32 (1953)",
    build=build,
    options={
        "racks": Option("racks, one leaf switch each", "2"),
        "hosts": Option("hosts in a rack", "4"),
        "taper": Option("bandwidth of a rack's hosts over that of its uplinks", "1"),
        "spines": Option("spine switches, one uplink from each leaf to each", "1"),
    },
    nodes=nodes,
)
