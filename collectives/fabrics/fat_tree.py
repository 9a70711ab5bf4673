"""A fat tree of two to four levels of switches of one radix, tapered, and rail-optimised where it is asked for.

A switch has half its ports down where nothing is tapered. With taper t a leaf has t times as much bandwidth down as up:
radix·t/(t + 1) ports down, and so many uplinks that each is as near to a port's bandwidth as can be. Upper levels are
not tapered.
"""

from __future__ import annotations

from clusterbench.collectives.algorithm import Option
from clusterbench.collectives.topology.fabric import Fabric, Network, Wiring, whole
from clusterbench.collectives.topology.graph import TopologyError
from clusterbench.collectives.topology.xgft import Level, rails, xgft

AUTO = "auto"
NAMES = ("leaf", "spine", "core", "top")
"""Of the switches of each level."""


def build(wiring: Wiring) -> Network:
    """The tree with as few leaves, pods and cores as the ports need."""
    radix, taper = wiring.integer("radix", 4, 4096), wiring.number("taper", 1.0, 1e6)
    down = _down(wiring, radix, taper)
    on_rails = wiring.options["rails"] == "yes"
    if wiring.options["rails"] not in ("yes", "no"):
        raise TopologyError(f"rails={wiring.options['rails'][:40]}; expected yes or no")
    place = rails(wiring.nodes, wiring.ports_per_node, down) if on_rails else None
    last = int(place.max()) if place is not None else wiring.ports - 1
    leaves = last // down + 1
    up = max(1, round(down / taper))
    if down + up > radix:
        raise TopologyError(f"down={down} with {up} uplinks needs {down + up} ports; expected at most radix={radix}")
    uplink = down * wiring.bandwidth / taper / up
    tiers = [Level(down, 1, wiring.bandwidth, wiring.latency_s, NAMES[0])]
    parents, children = up, leaves
    for name in NAMES[1 : _levels(wiring, leaves, radix) - 1]:
        tiers.append(Level(radix // 2, parents, uplink, wiring.latency_s, name))
        parents, children = radix // 2, -(-children // (radix // 2))
    tiers.append(Level(children, parents, uplink, wiring.latency_s, NAMES[len(tiers)]))
    return xgft(wiring.ports, tiers, wiring.ecmp, place)


def _down(wiring: Wiring, radix: int, taper: float) -> int:
    text = wiring.options["down"]
    if text != AUTO:
        return whole("down", text, 1, 1 << 20)
    return max(1, int(radix * taper / (taper + 1)))


def _levels(wiring: Wiring, leaves: int, radix: int) -> int:
    text = wiring.options["levels"]
    most = {levels: radix * (radix // 2) ** (levels - 2) for levels in range(2, len(NAMES) + 1)}
    fewest = next((levels for levels in most if leaves <= most[levels]), len(NAMES))
    levels = fewest if text == AUTO else whole("levels", text, 2, len(NAMES))
    if leaves > most[levels]:
        raise TopologyError(
            f"{wiring.ports} ports need {leaves} leaves; expected at most {most[levels]} under {levels} levels of "
            f"switches of radix {radix}: give a larger levels=, radix= or down="
        )
    return levels


FABRIC = Fabric(
    name="fat-tree",
    summary="two to four levels of switches of one radix",
    source="C. E. Leiserson, Fat-trees: universal networks for hardware-efficient supercomputing, IEEE Transactions on "
    "Computers C-34 (1985); M. Al-Fares, A. Loukissas and A. Vahdat, A scalable, commodity data center network "
    "architecture, SIGCOMM 2008",
    build=build,
    options={
        "levels": Option(f"levels of switches, 2 to 4; {AUTO}: as few as the radix allows", AUTO),
        "radix": Option("ports of a switch", "64"),
        "down": Option(f"ports of a leaf for hosts; {AUTO}: by radix and taper", AUTO),
        "taper": Option("bandwidth of a leaf's ports for hosts over that of its uplinks", "1"),
        "rails": Option("yes: port k of all nodes of a unit under one leaf, a leaf a rail", "no"),
    },
)
