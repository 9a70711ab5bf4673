"""Who else computes on this host: the time on cores that each process takes over an interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep

from clusterbench.bench.disturbances.facts import BusyProcess, OtherLoad

LEAST_CORES = 0.01
"""Less than a hundredth of a core is not listed."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """A process at one moment."""

    name: str
    started_s: float
    """By which a later process with the same number is told apart."""
    used_s: float
    """User's and system's time together."""


def other_load(interval_s: float, own: Iterable[int]) -> OtherLoad:
    """Wait, and say who was busy meanwhile; `own` are pids that do not count, nor do those below and above them."""
    total_s, before, begin = _total_s(), _cpu_times(), monotonic()
    sleep(interval_s)
    # In the same order, so that both intervals are equally long.
    total_s, after, elapsed_s = _total_s() - total_s, _cpu_times(), monotonic() - begin
    return OtherLoad(
        busy_between(before, after, elapsed_s, related(own)), unseen_between(before, after, elapsed_s, total_s)
    )


def busy_between(
    before: Mapping[int, CpuTime], after: Mapping[int, CpuTime], elapsed_s: float, own: frozenset[int]
) -> tuple[BusyProcess, ...]:
    """The processes of two readings, `elapsed_s` apart, that kept `LEAST_CORES` busy; the busiest first.

    One that started meanwhile counts with all its time; one that ended meanwhile is not seen.
    """
    found = []
    for pid, now in after.items():
        used_s = _used_s(before.get(pid), now)
        if pid not in own and used_s / elapsed_s >= LEAST_CORES:
            found.append(BusyProcess(pid, now.name, round(used_s / elapsed_s, 3)))
    return tuple(sorted(found, key=lambda process: (-process.cores, process.pid)))


def unseen_between(
    before: Mapping[int, CpuTime], after: Mapping[int, CpuTime], elapsed_s: float, total_s: float
) -> float:
    """How many cores were busy in `total_s` beyond what the processes of two readings used, `elapsed_s` apart."""
    seen_s = sum(_used_s(before.get(pid), now) for pid, now in after.items())
    return round(max(0.0, total_s - seen_s) / elapsed_s, 3)


def _used_s(then: CpuTime | None, now: CpuTime) -> float:
    return now.used_s - (then.used_s if then and then.started_s == now.started_s else 0.0)


def related(pids: Iterable[int]) -> frozenset[int]:
    """These processes, those that they have started, and those by which they were started (launcher, shell)."""
    import psutil

    found: set[int] = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True), *process.parents()]
        except psutil.Error:  # it has ended meanwhile
            continue
        found.update(member.pid for member in family)
    return frozenset(found)


def _total_s() -> float:
    """Seconds, over all cores, in which something ran here since the host was started."""
    import psutil

    times = psutil.cpu_times()
    return float(sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq")))


def _cpu_times() -> dict[int, CpuTime]:
    import psutil

    found = {}
    for process in psutil.process_iter(["name", "create_time", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:  # None where we may not look
            name, started_s = process.info["name"] or "?", process.info["create_time"] or 0.0
            found[process.pid] = CpuTime(name, started_s, times.user + times.system)
    return found
