"""Memory: what waits for it, what moves it, and what is too small."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import Facts, HostFacts
from clusterbench.bench.finding import Finding
from clusterbench.bench.hosts.settings import UNLIMITED

LEAST_SWAPPED = 0.01
"""Share of the memory: less is what a host swaps out for good in the days after its start."""
LEAST_STALLED = 0.01
"""Share of the interval in which some process waited for memory."""
SHARED_BYTES_A_RANK = 64 << 20
"""Three buffers of 16 MiB, the largest of preset `quick`, and what the library takes for itself."""
_GIB = 1 << 30


def swap(host: HostFacts) -> Iterator[Finding]:
    """Swap in use, or pages that went there or came back in the interval."""
    before, after = host.before.swapped_pages, host.after.swapped_pages
    moved = after - before if before is not None and after is not None else 0
    used = host.swap_used_bytes
    if moved <= 0 and used < max(1, LEAST_SWAPPED * host.memory_bytes):
        return
    found = f"{used / _GIB:.2f} GiB in use" + (f", {moved} pages in {host.interval_s:.1f} s" if moved > 0 else "")
    yield Finding(
        "host", "swap", "warning", found,
        "a page that is not there takes milliseconds where a sample takes microseconds",
        "swapoff -a && swapon -a   (needs that much free memory; else end what fills it)",
    )  # fmt: skip


def pressure(host: HostFacts) -> Iterator[Finding]:
    """Processes that waited for memory."""
    before, after = host.before.memory_stall_s, host.after.memory_stall_s
    if before is None or after is None or not host.interval_s:
        return
    share = (after - before) / host.interval_s
    if share >= LEAST_STALLED:
        yield Finding(
            "host", "memory pressure", "warning", f"processes waited for memory in {share:.0%} of the time",
            "the kernel looks for pages that it can take from somebody, in the middle of a sample too",
            "ps -eo pid,user,rss,comm --sort=-rss | head",
        )  # fmt: skip


def huge_pages(host: HostFacts) -> Iterator[Finding]:
    """Transparent huge pages for everybody."""
    if host.memory.transparent_hugepages == "always":
        yield Finding(
            "host", "transparent huge pages", "warning", f"always, defrag {host.memory.hugepage_defrag or 'unknown'}",
            "whether an array gets them depends on what is free: times differ from launch to launch. With `madvise` "
            "they go to who asks, as NumPy does for large arrays",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )  # fmt: skip


def numa_balancing(host: HostFacts) -> Iterator[Finding]:
    """Pages that the kernel moves between NUMA nodes by itself."""
    if host.memory.numa_balancing and len(host.numa_nodes) > 1:
        yield Finding(
            "host", "NUMA balancing", "warning", f"on, over {len(host.numa_nodes)} nodes",
            "the kernel takes pages away to see who uses them, and moves them while they are measured",
            "sysctl -w kernel.numa_balancing=0",
        )  # fmt: skip


def shared_memory(facts: Facts) -> Iterator[Finding]:
    """Hosts on which processes can share less memory than their ranks take."""
    for host in facts.hosts:
        free, ranks = host.shared_memory_free_bytes, len(facts.ranks_of(host))
        needed = SHARED_BYTES_A_RANK * ranks
        if free is not None and free < needed:
            yield Finding(
                "host", "shared memory", "warning",
                f"{free / 2**20:.0f} MiB free in /dev/shm of {host.host} for {ranks} ranks",
                f"`--transport shared` and the libraries take about {needed >> 20} MiB at 16 MiB a buffer; a rank that "
                "touches what is not there is killed (SIGBUS)",
                f"mount -o remount,size={max(1, -(-2 * needed // _GIB))}G /dev/shm   (docker run --shm-size=...)",
            )  # fmt: skip


def locked_memory(host: HostFacts) -> Iterator[Finding]:
    """A limit of locked memory on a host with RDMA."""
    limit = host.limits.locked_memory_bytes
    if host.rdma_ports and limit is not None and limit != UNLIMITED:
        yield Finding(
            "host", "locked memory", "warning", f"limited to {int(limit) >> 10} KiB",
            "RDMA locks the buffers that it reads and writes: registration fails, or the library falls back to TCP",
            "ulimit -l unlimited   (for good: memlock in /etc/security/limits.conf; docker run --ulimit memlock=-1)",
        )  # fmt: skip
