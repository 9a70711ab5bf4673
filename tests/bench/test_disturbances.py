"""Each warning of what spoils a measurement appears when it should, says what was found and what mends it, and does not
appear otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.disturbances.facts import (
    BusyProcess,
    CoreNoise,
    Counters,
    Facts,
    HostFacts,
    OtherLoad,
    RankFacts,
)
from clusterbench.bench.disturbances.judged import judge
from clusterbench.bench.disturbances.noise import HICCUP, figures, measure_noise
from clusterbench.bench.disturbances.processes import CpuTime, busy_between, other_load, related, unseen_between
from clusterbench.bench.finding import Finding
from clusterbench.bench.hosts.gpu_state import GpuCondition
from clusterbench.bench.hosts.network_cards import RdmaPort
from clusterbench.bench.hosts.settings import CpuSettings, KernelSettings, Limits, MemorySettings

GIB = 1 << 30
PORT = RdmaPort("mlx5_0", 1, "4: ACTIVE", "InfiniBand", "400 Gb/sec (4X NDR)", None, None, 4092, None, 0)
GPU = GpuCondition(0, "GPU-a", "0000:17:00.0", 1980, 40, 100.0, (), ())
QUIET_CORE = CoreNoise(0, 10_000, 100e-6, 100.1e-6, 103e-6, 110e-6, 0.002, 0)
COUNTED = Counters(throttled=3, swapped_pages=40, memory_stall_s=5.0, steal_s=70.0, thermal=2)
QUIET = HostFacts(
    host="node01",
    cores=(0, 1, 2, 3),
    logical_cores=4,
    quota_cores=None,
    numa_nodes={0: (0, 1), 1: (2, 3)},
    cpu=CpuSettings("performance", "intel_pstate", False, 800.0, 3500.0, False, "", "", {}),
    memory=MemorySettings("madvise", "madvise", {}, False, 0, 60, 0),
    kernel=KernelSettings("tsc", ("tsc", "hpet"), {}),
    limits=Limits("unlimited", 8 << 20, 1024, 1024),
    memory_bytes=64 * GIB,
    swap_used_bytes=0,
    shared_memory_free_bytes=32 * GIB,
    interval_s=2.0,
    before=COUNTED,
    after=COUNTED,
    load=OtherLoad((), 0.02),
    gpus=(GPU, replace(GPU, index=1, uuid="GPU-b")),
    gpu_nodes={"GPU-a": 0, "GPU-b": 1},
    rdma_ports=(PORT,),
    card_nodes=(0,),
)
RANKS = (
    RankFacts(0, "node01", 100, (0,), "clusterbench", (0,), "GPU-a", (QUIET_CORE,)),
    RankFacts(1, "node01", 101, (2,), "clusterbench", (1,), "GPU-b", (replace(QUIET_CORE, core=2),)),
)


def warnings(host: HostFacts = QUIET, ranks: tuple[RankFacts, ...] = RANKS, launcher: str = "Hydra") -> list[Finding]:
    return [finding for finding in judge(Facts((host,), ranks, launcher)) if finding.state == "warning"]


def counted(**more: float) -> Counters:
    return replace(COUNTED, **{name: getattr(COUNTED, name) + value for name, value in more.items()})


def test_of_a_quiet_host_nothing_is_warned_and_its_noise_is_told() -> None:
    (told,) = judge(Facts((QUIET,), RANKS, "Hydra"))
    assert (told.name, told.state) == ("noise", "info")
    assert "0.20% lost in 10000 loops of 100.0 µs" in told.found


SPOILT: list[tuple[str, dict[str, Any], str, str]] = [
    ("governor", {"cpu": replace(QUIET.cpu, governor="powersave")}, "powersave", "cpupower frequency-set --governor p"),
    ("governor", {"cpu": replace(QUIET.cpu, governor="performance, powersave")}, "powersave", "cpupower"),
    ("turbo", {"cpu": replace(QUIET.cpu, boost=True)}, "on", "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"),
    (
        "turbo",
        {"cpu": replace(QUIET.cpu, boost=True, frequency_driver="acpi-cpufreq")},
        "on",
        "echo 0 > /sys/devices/system/cpu/cpufreq/boost",
    ),
    ("thermal throttling", {"after": counted(thermal=5)}, "5 times in 2.0 s", "ipmitool"),
    ("clock of GPU 0", {"gpus": (replace(GPU, slowed_by=("power cap",)),)}, "power cap", "nvidia-smi -i 0 -q"),
    ("use of GPU 0", {"gpus": (replace(GPU, processes=(77, 78)),)}, "pid 77,78", "ps -o pid,user,etime,args -p 77,78"),
    ("CPU quota", {"quota_cores": 2.5}, "2.5 of 4 cores", "docker update --cpus=4"),
    ("CPU quota", {"after": counted(throttled=7)}, "paused 7 times in 2.0 s", "CPUQuota="),
    (
        "other load",
        {"load": OtherLoad((BusyProcess(8, "make", 0.07), BusyProcess(9, "cc1", 0.04)), 0.03)},
        "0.14 of 4 cores: make (pid 8) 0.07, cc1 (pid 9) 0.04",
        "ps -o pid,user,etime,args -p 8,9 ",
    ),
    ("other load", {"load": OtherLoad((), 0.6)}, "0.60 of 4 cores: what cannot be seen from here 0.60", "top "),
    (
        "other load",
        {"load": OtherLoad(tuple(BusyProcess(n, "a", 0.5) for n in range(7)), 0.0)},
        "3.50 of 4 cores: a (pid 0) 0.50, a (pid 1) 0.50, a (pid 2) 0.50, a (pid 3) 0.50, a (pid 4) 0.50, 2 more",
        "ps -o pid,user,etime,args -p 0,1,2,3,4 ",
    ),
    ("stolen time", {"after": counted(steal_s=0.4)}, "5.0% of the cores' time", "dedicated cores"),
    ("swap", {"swap_used_bytes": GIB}, "1.00 GiB in use", "swapoff -a && swapon -a"),
    ("swap", {"after": counted(swapped_pages=3)}, "3 pages in 2.0 s", "swapoff"),
    ("memory pressure", {"after": counted(memory_stall_s=0.5)}, "25% of the time", "ps -eo pid,user,rss"),
    (
        "transparent huge pages",
        {"memory": replace(QUIET.memory, transparent_hugepages="always")},
        "always, defrag madvise",
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    ),
    (
        "NUMA balancing",
        {"memory": replace(QUIET.memory, numa_balancing=True)},
        "over 2 nodes",
        "sysctl -w kernel.numa_balancing=0",
    ),
    ("shared memory", {"shared_memory_free_bytes": 64 << 20}, "64 MiB free in /dev/shm of node01", "remount,size=1G"),
    ("locked memory", {"limits": replace(QUIET.limits, locked_memory_bytes=65536)}, "64 KiB", "ulimit -l unlimited"),
    (
        "clock source",
        {"kernel": KernelSettings("hpet", ("tsc", "hpet"), {})},
        "hpet",
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    ("clock source", {"kernel": KernelSettings("hpet", ("hpet", "acpi_pm"), {})}, "hpet", "dmesg"),
]


@pytest.mark.parametrize(("name", "changes", "found", "mend"), SPOILT, ids=lambda value: str(value)[:24])
def test_what_spoils_a_host_is_named_with_what_mends_it(
    name: str, changes: dict[str, Any], found: str, mend: str
) -> None:
    (warning,) = warnings(replace(QUIET, **changes))
    assert warning.name == name
    assert found in warning.found
    assert mend in warning.mend
    assert warning.reason


HARMLESS: list[dict[str, Any]] = [
    {"quota_cores": 4.0},
    {"load": OtherLoad((BusyProcess(8, "systemd", 0.05),), 0.04)},
    {"after": counted(steal_s=0.02)},
    {"swap_used_bytes": 100 << 20},
    {"after": counted(memory_stall_s=0.01)},
    {"memory": replace(QUIET.memory, numa_balancing=True), "numa_nodes": {0: (0, 1, 2, 3)}, "gpu_nodes": {}},
    {"memory": replace(QUIET.memory, transparent_hugepages="never")},
    {"shared_memory_free_bytes": 128 << 20},
    {"limits": replace(QUIET.limits, locked_memory_bytes=65536), "rdma_ports": ()},
    {"kernel": KernelSettings("arch_sys_counter", (), {})},
    {"before": Counters(), "after": Counters()},
    {"card_nodes": (1,)},
    {"gpu_nodes": {}},
]


@pytest.mark.parametrize("changes", HARMLESS, ids=str)
def test_what_is_harmless_is_not_warned_of(changes: dict[str, Any]) -> None:
    assert warnings(replace(QUIET, **changes)) == []


def test_what_cannot_be_read_is_said() -> None:
    blind = replace(QUIET, cpu=replace(QUIET.cpu, governor=None, boost=None), after=Counters(), before=Counters())
    (told,) = [finding for finding in judge(Facts((blind,), RANKS)) if finding.name == "not readable"]
    assert told.state == "info"
    assert "governor, turbo, thermal throttling, pauses by CPU quota" in told.found
    assert "clock source" not in told.found
    no_nvml = replace(QUIET, gpus=(), gpu_nodes={}, nvidia_gpus=8)
    (told,) = [finding for finding in judge(Facts((no_nvml,), ())) if finding.name == "not readable"]
    assert told.found == "8 GPUs (pip install nvidia-ml-py)"


def test_more_ranks_than_cores_are_named_and_the_cores_that_they_share() -> None:
    host = replace(QUIET, cores=(0, 1))
    ranks = tuple(replace(RANKS[0], rank=rank, cores=(rank % 2,), gpu="", numa_nodes=()) for rank in range(3))
    first, second = warnings(host, ranks)
    assert (first.name, first.found, first.mend[:12]) == (
        "oversubscription",
        "3 ranks on 2 cores of node01",
        "mpiexec -n 2",
    )
    assert (second.name, second.found) == ("shared cores", "ranks 0, 2 on core 0 of node01")
    assert second.mend == first.mend  # binding helps nobody where there are too few


def test_a_quota_makes_ranks_too_many_too() -> None:
    assert [w.name for w in warnings(replace(QUIET, quota_cores=1.0))] == ["oversubscription", "CPU quota"]


@pytest.mark.parametrize(
    ("launcher", "command"),
    [("Open MPI", "mpiexec --map-by core --bind-to core"), ("Hydra", "mpiexec -bind-to core"), ("Slurm", "srun --cpu")],
)
def test_masks_that_overlap_are_named_by_rank_and_core(launcher: str, command: str) -> None:
    ranks = (replace(RANKS[0], cores=(0, 1)), replace(RANKS[1], cores=(1, 2), pinned_by="launcher"))
    (warning,) = warnings(ranks=ranks, launcher=launcher)
    assert (warning.name, warning.found) == ("shared cores", "ranks 0, 1 on core 1 of node01")
    assert warning.mend.startswith(command)


def test_two_ranks_on_one_gpu_are_named_with_its_uuid() -> None:
    ranks = (RANKS[0], replace(RANKS[1], gpu="GPU-a", numa_nodes=(0, 1)))
    (warning,) = warnings(ranks=ranks)
    assert (warning.name, warning.found) == ("shared GPU", "ranks 0, 1 on GPU-a of node01")
    assert "mpiexec -n 1" in warning.mend


def test_a_rank_on_the_other_node_than_its_gpu_is_named() -> None:
    (warning,) = warnings(ranks=(RANKS[0], replace(RANKS[1], numa_nodes=(0,))))
    assert (warning.name, warning.found) == ("far GPU", "rank 1 on node 0, its GPU on node 1 of node01")
    assert "numactl --cpunodebind=1" in warning.mend


def test_a_rank_far_from_the_cards_is_named_where_messages_leave_the_host_and_cores_are_near() -> None:
    other = replace(QUIET, host="node02", card_nodes=())
    there = replace(RANKS[0], rank=2, host="node02", gpu="")
    found = judge(Facts((QUIET, other), (*RANKS, there), "Slurm"))
    (warning,) = [finding for finding in found if finding.state == "warning"]
    assert (warning.name, warning.found) == ("far network card", "ranks 1 of node01, whose cards are on node 0")
    crowd = tuple(replace(RANKS[0], rank=3 + n, cores=(n,), numa_nodes=(n // 2,), gpu="") for n in range(3))
    crowded = judge(Facts((replace(QUIET, cores=(0, 1, 2, 3)), other), (*crowd, there), "Slurm"))
    assert [finding.name for finding in crowded if finding.state == "warning"] == []


def test_what_is_the_same_on_several_hosts_is_said_once_with_their_names() -> None:
    slow = replace(QUIET, cpu=replace(QUIET.cpu, governor="powersave"))
    hosts = tuple(replace(slow, host=f"node{n:02}") for n in range(1, 12))
    (warning,) = [f for f in judge(Facts((*hosts, replace(QUIET, host="good")), ())) if f.state == "warning"]
    assert warning.found.startswith("powersave (on node01, node02, ")
    assert warning.found.endswith("node08 and 3 more)")


def test_noisy_cores_are_counted_and_the_worst_is_named_with_its_rank() -> None:
    noisy = replace(QUIET_CORE, core=2, lost_share=0.05, hiccups=12, longest_s=4e-3)
    (warning,) = warnings(ranks=(RANKS[0], replace(RANKS[1], noise=(noisy,))))
    assert warning.name == "noise"
    assert warning.found.startswith("1 of 2 cores lose 1 % or more; core 2 of node01 (rank 1): 5.00% lost in 10000")
    assert "longest 4000.0, 12 hiccups" in warning.found


@given(st.lists(st.integers(100_000, 1_000_000), min_size=1, max_size=200))
def test_the_figures_of_a_core_are_those_of_its_samples(durations: list[int]) -> None:
    found = figures(5, np.array(durations, np.int64))
    shortest = min(durations)
    assert (found.core, found.samples) == (5, len(durations))
    assert found.shortest_s == pytest.approx(shortest * 1e-9)
    assert found.longest_s == pytest.approx(max(durations) * 1e-9)
    assert found.hiccups == sum(duration > (1 + HICCUP) * shortest for duration in durations)
    assert found.lost_share == pytest.approx(sum(d - shortest for d in durations) / sum(durations))
    assert found.shortest_s <= found.median_s * (1 + 1e-9)
    assert 0 <= found.lost_share < 1


def test_noise_is_measured_on_each_core_and_leaves_this_thread_where_it_was() -> None:
    cores = sorted(os.sched_getaffinity(0))
    found = measure_noise(cores, 0.05)
    assert [core.core for core in found] == cores
    assert all(core.samples > 0 and core.longest_s >= core.median_s >= core.shortest_s > 0 for core in found)
    assert sorted(os.sched_getaffinity(0)) == cores


def test_time_between_two_readings_is_that_of_the_same_process() -> None:
    before = {1: CpuTime("a", 10.0, 5.0), 2: CpuTime("b", 10.0, 100.0), 3: CpuTime("c", 10.0, 7.0)}
    after = {
        1: CpuTime("a", 10.0, 6.0),
        2: CpuTime("new b", 20.0, 0.5),  # a later process with the same number
        3: CpuTime("c", 10.0, 7.01),
        4: CpuTime("d", 21.0, 1.5),
        5: CpuTime("own", 21.0, 2.0),
    }
    found = busy_between(before, after, 2.0, frozenset({5}))
    assert found == (BusyProcess(4, "d", 0.75), BusyProcess(1, "a", 0.5), BusyProcess(2, "new b", 0.25))
    # All five together, our own too, used 5.01 seconds.
    assert unseen_between(before, after, 2.0, 5.01) == unseen_between(before, after, 2.0, 4.9) == 0
    assert unseen_between(before, after, 2.0, 8.01) == 1.5


def test_a_busy_process_is_named_unless_it_is_one_s_own() -> None:
    spin = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(spin, start_new_session=True) as child:
        try:
            assert child.pid in related([os.getpid()])
            assert os.getppid() in related([os.getpid()])
            seen = {process.pid for process in other_load(0.5, []).busy}
            assert child.pid in seen
            assert child.pid not in {process.pid for process in other_load(0.2, [os.getpid()]).busy}
        finally:
            child.kill()
