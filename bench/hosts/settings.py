"""How this host is set up: what changes times from host to host though the hardware is the same.

Read from /proc and /sys, which cost nothing and need no rights; what cannot be read is None or empty, never guessed.
`root` is where both are looked for. Sources: the kernel's documents admin-guide/pm/cpufreq.rst, admin-guide/mm/,
admin-guide/sysctl/, admin-guide/kernel-parameters.txt, networking/ip-sysctl.rst, timers/timekeeping.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterbench.kernels.device import read_text

ROOT = Path("/")
PCI = Path("/sys/bus/pci/devices")
UNLIMITED = "unlimited"

BOOT_FLAGS = (
    "mitigations", "nosmt", "maxcpus", "isolcpus", "nohz", "nohz_full", "rcu_nocbs", "rcu_nocb_poll", "irqaffinity",
    "intel_pstate", "amd_pstate", "cpufreq.default_governor", "intel_idle.max_cstate", "processor.max_cstate",
    "cpuidle.off", "idle", "transparent_hugepage", "hugepages", "hugepagesz", "default_hugepagesz", "numa_balancing",
    "numa", "clocksource", "tsc", "iommu", "intel_iommu", "amd_iommu", "pci", "pcie_aspm", "preempt", "skew_tick",
    "nmi_watchdog", "nowatchdog", "audit", "psi",
)  # fmt: skip
"""Flags of the kernel's command line that change times; no other is recorded."""


@dataclass(frozen=True, slots=True)
class CpuSettings:
    """Frequencies, threads and cores that are kept free."""

    governor: str | None
    """Of several the names with commas between."""
    frequency_driver: str | None
    boost: bool | None
    """Whether the processor may clock above its nominal frequency."""
    min_mhz: float | None
    max_mhz: float | None
    smt: bool | None
    isolated: str | None
    """Cores that the scheduler leaves alone, as the kernel lists them; empty for none."""
    tickless: str | None
    """Cores without a timer's tick (`nohz_full`)."""
    mitigations: dict[str, str]
    """Of each weakness of the processor that the kernel works round, how."""


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """Pages, their migration, and swapping."""

    transparent_hugepages: str | None
    hugepage_defrag: str | None
    hugepages: dict[str, int]
    """Reserved pages by their size, as `2048kB`."""
    numa_balancing: bool | None
    swap_bytes: int | None
    swappiness: int | None
    overcommit: int | None


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """Clock and boot."""

    clock_source: str | None
    clock_sources: tuple[str, ...]
    """Those that could be chosen."""
    boot_flags: dict[str, str]


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """How connections of this network namespace send."""

    congestion_control: str | None
    send_buffer_bytes: tuple[int, ...]
    """Least, first and largest: a message that is longer than the largest is handed over in parts."""
    receive_buffer_bytes: tuple[int, ...]
    unsent_at_card_bytes: int | None
    """What of a connection may wait at its card."""
    slow_start_after_idle: bool | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What this process may take; `UNLIMITED` where nothing limits it."""

    locked_memory_bytes: int | str | None
    stack_bytes: int | str | None
    open_files: int | str | None
    processes: int | str | None


def read_cpu_settings(root: Path = ROOT) -> CpuSettings:
    """The settings of all cores; frequencies are those of core 0."""
    cpus = root / "sys/devices/system/cpu"
    weaknesses = {path.name: read_text(path) or "" for path in sorted((cpus / "vulnerabilities").glob("*"))}
    governors = {read_text(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {None, ""}
    return CpuSettings(
        governor=", ".join(sorted(str(name) for name in governors)) or None,
        frequency_driver=read_text(cpus / "cpu0/cpufreq/scaling_driver"),
        boost=_boost(cpus),
        min_mhz=_mhz(read_text(cpus / "cpu0/cpufreq/scaling_min_freq")),
        max_mhz=_mhz(read_text(cpus / "cpu0/cpufreq/cpuinfo_max_freq")),
        smt={"1": True, "0": False}.get(read_text(cpus / "smt/active") or ""),
        isolated=read_text(cpus / "isolated"),
        tickless=read_text(cpus / "nohz_full"),
        mitigations={name: text for name, text in weaknesses.items() if text != "Not affected"},
    )


def read_memory_settings(root: Path = ROOT) -> MemorySettings:
    """The settings of memory."""
    memory, sysctl = root / "sys/kernel/mm", root / "proc/sys"
    swap = re.search(r"^SwapTotal:\s+(\d+) kB$", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    pages = {
        path.name.removeprefix("hugepages-"): number(read_text(path / "nr_hugepages")) or 0
        for path in sorted((memory / "hugepages").glob("hugepages-*"))
    }
    balancing = number(read_text(sysctl / "kernel/numa_balancing"))
    return MemorySettings(
        transparent_hugepages=_chosen(read_text(memory / "transparent_hugepage/enabled")),
        hugepage_defrag=_chosen(read_text(memory / "transparent_hugepage/defrag")),
        hugepages={size: count for size, count in pages.items() if count},
        numa_balancing=None if balancing is None else balancing > 0,
        swap_bytes=int(swap[1]) << 10 if swap else None,
        swappiness=number(read_text(sysctl / "vm/swappiness")),
        overcommit=number(read_text(sysctl / "vm/overcommit_memory")),
    )


def read_kernel_settings(root: Path = ROOT) -> KernelSettings:
    """The settings of the kernel."""
    clock = root / "sys/devices/system/clocksource/clocksource0"
    return KernelSettings(
        clock_source=read_text(clock / "current_clocksource"),
        clock_sources=tuple((read_text(clock / "available_clocksource") or "").split()),
        boot_flags=boot_flags(read_text(root / "proc/cmdline") or ""),
    )


def read_tcp_settings(root: Path = ROOT) -> TcpSettings:
    """The settings of TCP, which hold over IPv6 too."""
    tcp = root / "proc/sys/net/ipv4"
    send, receive = (tuple(map(int, (read_text(tcp / name) or "").split())) for name in ("tcp_wmem", "tcp_rmem"))
    return TcpSettings(
        congestion_control=read_text(tcp / "tcp_congestion_control"),
        send_buffer_bytes=send,
        receive_buffer_bytes=receive,
        unsent_at_card_bytes=number(read_text(tcp / "tcp_limit_output_bytes")),
        slow_start_after_idle={"1": True, "0": False}.get(read_text(tcp / "tcp_slow_start_after_idle") or ""),
    )


def read_limits(root: Path = ROOT) -> Limits:
    """The limits that hold for this process (the soft ones)."""
    text = read_text(root / "proc/self/limits") or ""

    def limit(name: str) -> int | str | None:
        found = re.search(rf"^{name}\s+(\d+|{UNLIMITED})", text, re.MULTILINE)
        return None if found is None else found[1] if found[1] == UNLIMITED else int(found[1])

    return Limits(limit("Max locked memory"), limit("Max stack size"), limit("Max open files"), limit("Max processes"))


def numa_nodes(root: Path = ROOT) -> dict[int, tuple[int, ...]]:
    """The logical cores of each NUMA node that has any."""
    found = {
        int(path.name[4:]): tuple(numbers(read_text(path / "cpulist") or ""))
        for path in (root / "sys/devices/system/node").glob("node[0-9]*")
    }
    return {node: cores for node, cores in sorted(found.items()) if cores}


def nodes_of(cores: Iterable[int], nodes: Mapping[int, Sequence[int]]) -> tuple[int, ...]:
    """The NUMA nodes that some of these cores belong to."""
    wanted = set(cores)
    return tuple(node for node, there in nodes.items() if wanted.intersection(there))


def device_node(device: Path) -> int | None:
    """The NUMA node that a device of /sys is plugged into; None where it is not known (-1, as the kernel writes)."""
    node = number(read_text(device / "numa_node"))
    return node if node is not None and node >= 0 else None


def numbers(text: str) -> list[int]:
    """The numbers of a list as the kernel writes it: `0-3,8`."""
    spans = re.findall(r"(\d+)(?:-(\d+))?", text)
    return [number for first, last in spans for number in range(int(first), int(last or first) + 1)]


def boot_flags(command_line: str) -> dict[str, str]:
    """The flags of `BOOT_FLAGS` on a kernel's command line; empty text for one without a value.

    Of one that is there several times all values, with semicolons between.
    """
    found: dict[str, str] = {}
    for word in command_line.split():
        name, _, value = word.partition("=")
        if name in BOOT_FLAGS:
            found[name] = f"{found[name]};{value}" if name in found else value
    return found


def number(text: str | None) -> int | None:
    """A whole number as /proc and /sys write it, None where there is none."""
    try:
        return int(text or "")
    except ValueError:
        return None


def _boost(cpus: Path) -> bool | None:
    no_turbo = read_text(cpus / "intel_pstate/no_turbo")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    return {"1": True, "0": False}.get(read_text(cpus / "cpufreq/boost") or "")


def _mhz(text: str | None) -> float | None:
    khz = number(text)
    return None if khz is None else khz / 1000


def _chosen(text: str | None) -> str | None:
    """Of `always [madvise] never` the one in brackets."""
    found = re.search(r"\[([\w+]+)\]", text or "")
    return found[1] if found else None
