"""How much memory is free, by the host and by control groups of both versions, and what is refused for lack of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from file_tree import write

from clusterbench.bench.hosts.cgroups import MemoryLimit, memory_limits
from clusterbench.bench.worlds.memory import free_bytes, refuse_too_large
from clusterbench.bench.worlds.world import AgreedError, RankPlace, World

MIB = 1 << 20


def group(folder: str, limit: object, used: int, inactive: int = 0) -> dict[str, object]:
    """A group of version 2."""
    stat = f"anon 1\ninactive_file {inactive}\nactive_file 7"
    return {f"{folder}/memory.max": limit, f"{folder}/memory.current": used, f"{folder}/memory.stat": stat}


def test_every_group_above_the_process_limits_it(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/job/step"})
    write(tmp_path, group("sys/fs/cgroup/job/step", "max", 100 * MIB))
    write(tmp_path, group("sys/fs/cgroup/job", 300 * MIB, 250 * MIB, inactive=30 * MIB))
    write(tmp_path, group("sys/fs/cgroup", 800 * MIB, 400 * MIB))
    write(tmp_path, group("sys/fs/cgroup/another", MIB, MIB))
    assert memory_limits(tmp_path) == [MemoryLimit(300 * MIB, 80 * MIB), MemoryLimit(800 * MIB, 400 * MIB)]
    assert free_bytes(tmp_path) == min(80 * MIB, psutil.virtual_memory().available)


def test_a_container_shows_its_own_group_as_the_root(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/docker/abc"})
    write(tmp_path, group("sys/fs/cgroup", 10 * MIB, 4 * MIB))
    assert free_bytes(tmp_path) == 6 * MIB


def test_version_1_has_other_names(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/slurm\n0::/"})
    for folder, limit, used in (("slurm", 64 * MIB, 80 * MIB), ("", 9223372036854771712, 500 * MIB)):
        base = f"sys/fs/cgroup/memory/{folder}"
        write(tmp_path, {f"{base}/memory.limit_in_bytes": limit, f"{base}/memory.usage_in_bytes": used})
        write(tmp_path, {f"{base}/memory.stat": f"inactive_file 1\ntotal_inactive_file {20 * MIB}"})
    assert memory_limits(tmp_path)[0] == MemoryLimit(64 * MIB, 4 * MIB)
    assert free_bytes(tmp_path) == 4 * MIB


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/a", **group("sys/fs/cgroup/a", MIB, 2 * MIB)})
    assert free_bytes(tmp_path) == 0


def test_without_groups_the_host_alone_counts(tmp_path: Path) -> None:
    assert memory_limits(tmp_path) == []
    assert 0 < free_bytes(tmp_path) <= psutil.virtual_memory().total


class Answers:
    """A communicator whose ranks need and have what is given."""

    def __init__(self, asked: list[tuple[int, int]]) -> None:
        self.asked, self.rank, self.size = asked, 0, len(asked)

    def allgather(self, own: tuple[int, int]) -> list[tuple[int, int]]:
        return self.asked


def world(asked: list[tuple[int, int]], hosts: str) -> World:
    comm: Any = Answers(asked)
    places = tuple(RankPlace(rank, host, 1, 0, (0,), "") for rank, host in enumerate(hosts))
    return World(comm, places, len(set(hosts)), False, "single", ())


def test_the_ranks_of_a_host_must_fit_it_together() -> None:
    fits = world([(3 << 30, 7 << 30), (4 << 30, 7 << 30), (7 << 30, 7 << 30)], "aab")
    refuse_too_large(fits, 0, "-e")
    lacks: Any = replace(fits, comm=Answers([(3 << 30, 7 << 30), (4 << 30, 6 << 30), (7 << 30, 7 << 30)]))
    with pytest.raises(AgreedError, match=r"^-e needs 7\.0 GiB on host a for the buffers of 2 ranks, which has 6\.0 GiB"
                                          r" free; choose a smaller -e$") as refused:  # fmt: skip
        refuse_too_large(lacks, 0, "-e")
    assert refused.value.exit_code == 2
