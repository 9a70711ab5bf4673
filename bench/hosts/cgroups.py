"""What the control groups of this process let it have of the host's memory and cores, versions 1 and 2.

A group's limit holds for all below it, so the groups above a process count as well as its own. Inside a container the
mount shows the container's group as the root, whatever /proc says: what is not there of the path is passed over.
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html, scheduler/sched-bwc.html)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clusterbench.kernels.device import read_text


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version keeps what."""

    limit: str
    used: str
    reclaimable: tuple[str, ...]
    """Entries of `memory.stat` for files' pages that nobody used of late; the first that is there holds."""


_V2 = _Version("memory.max", "memory.current", ("inactive_file",))
_V1 = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "inactive_file"))


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A group that has a limit. Without one, version 2 says `max` and version 1 a number near 2^63."""

    limit_bytes: int
    left_bytes: int
    """Of the limit; files' pages that the kernel would give up at once are not taken for used."""


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """What all groups of a process let it have of the cores."""

    cores: float | None
    """The least quota, in cores' worth of time; None where there is none."""
    throttled: int | None
    """How often one of them was paused until its next period; None where no group counts it."""


def memory_limits(root: Path = Path("/")) -> list[MemoryLimit]:
    """The limits that hold for this process; `root` is where /proc and /sys are looked for."""
    groups = _groups(root, "memory")
    return [limit for number, folder in groups if (limit := _limit(folder, _V2 if number == 2 else _V1)) is not None]


def cpu_quota(root: Path = Path("/")) -> CpuQuota:
    """The quota that holds for this process; `root` as above."""
    quotas: list[float] = []
    counts: list[int] = []
    for number, folder in _groups(root, "cpu"):
        if number == 2:
            words = (read_text(folder / "cpu.max") or "").split()
        else:
            words = [read_text(folder / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
        counts += [
            int(count) for count in re.findall(r"^nr_throttled (\d+)$", read_text(folder / "cpu.stat") or "", re.M)
        ]
    return CpuQuota(min(quotas, default=None), sum(counts) if counts else None)


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The version and the folder of this process's groups that have a controller, and of all groups above them."""
    mount = root / "sys/fs/cgroup"
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            version, top = 2, mount
        elif controller in controllers.split(","):
            version, top = 1, mount / controller
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            yield version, top / group


def _limit(folder: Path, version: _Version) -> MemoryLimit | None:
    limit, used = read_text(folder / version.limit) or "", read_text(folder / version.used) or ""
    if not (limit.isdigit() and used.isdigit()):
        return None
    entries = dict(line.split(maxsplit=1) for line in (read_text(folder / "memory.stat") or "").splitlines())
    reclaimable = next((int(entries[name]) for name in version.reclaimable if name in entries), 0)
    return MemoryLimit(int(limit), max(0, int(limit) - max(0, int(used) - reclaimable)))
