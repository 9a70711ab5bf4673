"""Who else uses the cores: other processes, and a hypervisor's other guests."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import HostFacts
from clusterbench.bench.finding import Finding

LEAST_CORES = 0.1
"""Of other processes all together: a tenth of a core interrupts some sample of most rows."""
LEAST_STOLEN = 0.01
"""Share of the cores' time: half of what rows are measured to (2 %)."""
LEAST_NAMED = 0.05
"""Of what cannot be seen: less is interrupts, and the clock's ticks by which the kernel counts."""
_NAMED = 5


def others(host: HostFacts) -> Iterator[Finding]:
    """Whoever is none of ours, where all together keep a tenth of a core busy."""
    busy, unseen = host.load.busy, host.load.unseen_cores
    total = unseen + sum(process.cores for process in busy)
    if total < LEAST_CORES:
        return
    named = [f"{process.name} (pid {process.pid}) {process.cores:.2f}" for process in busy[:_NAMED]]
    named += [f"{len(busy) - _NAMED} more"] if len(busy) > _NAMED else []
    named += [f"what cannot be seen from here {unseen:.2f}"] if unseen >= LEAST_NAMED else []
    pids = ",".join(str(process.pid) for process in busy[:_NAMED])
    look = f"ps -o pid,user,etime,args -p {pids}" if pids else "top   (on the host, outside this container)"
    yield Finding(
        "host", "other load", "warning", f"{total:.2f} of {host.logical_cores} cores: {', '.join(named)}",
        "it takes cores, caches and memory bandwidth from what is measured, now more and now less",
        f"{look}   (whose they are; stop them, or measure elsewhere)" if pids else look,
    )  # fmt: skip


def stolen(host: HostFacts) -> Iterator[Finding]:
    """Time that the hypervisor gave to others."""
    before, after = host.before.steal_s, host.after.steal_s
    if before is None or after is None or not host.interval_s:
        return
    share = (after - before) / (host.interval_s * host.logical_cores)
    if share >= LEAST_STOLEN:
        yield Finding(
            "host", "stolen time", "warning", f"{share:.1%} of the cores' time",
            "the hypervisor runs other guests on the cores of this one",
            "none from inside: ask for dedicated cores (libvirt: virsh vcpupin)",
        )  # fmt: skip
