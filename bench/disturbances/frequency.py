"""The clock of the processor and of GPUs: what lets it vary, and what has lowered it."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import HostFacts
from clusterbench.bench.finding import Finding

STEADY = "performance"


def governor(host: HostFacts) -> Iterator[Finding]:
    """A frequency governor other than `performance`."""
    if host.cpu.governor and host.cpu.governor != STEADY:
        yield Finding(
            "host", "governor", "warning", host.cpu.governor,
            "cores clock down between samples and take a while to come back, so that short measurements are slow",
            f"cpupower frequency-set --governor {STEADY}",
        )  # fmt: skip


def boost(host: HostFacts) -> Iterator[Finding]:
    """Clocks above the nominal one, which depend on temperature and on how many cores work."""
    if host.cpu.boost:
        intel = (host.cpu.frequency_driver or "").startswith("intel")
        switch = (
            "1 > /sys/devices/system/cpu/intel_pstate/no_turbo"
            if intel
            else "0 > /sys/devices/system/cpu/cpufreq/boost"
        )
        yield Finding(
            "host", "turbo", "warning", "on",
            "the clock depends on temperature and on how many cores work: times differ from run to run",
            f"echo {switch}",
        )  # fmt: skip


def thermal(host: HostFacts) -> Iterator[Finding]:
    """Clocks that were lowered for temperature during the interval."""
    before, after = host.before.thermal, host.after.thermal
    if before is not None and after is not None and after > before:
        yield Finding(
            "host", "thermal throttling", "warning", f"{after - before} times in {host.interval_s:.1f} s",
            "the processor is too hot and lowers its clock: what is measured is the cooling",
            "ipmitool sdr type Temperature; ipmitool sdr type Fan",
        )  # fmt: skip


def gpu_clocks(host: HostFacts) -> Iterator[Finding]:
    """GPUs whose clock is held down."""
    for gpu in host.gpus:
        if gpu.slowed_by:
            yield Finding(
                "gpu", f"clock of GPU {gpu.index}", "warning", ", ".join(gpu.slowed_by),
                "its clock is held down: kernels on it are slower than on the others, and collectives wait for it",
                f"nvidia-smi -i {gpu.index} -q -d PERFORMANCE,POWER,TEMPERATURE",
            )  # fmt: skip
