"""What the control groups of this process let it have of the host's memory, versions 1 and 2.

A group's limit holds for all below it, so the groups above a process count as well as its own. Inside a container the
mount shows the container's group as the root, whatever /proc says: what is not there of the path is passed over.
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clusterbench.kernels.device import read_text


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version keeps what."""

    mount: str
    limit: str
    used: str
    reclaimable: tuple[str, ...]
    """Entries of `memory.stat` for files' pages that nobody used of late; the first that is there holds."""


_V2 = _Version("sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file",))
_V1 = _Version(
    "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "inactive_file")
)


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """A group that has a limit. Without one, version 2 says `max` and version 1 a number near 2^63."""

    limit_bytes: int
    left_bytes: int
    """Of the limit; files' pages that the kernel would give up at once are not taken for used."""


def memory_limits(root: Path = Path("/")) -> list[MemoryLimit]:
    """The limits that hold for this process; `root` is where /proc and /sys are looked for."""
    return [limit for folder, version in _groups(root) if (limit := _limit(folder, version)) is not None]


def _groups(root: Path) -> Iterator[tuple[Path, _Version]]:
    """The folders of this process's groups that are there, and of all groups above them."""
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            version = _V2
        elif "memory" in controllers.split(","):
            version = _V1
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            yield root / version.mount / group, version


def _limit(folder: Path, version: _Version) -> MemoryLimit | None:
    limit, used = read_text(folder / version.limit) or "", read_text(folder / version.used) or ""
    if not (limit.isdigit() and used.isdigit()):
        return None
    entries = dict(line.split(maxsplit=1) for line in (read_text(folder / "memory.stat") or "").splitlines())
    reclaimable = next((int(entries[name]) for name in version.reclaimable if name in entries), 0)
    return MemoryLimit(int(limit), max(0, int(limit) - max(0, int(used) - reclaimable)))
