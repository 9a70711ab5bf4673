"""Small topologies that tests of bounds share: by formula, by hypothesis, and a cluster of any number of nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from clusterbench.collectives.topology.graph import (
    NO_HOST,
    Kind,
    Links,
    Topology,
    both_ways,
    joined,
    links,
    topology,
)

BANDWIDTHS = (1.0, 2.0, 3.0, 7.0, 0.375, 1e6, float("inf"))
LATENCIES = (0.0, 1e-6, 2.5e-6)


@st.composite
def small_topologies(draw: Any, most_vertices: int = 6, finite: bool = False) -> Topology:
    """A ring of links, so that every vertex reaches every other, and some more; two ranks at least."""
    size = draw(st.integers(2, most_vertices))
    ends = [(v, (v + 1) % size) for v in range(size)]
    pair = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda ends: ends[0] != ends[1])
    ends += draw(st.lists(pair, max_size=2 * size))
    bandwidth = st.sampled_from(BANDWIDTHS[:-1] if finite else BANDWIDTHS)
    ranks = draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=5))
    return topology(
        name="small",
        kinds=[Kind.GPU if v in ranks else Kind.SWITCH for v in range(size)],
        names=[f"v{v}" for v in range(size)],
        links=links(
            [src for src, _ in ends],
            [dst for _, dst in ends],
            draw(st.lists(bandwidth, min_size=len(ends), max_size=len(ends))),
            draw(st.lists(st.sampled_from(LATENCIES), min_size=len(ends), max_size=len(ends))),
        ),
        ranks=ranks,
        hosts=draw(st.lists(st.sampled_from([0, 1, 2, NO_HOST]), min_size=size, max_size=size)),
        ports=[],
    )


def star(ranks: int, bandwidth: float = 1e9, latency_s: float = 1e-6, reducing: bool = False) -> Topology:
    """GPUs of one host on one switch."""
    return topology(
        name="star",
        kinds=[Kind.GPU] * ranks + [Kind.SWITCH],
        names=[*(f"gpu{gpu}" for gpu in range(ranks)), "switch"],
        links=both_ways(links(np.arange(ranks), ranks, bandwidth, latency_s)),
        reducing=[False] * ranks + [reducing],
        ports=[],
    )


def ring(ranks: int, bandwidth: float = 1e9) -> Topology:
    """GPUs in a circle, linked both ways, each in a host of its own."""
    here = np.arange(ranks)
    return topology(
        name="ring",
        kinds=[Kind.GPU] * ranks,
        names=[f"h{gpu}.gpu0" for gpu in range(ranks)],
        links=both_ways(links(here, np.roll(here, -1), bandwidth, 1e-6)),
        hosts=here,
        ports=[],
    )


def two_levels(hosts: int, gpus: int, inside: float = 100e9, outside: float = 10e9) -> Topology:
    """Hosts with GPUs on a switch of their own, each such switch on one switch above."""
    count = hosts * gpus
    hub = count + np.arange(hosts)
    return topology(
        name="two-levels",
        kinds=[Kind.GPU] * count + [Kind.SWITCH] * (hosts + 1),
        names=[
            *(f"h{host}.gpu{gpu}" for host in range(hosts) for gpu in range(gpus)),
            *(f"h{host}.hub" for host in range(hosts)),
            "spine",
        ],
        links=joined(
            [
                both_ways(links(np.arange(count), np.repeat(hub, gpus), inside, 1e-6)),
                both_ways(links(hub, count + hosts, outside, 2e-6)),
            ]
        ),
        hosts=[*np.repeat(np.arange(hosts), gpus).tolist(), *range(hosts), NO_HOST],
        ports=[],
    )


def cluster(hosts: int, per_leaf: int = 16, spines: int = 8, taper: int = 2) -> Topology:
    """Hosts like those of an H100: eight GPUs on one switch, each beside a network card of 50 GB/s, eight cards a host.

    The cards of a host go to one leaf, of which every spine has one link; leaves are tapered.
    """
    gpu, per_host = np.arange(8), 27  # GPUs, switch, PCIe switches, cards, CPUs
    switch, pcie, card, cpu = 8, 9 + gpu, 17 + gpu, np.array([25, 26])
    host = joined(
        [
            both_ways(links(gpu, switch, 450e9, 0.5e-6)),
            both_ways(links(gpu, pcie, 63e9, 0.3e-6)),
            both_ways(links(pcie, card, 63e9, 0.3e-6)),
            both_ways(links(pcie, np.repeat(cpu, 4), 63e9, 0.3e-6)),
            both_ways(links(25, 26, 100e9, 0.1e-6)),
        ]
    )
    leaves = -(-hosts // per_leaf)
    first_leaf = hosts * per_host
    cards = np.add.outer(np.arange(hosts) * per_host, card)
    leaf_of = np.repeat(first_leaf + np.arange(hosts) // per_leaf, 8)
    up = np.repeat(first_leaf + np.arange(leaves), spines)
    spine = first_leaf + leaves + np.tile(np.arange(spines), leaves)
    network: list[Links] = [
        both_ways(links(cards.ravel(), leaf_of, 50e9, 1e-6)),
        both_ways(links(up, spine, per_leaf * 8 * 50e9 / taper / spines, 1e-6)),
    ]
    kinds = [*[Kind.GPU] * 8, *[Kind.SWITCH] * 9, *[Kind.NIC] * 8, *[Kind.CPU] * 2]
    names = [*(f"gpu{i}" for i in gpu), "nvswitch", *(f"pcie{i}" for i in gpu), *(f"nic{i}" for i in gpu)]
    names += ["cpu0", "cpu1"]
    return topology(
        name="cluster",
        kinds=kinds * hosts + [Kind.SWITCH] * (leaves + spines),
        names=[
            *(f"h{one}.{name}" for one in range(hosts) for name in names),
            *(f"leaf{leaf}" for leaf in range(leaves)),
            *(f"spine{one}" for one in range(spines)),
        ],
        links=joined([*(host.moved(one * per_host) for one in range(hosts)), *network]),
        hosts=[*np.repeat(np.arange(hosts), per_host).tolist(), *[NO_HOST] * (leaves + spines)],
        ports=[],
    )
