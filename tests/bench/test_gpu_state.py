"""GPUs as NVML tells of them, from a made-up NVML, and which of them a rank takes."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.hosts import hardware
from clusterbench.bench.hosts.gpu_state import gpu_conditions, gpu_settings, gpu_uuids
from clusterbench.bench.hosts.rank_gpus import gpu_of, visible_gpus

UUIDS = ("GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333", "GPU-dddd4444")


class FakeError(Exception):
    """NVML's error."""


def answers(what: Any) -> Any:
    return lambda *arguments: what


def nvml(**functions: Any) -> SimpleNamespace:
    """A module of two GPUs that knows the functions of NVML that are given, and those without which it is none."""
    known = {
        "NVMLError": FakeError,
        "nvmlInit": answers(None),
        "nvmlShutdown": answers(None),
        "nvmlSystemGetDriverVersion": answers("570.86"),
        "nvmlDeviceGetCount": answers(2),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": answers("NVIDIA H100"),
        "nvmlDeviceGetMemoryInfo": answers(SimpleNamespace(total=80 << 30)),
        "nvmlDeviceGetCudaComputeCapability": answers((9, 0)),
        "nvmlDeviceGetPciInfo": lambda handle: SimpleNamespace(busId=f"00000000:{17 + handle}:00.0".encode()),
        "nvmlDeviceGetUUID": lambda handle: UUIDS[handle].encode(),
        **functions,
    }
    return SimpleNamespace(**known)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**functions: Any) -> SimpleNamespace:
        module = nvml(**functions)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        return module

    return install


def test_ecc_mig_persistence_power_and_clocks_are_recorded(known: Any) -> None:
    known(
        nvmlDeviceGetEccMode=answers([1, 0]),
        nvmlDeviceGetMigMode=answers([0, 1]),
        nvmlDeviceGetPersistenceMode=answers(1),
        nvmlDeviceGetEnforcedPowerLimit=answers(650000),
        nvmlDeviceGetPowerManagementDefaultLimit=answers(700000),
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: {1: 1980, 2: 2619}[kind],
    )
    gpus, how = hardware.describe_gpus()
    assert how == "NVML"
    first = gpus[0]
    assert (first["uuid"], first["ecc"], first["mig"], first["persistence"]) == (UUIDS[0], True, False, True)
    assert (first["power_limit_watts"], first["power_default_watts"]) == (650.0, 700.0)
    assert (first["max_sm_mhz"], first["max_memory_mhz"]) == (1980, 2619)
    assert first["pcie_lanes"] is None
    assert gpus[1]["uuid"] == UUIDS[1]


def test_what_a_driver_does_not_know_is_none() -> None:
    def unknown(*arguments: Any) -> None:
        raise FakeError("Not Supported")

    found = gpu_settings(nvml(nvmlDeviceGetEccMode=unknown), 0)
    assert (found["ecc"], found["mig"], found["power_limit_watts"]) == (None, None, None)


def test_why_a_clock_is_held_down_is_said_in_words(known: Any) -> None:
    reasons = {0: 0x1 | 0x2, 1: 0x4 | 0x40}
    known(
        nvmlDeviceGetCurrentClocksThrottleReasons=reasons.__getitem__,
        nvmlDeviceGetClockInfo=answers(1200),
        nvmlDeviceGetTemperature=answers(91),
        nvmlDeviceGetPowerUsage=answers(350500),
        nvmlDeviceGetComputeRunningProcesses=answers([SimpleNamespace(pid=77)]),
    )
    first, second = gpu_conditions()
    assert first.slowed_by == ()
    assert second.slowed_by == ("power cap", "temperature, by hardware")
    assert (second.pci_id, second.uuid) == ("0000:18:00.0", UUIDS[1])
    assert (second.sm_mhz, second.temperature_c, second.power_watts, second.processes) == (1200, 91, 350.5, (77,))
    assert gpu_uuids() == UUIDS[:2]


def test_without_nvml_there_are_none(monkeypatch: pytest.MonkeyPatch, known: Any) -> None:
    def fails() -> None:
        raise FakeError("Driver Not Loaded")

    known(nvmlInit=fails)
    assert (gpu_conditions(), gpu_uuids()) == ((), ())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (gpu_conditions(), gpu_uuids()) == ((), ())


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, UUIDS),
        ("2,0", (UUIDS[2], UUIDS[0])),
        ("GPU-cc,1", (UUIDS[2], UUIDS[1])),
        ("1,-1,0", (UUIDS[1],)),
        ("0,9,1", (UUIDS[0],)),
        ("", ()),
        ("NoDevFiles", ()),
        ("MIG-1234", ("MIG-1234",)),
    ],
)
def test_a_rank_sees_the_gpus_that_its_variable_leaves(visible: str | None, seen: tuple[str, ...]) -> None:
    assert visible_gpus(UUIDS, visible) == seen


@given(st.integers(1, 8), st.integers(1, 16))
def test_ranks_share_a_gpu_only_where_there_are_more_ranks_than_gpus(gpus: int, ranks: int) -> None:
    uuids = [f"GPU-{number}" for number in range(gpus)]
    taken = [gpu_of(uuids, None, rank) for rank in range(ranks)]
    assert len(set(taken)) == min(gpus, ranks)


def test_a_rank_that_sees_no_gpu_takes_none() -> None:
    assert gpu_of(UUIDS, "", 0) == gpu_of((), None, 3) == ""
