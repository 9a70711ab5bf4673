"""The clock that measures, and how steady a core is by it."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import CoreNoise, Facts, HostFacts
from clusterbench.bench.finding import Finding

COUNTERS = ("tsc", "arch_sys_counter", "timebase")
"""Clock sources that are read from a register: of x86, Arm and POWER."""
MOST_LOST = 0.01
"""Share of the time: half of what rows are measured to (2 %)."""


def source(host: HostFacts) -> Iterator[Finding]:
    """A clock that is not the processor's own counter."""
    current = host.kernel.clock_source
    if current is None or current in COUNTERS:
        return
    better = next((name for name in host.kernel.clock_sources if name in COUNTERS), None)
    path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    yield Finding(
        "host", "clock source", "warning", current,
        "a reading of it costs more than one of the processor's counter, up to a microsecond and a system call",
        f"echo {better} > {path}" if better else "dmesg | grep -i -e tsc -e clocksource   (why the kernel gave it up)",
    )  # fmt: skip


def noise(facts: Facts) -> Iterator[Finding]:
    """Cores on which a loop of fixed work loses time, the noisiest named; and what was measured where none does."""
    measured = [(rank.rank, rank.host, core) for rank in facts.ranks for core in rank.noise]
    if not measured:
        return
    rank, host, worst = max(measured, key=lambda one: one[2].lost_share)
    cores = {(host, core.core) for _, host, core in measured}
    noisy = {(host, core.core) for _, host, core in measured if core.lost_share >= MOST_LOST}
    where = f"core {worst.core} of {host}" + (f" (rank {rank})" if facts.launcher else "")
    if not noisy:
        yield Finding("host", "noise", "info", f"at most {_figures(worst)}, on {where}")
        return
    yield Finding(
        "host", "noise", "warning", f"{len(noisy)} of {len(cores)} cores lose 1 % or more; {where}: {_figures(worst)}",
        "a loop of fixed work is interrupted or slowed; ranks that wait for each other wait for whom it hits",
        "tuned-adm profile hpc-compute   (or boot with isolcpus= and nohz_full= for the cores of the ranks)",
    )  # fmt: skip


def _figures(core: CoreNoise) -> str:
    return (
        f"{core.lost_share:.2%} lost in {core.samples} loops of {core.shortest_s * 1e6:.1f} µs, median "
        f"{core.median_s * 1e6:.1f}, 99 % within {core.p99_s * 1e6:.1f}, longest {core.longest_s * 1e6:.1f}, "
        f"{core.hiccups} hiccups"
    )
