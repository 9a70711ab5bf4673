"""The device at hand: the CPU with its model, cores and caches, and how many GPUs there are.

The one source of these facts: rows, the recorded environment and the number of ranks all take them from here. Read from
/proc and /sys, which cost nothing and need no rights.
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
FALLBACK_CACHE_BYTES = 32 << 20
UNKNOWN_CPU = "unknown CPU"


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache of a core."""

    level: int
    type: str
    """`Data`, `Instruction` or `Unified`."""
    size_bytes: int
    shared_by: str
    """The logical cores that share it, as the kernel lists them: `0-3,8`."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the caches, as the cores of this process have it."""

    name: str
    """`L1`, `L2`, ... by its distance from the core."""
    size_bytes: int
    """All its caches together, each counted once."""
    share_bytes: int
    """What a core has of it while all of them use it."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a kernel runs on."""

    name: str
    cores: int
    """Cores that this process may use, by `usable_cores`."""
    cache_bytes: int
    """Last-level caches of those cores, all together."""
    cache_source: str
    """Where the size of the cache comes from, in words."""
    memory_bytes: int


def read_text(path: Path | str) -> str | None:
    """The stripped content of a small file, or None where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


@lru_cache(maxsize=1)
def cpu() -> Device:
    """The CPU, as the process may use it."""
    import psutil

    cache_bytes = last_level_cache_bytes(CPUS, affinity())
    return Device(
        name=cpu_model() or UNKNOWN_CPU,
        cores=usable_cores(),
        cache_bytes=cache_bytes or FALLBACK_CACHE_BYTES,
        cache_source="the kernel's tables" if cache_bytes else "assumed, the system does not say",
        memory_bytes=int(psutil.virtual_memory().total),
    )


def affinity() -> list[int]:
    """The logical cores on which this process may run, in order; all where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def quota_cores(path: Path = CPU_QUOTA) -> float | None:
    """Cores' worth of time that the container's quota allows, or None where there is no quota."""
    quota = (read_text(path) or "").split()
    if len(quota) == 2 and quota[0].isdigit():
        return int(quota[0]) / int(quota[1])
    return None


def usable_cores() -> int:
    """How many cores this process may keep busy: its affinity, or its container's quota where that is less."""
    cores = len(affinity())
    return max(1, min(cores, round(quota_cores() or cores)))


def cpu_model(cpuinfo: Path = CPUINFO) -> str | None:
    """The model of the CPU as its vendor names it, or None where nothing says."""
    named = re.search(r"^model name\s*:[ \t]*(\S.*)$", read_text(cpuinfo) or "", re.MULTILINE)
    if named:
        return named[1].strip()
    # Arm's /proc/cpuinfo names no model; py-cpuinfo asks further, but takes a second, so it comes last.
    from cpuinfo import get_cpu_info

    model = get_cpu_info().get("brand_raw")
    return str(model) if model else None


def caches(cpus: Path, core: int) -> list[Cache]:
    """The caches of one core from Linux' sysfs; those of which it does not say level, type and size are left out."""
    found = []
    for index in sorted((cpus / f"cpu{core}" / "cache").glob("index[0-9]*")):
        level, kind, shared = (read_text(index / name) for name in ("level", "type", "shared_cpu_list"))
        size = re.fullmatch(r"(\d+)([KMG]?)", read_text(index / "size") or "")
        # A container may hide one of the files.
        if level and level.isdigit() and kind and shared and size:
            unit = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[size[2]]
            found.append(Cache(int(level), kind, int(size[1]) * unit, shared))
    return found


def cache_levels(cpus: Path, cores: list[int]) -> tuple[Level, ...]:
    """The levels of the data caches of these cores, nearest first, from Linux' sysfs; none where it does not say."""
    found: dict[int, dict[str, int]] = {}
    for core in cores:
        for cache in caches(cpus, core):
            if cache.type != "Instruction":
                found.setdefault(cache.level, {})[cache.shared_by] = cache.size_bytes
    totals = {level: sum(sizes.values()) for level, sizes in sorted(found.items())}
    return tuple(Level(f"L{level}", total, total // len(cores)) for level, total in totals.items())


@lru_cache(maxsize=1)
def levels() -> tuple[Level, ...]:
    """The levels of the data caches of the cores on which this process may run, nearest first."""
    return cache_levels(CPUS, affinity())


def last_level_cache_bytes(cpus: Path, cores: list[int]) -> int:
    """The distinct last-level caches of these cores, added up, from Linux' sysfs; 0 where it does not say."""
    last: dict[str, int] = {}
    for core in cores:
        data = [cache for cache in caches(cpus, core) if cache.type != "Instruction"]
        if data:
            farthest = max(data, key=lambda cache: cache.level)
            last[farthest.shared_by] = farthest.size_bytes
    return sum(last.values())


@lru_cache(maxsize=1)
def nvidia_gpus() -> int:
    """NVIDIA GPUs that the driver offers to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
