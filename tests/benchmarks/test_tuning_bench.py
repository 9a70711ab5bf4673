"""`make bench`: Open MPI's all_reduce by the rules that `clusterbench tune` writes, against its own fixed rules.

Across eight emulated hosts in two racks with an uplink at a quarter, all of the library's algorithms once and then by
the rules and without in turns; then the file that was written against none once more, in launches that no rule was
chosen by. Some fifteen minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from libraries import LIBRARIES

from clusterbench.bench.tuning.choosing import by_point, gains
from clusterbench.results.journal import read_journal

OPEN_MPI = next(library for library in LIBRARIES if library.name == "Open MPI")
TOPOLOGY = "leaf-spine:racks=2,hosts=4,taper=4"
LAUNCHES = 6
TUNE = ["clusterbench", "tune", "all_reduce", "-b", "1K", "-e", "4M", "--screening", "1", "--launches", f"{LAUNCHES}",
        "--iters", "3", "--seed", "1", "--json"]  # fmt: skip
RUN = ["clusterbench", "collectives", "run", "all_reduce", "-b", "1K", "-e", "4M", "-f", "4", "-w", "1",
       "--placement", "out-of-place", "--iters", "3"]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.skipif(not (OPEN_MPI.bin / "mpiexec").exists(), reason="Open MPI's environment is not there")
def test_open_mpi_by_rules_on_a_tapered_network(
    benchmark: Any, show_line: Callable[[str], None], tmp_path: Path
) -> None:
    command = ["clusterbench", "emulate", "--topology", TOPOLOGY, "--once", "--", *TUNE, "--out", str(tmp_path)]
    found = json.loads(benchmark.pedantic(OPEN_MPI.printed, args=(command, 2400), rounds=1))
    for row in found["choices"]:
        rule = f"rule {row['algorithm']} {row['name']}" if row["algorithm"] else "no rule"
        show_line(
            f"tune, {TOPOLOGY}, {row['size_bytes']} B: {rule}; {row['before_s'] * 1e3:.2f} ms by its own rules, "
            f"{row['after_s'] * 1e3:.2f} ms, {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]"
        )
    (mean,) = found["means"]
    ends = f"[{mean['speedup_low']:.2f}, {mean['speedup_high']:.2f}]"
    show_line(f"tune, {TOPOLOGY}: {mean['speedup']:.2f} {ends} times as fast over {len(found['choices'])} sizes")
    assert mean["speedup"] >= 1.2
    rows = again(tmp_path / "rules.conf", tmp_path)
    for (_, _, size_bytes), row in rows.items():
        show_line(
            f"tune, {TOPOLOGY}, {size_bytes} B, the file again: {row.a_s * 1e3:.2f} ms by its own rules, "
            f"{row.b_s * 1e3:.2f} ms, {row.change}"
        )
    assert len(rows) == 7
    assert [size_bytes for (_, _, size_bytes), row in rows.items() if row.change == "worse"] == []


def again(rules: Path, folder: Path) -> Any:
    """Own rules against those of a file, by new launches in turns, by collective, ranks and size."""
    sides: dict[str, list[Any]] = {"own": [], "rules": []}
    options = {"own": ["--algorithm", "library:fixed"], "rules": ["--library-rules", str(rules)]}
    for launch in range(LAUNCHES):
        for side in sorted(sides, reverse=bool(launch % 2)):
            of = folder / f"{side}-{launch}"
            of.mkdir()
            run = [*RUN, "--seed", str(launch), *options[side], "--journal", str(of)]
            OPEN_MPI.printed(["clusterbench", "emulate", "--topology", TOPOLOGY, "--", *run], 600)
            (journal,) = of.glob("*.jsonl")
            sides[side] += read_journal(journal).measurements
    return by_point(gains(sides["own"], sides["rules"], seed=1))
