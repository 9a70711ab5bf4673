"""What is read of a host's settings, counters, quotas and cards, from made-up /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest
from file_tree import write
from hypothesis import given
from hypothesis import strategies as st

from clusterbench.bench.disturbances.counters import read_counters
from clusterbench.bench.disturbances.facts import Counters
from clusterbench.bench.hosts.cgroups import CpuQuota, cpu_quota
from clusterbench.bench.hosts.network_cards import interfaces, rdma_ports
from clusterbench.bench.hosts.settings import (
    BOOT_FLAGS,
    UNLIMITED,
    TcpSettings,
    boot_flags,
    nodes_of,
    numa_nodes,
    numbers,
    read_cpu_settings,
    read_kernel_settings,
    read_limits,
    read_memory_settings,
    read_tcp_settings,
)

CPUS = "sys/devices/system/cpu"
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max processes             96365                96365                processes
Max open files            1024                 524288               files
Max locked memory         {}                   unlimited            bytes"""


def test_the_settings_of_the_processor_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"{CPUS}/cpu0/cpufreq/scaling_governor": "performance",
            f"{CPUS}/cpu1/cpufreq/scaling_governor": "powersave",
            f"{CPUS}/cpu0/cpufreq/scaling_driver": "intel_pstate",
            f"{CPUS}/cpu0/cpufreq/scaling_min_freq": "800000",
            f"{CPUS}/cpu0/cpufreq/cpuinfo_max_freq": "3500000",
            f"{CPUS}/intel_pstate/no_turbo": "1",
            f"{CPUS}/smt/active": "1",
            f"{CPUS}/isolated": "2-7",
            f"{CPUS}/nohz_full": "2-7",
            f"{CPUS}/vulnerabilities/l1tf": "Not affected",
            f"{CPUS}/vulnerabilities/spectre_v2": "Mitigation: Retpolines",
        },
    )
    found = read_cpu_settings(tmp_path)
    assert (found.governor, found.frequency_driver) == ("performance, powersave", "intel_pstate")
    assert (found.min_mhz, found.max_mhz, found.boost, found.smt) == (800.0, 3500.0, False, True)
    assert (found.isolated, found.tickless) == ("2-7", "2-7")
    assert found.mitigations == {"spectre_v2": "Mitigation: Retpolines"}


@pytest.mark.parametrize(("text", "boost"), [("1", True), ("0", False), ("", None)])
def test_boost_is_read_where_the_driver_is_not_intel_s(text: str, boost: bool | None, tmp_path: Path) -> None:
    write(tmp_path, {f"{CPUS}/cpufreq/boost": text})
    assert read_cpu_settings(tmp_path).boost is boost


def test_the_settings_of_memory_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "sys/kernel/mm/transparent_hugepage/defrag": "always defer [defer+madvise] madvise never",
            "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512",
            "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0",
            "proc/sys/kernel/numa_balancing": "2",
            "proc/sys/vm/swappiness": "10",
            "proc/sys/vm/overcommit_memory": "1",
            "proc/meminfo": "MemTotal:       1000 kB\nSwapTotal:       2048 kB\nSwapFree: 5 kB",
        },
    )
    found = read_memory_settings(tmp_path)
    assert (found.transparent_hugepages, found.hugepage_defrag) == ("madvise", "defer+madvise")
    assert found.hugepages == {"2048kB": 512}
    assert (found.numa_balancing, found.swap_bytes, found.swappiness, found.overcommit) == (True, 2 << 20, 10, 1)


def test_the_settings_of_the_kernel_are_read_and_of_its_command_line_only_what_changes_times(tmp_path: Path) -> None:
    clock = "sys/devices/system/clocksource/clocksource0"
    line = "BOOT_IMAGE=/vmlinuz root=UUID=1 isolcpus=2-7 isolcpus=9 nosmt mitigations=off password=hunter2 quiet"
    write(
        tmp_path,
        {
            "proc/cmdline": line,
            f"{clock}/current_clocksource": "hpet",
            f"{clock}/available_clocksource": "tsc hpet acpi_pm",
        },
    )
    found = read_kernel_settings(tmp_path)
    assert (found.clock_source, found.clock_sources) == ("hpet", ("tsc", "hpet", "acpi_pm"))
    assert found.boot_flags == {"isolcpus": "2-7;9", "nosmt": "", "mitigations": "off"}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12)))
def test_no_flag_off_the_list_is_recorded(words: list[str]) -> None:
    assert set(boot_flags(" ".join(words))) <= set(BOOT_FLAGS)


@pytest.mark.parametrize(("text", "limit"), [("65536", 65536), ("unlimited", UNLIMITED)])
def test_the_limits_of_this_process_are_read(text: str, limit: int | str, tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/limits": LIMITS.format(text)})
    found = read_limits(tmp_path)
    assert (found.locked_memory_bytes, found.stack_bytes) == (limit, 8 << 20)
    assert (found.open_files, found.processes) == (1024, 96365)


def test_the_settings_of_tcp_are_read(tmp_path: Path) -> None:
    tcp = "proc/sys/net/ipv4/tcp_"
    buffers = {f"{tcp}wmem": "4096\t16384\t4194304", f"{tcp}rmem": "4096\t131072\t33554432"}
    others = {f"{tcp}congestion_control": "bbr", f"{tcp}limit_output_bytes": 36000, f"{tcp}slow_start_after_idle": 0}
    write(tmp_path, {**buffers, **others})
    found = read_tcp_settings(tmp_path)
    assert (found.send_buffer_bytes[-1], found.receive_buffer_bytes[-1]) == (4 << 20, 32 << 20)
    assert (found.congestion_control, found.unsent_at_card_bytes) == ("bbr", 36000)
    assert found.slow_start_after_idle is False


def test_what_is_not_there_is_none_and_never_guessed(tmp_path: Path) -> None:
    cpu, memory = read_cpu_settings(tmp_path), read_memory_settings(tmp_path)
    assert (cpu.governor, cpu.boost, cpu.smt, cpu.max_mhz, cpu.mitigations) == (None, None, None, None, {})
    assert (memory.transparent_hugepages, memory.numa_balancing, memory.swap_bytes) == (None, None, None)
    assert read_kernel_settings(tmp_path).clock_source is None
    assert read_limits(tmp_path).locked_memory_bytes is None
    assert read_tcp_settings(tmp_path) == TcpSettings(None, (), (), None, None)
    assert read_counters(tmp_path) == Counters()
    assert cpu_quota(tmp_path) == CpuQuota(None, None)
    assert (numa_nodes(tmp_path), interfaces(tmp_path), rdma_ports(tmp_path)) == ({}, (), ())


def test_numa_nodes_without_cores_are_left_out(tmp_path: Path) -> None:
    node = "sys/devices/system/node/node"
    write(tmp_path, {f"{node}0/cpulist": "0-1,4", f"{node}1/cpulist": "2-3", f"{node}2/cpulist": ""})
    found = numa_nodes(tmp_path)
    assert found == {0: (0, 1, 4), 1: (2, 3)}
    assert nodes_of([4], found) == (0,)
    assert nodes_of([1, 2], found) == (0, 1)


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cores_are_read_as_the_kernel_writes_them(cores: set[int]) -> None:
    spans: list[list[int]] = []
    for core in sorted(cores):
        if spans and core == spans[-1][1] + 1:
            spans[-1][1] = core
        else:
            spans.append([core, core])
    text = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)
    assert numbers(text) == sorted(cores)


def test_counters_are_read(tmp_path: Path) -> None:
    thermal = f"{CPUS}/cpu{{}}/thermal_throttle/{{}}_throttle_count"
    write(
        tmp_path,
        {
            "proc/vmstat": "nr_free_pages 5\npswpin 30\npswpout 12",
            "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 total=9",
            "proc/stat": "cpu  1 2 3 4 5 6 7 800 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10",
            thermal.format(0, "core"): "3",
            thermal.format(1, "package"): "4",
        },
    )
    found = read_counters(tmp_path)
    assert (found.swapped_pages, found.memory_stall_s, found.thermal, found.throttled) == (42, 2.5, 7, None)
    assert found.steal_s is not None
    assert found.steal_s > 0


def test_the_least_quota_of_all_groups_holds_and_their_pauses_add_up(tmp_path: Path) -> None:
    group = "sys/fs/cgroup"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step",
            f"{group}/job/step/cpu.max": "max 100000",
            f"{group}/job/step/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 2\nthrottled_usec 7",
            f"{group}/job/cpu.max": "150000 100000",
            f"{group}/job/cpu.stat": "nr_throttled 5",
            f"{group}/other/cpu.max": "1000 100000",
        },
    )
    assert cpu_quota(tmp_path) == CpuQuota(1.5, 7)
    assert read_counters(tmp_path).throttled == 7


def test_the_quota_of_version_1_has_other_names(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/cpu"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/a\n3:memory:/m",
            f"{group}/docker/a/cpu.cfs_quota_us": "50000",
            f"{group}/docker/a/cpu.cfs_period_us": "100000",
            f"{group}/docker/a/cpu.stat": "nr_periods 1\nnr_throttled 1",
            f"{group}/cpu.cfs_quota_us": "-1",
            f"{group}/cpu.cfs_period_us": "100000",
        },
    )
    assert cpu_quota(tmp_path) == CpuQuota(0.5, 1)


def device(root: Path, pci_id: str, numa: int) -> Path:
    folder = f"sys/devices/pci0000:00/{pci_id}"
    write(root, {f"{folder}/numa_node": numa})
    return root / folder


def test_interfaces_are_those_with_a_device(tmp_path: Path) -> None:
    card = device(tmp_path, "0000:17:00.0", 1)
    (card / "driver").symlink_to(tmp_path / "sys/bus/pci/drivers/mlx5_core", target_is_directory=True)
    (tmp_path / "sys/bus/pci/drivers/mlx5_core").mkdir(parents=True)
    net = "sys/class/net"
    write(tmp_path, {f"{net}/ib0/operstate": "up", f"{net}/ib0/speed": 400000, f"{net}/ib0/mtu": 4092})
    write(tmp_path, {f"{net}/lo/mtu": 65536, f"{net}/eth0/speed": -1, f"{net}/eth0/operstate": "down"})
    (tmp_path / net / "ib0/device").symlink_to(card)
    (tmp_path / net / "eth0/device").symlink_to(device(tmp_path, "0000:03:00.0", -1))
    eth, ib = interfaces(tmp_path)
    assert (eth.name, eth.speed_mbit, eth.numa_node, eth.driver) == ("eth0", None, None, None)
    assert (ib.name, ib.speed_mbit, ib.mtu, ib.numa_node) == ("ib0", 400000, 4092, 1)
    assert (ib.pci_id, ib.driver, ib.state) == ("0000:17:00.0", "mlx5_core", "up")


def test_ports_of_infiniband_have_rate_firmware_and_mtu(tmp_path: Path) -> None:
    card = device(tmp_path, "0000:17:00.0", 1)
    hca = "sys/class/infiniband/mlx5_0"
    write(card, {"net/ib0/mtu": 4092})
    write(
        tmp_path,
        {
            f"{hca}/fw_ver": "28.39.1002",
            f"{hca}/board_id": "MT_0000000838",
            f"{hca}/ports/1/state": "4: ACTIVE",
            f"{hca}/ports/1/rate": "400 Gb/sec (4X NDR)",
            f"{hca}/ports/1/link_layer": "InfiniBand",
            f"{hca}/ports/2/state": "1: DOWN",
        },
    )
    (tmp_path / hca / "device").symlink_to(card)
    first, second = rdma_ports(tmp_path)
    assert (first.device, first.port, first.active, first.rate) == ("mlx5_0", 1, True, "400 Gb/sec (4X NDR)")
    assert (first.firmware, first.model, first.link_layer) == ("28.39.1002", "MT_0000000838", "InfiniBand")
    assert (first.mtu, first.numa_node, first.pci_id) == (4092, 1, "0000:17:00.0")
    assert (second.port, second.active) == (2, False)
