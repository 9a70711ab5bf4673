"""In what the hosts of a run differ from the first one."""

from __future__ import annotations

from typing import Any

from clusterbench.bench.worlds.host_differences import describe, differences, host_differences
from clusterbench.bench.worlds.world import RankPlace, World


class Gathers:
    """A communicator of two hosts with two ranks each, of which rank 0 gathers what is given."""

    rank, size = 0, 4

    def __init__(self, others: list[Any]) -> None:
        self.others = others

    def gather(self, own: Any) -> list[Any]:
        return [own, *self.others]


def world(comm: Any, hosts: str) -> World:
    places = tuple(RankPlace(rank, host, 1, rank % 2, (0,), "") for rank, host in enumerate(hosts))
    return World(comm, places, len(set(hosts)), False, "single", ())


def test_a_host_that_is_set_up_otherwise_is_named_with_what_is_otherwise() -> None:
    there = describe() | {"cpu.governor": "powersave", "memory.swappiness": 99}
    comm = Gathers([("a", None), ("b", there), ("b", None)])
    assert host_differences(world(comm, "aabb")) == {"b": {"cpu.governor": "powersave", "memory.swappiness": 99}}


def test_hosts_that_are_alike_have_nothing() -> None:
    assert differences([("a", {"x": 1}), ("b", {"x": 1})]) == {"b": {}}
    assert differences([]) == {}


def test_on_one_host_nothing_is_asked() -> None:
    assert host_differences(world(None, "aaaa")) == {}


def test_what_is_of_one_moment_is_not_compared() -> None:
    named = describe()
    assert {"host.load_1min", "memory.available_bytes", "host.name"}.isdisjoint(named)
    assert {"cpu.governor", "memory.total_bytes", "kernel.clock_source", "limits.locked_memory_bytes"} <= set(named)
