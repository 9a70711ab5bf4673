"""`make bench`: how long simulations take: 100,000 GPUs by phases, 1,024 by events, and how phases grow with ranks."""

from __future__ import annotations

import resource
from collections.abc import Callable
from math import log, log2
from typing import Any

import numpy as np
import pytest

from clusterbench.collectives.algorithm import Call, parse_specs
from clusterbench.collectives.collective import COLLECTIVES
from clusterbench.collectives.discovery import schedule
from clusterbench.collectives.schedule import Schedule
from clusterbench.collectives.simulator.events import play
from clusterbench.collectives.simulator.patterns import Patterns
from clusterbench.collectives.simulator.phases import plan, price
from clusterbench.collectives.topology.spec import topology_from

GIB = 1 << 30


def all_reduce(name: str, ranks: int) -> Schedule:
    return schedule(parse_specs(name)[0], Call(COLLECTIVES["all_reduce"], ranks, host_ranks=8))


def timed(benchmark: Any, call: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """The result, and the median of three runs in seconds; the first run, which compiles, is not counted."""
    benchmark.group = "simulator"
    result = benchmark.pedantic(call, args=arguments, rounds=3, warmup_rounds=1)
    return result, float(benchmark.stats.stats.median)


@pytest.mark.parametrize("name", ["two-level", "ring", "halving-doubling"])
def test_a_hundred_thousand_gpus_by_phases(benchmark: Any, show_line: Callable[[str], None], name: str) -> None:
    """Topology and all: 12,500 nodes in a tapered fat tree."""

    def simulated() -> float:
        machine = topology_from("fat-tree:nodes=12500,node=dgx-h100,taper=2")
        return price(all_reduce(name, 100_000), machine, GIB).time_s

    time_s, median_s = timed(benchmark, simulated)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    show_line(f"all_reduce of 1 GiB by {name}, 100,000 GPUs, phases: {time_s:.4f} s simulated in {median_s:.2f} s, "
              f"{peak_gb:.2f} GB at most so far")  # fmt: skip


@pytest.mark.parametrize("name", ["two-level", "ring", "halving-doubling"])
def test_a_thousand_gpus_by_events(benchmark: Any, show_line: Callable[[str], None], name: str) -> None:
    machine = topology_from("fat-tree:nodes=128,node=dgx-h100,taper=2")
    made = all_reduce(name, 1024)
    found, median_s = timed(benchmark, play, made, machine, GIB)
    by_phases = price(made, machine, GIB).time_s
    show_line(f"all_reduce of 1 GiB by {name}, 1,024 GPUs, events: {found.time_s:.4f} s simulated in {median_s:.1f} s; "
              f"phases say {by_phases:.4f} s")  # fmt: skip


@pytest.mark.parametrize("name", ["ring", "recursive-doubling", "halving-doubling"])
def test_another_size_of_a_plan(benchmark: Any, show_line: Callable[[str], None], name: str) -> None:
    """Over 256 ranks, on a torus: the patterns are priced, so that a size is arithmetic."""
    machine = topology_from("torus:dims=16x16")
    made = schedule(parse_specs(name)[0], Call(COLLECTIVES["all_reduce"], 256))
    planned, plan_s = timed(benchmark, plan, Patterns(machine), made)
    size_s = _least_s(lambda: planned.at(1 << 20))
    show_line(f"phases of {name}, 256 ranks: a plan from known patterns in {1e3 * plan_s:.2f} ms, each size of it in "
              f"{1e6 * size_s:.0f} µs")  # fmt: skip


def test_phases_grow_no_faster_than_p_log_p(benchmark: Any, show_line: Callable[[str], None]) -> None:
    """Halving-doubling has O(log p) patterns of O(p) messages each."""
    benchmark.group = "simulator"
    nodes = [128, 512, 2048, 8192]
    spent = []
    for count in nodes:
        machine = topology_from(f"fat-tree:nodes={count},node=dgx-h100,taper=2")
        made = all_reduce("halving-doubling", 8 * count)
        spent.append(_least_s(lambda machine=machine, made=made: price(made, machine, GIB)))
    benchmark.pedantic(price, args=(made, machine, GIB), rounds=1)
    ranks = [8 * count for count in nodes]
    slope = np.polyfit([log(p * log2(p)) for p in ranks], [log(s) for s in spent], 1)[0]
    each = ", ".join(f"{p}: {s:.3f} s" for p, s in zip(ranks, spent, strict=True))
    show_line(f"phases of halving-doubling grow as (p log p)^{slope:.2f}; {each}")


def _least_s(call: Callable[[], object]) -> float:
    from time import perf_counter

    times = []
    for _ in range(3):
        begun = perf_counter()
        call()
        times.append(perf_counter() - begun)
    return min(times)
