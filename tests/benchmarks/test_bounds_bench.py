"""`make bench`: how long exact bounds take, on the topologies of papers and on clusters of 512 and 100,000 GPUs.

What is compiled is there already, as in all but the first use; the first run of a benchmark is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clusterbench.collectives.bounds.bounds import limits
from clusterbench.collectives.bounds.classes import class_limit
from clusterbench.collectives.topology.papers import paper_topology
from clusterbench.collectives.topology.spec import topology_from

PAPERS = [
    ("forestcoll-a100", 1), ("forestcoll-a100", 2), ("forestcoll-a100", 4), ("forestcoll-mi250", 1),
    ("forestcoll-mi250", 2), ("teccl-ndv2", 2), ("teccl-ndv2", 4), ("teccl-dgx2", 2),
]  # fmt: skip


def timed(benchmark: Any, call: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """The result, and the median of three runs in seconds."""
    benchmark.group = "bounds"
    result = benchmark.pedantic(call, args=arguments, rounds=3, warmup_rounds=1)
    return result, float(benchmark.stats.stats.median)


@pytest.mark.parametrize(("name", "nodes"), PAPERS)
def test_all_gather_on_a_topology_of_a_paper(
    benchmark: Any, show_line: Callable[[str], None], name: str, nodes: int
) -> None:
    made = paper_topology(name, nodes)
    found, median_s = timed(benchmark, limits, made, "all_gather")
    assert found.complete
    gb_per_s = float(1 / found.cut.seconds_per_byte) / 1e9
    show_line(f"bound of all_gather, {made.name}, {found.ranks} ranks: {gb_per_s:.3f} GB/s in {1e3 * median_s:.1f} ms")


@pytest.mark.parametrize("nodes", [64, 12500])
@pytest.mark.parametrize("collective", ["all_gather", "reduce_scatter", "all_reduce", "all_to_all", "sendrecv"])
def test_a_tapered_fat_tree(benchmark: Any, show_line: Callable[[str], None], collective: str, nodes: int) -> None:
    """Of 512 GPUs by all cuts, except exchanges; of 100,000 by natural cuts."""
    made = topology_from(f"fat-tree:nodes={nodes},node=dgx-h100,taper=2")
    found, median_s = timed(benchmark, limits, made, collective)
    assert found.ranks == 8 * nodes
    show_line(f"bound of {collective}, {made.name}, {found.ranks} ranks, {len(made.links)} links: {median_s:.2f} s, "
              f"{found.among}: {found.at(1 << 30).by}")  # fmt: skip


@pytest.mark.parametrize(("name", "nodes"), [PAPERS[2], PAPERS[4], PAPERS[7]])
def test_the_class_of_trees(benchmark: Any, show_line: Callable[[str], None], name: str, nodes: int) -> None:
    found, median_s = timed(benchmark, class_limit, paper_topology(name, nodes))
    assert found.seconds_per_byte is not None
    gb_per_s = 1 / found.seconds_per_byte / 1e9
    show_line(f"class bound of all_reduce, {name}:nodes={nodes}: {gb_per_s:.3f} GB/s in {median_s:.2f} s")
