"""The device at hand: the CPU with its cores, caches and memory, and how many GPUs there are."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
FALLBACK_CACHE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """What a kernel runs on."""

    name: str
    cores: int
    """Cores that this process may use."""
    cache_bytes: int
    """Last-level caches of those cores, all together."""
    cache_source: str
    """Where the size of the cache comes from, in words."""
    memory_bytes: int


@lru_cache(maxsize=1)
def cpu() -> Device:
    """The CPU, as the process may use it."""
    import psutil
    from cpuinfo import get_cpu_info

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    cache_bytes = last_level_cache_bytes(_CPUS, cores)
    return Device(
        name=get_cpu_info().get("brand_raw", "CPU"),
        cores=len(cores),
        cache_bytes=cache_bytes or FALLBACK_CACHE_BYTES,
        cache_source="the kernel's tables" if cache_bytes else "assumed, the system does not say",
        memory_bytes=int(psutil.virtual_memory().total),
    )


def last_level_cache_bytes(cpus: Path, cores: list[int]) -> int:
    """The distinct last-level caches of these cores, added up, from Linux' sysfs; 0 where it does not say."""
    caches: dict[str, int] = {}
    for core in cores:
        levels: list[tuple[int, str, int]] = []
        for index in (cpus / f"cpu{core}" / "cache").glob("index*"):
            try:
                if (index / "type").read_text().strip() == "Instruction":
                    continue
                size = _size_bytes((index / "size").read_text())
                levels.append(
                    (int((index / "level").read_text()), (index / "shared_cpu_list").read_text().strip(), size)
                )
            except (OSError, ValueError):  # a container may hide one of the files
                continue
        if levels:
            _, shared, size = max(levels)
            caches[shared] = size
    return sum(caches.values())


def _size_bytes(text: str) -> int:
    text = text.strip()
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else int(text)


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
