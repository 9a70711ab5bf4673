"""What could not be looked at here, so that nobody takes it for good."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import HostFacts
from clusterbench.bench.finding import Finding


def unread(host: HostFacts) -> Iterator[Finding]:
    """The settings and counters that this host does not show."""
    known = {
        "governor": host.cpu.governor,
        "turbo": host.cpu.boost,
        "thermal throttling": host.after.thermal,
        "pauses by CPU quota": host.after.throttled,
        "stolen time": host.after.steal_s,
        "swapping": host.after.swapped_pages,
        "memory pressure": host.after.memory_stall_s,
        "transparent huge pages": host.memory.transparent_hugepages,
        "NUMA balancing": host.memory.numa_balancing,
        "shared memory": host.shared_memory_free_bytes,
        "locked memory": host.limits.locked_memory_bytes,
        "clock source": host.kernel.clock_source,
    }
    missing = [name for name, value in known.items() if value is None]
    if host.nvidia_gpus and not host.gpus:
        missing.append(f"{host.nvidia_gpus} GPUs (pip install nvidia-ml-py)")
    if missing:
        yield Finding("host", "not readable", "info", ", ".join(missing), "a container or a virtual machine hides it")
