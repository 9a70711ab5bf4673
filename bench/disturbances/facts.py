"""The facts that are judged: what was read and measured on each host and by each rank. No judgement in here."""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbench.bench.hosts.gpu_state import GpuCondition
from clusterbench.bench.hosts.network_cards import RdmaPort
from clusterbench.bench.hosts.settings import CpuSettings, KernelSettings, Limits, MemorySettings


@dataclass(frozen=True, slots=True)
class Counters:
    """What the kernel has counted since it started; None where it does not count that."""

    throttled: int | None = None
    """How often a control group of this process was paused as its quota was used up."""
    swapped_pages: int | None = None
    """Pages written to swap or read from it."""
    memory_stall_s: float | None = None
    """Seconds in which some process waited for memory (PSI)."""
    steal_s: float | None = None
    """Seconds, over all cores, in which the hypervisor ran something else."""
    thermal: int | None = None
    """How often the clock of a core or a package was lowered for its temperature."""


@dataclass(frozen=True, slots=True)
class BusyProcess:
    """A process that is none of ours, and how many cores it kept busy."""

    pid: int
    name: str
    """The name of its program; its arguments are not looked at."""
    cores: float


@dataclass(frozen=True, slots=True)
class OtherLoad:
    """Who else computed, over an interval in which we did not."""

    busy: tuple[BusyProcess, ...]
    """The busiest first."""
    unseen_cores: float
    """What the cores did beyond all processes that can be seen from here: those of other containers, those that have
    ended meanwhile, and interrupts."""


@dataclass(frozen=True, slots=True)
class CoreNoise:
    """What a loop of fixed work took on one core; see `noise.py`."""

    core: int
    samples: int
    shortest_s: float
    median_s: float
    p99_s: float
    longest_s: float
    lost_share: float
    """Of the time, what the loop took beyond its shortest."""
    hiccups: int
    """Samples that were longer than the shortest by more than a fifth."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host, over an interval in which nothing was measured, and the noise after it."""

    host: str
    cores: tuple[int, ...]
    """Those that the ranks may use, all together."""
    logical_cores: int
    """All that the host has."""
    quota_cores: float | None
    numa_nodes: dict[int, tuple[int, ...]]
    cpu: CpuSettings
    memory: MemorySettings
    kernel: KernelSettings
    limits: Limits
    memory_bytes: int
    swap_used_bytes: int
    shared_memory_free_bytes: int | None
    """Of the file system in which processes share memory; None where there is none."""
    interval_s: float
    """Between the two readings of the counters."""
    before: Counters
    after: Counters
    load: OtherLoad
    gpus: tuple[GpuCondition, ...] = ()
    gpu_nodes: dict[str, int] = field(default_factory=dict)
    """The NUMA node of each GPU by its UUID, where it is known."""
    nvidia_gpus: int = 0
    """As many as NVIDIA's driver has, whether NVML can be asked or not."""
    rdma_ports: tuple[RdmaPort, ...] = ()
    card_nodes: tuple[int, ...] = ()
    """The NUMA nodes of the network cards that are up; empty where one of them is not known."""


@dataclass(frozen=True, slots=True)
class RankFacts:
    """One rank."""

    rank: int
    host: str
    pid: int
    cores: tuple[int, ...]
    pinned_by: str
    """`clusterbench`, `launcher` or empty."""
    numa_nodes: tuple[int, ...]
    gpu: str
    """UUID of the GPU that it takes; empty where there is none."""
    noise: tuple[CoreNoise, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All hosts and ranks; one rank on one host where no launcher started this."""

    hosts: tuple[HostFacts, ...]
    ranks: tuple[RankFacts, ...]
    launcher: str = ""
    """Its name as in `launch.Launcher`; empty for none."""

    def ranks_of(self, host: HostFacts) -> tuple[RankFacts, ...]:
        """The ranks on a host."""
        return tuple(rank for rank in self.ranks if rank.host == host.host)
