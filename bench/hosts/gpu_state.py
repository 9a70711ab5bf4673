"""How NVIDIA's GPUs are set up, and how they are at this moment, as NVML tells of them (nvidia-ml-py).

What a GPU or its driver does not know is None. Constants and their meaning: NVML's API reference, nvml.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clusterbench.bench.hosts.nvml import busid, each_gpu, plain

_SM, _MEMORY = 1, 2
"""NVML_CLOCK_SM and NVML_CLOCK_MEM."""
_CELSIUS_OF_GPU = 0
"""NVML_TEMPERATURE_GPU."""
_SLOWED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons that take speed away; the others are an idle GPU and clocks that somebody chose."""


@dataclass(frozen=True, slots=True)
class GpuCondition:
    """A GPU at one moment."""

    index: int
    uuid: str
    pci_id: str
    """As /sys names it: `0000:17:00.0`."""
    sm_mhz: int | None
    temperature_c: int | None
    power_watts: float | None
    slowed_by: tuple[str, ...]
    """Why its clock is held down, in words; empty where it is not."""
    processes: tuple[int, ...]
    """Pids of those that compute on it."""


def gpu_settings(pynvml: Any, handle: Any) -> dict[str, Any]:
    """UUID, ECC, persistence, MIG, power limit and clocks of one GPU, as JSON values."""

    def ask(name: str, *arguments: Any) -> Any:
        return _asked(pynvml, lambda: getattr(pynvml, name)(handle, *arguments))

    uuid = ask("nvmlDeviceGetUUID")
    milliwatts = ask("nvmlDeviceGetEnforcedPowerLimit"), ask("nvmlDeviceGetPowerManagementDefaultLimit")
    return {
        "uuid": plain(uuid) if uuid else None,
        "ecc": _enabled(_first(ask("nvmlDeviceGetEccMode"))),
        "persistence": _enabled(ask("nvmlDeviceGetPersistenceMode")),
        "mig": _enabled(_first(ask("nvmlDeviceGetMigMode"))),
        "power_limit_watts": _watts(milliwatts[0]),
        "power_default_watts": _watts(milliwatts[1]),
        "max_sm_mhz": ask("nvmlDeviceGetMaxClockInfo", _SM),
        "max_memory_mhz": ask("nvmlDeviceGetMaxClockInfo", _MEMORY),
        "application_sm_mhz": ask("nvmlDeviceGetApplicationsClock", _SM),
        "pcie_generation": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        "pcie_lanes": ask("nvmlDeviceGetCurrPcieLinkWidth"),
    }


def gpu_uuids() -> tuple[str, ...]:
    """The UUIDs of all GPUs that NVML knows, in the order of their numbers; none where there is no NVML."""
    return tuple(each_gpu(lambda pynvml, index, handle: plain(pynvml.nvmlDeviceGetUUID(handle)))[0])


def gpu_conditions() -> tuple[GpuCondition, ...]:
    """All GPUs that NVML knows, in the order of their numbers; none where there is no NVML."""
    return tuple(each_gpu(_condition)[0])


def _condition(pynvml: Any, index: int, handle: Any) -> GpuCondition:
    def ask(name: str, *arguments: Any) -> Any:
        return _asked(pynvml, lambda: getattr(pynvml, name)(handle, *arguments))

    # Called `throttle` by drivers before 535.
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons") or ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
    return GpuCondition(
        index=index,
        uuid=plain(ask("nvmlDeviceGetUUID") or ""),
        pci_id=busid(pynvml.nvmlDeviceGetPciInfo(handle).busId),
        sm_mhz=ask("nvmlDeviceGetClockInfo", _SM),
        temperature_c=ask("nvmlDeviceGetTemperature", _CELSIUS_OF_GPU),
        power_watts=_watts(ask("nvmlDeviceGetPowerUsage")),
        slowed_by=tuple(words for bit, words in _SLOWED.items() if reasons & bit),
        processes=tuple(process.pid for process in ask("nvmlDeviceGetComputeRunningProcesses") or ()),
    )


def _asked(pynvml: Any, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (pynvml.NVMLError, AttributeError):  # not of this GPU or driver, or not of this version of the package
        return None


def _first(pair: Any) -> Any:
    """Of the mode now and after the next start the first."""
    return pair[0] if pair else None


def _enabled(mode: int | None) -> bool | None:
    return None if mode is None else bool(mode)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
