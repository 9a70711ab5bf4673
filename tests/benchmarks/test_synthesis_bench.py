"""`make bench`: synthesis on topologies of papers and others: rate against the bound, simulated time, seconds taken.

What is compiled is there already, as in all but the first use; the first run of a benchmark is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clusterbench.collectives.synthesis.choosing import Choice, chosen
from clusterbench.collectives.synthesis.synthesis import Synthesis, synthesize
from clusterbench.collectives.topology.spec import topology_from

GB = 10**9
CASES = [
    ("teccl-ndv2:nodes=2", "all_gather", None),
    ("teccl-ndv2:nodes=4", "all_gather", None),
    ("teccl-dgx2:nodes=2", "all_gather", None),
    ("forestcoll-a100:nodes=2", "all_gather", None),
    ("forestcoll-mi250:nodes=2", "all_gather", 8),
    ("forestcoll-a100:nodes=16", "all_gather", None),
    ("forestcoll-a100:nodes=2", "all_reduce", None),
    ("fat-tree:nodes=16,node=dgx-h100,taper=2", "all_gather", None),
    ("dgx-h100", "all_reduce", None),
]


@pytest.mark.parametrize(("text", "collective", "most_trees"), CASES)
def test_a_topology(
    benchmark: Any, show_line: Callable[[str], None], text: str, collective: str, most_trees: int | None
) -> None:
    made = topology_from(text)

    def both() -> tuple[Synthesis, Choice]:
        found = synthesize(made, collective, most_trees=most_trees)
        return found, chosen(found, GB)

    benchmark.group = "synthesis"
    found, best = benchmark.pedantic(both, rounds=1, warmup_rounds=1)
    bound_s = found.limits.at(GB).bound_s
    assert found.share is not None
    show_line(
        f"synthesis of {collective}, {text}, {found.fast.ranks} ranks: {float(found.share):.2%} of the bound's rate, "
        f"{found.most_trees_of_a_root} trees a root, depth {found.fast.depth}; 1 GB in {1e3 * best.time_s:.3f} ms "
        f"simulated in {best.segments} segments, {best.time_s / bound_s - 1:.2%} over the bound of "
        f"{1e3 * bound_s:.3f} ms; {float(benchmark.stats.stats.median):.2f} s"
    )
