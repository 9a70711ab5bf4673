"""The facts of this host, or of all hosts and ranks under a launcher. Nothing is judged here."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from clusterbench.bench.disturbances.counters import read_counters
from clusterbench.bench.disturbances.facts import Counters, Facts, HostFacts, OtherLoad, RankFacts
from clusterbench.bench.disturbances.processes import other_load, related
from clusterbench.bench.hosts.cgroups import cpu_quota
from clusterbench.bench.hosts.gpu_state import gpu_conditions, gpu_uuids
from clusterbench.bench.hosts.network_cards import interfaces, rdma_ports
from clusterbench.bench.hosts.rank_gpus import gpu_of
from clusterbench.bench.hosts.settings import (
    PCI,
    device_node,
    nodes_of,
    numa_nodes,
    read_cpu_settings,
    read_kernel_settings,
    read_limits,
    read_memory_settings,
)
from clusterbench.bench.launching import launch
from clusterbench.collectives.transports.shared_window import SHM
from clusterbench.kernels.device import affinity

if TYPE_CHECKING:
    from clusterbench.bench.worlds.world import World


NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU of NVIDIA's driver."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """What was seen when the interval began."""

    at_s: float
    counters: Counters
    load: OtherLoad


def gather(interval_s: float) -> Facts:
    """The facts of this process's host: other load for `interval_s`, then noise for as long on all of its cores."""
    from clusterbench.bench.disturbances.noise import measure_noise

    own, cores = [os.getpid()], tuple(affinity())
    begun = _begin(interval_s, own)
    noise = measure_noise(cores, interval_s)
    host = _end(begun, cores, own)
    gpu = gpu_of(gpu_uuids(), os.environ.get("CUDA_VISIBLE_DEVICES"), 0)
    rank = RankFacts(0, host.host, os.getpid(), cores, "", nodes_of(cores, host.numa_nodes), gpu, noise)
    return Facts((host,), (rank,))


def gather_world(world: World, interval_s: float) -> Facts | None:
    """The facts of all hosts and ranks on rank 0, None on the others; all ranks call it together.

    Noise is measured on all ranks at once, each on the cores that it is bound to.
    """
    from clusterbench.bench.disturbances.noise import measure_noise
    from clusterbench.bench.worlds.world import await_all

    def awake() -> None:
        return None

    mine = world.places[world.rank]
    here = [place for place in world.places if place.host == mine.host]
    own, cores = [place.pid for place in here], tuple(sorted({core for place in here for core in place.cores}))
    first = mine == here[0]
    begun = _begin(interval_s, own) if first else None
    await_all(world, awake)
    noise = measure_noise(mine.cores, interval_s)
    await_all(world, awake)
    host = _end(begun, cores, own) if begun is not None else None
    rank = RankFacts(mine.rank, mine.host, mine.pid, mine.cores, mine.pinned_by, mine.numa_nodes, mine.gpu, noise)
    gathered: Sequence[tuple[HostFacts | None, RankFacts]] | None = world.comm.gather((host, rank))
    if gathered is None:
        return None
    found = launch.launcher()
    hosts = tuple(host for host, _ in gathered if host is not None)
    return Facts(hosts, tuple(rank for _, rank in gathered), found.name if found else "")


def _begin(interval_s: float, own: Sequence[int]) -> _Begun:
    counters, at_s = read_counters(), monotonic()
    return _Begun(at_s, counters, other_load(interval_s, own))


def _end(begun: _Begun, cores: tuple[int, ...], own: Sequence[int]) -> HostFacts:
    """The host after the interval; `cores` are those that its ranks may use, `own` their pids."""
    import psutil

    after, interval_s = read_counters(), monotonic() - begun.at_s
    gpus = gpu_conditions()
    family = related(own)
    nodes = {gpu.uuid: device_node(PCI / gpu.pci_id) for gpu in gpus}
    return HostFacts(
        host=socket.gethostname(),
        cores=cores,
        logical_cores=os.cpu_count() or len(cores),
        quota_cores=cpu_quota().cores,
        numa_nodes=numa_nodes(),
        cpu=read_cpu_settings(),
        memory=read_memory_settings(),
        kernel=read_kernel_settings(),
        limits=read_limits(),
        memory_bytes=int(psutil.virtual_memory().total),
        swap_used_bytes=int(psutil.swap_memory().used),
        shared_memory_free_bytes=shutil.disk_usage(SHM).free if SHM.is_dir() else None,
        interval_s=interval_s,
        before=begun.counters,
        after=after,
        load=begun.load,
        gpus=tuple(replace(gpu, processes=tuple(p for p in gpu.processes if p not in family)) for gpu in gpus),
        gpu_nodes={uuid: node for uuid, node in nodes.items() if node is not None},
        nvidia_gpus=len(list(NVIDIA_GPUS.glob("*"))),
        rdma_ports=rdma_ports(),
        card_nodes=_card_nodes(),
    )


def _card_nodes() -> tuple[int, ...]:
    """The NUMA nodes of the RDMA ports that are up, or of the interfaces that are; none where one is not known."""
    nodes = [port.numa_node for port in rdma_ports() if port.active]
    nodes = nodes or [card.numa_node for card in interfaces() if card.state == "up"]
    known = [node for node in nodes if node is not None]
    return tuple(sorted(set(known))) if len(known) == len(nodes) else ()
