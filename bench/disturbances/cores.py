"""Ranks and the cores that they run on: more ranks than cores, shared cores, and quotas."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import Facts, HostFacts
from clusterbench.bench.finding import Finding

_BINDING = {
    "Open MPI": "mpiexec --map-by core --bind-to core ...",
    "Hydra": "mpiexec -bind-to core ...   (Intel MPI: -genv I_MPI_PIN_DOMAIN core)",
    "Slurm": "srun --cpu-bind=cores ...",
}
"""How each launcher binds every rank to a core of its own."""
_FEWER = "mpiexec -n {} ...   (or as many as the cores of all hosts)"
_NAMED = 8
"""More cores or ranks than this are counted."""


def oversubscribed(facts: Facts) -> Iterator[Finding]:
    """Hosts with more ranks than cores that they may use."""
    for host in facts.hosts:
        ranks = facts.ranks_of(host)
        usable = usable_cores(host)
        if len(ranks) > usable:
            yield Finding(
                "ranks", "oversubscription", "warning", f"{len(ranks)} ranks on {usable} cores of {host.host}",
                "ranks take turns on a core: times are those of the scheduler, a slice of some milliseconds a step",
                _FEWER.format(usable),
            )  # fmt: skip


def overlapping(facts: Facts) -> Iterator[Finding]:
    """Cores that several ranks may run on."""
    for host in facts.hosts:
        sharing: dict[tuple[int, ...], list[int]] = {}
        here, usable = facts.ranks_of(host), usable_cores(host)
        for core in host.cores:
            ranks = tuple(rank.rank for rank in here if core in rank.cores)
            if len(ranks) > 1:
                sharing.setdefault(ranks, []).append(core)
        if sharing:
            parts = [f"ranks {_listed(ranks)} on core {_listed(cores)}" for ranks, cores in sharing.items()]
            more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
            yield Finding(
                "ranks", "shared cores", "warning", f"{'; '.join(parts[:_NAMED])}{more} of {host.host}",
                "ranks that share a core wait for each other, however many others are free",
                _FEWER.format(usable) if len(here) > usable else _BINDING.get(facts.launcher, "taskset -c CORE ..."),
            )  # fmt: skip


def quota(host: HostFacts) -> Iterator[Finding]:
    """A control group that allows less than the cores, or that paused its processes in the interval."""
    before, after = host.before.throttled, host.after.throttled
    paused = after - before if before is not None and after is not None else 0
    limited = host.quota_cores is not None and host.quota_cores < len(host.cores)
    if not limited and paused <= 0:
        return
    found = [f"{host.quota_cores:g} of {len(host.cores)} cores"] if limited else []
    found += [f"paused {paused} times in {host.interval_s:.1f} s"] if paused > 0 else []
    yield Finding(
        "host", "CPU quota", "warning", ", ".join(found),
        "whoever has used up the quota is paused until its next period, up to 100 ms in the middle of a sample",
        f"docker update --cpus={len(host.cores)} CONTAINER   (systemd: systemctl set-property UNIT CPUQuota=)",
    )  # fmt: skip


def usable_cores(host: HostFacts) -> int:
    """How many cores the ranks of a host may keep busy."""
    return max(1, min(len(host.cores), round(host.quota_cores or len(host.cores))))


def _listed(numbers: tuple[int, ...] | list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NAMED]))
    return f"{shown} and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else shown
