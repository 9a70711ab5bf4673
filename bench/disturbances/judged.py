"""All judgements on the facts, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from clusterbench.bench.disturbances import clock, cores, devices, frequency, load, memory, unread
from clusterbench.bench.disturbances.facts import Facts, HostFacts
from clusterbench.bench.finding import Finding

_NAMED = 8
"""More hosts than this are counted."""

OF_ALL: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    cores.oversubscribed,
    cores.overlapping,
    devices.shared_gpus,
    devices.far_gpus,
    devices.far_cards,
    memory.shared_memory,
    clock.noise,
)
"""Those that look at ranks, and name their hosts themselves."""
OF_A_HOST: tuple[Callable[[HostFacts], Iterator[Finding]], ...] = (
    load.others,
    load.stolen,
    cores.quota,
    frequency.governor,
    frequency.boost,
    frequency.thermal,
    frequency.gpu_clocks,
    devices.used_gpus,
    memory.swap,
    memory.pressure,
    memory.huge_pages,
    memory.numa_balancing,
    memory.locked_memory,
    clock.source,
    unread.unread,
)


def judge(facts: Facts) -> list[Finding]:
    """What spoils a measurement, and what could not be seen; hosts of which the same is true share a finding."""
    found = [finding for look in OF_ALL for finding in look(facts)]
    for look in OF_A_HOST:
        hosts: dict[Finding, list[str]] = {}
        for host in facts.hosts:
            for finding in look(host):
                hosts.setdefault(finding, []).append(host.host)
        found += [
            replace(finding, found=f"{finding.found} (on {_listed(names)})") if len(facts.hosts) > 1 else finding
            for finding, names in hosts.items()
        ]
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
